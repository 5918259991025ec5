"""Where the bills come from: AWS, read in a client's name, and local folders that look like its buckets."""

from billfold.exports.bucket import LOCAL_SCHEME, Bucket, address, is_local
from billfold.exports.bucket_probes import probe_bucket
from billfold.exports.credentials import aws_client, open_session
from billfold.exports.fetch import Progress, SilentProgress, fetch_delivery
from billfold.exports.layout import Place, decode_event_key, find_places, is_data_file, is_manifest, period_of, place_of
from billfold.exports.local_aws import LocalAws
from billfold.exports.local_bucket import LocalBucket
from billfold.exports.locate import locate, open_bucket
from billfold.exports.manifest import Manifest, parse_manifest
from billfold.exports.probes import probe_identity, probe_queue, probe_role
from billfold.exports.resolve import OnRefused, resolve
from billfold.exports.s3_bucket import S3Bucket
from billfold.exports.unpack import unpack

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
