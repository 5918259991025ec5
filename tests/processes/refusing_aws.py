"""A local AWS that refuses what it is told to: moto's server behind one that looks at each request first.

moto checks no role, external id, policy or owner.
"""

from __future__ import annotations

import http.client
import re
import threading
from collections.abc import Callable
from datetime import timedelta
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import time
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from billfold.aws import LocalAws

Rule = Callable[["Request"], bool]
_MESSAGE = "<Error><Code>{code}</Code><Message>{code} says the test</Message></Error>"


class Request:
    """One request: `form` holds the parameters of its query and, for STS and the like, of its body."""

    def __init__(self, method: str, target: str, headers: Any, body: bytes) -> None:
        parts = urlsplit(target)
        self.method = method
        self.path = parts.path
        self.headers = headers
        query = f"{parts.query}&{body.decode()}" if method == "POST" and b"Action=" in body else parts.query
        self.form = {name: values[0] for name, values in parse_qs(query, keep_blank_values=True).items()}

    @property
    def action(self) -> str:
        """AssumeRole and the like; empty for S3."""
        return self.form.get("Action", "")


class RefusingAws:
    """Stands before a LocalAws; `refuse` maps what is refused to the code that AWS would give."""

    def __init__(self, aws: LocalAws) -> None:
        self.refusals: list[tuple[Rule, str]] = []
        self.answers: list[tuple[Rule, bytes]] = []
        self.requests: list[Request] = []
        self.clock_offset = timedelta()
        # The session tokens that were given without a session policy.
        self.wide_tokens: set[str] = set()
        # The secret keys and session tokens that were given.
        self.secrets: set[str] = set()
        behind = urlsplit(aws.endpoint_url).netloc
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                request = Request(self.command, self.path, self.headers, body)
                outer.requests.append(request)
                code = next((code for rule, code in outer.refusals if rule(request)), None)
                if code is not None:
                    error = _MESSAGE.format(code=code)
                    text = f"<ErrorResponse>{error}</ErrorResponse>" if request.action else error
                    self.reply(403, {}, text.encode())
                    return
                content = next((content for rule, content in outer.answers if rule(request)), None)
                if content is not None:
                    self.reply(200, {}, content)
                    return
                connection = http.client.HTTPConnection(behind)
                connection.request(self.command, self.path, body, dict(self.headers.items()))
                response = connection.getresponse()
                content = response.read()
                connection.close()
                if request.action == "AssumeRole":
                    tokens = re.findall("<SessionToken>(.*?)</SessionToken>", content.decode())
                    keys = re.findall("<SecretAccessKey>(.*?)</SecretAccessKey>", content.decode())
                    outer.secrets.update(tokens, keys)
                    outer.wide_tokens.update(tokens if "Policy" not in request.form else ())
                self.reply(response.status, dict(response.getheaders()), content)

            do_GET = do_HEAD = do_POST = do_PUT = answer  # noqa: N815

            def reply(self, status: int, headers: dict[str, str], content: bytes) -> None:
                self.send_response_only(status)
                left_out = ("date", "server", "connection", "transfer-encoding")
                length = {"Content-Length": str(len(content))}
                for name, value in {**length, **headers}.items():
                    if name.lower() not in left_out:
                        self.send_header(name, value)
                self.send_header("Date", formatdate(time() + outer.clock_offset.total_seconds(), usegmt=True))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(content)

            def log_message(self, format: str, *arguments: Any) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})

    @property
    def endpoint_url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def refuse(self, rule: Rule, code: str = "AccessDenied") -> None:
        """Answer with this error whatever the rule holds for."""
        self.refusals.append((rule, code))

    def answer(self, rule: Rule, content: bytes) -> None:
        """Answer with this content whatever the rule holds for: what moto does not play."""
        self.answers.append((rule, content))

    def trust(self, role_arn: str, external_id: str) -> None:
        """Let the role in with this external id alone, as its trust policy would."""
        self.refuse(
            lambda request: (
                request.action == "AssumeRole"
                and request.form["RoleArn"] == role_arn
                and request.form.get("ExternalId") != external_id
            )
        )

    def close_all_but(self, prefix: str, *, to_wide_sessions: bool = True) -> None:
        """Let nobody list anything but this folder; or nobody whose session has a policy, which names it."""
        self.refuse(
            lambda request: (
                "list-type" in request.form
                and not request.form.get("prefix", "").startswith(prefix)
                and (to_wide_sessions or request.headers.get("x-amz-security-token") not in self.wide_tokens)
            )
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
