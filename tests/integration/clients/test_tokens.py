"""Tokens: what is kept of them, and when one opens nothing any more."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from billfold import clients
from billfold.app import Billfold
from billfold.clients import tokens
from billfold.errors import ConfigurationError, StoreError, UsageError
from billfold.model import Scope
from billfold.settings import Settings
from billfold.store.database import Database, connect
from billfold.web import serve
from tests.bills.landing import Landing
from tests.processes.operator import Operator


def make(database: Database, *scopes: Scope, client: str | None = None, name: str = "mine") -> str:
    return tokens.make(database, name, scopes or (Scope.READ,), client_id=client).secret


def execute(database: Database, statement: str) -> list[tuple[object, ...]]:
    with connect(database.conninfo) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def test_a_token_is_random_and_only_its_hash_is_kept(database: Database) -> None:
    secrets = [make(database, name=name) for name in ("one", "two")]

    assert len(set(secrets)) == 2
    assert all(re.fullmatch(r"bf_[\w-]{43}", secret) for secret in secrets)
    [(count,)] = execute(database, f"SELECT count(*) FROM billing_tokens t WHERE t::text LIKE '%{secrets[0][3:]}%'")
    assert count == 0
    assert tokens.find(database, secrets[0]).name == "one"  # type: ignore[union-attr]


def test_a_name_belongs_to_one_token_in_force(database: Database) -> None:
    first = make(database, name="finops")

    with pytest.raises(UsageError, match="there is a token finops already"):
        make(database, name="finops")
    tokens.revoke(database, "finops")
    second = make(database, name="finops")

    assert tokens.find(database, first) is None
    assert tokens.find(database, second) is not None


@pytest.mark.parametrize("name", ["", "1", "-x", "a b", "a" * 65, "a\0", "ä"])
def test_a_name_that_could_be_anything_else_is_refused(shared_landing: Landing, name: str) -> None:
    with pytest.raises(UsageError, match="a token cannot be called"):
        make(shared_landing.database, name=name)


def test_a_token_needs_a_scope_and_a_client_that_is_known(database: Database) -> None:
    with pytest.raises(UsageError, match="needs a scope"):
        tokens.make(database, "mine", ())
    with pytest.raises(UsageError, match="there is no client nobody"):
        make(database, client="nobody")
    assert not tokens.was_any_made(database)


def test_what_is_no_token_in_force_cannot_be_revoked(database: Database) -> None:
    make(database)
    assert tokens.revoke(database, "1").name == "mine"

    for token in ("1", "mine", "2", "9" * 30, "a\0b"):
        with pytest.raises(UsageError, match="there is no token"):
            tokens.revoke(database, token)


def test_an_expired_token_opens_nothing(database: Database) -> None:
    made = tokens.make(database, "mine", (Scope.READ,), expires_days=1)
    assert tokens.find(database, made.secret) is not None

    execute(database, "UPDATE billing_tokens SET created_at = now() - interval '2 days', expires_at = now()")

    assert tokens.find(database, made.secret) is None
    assert tokens.list_all(database)[0].is_expired


def test_the_last_use_is_written_once_a_minute(database: Database) -> None:
    secret = make(database)
    tokens.find(database, secret)
    [(first,)] = execute(database, "SELECT last_used_at FROM billing_tokens")
    tokens.find(database, secret)
    [(second,)] = execute(database, "SELECT last_used_at FROM billing_tokens")
    execute(database, "UPDATE billing_tokens SET last_used_at = last_used_at - interval '61 seconds'")
    tokens.find(database, secret)
    [(third,)] = execute(database, "SELECT last_used_at FROM billing_tokens")

    assert first is not None
    assert first == second < third  # type: ignore[operator]


def test_the_tokens_of_a_purged_client_end_and_are_kept(database: Database, settings: Settings) -> None:
    for client in ("acme", "globex"):
        fields = {"client_id": client, "bucket": f"{client}-bills", "account_id": "111122223333"}
        clients.register(database, settings, fields)
    secrets = {client: make(database, client=client, name=f"of-{client}") for client in ("acme", "globex")}

    clients.remove(database, "acme", purge=True)

    assert tokens.find(database, secrets["acme"]) is None
    assert tokens.find(database, secrets["globex"]) is not None
    assert [(row.client_id, row.revoked_at is None) for row in tokens.list_all(database)] == [
        ("acme", False),
        ("globex", True),
    ]


def test_the_reader_sees_no_token(database: Database) -> None:
    make(database)
    assert database.reader_conninfo

    for statement in ("SELECT token_hash FROM billing_tokens", "SELECT count(*) FROM billing_tokens"):
        with pytest.raises(StoreError, match="permission denied"), connect(database.reader_conninfo) as reader:
            reader.execute(statement.encode())
    execute(database, "SELECT billfold_grant_rights()")
    with pytest.raises(StoreError, match="permission denied"), connect(database.reader_conninfo) as reader:
        reader.execute(b"SELECT name FROM billing_tokens")


def test_another_address_is_refused_as_long_as_no_token_was_made(settings: Settings, database: Database) -> None:
    for host in ("0.0.0.0", "::", "192.0.2.1", "billfold.example"):
        with pytest.raises(ConfigurationError, match="no token exists: add one"):
            serve(Billfold(settings, database=database), host=host, port=0)


def test_the_command_shows_a_token_once(database: Database, tmp_path: Path) -> None:
    operator = Operator(home=tmp_path / "home", folder=tmp_path, variables={"LOG_LEVEL": "debug"})
    operator = operator.with_database(database)

    added = operator.run(
        "token", "add", "finops", "--scope", "read", "--scope", "admin", "--expires-days", "90", "--json"
    )
    [document] = json.loads(added.out)["tokens"]
    listed = operator.call("token", "list", "--json")
    revoked = operator.call("token", "revoke", "finops")
    again = operator.call("token", "revoke", "finops", "--json")

    assert (added.code, listed.code, revoked.code, again.code) == (0, 0, 0, 2)
    assert document["scopes"] == ["admin", "read"]
    assert document["expires_at"] > document["created_at"]
    assert added.out.count(document["token"]) == 1
    for text in (added.err, listed.out, listed.err, revoked.out, revoked.err):
        assert document["token"] not in text
    assert json.loads(again.out) == {"tokens": [], "error": json.loads(again.out)["error"]}
