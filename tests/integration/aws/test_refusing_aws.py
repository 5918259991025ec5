"""What boto3 makes of an AWS that refuses or breaks off, over a real connection."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from billfold.aws import open_bucket, resolve
from billfold.errors import AccessDeniedError, ConfigurationError, SourceUnavailableError
from billfold.model import Client, SourceObject
from billfold.settings import Settings, load_settings
from tests.bills.landing import Landing
from tests.bills.refusals import assert_next_good_delivery_works, assert_refused

ROLE = "arn:aws:iam::111122223333:role/billfold-read"
REFUSAL = b"<ErrorResponse><Error><Code>AccessDenied</Code><Message>not authorized</Message></Error></ErrorResponse>"


class BrokenAws(BaseHTTPRequestHandler):
    """Refuses every call, but begins to send the object `half`, in which it breaks off."""

    def do_GET(self) -> None:
        if not self.path.endswith("/half"):
            self._refuse()
            return
        self.send_response(200)
        self.send_header("Content-Length", "10")
        self.send_header("ETag", '"e"')
        self.end_headers()
        self.wfile.write(b"12345")

    def do_HEAD(self) -> None:
        self.send_response(403)
        self.end_headers()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._refuse()

    def _refuse(self) -> None:
        self.send_response(403)
        self.send_header("Content-Length", str(len(REFUSAL)))
        self.end_headers()
        self.wfile.write(REFUSAL)

    def log_message(self, format: str, *arguments: Any) -> None:
        return


@pytest.fixture
def here(environment: pytest.MonkeyPatch) -> Iterator[Settings]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), BrokenAws)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    environment.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
    environment.setenv("AWS_ACCESS_KEY_ID", "local")
    environment.setenv("AWS_SECRET_ACCESS_KEY", "local")
    environment.setenv("BILLFOLD_MIN_FREE_BYTES", "0")
    yield load_settings()
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_role_that_refuses_us_is_told_with_what_to_check(here: Settings) -> None:
    client = Client(client_id="acme", role_arn=ROLE, external_id="secret-id", bucket="acme-bills")

    with pytest.raises(AccessDeniedError, match="trust policy") as caught:
        open_bucket(client, here)

    assert ROLE in str(caught.value)
    assert "secret-id" not in str(caught.value)


def test_a_bucket_that_refuses_us_is_told_with_its_expected_owner(here: Settings) -> None:
    client = Client(client_id="acme", bucket="acme-bills", account_id="111122223333")
    bucket = open_bucket(client, here)

    with pytest.raises(AccessDeniedError, match="is not owned by account 111122223333"):
        resolve(bucket, "exports/a.csv")


def test_a_connection_that_breaks_off_can_be_tried_again(here: Settings, tmp_path: Path) -> None:
    bucket = open_bucket(Client(client_id="acme", bucket="acme-bills"), here)
    source = SourceObject(
        bucket="acme-bills", key="half", etag="e", size_bytes=10, modified_at=datetime(2023, 11, 5, tzinfo=UTC)
    )

    with pytest.raises(SourceUnavailableError) as caught:
        bucket.download(source, tmp_path / "file", lambda _: None)

    assert caught.value.retryable
    assert not (tmp_path / "file").exists()


def test_missing_credentials_are_told_as_such(here: Settings, environment: pytest.MonkeyPatch) -> None:
    environment.delenv("AWS_ACCESS_KEY_ID")
    environment.delenv("AWS_SECRET_ACCESS_KEY")
    environment.setenv("AWS_EC2_METADATA_DISABLED", "true")
    bucket = open_bucket(Client(client_id="acme", bucket="acme-bills"), here)

    with pytest.raises(ConfigurationError, match="No AWS credentials found for s3://acme-bills/"):
        resolve(bucket, "")


def test_a_role_that_refuses_us_leaves_a_failed_run(landing: Landing, here: Settings) -> None:
    there = landing.with_client(role_arn=ROLE, bucket="acme-bills").with_settings(
        endpoint_url=here.endpoint_url, region="us-east-1"
    )

    outcome = there.ingest("exports/acme/")

    assert outcome.exit_error is not None
    assert outcome.exit_error.error_code == "access_denied"
    assert ROLE in str(outcome.exit_error)
    assert "\n" not in str(outcome.exit_error)
    assert_refused(landing, "access_denied", str(outcome.exit_error))
    assert_next_good_delivery_works(landing)
