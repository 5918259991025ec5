"""The settings of every session, so that those of a server, role or environment change nothing we read or write."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

# Settings that could change the text of a value, the meaning of a literal or comparison, or the rows found.
_MEANING = {
    "client_encoding": "UTF8",
    "DateStyle": "ISO, MDY",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "timezone_abbreviations": "Default",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "lc_monetary": "C",
    "lc_numeric": "C",
    "lc_time": "C",
    "quote_all_identifiers": "off",
    "standard_conforming_strings": "on",
    "backslash_quote": "safe_encoding",
    "array_nulls": "on",
    "transform_null_equals": "off",
    "gin_fuzzy_search_limit": "0",
    "default_transaction_isolation": "read committed",
    "default_transaction_deferrable": "off",
    # A failed statement would end the session, and with it a claim.
    "exit_on_error": "off",
    "client_min_messages": "warning",
}
# A transaction of ours is idle while DuckDB works, and a claim's session for as long as its delivery takes. How long
# we wait for a lock is decided where we wait. `statement_timeout` stays the administrator's.
_PATIENCE = {
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",
    "transaction_timeout": "0",
}
# Sessions end with their client: a killed worker's locks go within a second. A machine that is gone sends nothing:
# either side probes the other after half a minute, and gives up within a minute.
_LIVENESS = {
    "client_connection_check_interval": "1000",
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
}
# Only superusers and roles with the grant may set these: without triggers no foreign key is checked, and the drivers
# pass on only the words of some errors.
_PRIVILEGED = {"session_replication_role": "origin", "lc_messages": "C"}


def tune_query(options: Mapping[str, str]) -> str:
    """One query without parameters that sets up a session; options are further settings, or replace these.

    A `statement_timeout` among them holds unless the administrator's is shorter.

    It runs after the connection is made, not in its startup packet: a pooler refuses or ignores most of that packet,
    and libpq would ignore PGOPTIONS.
    """
    return f"SELECT {', '.join(_list_calls(options))}"


def _list_calls(options: Mapping[str, str]) -> Iterator[str]:
    for name, value in {**_MEANING, **_PATIENCE, **_LIVENESS, **options}.items():
        call = _set(name, _quote(value))
        if name == "statement_timeout":
            call = f"""(SELECT {_set(name, "least(nullif(setting::bigint, 0), " + _milliseconds(value) + ")::text")}
                FROM pg_catalog.pg_settings WHERE name = 'statement_timeout')"""
        # An older server does not know it.
        yield f"CASE WHEN pg_catalog.current_setting({_quote(name)}, true) IS NOT NULL THEN {call} END"
    for name, value in _PRIVILEGED.items():
        may_set = f"pg_catalog.has_parameter_privilege({_quote(name)}, 'SET')"
        yield f"CASE WHEN {may_set} THEN {_set(name, _quote(value))} END"


def _set(name: str, value: str) -> str:
    return f"pg_catalog.set_config({_quote(name)}, {value}, false)"


def _milliseconds(value: str) -> str:
    return str(max(round(float(value.removesuffix("s")) * 1000), 1))


def _quote(text: str) -> str:
    # Backslashes would depend on the settings that are made here.
    assert not {"'", "\\"} & set(text), text
    return f"'{text}'"
