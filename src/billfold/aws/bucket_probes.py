"""Doctor's probes of a client's bucket: can its folder be listed and read, nothing else, and what is in it?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

import boto3

from billfold.aws.aws_errors import translated
from billfold.aws.credentials import Clock, aws_client, open_session, utc_now
from billfold.aws.file_header import HEADER_BYTES, read_headers, read_manifest_columns
from billfold.aws.layout import is_manifest
from billfold.aws.manifest import Manifest, parse_manifest
from billfold.aws.notification_probe import judge_notification
from billfold.aws.probes import failed
from billfold.aws.s3_bucket import S3Bucket
from billfold.errors import AccessDeniedError, BillfoldError, SourceNotFoundError
from billfold.model import Client, Probe, ProbeState, SourceObject
from billfold.settings import Settings

# Enough to find the newest manifest of most folders, and few enough requests.
MAX_LISTED_OBJECTS = 10_000
# A folder that no export writes to: listing it shows nothing, and only whether it is allowed.
_OUTSIDE = "billfold-doctor-looks-outside/"
_OLDEST_REGION = "us-east-1"


@dataclass(frozen=True, slots=True, kw_only=True)
class BucketFindings:
    """The findings about a client's bucket.

    `headers` are the columns of its newest delivery, from its manifest or else from a data file, None if neither could
    be read; `header_source` is the key that they come from.
    """

    probes: tuple[Probe, ...]
    headers: tuple[str, ...] | None = None
    header_source: str = ""


def probe_bucket(
    client: Client, settings: Settings, wide: boto3.Session | None, clock: Clock = utc_now
) -> BucketFindings:
    """Probe as an ingest reads, in a session limited to the client's folder; `wide`, if given, is not limited.

    Raises no BillfoldError: a refusal is a failed probe.
    """
    assert client.bucket
    try:
        probed = _ProbedBucket(client, settings, wide)
    except BillfoldError as error:
        return BucketFindings(probes=(failed("listing", error, error.advice or "see the role above"),))
    probes = [probed.probe_region(), probed.probe_owner()]
    listing, manifests, is_whole = probed.probe_listing()
    probes += [listing, probed.probe_outside()]
    if manifests is None:
        skipped = [probed.skip(name) for name in ("manifest", "freshness", "reading", "decryption")]
        return BucketFindings(probes=(*probes, *skipped, probed.probe_notification()))
    where = f"s3://{client.bucket}/{client.prefix}"
    if not manifests and not is_whole:
        found = (
            f"there is no manifest among the first {MAX_LISTED_OBJECTS:,} objects below {where}; more were not listed"
        )
        fix = "narrow the client's prefix to the folder of its exports, or see `billfold backfill`"
        probes += [
            Probe(name=name, state=ProbeState.UNKNOWN, found=found, fix=fix) for name in ("manifest", "freshness")
        ]
        skipped = [probed.skip(name, found) for name in ("reading", "decryption")]
        return BucketFindings(probes=(*probes, *skipped, probed.probe_notification()))
    if not manifests:
        found = f"there is no manifest below {where}"
        fix = "wait a day for AWS's first delivery, or correct the client's prefix (it is case-sensitive)"
        probes.append(Probe(name="manifest", state=ProbeState.FAILED, found=found, fix=fix))
        skipped = [probed.skip(name, found) for name in ("freshness", "reading", "decryption")]
        return BucketFindings(probes=(*probes, *skipped, probed.probe_notification()))
    newest = max(manifests, key=lambda manifest: (manifest.modified_at, manifest.key))
    reading = probed.probe_reading(newest)
    freshness = probed.probe_freshness(newest, clock(), is_whole=is_whole)
    probes += [probed.found_manifest(newest, len(manifests)), freshness, *reading.probes]
    return replace(reading, probes=(*probes, probed.probe_notification()))


class _ProbedBucket:
    """One client's bucket being probed."""

    def __init__(self, client: Client, settings: Settings, wide: boto3.Session | None) -> None:
        assert client.bucket
        self._client = client
        self._settings = settings
        self._name = client.bucket
        self._arn = f"arn:{(client.role_arn or 'arn:aws:').split(':')[1]}:s3:::{client.bucket}"
        self._s3 = aws_client(open_session(client, settings), "s3", settings)
        self._wide = aws_client(wide, "s3", settings) if wide else None
        folder = client.prefix if client.is_registered else ""
        self._bucket = S3Bucket(self._name, self._s3, settings, account_id=client.account_id, folder=folder)
        self._owner = {"ExpectedBucketOwner": client.account_id} if client.account_id else {}

    def skip(self, name: str, found: str = "the folder cannot be listed") -> Probe:
        return Probe(name=name, state=ProbeState.SKIPPED, found=found)

    def probe_region(self) -> Probe:
        name = "bucket region"
        try:
            with self._translated("s3:GetBucketLocation"):
                answer = self._s3.get_bucket_location(Bucket=self._name, **self._owner)
        except BillfoldError as error:
            probe = failed(name, error, self._fix(error, f"the role needs s3:GetBucketLocation on {self._arn}"))
            # Reading works without it.
            return replace(probe, state=ProbeState.WARNING) if isinstance(error, AccessDeniedError) else probe
        region = {None: _OLDEST_REGION, "": _OLDEST_REGION, "EU": "eu-west-1"}.get(
            answer.get("LocationConstraint"), answer.get("LocationConstraint")
        )
        configured = self._client.region or self._settings.region
        if configured and region != configured:
            fix = (
                f"billfold client change {self._client.client_id} --region {region}"
                if self._client.is_registered
                else f"AWS_REGION={region}"
            )
            found = f"the bucket is in {region}, but {configured} is configured: each first request is redirected"
            return Probe(name=name, state=ProbeState.WARNING, found=found, fix=fix)
        return Probe(name=name, state=ProbeState.OK, found=f"{region}")

    def probe_owner(self) -> Probe:
        name = "bucket owner"
        if not self._client.account_id:
            return Probe(
                name=name,
                state=ProbeState.WARNING,
                found="no account is configured: any owner's bucket with this name would be read",
                fix="BILLFOLD_ACCOUNT_ID=<the 12 digits of the bucket's account>",
            )
        question = {"Bucket": self._name, "Prefix": self._client.prefix, "MaxKeys": 1}
        try:
            with self._translated("s3:ListBucket"):
                self._s3.list_objects_v2(**question, **self._owner)
        except BillfoldError as error:
            # Only a refusal that disappears without the account id shows another owner; a busy S3 shows nothing.
            if isinstance(error, AccessDeniedError) and self._allows(self._s3, question):
                return Probe(
                    name=name,
                    state=ProbeState.FAILED,
                    found=f"{self._name} does not belong to account {self._client.account_id}",
                    fix="correct the bucket or the account: someone else may have taken this bucket name",
                )
            return Probe(name=name, state=ProbeState.UNKNOWN, found=error.message, fix="see the listing below")
        return Probe(name=name, state=ProbeState.OK, found=f"account {self._client.account_id}, sent with each call")

    def probe_listing(self) -> tuple[Probe, list[SourceObject] | None, bool]:
        """Whether the folder can be listed, its manifests (None if it cannot), and whether the list is complete."""
        folder = self._client.prefix
        try:
            listed = list(islice(self._bucket.list_objects(folder), MAX_LISTED_OBJECTS + 1))
        except BillfoldError as error:
            condition = f" where s3:prefix is like {folder}*" if folder else ""
            fix = self._fix(error, f"the role needs s3:ListBucket on {self._arn}{condition}")
            return failed("listing", error, fix), None, False
        is_whole = len(listed) <= MAX_LISTED_OBJECTS
        count = f"{len(listed):,}" if is_whole else f"more than {MAX_LISTED_OBJECTS:,}"
        found = f"objects below s3://{self._name}/{folder}: {count}"
        manifests = [source for source in listed if is_manifest(source.key)]
        return Probe(name="listing", state=ProbeState.OK, found=found), manifests, is_whole

    def probe_outside(self) -> Probe:
        """Whether the folders beside the client's are closed to this session."""
        name = "other folders"
        if not self._client.prefix:
            return self.skip(name, "the whole bucket is the client's")
        question = {"Bucket": self._name, "Prefix": _OUTSIDE, "MaxKeys": 1, **self._owner}
        narrow = f'add "Condition": {{"StringLike": {{"s3:prefix": "{self._client.prefix}*"}}}} to s3:ListBucket'
        allowed = self._allows(self._s3, question)
        if allowed is None:
            return Probe(name=name, state=ProbeState.UNKNOWN, found="the bucket does not answer", fix="try again")
        if allowed:
            if self._client.role_arn is None:
                found = "Billfold's own credentials can list the whole bucket"
                return Probe(
                    name=name,
                    state=ProbeState.WARNING,
                    found=found,
                    fix="read it through a role, or limit these credentials",
                )
            found = "a session can list other folders than the client's, although its session policy forbids it"
            return Probe(name=name, state=ProbeState.FAILED, found=found, fix=f"{narrow} of {self._client.role_arn}")
        if self._wide and self._allows(self._wide, question):
            found = "the session policy refuses them; the role itself would allow them"
            return Probe(name=name, state=ProbeState.WARNING, found=found, fix=f"{narrow} of {self._client.role_arn}")
        return Probe(name=name, state=ProbeState.OK, found="are refused")

    def found_manifest(self, newest: SourceObject, count: int) -> Probe:
        found = f"{newest.key}, the newest of {count:,}" if count > 1 else newest.key
        return Probe(name="manifest", state=ProbeState.OK, found=found)

    def probe_freshness(self, newest: SourceObject, now: datetime, *, is_whole: bool) -> Probe:
        hours = (now - newest.modified_at) / timedelta(hours=1)
        found = f"the newest manifest was written at {newest.modified_at:%Y-%m-%d %H:%M} UTC, {hours:.0f} hours ago"
        if hours > self._client.refresh_hours * 1.5 and not is_whole:
            found += f", of the first {MAX_LISTED_OBJECTS:,} objects; a newer one may follow them"
            fix = "narrow the client's prefix to the folder of its exports"
            return Probe(name="freshness", state=ProbeState.UNKNOWN, found=found, fix=fix)
        if hours > self._client.refresh_hours * 1.5:
            fix = "look at the export in the client's Billing console, or expect it less often with --refresh-hours"
            expected = f"; one is expected every {self._client.refresh_hours} hours"
            return Probe(name="freshness", state=ProbeState.WARNING, found=found + expected, fix=fix)
        return Probe(name="freshness", state=ProbeState.OK, found=found)

    def probe_reading(self, newest: SourceObject) -> BucketFindings:
        """Whether the newest manifest and its first data file can be read and decrypted, and their columns."""
        try:
            content = self._bucket.read_small(newest, self._settings.max_manifest_bytes)
            manifest = parse_manifest(content, newest.key)
        except BillfoldError as error:
            return BucketFindings(probes=(self._unread(error), self._probe_key(newest.key)))
        headers = read_manifest_columns(content)
        key = manifest.file_keys[0] if manifest.file_keys else None
        if key is None:
            read = Probe(name="reading", state=ProbeState.OK, found="the manifest can be read; it names no data file")
            return BucketFindings(probes=(read, self._probe_key(newest.key)), headers=headers, header_source=newest.key)
        try:
            beginning, size_bytes = self._read_part(key, f"bytes=0-{HEADER_BYTES - 1}")
            if headers is None:
                headers = read_headers(beginning, size_bytes, lambda part: self._read_part(key, part)[0])
        except BillfoldError as error:
            return BucketFindings(probes=(self._unread(error), self._probe_key(key)))
        read = Probe(name="reading", state=ProbeState.OK, found=f"the newest manifest and {_name_of(manifest, key)}")
        return BucketFindings(probes=(read, self._probe_key(key)), headers=headers, header_source=key)

    def probe_notification(self) -> Probe:
        """Whether S3 announces new objects; the roles that `onboard` writes cannot ask that."""
        name = "notification"
        s3 = self._wide or self._s3
        try:
            with self._translated("s3:GetBucketNotification"):
                answer = s3.get_bucket_notification_configuration(Bucket=self._name, **self._owner)
        except BillfoldError:
            fix = f"the client can check: aws s3api get-bucket-notification-configuration --bucket {self._name}"
            return Probe(name=name, state=ProbeState.UNKNOWN, found="cannot be asked of the bucket", fix=fix)
        return judge_notification(answer, self._client, self._settings.queue_url)

    def _probe_key(self, key: str) -> Probe:
        """The key that encrypts the object, and whether a session may decrypt with it."""
        name = "decryption"
        try:
            with self._translated("s3:GetObject", key):
                answer = self._s3.head_object(Bucket=self._name, Key=key, **self._owner)
        except BillfoldError as error:
            return Probe(name=name, state=ProbeState.UNKNOWN, found=error.message, fix="see reading above")
        used, configured = answer.get("SSEKMSKeyId"), self._client.kms_key_arn
        if used is None:
            if configured:
                found = f"{key} is encrypted with S3's own key, not with {configured}"
                return Probe(
                    name=name, state=ProbeState.WARNING, found=found, fix="configure no key, or encrypt the bucket"
                )
            return Probe(name=name, state=ProbeState.OK, found="with S3's own key: kms:Decrypt is not needed")
        option = "--kms-key-arn" if self._client.is_registered else "BILLFOLD_KMS_KEY_ARN"
        if configured is None:
            found = f"with {used}; a session may decrypt with any key that the role may use"
            return Probe(name=name, state=ProbeState.WARNING, found=found, fix=f"configure it: {option} {used}")
        if not _is_same_key(used, configured):
            found = f"{key} is encrypted with {used}, but a session may only decrypt with {configured}"
            fix = (
                f"configure the bucket's key: {option} {used}; allow kms:Decrypt on it in the role and the key's policy"
            )
            return Probe(name=name, state=ProbeState.FAILED, found=found, fix=fix)
        return Probe(name=name, state=ProbeState.OK, found=f"with {used}, which is configured")

    def _fix(self, error: BillfoldError, right: str) -> str:
        """How to fix a failed call: the missing permission if access is denied, else the error's own advice."""
        if isinstance(error, SourceNotFoundError):
            return "correct the client's bucket; a bucket with this name must exist"
        return right if isinstance(error, AccessDeniedError) else error.advice

    def _unread(self, error: BillfoldError) -> Probe:
        fix = f"the role needs s3:GetObject on {self._arn}/{self._client.prefix}*"
        if isinstance(error, AccessDeniedError):
            key = self._client.kms_key_arn or "the bucket's key"
            fix += f" and, if the bucket has its own key, kms:Decrypt on {key}, also in the key's policy"
        else:
            fix = error.advice or "ask AWS for a new delivery"
        return failed("reading", error, fix)

    def _read_part(self, key: str, part: str) -> tuple[bytes, int]:
        """A range of bytes and the size of the whole object; a key outside the folder is refused like any read."""
        source = self._bucket.head(key)
        if not source.size_bytes:
            return b"", 0
        with self._translated("s3:GetObject", key):
            answer = self._s3.get_object(Bucket=self._name, Key=key, Range=part, **self._owner)
            content: bytes = answer["Body"].read()
        return content, source.size_bytes

    def _allows(self, s3: Any, question: Mapping[str, Any]) -> bool | None:
        """Whether a listing is allowed; None if that cannot be known."""
        try:
            with self._translated("s3:ListBucket"):
                s3.list_objects_v2(**question)
        except AccessDeniedError:
            return False
        except BillfoldError:
            return None
        return True

    def _translated(self, permission: str, key: str = "") -> Any:
        return translated(f"s3://{self._name}/{key}", permission=permission, account_id=self._client.account_id)


def _name_of(manifest: Manifest, key: str) -> str:
    return f"{key}, the first of its {len(manifest.file_keys)} files" if len(manifest.file_keys) > 1 else key


def _is_same_key(used: str, configured: str) -> bool:
    """S3 gives the key's ARN, other stores only its id."""
    return used == configured or configured.endswith(f"/{used}")
