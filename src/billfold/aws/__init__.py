"""Where the bills come from: AWS, read in a client's name, and local folders that look like its buckets."""

from billfold.aws.bucket import LOCAL_SCHEME, Bucket, address, is_local
from billfold.aws.bucket_probes import probe_bucket
from billfold.aws.credentials import aws_client, open_session
from billfold.aws.fetch import Progress, SilentProgress, fetch_delivery
from billfold.aws.layout import Place, decode_event_key, find_places, is_data_file, is_manifest, period_of, place_of
from billfold.aws.local_aws import LocalAws
from billfold.aws.local_bucket import LocalBucket
from billfold.aws.locate import locate, open_bucket
from billfold.aws.manifest import Manifest, parse_manifest
from billfold.aws.probes import probe_identity, probe_queue, probe_role
from billfold.aws.resolve import OnRefused, resolve
from billfold.aws.s3_bucket import S3Bucket
from billfold.aws.unpack import unpack

__all__ = [
    "LOCAL_SCHEME",
    "Bucket",
    "LocalAws",
    "LocalBucket",
    "Manifest",
    "OnRefused",
    "Place",
    "Progress",
    "S3Bucket",
    "SilentProgress",
    "address",
    "aws_client",
    "decode_event_key",
    "fetch_delivery",
    "find_places",
    "is_data_file",
    "is_local",
    "is_manifest",
    "locate",
    "open_bucket",
    "open_session",
    "parse_manifest",
    "period_of",
    "place_of",
    "probe_bucket",
    "probe_identity",
    "probe_queue",
    "probe_role",
    "resolve",
    "unpack",
]
