"""Tokens: created at random, shown once, stored as hashes, and ended by revoking them."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Collection
from dataclasses import dataclass, field

import structlog

from billfold import clients
from billfold.errors import UsageError
from billfold.log import Event
from billfold.model import Scope
from billfold.store.clients import tokens as store
from billfold.store.clients.registry import lock_clients
from billfold.store.clients.tokens import Token
from billfold.store.database import Database, connect

MAX_EXPIRES_DAYS = 3650

# Scanners for leaked secrets recognize a token by its prefix.
_BEGINNING = "bf_"
_RANDOM_BYTES = 32
# A name begins with a letter, so that it is never taken for an id.
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,63}", re.ASCII)
_TOKEN = re.compile(rf"{_BEGINNING}[\w-]{{43}}", re.ASCII)
_ID_DIGITS = 18

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeToken:
    """A new token and its secret: `bf_` and 256 random bits in URL-safe Base64, which only its bearer knows."""

    token: Token
    secret: str = field(repr=False)


def make(
    database: Database,
    name: str,
    scopes: Collection[Scope],
    *,
    client_id: str | None = None,
    expires_days: int | None = None,
) -> MadeToken:
    """Create a token for one client or for all of them; without `expires_days` it is valid until it is revoked.

    Raises UsageError for an invalid name or that of a valid token, for no scope, and for an unknown client.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"a token cannot be called {name[:80]!r}",
            advice="expected a letter, then up to 63 letters, digits, dots, hyphens or underscores",
        )
    if not scopes:
        raise UsageError("a token needs a scope", advice=f"use {', '.join(Scope)}")
    if client_id is not None:
        clients.find_known(database, client_id)
    secret = new_secret()
    with connect(database.conninfo) as connection, connection.transaction():
        # Without the lock a client that is purged meanwhile would leave the new token valid.
        lock_clients(connection)
        token = store.insert_token(
            connection,
            name=name,
            token_hash=_hash(secret),
            scopes=sorted(set(scopes)),
            client_id=client_id,
            expires_days=expires_days,
        )
    if token is None:
        raise UsageError(
            f"there is a token {name} already", advice=f"`billfold token revoke {name}` ends it, or choose another name"
        )
    log.info(Event.TOKEN_MADE, token_id=token.token_id, name=name, scopes=list(token.scopes), client=client_id)
    return MadeToken(token=token, secret=secret)


def new_secret() -> str:
    """A token's secret, at random: `bf_` and 256 bits in URL-safe Base64."""
    return _BEGINNING + secrets.token_urlsafe(_RANDOM_BYTES)


def is_secret(text: str) -> bool:
    """Whether the text has the form of a token's secret."""
    return _TOKEN.fullmatch(text) is not None


def list_all(database: Database) -> list[Token]:
    """All tokens, including revoked and expired ones, the oldest first."""
    with connect(database.conninfo) as connection:
        return store.list_tokens(connection)


def revoke(database: Database, token: str) -> Token:
    """End the valid token of this id or name; raises UsageError if there is none."""
    is_id = token.isascii() and token.isdecimal() and len(token) <= _ID_DIGITS
    with connect(database.conninfo) as connection:
        revoked = store.revoke_token(
            connection, token_id=int(token) if is_id else None, name=None if is_id else token.replace("\0", "")
        )
    if revoked is None:
        raise UsageError(f"there is no token {token[:80]} to revoke", advice="`billfold token list` lists them")
    log.info(Event.TOKEN_REVOKED, token_id=revoked.token_id, name=revoked.name, client=revoked.client_id)
    return revoked


def find(database: Database, secret: str) -> Token | None:
    """The valid token with this secret, recording its use; None if there is none."""
    if not is_secret(secret):
        return None
    with connect(database.conninfo) as connection:
        token = store.find_token(connection, _hash(secret))
        if token is not None:
            store.note_use(connection, token.token_id)
    return token


def was_any_made(database: Database) -> bool:
    """Whether a token was ever created: without one the server answers this machine only."""
    with connect(database.conninfo) as connection:
        return store.was_any_made(connection)


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
