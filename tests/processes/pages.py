"""Pages as tests ask for them: with a token, as plain text or as CSV."""

from __future__ import annotations

import csv
import html
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from billfold.clients import tokens
from billfold.model import Scope
from tests.bills.landing import Landing
from tests.processes.web_server import Answer, WebServer, run_web_server


@dataclass(frozen=True, slots=True, kw_only=True)
class Pages:
    """A server and two tokens that may read: one of everything, one of a single client."""

    server: WebServer
    token: str
    their_token: str

    def load(self, path: str, token: str | None = None, status: int = 200) -> Answer:
        headers = {"Accept": "text/html", "Authorization": f"Bearer {token or self.token}"}
        answer = self.server.send("GET", path, headers=headers)
        assert answer.status == status, answer.body.decode()
        return answer

    def show(self, path: str, token: str | None = None, status: int = 200) -> str:
        """The text of the page's main part, its markup taken away."""
        page = self.load(path, token, status).body.decode()
        main = page.partition("<main")[2].partition("</main>")[0].partition(">")[2]
        text = re.sub(r"<script.*?</script>|<[^>]*>", " ", re.sub("</?span[^>]*>", "", main), flags=re.DOTALL)
        return " ".join(html.unescape(text).split())

    def read_csv(self, path: str, token: str | None = None) -> list[dict[str, str]]:
        answer = self.load(path, token)
        assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
        return list(csv.DictReader(io.StringIO(answer.body.decode())))


@contextmanager
def run_pages(landing: Landing, *, their_client: str) -> Iterator[Pages]:
    """The pages of what was landed; `their_token` reaches `their_client` alone."""
    token, their_token = (
        tokens.make(landing.database, name, scopes=[Scope.READ], client_id=client).secret
        for name, client in (("all", None), ("theirs", their_client))
    )
    with run_web_server(landing.settings, landing.database) as server:
        yield Pages(server=server, token=token, their_token=their_token)
