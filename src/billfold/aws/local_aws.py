"""A local AWS for the demo and the tests: moto's HTTP server on a free port of 127.0.0.1, gone with its context."""

from __future__ import annotations

import http.client
import json
import logging
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import boto3

from billfold.aws.layout import is_manifest
from billfold.errors import ConfigurationError

_ADDRESS = "127.0.0.1"
_ACCESS_KEY = "billfold-local"
_DEFAULT_REGION = "us-east-1"


class LocalAws:
    """S3, STS and IAM as moto imitates them. Roles can be assumed but restrict nothing. One at a time in a process.

    With an `endpoint_url` it runs elsewhere: it can be filled, but is not entered as a context.
    """

    def __init__(self, region: str = _DEFAULT_REGION, *, endpoint_url: str = "") -> None:
        self.region = region
        self.endpoint_url = endpoint_url
        self._server: Any = None
        # To make a client takes boto3 longer than most calls of one take.
        self._clients: dict[tuple[str, str], Any] = {}

    def __enter__(self) -> Self:
        try:
            from moto.server import ThreadedMotoServer
        except ImportError as error:
            raise ConfigurationError(
                "the local AWS needs moto, which is not installed", advice="install billfold[demo]"
            ) from error
        # The server would write a line to standard error for each request.
        logging.getLogger("werkzeug").setLevel(logging.WARNING)
        self._server = ThreadedMotoServer(ip_address=_ADDRESS, port=0, verbose=False)
        self._server.start()
        host, port = self._server.get_host_and_port()
        self.endpoint_url = f"http://{host}:{port}"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # moto keeps its state in the process, not in the server.
        self.reset()
        self._server.stop()

    def reset(self) -> None:
        """Forget everything in it."""
        connection = http.client.HTTPConnection(urlsplit(self.endpoint_url).netloc)
        connection.request("POST", "/moto-api/reset")
        connection.getresponse().read()
        connection.close()

    def environment(self) -> dict[str, str]:
        """The environment variables that lead boto3 and Billfold to this AWS only."""
        return {
            "AWS_ACCESS_KEY_ID": _ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": _ACCESS_KEY,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_ENDPOINT_URL": self.endpoint_url,
        }

    def client(self, service: Any, region: str | None = None) -> Any:
        """A boto3 client of one service that may write to this AWS."""
        key = service, region or self.region
        if key not in self._clients:
            self._clients[key] = boto3.client(
                service,
                region_name=region or self.region,
                endpoint_url=self.endpoint_url,
                aws_access_key_id=_ACCESS_KEY,
                aws_secret_access_key=_ACCESS_KEY,
            )
        return self._clients[key]

    def create_bucket(self, name: str, region: str | None = None) -> None:
        """An empty bucket, in this AWS's region or another."""
        region = region or self.region
        # S3 refuses its oldest region as a location constraint.
        located = {} if region == _DEFAULT_REGION else {"CreateBucketConfiguration": {"LocationConstraint": region}}
        self.client("s3", region).create_bucket(Bucket=name, **located)

    def create_role(self, name: str, trusted_account_id: str, external_id: str | None = None) -> str:
        """A role that trusts an account, with an external id if one is given; returns its ARN."""
        statement: dict[str, Any] = {
            "Effect": "Allow",
            "Principal": {"AWS": f"arn:aws:iam::{trusted_account_id}:root"},
            "Action": "sts:AssumeRole",
        }
        if external_id:
            statement["Condition"] = {"StringEquals": {"sts:ExternalId": external_id}}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        answer = self.client("iam").create_role(RoleName=name, AssumeRolePolicyDocument=policy)
        return str(answer["Role"]["Arn"])

    def put(self, bucket: str, key: str, content: bytes) -> str:
        """Write one object and return its ETag."""
        answer = self.client("s3").put_object(Bucket=bucket, Key=key, Body=content)
        return str(answer["ETag"]).strip('"')

    def upload_folder(self, bucket: str, root: Path) -> list[str]:
        """Write every file below `root` under its path as key, the manifests last as AWS does; returns the keys."""
        s3 = self.client("s3")
        paths = {path.relative_to(root).as_posix(): path for path in root.rglob("*") if path.is_file()}
        keys = sorted(paths, key=lambda key: (is_manifest(key), key))
        for key in keys:
            with paths[key].open("rb") as file:
                s3.put_object(Bucket=bucket, Key=key, Body=file)
        return keys
