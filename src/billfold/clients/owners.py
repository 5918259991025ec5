"""Owners of accounts, for showback: the operator's own list, one account at a time or from a CSV file."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from billfold.errors import BillfoldError, InvalidValueError, MalformedFileError, MissingColumnError, UsageError
from billfold.settings import Settings
from billfold.spreadsheet import original
from billfold.store.clients import owners as store
from billfold.store.clients.owners import AccountOwner, OwnersWritten
from billfold.store.database import Connection, Database, connect
from billfold.store.deliveries import registration
from billfold.store.reports import reading

_ACCOUNT_ID = re.compile("[0-9]{12}")
_CONTROL_CHARACTER = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_NEEDED = ("account_id", "owner")
# `billfold owner list --csv` writes `client` too: it must be the client of the import.
_COLUMNS = (*_NEEDED, "account_name", "client")
_CHOOSE_CLIENT = "choose its client with --client"
_COLUMNS_ADVICE = "the first line is account_id,owner or account_id,owner,account_name"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    """A line of the file: its physical number (the header is 1) and its stripped values by column."""

    number: int
    values: Mapping[str, str]


def set_owner(
    database: Database, settings: Settings, client_id: str, account_id: str, owner: str, account_name: str | None
) -> OwnersWritten:
    """Set the owner of an account, even before it has costs. A name of None keeps the current one, '' clears it.

    Raises UsageError for an invalid account, owner or client, and for another client's account.
    """
    _check_account(account_id)
    for what, text in (("owner", owner), ("name", account_name or "")):
        if complaint := _complain(text):
            raise UsageError(f"the {what} {complaint}")
    if not owner.strip():
        raise UsageError("an owner is needed", advice=f"or run: billfold owner remove {account_id}")
    name = None if account_name is None else account_name.strip()
    owners = [AccountOwner(account_id=account_id, owner=owner.strip(), account_name=name)]

    def refuse(account_id: str, other: str) -> BillfoldError:
        return UsageError(f"account {account_id} belongs to client {other}, not to {client_id}", advice=_CHOOSE_CLIENT)

    return _write(database, settings, client_id, owners, is_whole=False, refuse=refuse)


def import_owners(
    database: Database, settings: Settings, client_id: str, content: bytes, *, file: str, is_whole: bool
) -> OwnersWritten:
    """Set the owners in a CSV file, all or none; with `is_whole` accounts that it leaves out lose their owners.

    Without a column account_name the current names stay. Raises InputError with the line, the column and the value that
    is wrong, including another client's account.
    """
    lines = {line.values["account_id"]: line for line in _check_lines(_read_lines(content, file), file, client_id)}
    owners = [
        AccountOwner(
            account_id=line.values["account_id"],
            owner=line.values["owner"],
            account_name=line.values.get("account_name"),
        )
        for line in lines.values()
    ]

    def refuse(account_id: str, other: str) -> BillfoldError:
        return InvalidValueError(
            f"belongs to client {other}, not to {client_id}, whose owners are imported",
            file=file,
            line=lines[account_id].number,
            column="account_id",
            value=account_id,
            advice=_CHOOSE_CLIENT,
        )

    return _write(database, settings, client_id, owners, is_whole=is_whole, refuse=refuse)


def remove_owner(database: Database, client_id: str, account_id: str) -> str:
    """Remove an account's owner and return it. Raises UsageError if the account has none."""
    _check_account(account_id)
    with connect(database.conninfo) as connection:
        owner = store.remove_owner(connection, client_id, account_id)
    if owner is None:
        raise UsageError(f"account {account_id} of client {client_id} has no owner")
    return owner


def _write(
    database: Database,
    settings: Settings,
    client_id: str,
    owners: Sequence[AccountOwner],
    *,
    is_whole: bool,
    refuse: Callable[[str, str], BillfoldError],
) -> OwnersWritten:
    """Write all or none; raises what `refuse` returns for the first account of another client."""
    with connect(database.conninfo) as connection, connection.transaction():
        _ensure_client(connection, settings, client_id)
        foreign = store.list_foreign_accounts(connection, client_id, [owner.account_id for owner in owners])
        for owner in owners:
            if other := foreign.get(owner.account_id):
                raise refuse(owner.account_id, other)
        return store.write_owners(connection, client_id, owners, is_whole=is_whole)


def _ensure_client(connection: Connection, settings: Settings, client_id: str) -> None:
    """A client of the settings can have owners before its first bill."""
    known = reading.list_clients(connection)
    if client_id in known:
        return
    if client_id != settings.client:
        raise UsageError(f"there is no client {client_id}", advice=f"known clients: {', '.join(known) or 'none yet'}")
    registration.ensure_client(connection, settings.default_client())


def _read_lines(content: bytes, file: str) -> Iterator[_Line]:
    """The lines below the header, without blank ones. Raises InputError for a file that is not such a table."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise MalformedFileError("is not UTF-8 text", file=file, line=line, advice="save it as CSV UTF-8") from error
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    columns: list[str] = []
    last_line = 0
    try:
        for row in rows:
            # A quoted value may contain line ends: a record begins after the previous one.
            line, last_line = last_line + 1, rows.line_num
            # `billfold owner list --csv` marks texts that a spreadsheet would execute.
            cells = [original(cell.strip()) for cell in row]
            if not any(cells):
                continue
            if not columns:
                columns = _check_header([cell.lower() for cell in cells], file, line)
            elif len(cells) != len(columns):
                raise MalformedFileError(f"expected {len(columns)} columns, found {len(cells)}", file=file, line=line)
            else:
                yield _Line(number=line, values=dict(zip(columns, cells, strict=True)))
    except csv.Error as error:
        raise MalformedFileError(f"is not CSV: {error}", file=file, line=rows.line_num) from error
    if not columns:
        raise MissingColumnError("is empty", file=file, advice=_COLUMNS_ADVICE)


def _check_header(columns: list[str], file: str, line: int) -> list[str]:
    missing = [column for column in _NEEDED if column not in columns]
    if missing:
        raise MissingColumnError(
            f"required column{'s' if len(missing) > 1 else ''} missing: {', '.join(missing)}",
            file=file,
            line=line,
            advice=f"{_COLUMNS_ADVICE}, separated by commas",
        )
    for place, column in enumerate(columns):
        if column not in _COLUMNS:
            raise MalformedFileError(
                "is not a known column", file=file, line=line, column=column, advice=_COLUMNS_ADVICE
            )
        if column in columns[:place]:
            raise MalformedFileError("appears twice in the header", file=file, line=line, column=column)
    return columns


def _check_lines(lines: Iterator[_Line], file: str, client_id: str) -> Iterator[_Line]:
    """The same lines; raises InvalidValueError at the first invalid one."""
    seen: dict[str, int] = {}
    for line in lines:
        for column, value in line.values.items():
            if complaint := _complain(value):
                raise InvalidValueError(complaint, file=file, line=line.number, column=column, value=value)
        account_id, owner = line.values["account_id"], line.values["owner"]
        if not _ACCOUNT_ID.fullmatch(account_id):
            raise InvalidValueError(
                "is not an account of 12 digits",
                file=file,
                line=line.number,
                column="account_id",
                value=account_id,
                advice="spreadsheets drop leading zeros: keep the column as text" if account_id.isdecimal() else "",
            )
        if account_id in seen:
            raise InvalidValueError(
                f"is also in line {seen[account_id]}",
                file=file,
                line=line.number,
                column="account_id",
                value=account_id,
            )
        if not owner:
            raise InvalidValueError(
                "an owner is needed",
                file=file,
                line=line.number,
                column="owner",
                value=owner,
                advice="leave out the line of an account without an owner",
            )
        if line.values.get("client") not in (None, "", client_id):
            raise InvalidValueError(
                f"is not {client_id}, whose owners are imported",
                file=file,
                line=line.number,
                column="client",
                value=line.values["client"],
                advice="choose one with --client",
            )
        seen[account_id] = line.number
        yield line


def _check_account(account_id: str) -> None:
    if not _ACCOUNT_ID.fullmatch(account_id):
        raise UsageError(f"{account_id!r} is not an account of 12 digits")


def _complain(text: str) -> str:
    """What is wrong with a text for the tables; '' if nothing is."""
    if _CONTROL_CHARACTER.search(text):
        return "contains a control character"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "is not UTF-8 text"
    return ""
