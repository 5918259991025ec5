"""Where bills come from: S3 buckets, read as one client, and local folders that look like buckets; queues and probes.

`locate` finds the bucket and key of a source, `resolve` the deliveries at a key, `fetch_delivery` and `unpack` bring
their files here. Names that need boto3 are loaded when they are first used: boto3 takes 0.2 s, and a local source does
not need it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from billfold.aws.bucket import LOCAL_SCHEME, Bucket, address, is_local
from billfold.aws.current_manifest import OnRefused
from billfold.aws.fetch import Progress, SilentProgress, fetch_delivery
from billfold.aws.layout import Place, decode_event_key, find_places, is_data_file, is_manifest, period_of, place_of
from billfold.aws.local_bucket import LocalBucket
from billfold.aws.locate import locate, open_bucket
from billfold.aws.manifest import Manifest, parse_manifest
from billfold.aws.resolve import resolve
from billfold.aws.unpack import unpack

if TYPE_CHECKING:
    from billfold.aws.bucket_probes import probe_bucket
    from billfold.aws.credentials import aws_client, open_session
    from billfold.aws.local_aws import LocalAws
    from billfold.aws.probes import probe_identity, probe_queue, probe_role
    from billfold.aws.s3_bucket import S3Bucket

_NEED_BOTO3 = {
    "LocalAws": "local_aws",
    "S3Bucket": "s3_bucket",
    "aws_client": "credentials",
    "open_session": "credentials",
    "probe_bucket": "bucket_probes",
    "probe_identity": "probes",
    "probe_queue": "probes",
    "probe_role": "probes",
}

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


def __getattr__(name: str) -> Any:
    if name not in _NEED_BOTO3:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"billfold.aws.{_NEED_BOTO3[name]}"), name)
