"""Write what the documents take from the code: `python docs/generate.py`.

docs/settings.md and docs/commands.md are made as a whole, from the settings' fields and the commands' parameters, not
from printed help: a terminal's width changes nothing. Other pages have tables between the lines
`<!-- NAME: written by docs/generate.py -->` and `<!-- end of NAME -->`, with text of people around them.
`tests/unit/deploy/test_docs.py` fails while a page is behind the code.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any

import typer
from pydantic.fields import FieldInfo

from billfold.cli import app
from billfold.errors import ExitCode, list_errors
from billfold.log import EVERY_EVENT, FIELDS, Event, Field
from billfold.quality import CHECKS
from billfold.settings import CLIENT_FIELDS, default_of, setting_fields

DOCS = Path(__file__).resolve().parent
_NOTE = "<!-- Written by docs/generate.py: change the code, then run `python docs/generate.py`. -->"
_TABLE = re.compile(
    r"(?P<begin><!-- (?P<name>[a-z ]+): written by docs/generate.py -->)\n.*?(?P<end><!-- end of (?P=name) -->)",
    re.DOTALL,
)

_SETTINGS_INTRODUCTION = """\
Settings come from the environment and from a file `.env` in the working directory. The environment wins. An empty
value counts as unset. A wrong value is refused in one line that says what is expected. Names are case-sensitive.

An unknown name that begins with `BILLFOLD_`, in any case, is refused in `.env`. In the environment it is a warning, the
[event](log-events.md#the-events) `setting_unknown`, which names the setting that may be meant: another version may know
it. What Kubernetes sets for a service named `billfold`, such as `BILLFOLD_SERVICE_HOST`, is left alone.

AWS credentials are not settings of Billfold: boto3 finds them as it always does, for example by `AWS_PROFILE`."""

_COMMANDS_INTRODUCTION = """\
`billfold COMMAND --help` says the same in the terminal. Every command also takes `-h` and `--help`. Tables are for
people; scripts use `--json` and the [exit codes](errors.md#exit-codes). Months are written `YYYY-MM`."""


def settings_document() -> str:
    """The text of docs/settings.md: one section for each setting."""
    sections = [_setting_section(name, field) for name, (_, field) in sorted(setting_fields().items())]
    return "\n".join([_NOTE, "", "# Settings", "", _SETTINGS_INTRODUCTION, "", *sections])


def commands_document() -> str:
    """The text of docs/commands.md: `billfold` itself, then one section for each command."""
    root: Any = typer.main.get_command(app)
    sections = [_command_section("billfold", root), *(_command_section(f"billfold {n}", c) for n, c in commands())]
    return "\n".join([_NOTE, "", "# Commands", "", _COMMANDS_INTRODUCTION, "", *sections])


def commands() -> Iterator[tuple[str, Any]]:
    """Each command's name and itself, in the order of the help; those of a group are named with it.

    A group that does something without one of them is a command too.
    """
    root: Any = typer.main.get_command(app)
    for name, command in root.commands.items():
        nested = getattr(command, "commands", {})
        if not nested or command.invoke_without_command:
            yield name, command
        yield from ((f"{name} {word}", below) for word, below in nested.items())


def page_with_tables(text: str) -> str:
    """The text of a page, its tables written again; raises KeyError for a table that nobody makes."""

    def fill(found: re.Match[str]) -> str:
        table = TABLES[found["name"]]()
        return f"{found['begin']}\n\n{table}\n\n{found['end']}"

    return _TABLE.sub(fill, text)


def exit_codes_table() -> str:
    """Every exit code of a command."""
    rows = [(code.value, code.name.lower(), f"{code.meaning}. {code.more}".rstrip(". ") + ".") for code in ExitCode]
    return _table(("code", "name", "meaning"), rows)


def error_codes_table() -> str:
    """Every class of the tree of errors."""
    rows = [
        (
            f"`{kind.error_code}`",
            "yes" if kind.retryable else "no",
            kind.exit_code.value,
            kind.http_status,
            " ".join((kind.__doc__ or "").split("\n\n")[0].split()),
            kind.general_advice,
        )
        for kind in list_errors()
    ]
    return _table(("code", "retryable", "exit code", "HTTP status", "what it means", "what to do"), rows)


def checks_table() -> str:
    """Every data-quality check."""
    rows = [
        (
            f"`{name}`<br>{check.title}",
            check.severity,
            f"{check.meaning} {check.more}".rstrip(),
            f"{check.rows}, {check.money}",
            check.advice,
        )
        for name, check in CHECKS.items()
    ]
    return _table(("check", "severity", "when it warns", "rows and money", "what to do"), rows)


def event_fields_table() -> str:
    """The fields that every log event has."""
    return _fields_table(EVERY_EVENT)


def log_fields_table() -> str:
    """The fields that some log events have."""
    return _fields_table(FIELDS)


def log_events_table() -> str:
    """Every log event."""
    rows = [
        (
            f"`{event}`",
            ", ".join(sorted(event.levels)),
            event.meaning,
            ", ".join(f"`{name}`" for name in event.declared_fields),
            ", ".join(f"`{name}`" for name in sorted(event.metrics)),
        )
        for event in Event
    ]
    return _table(("event", "level", "when", "further fields", "read by"), rows)


def client_fields_table() -> str:
    """What is configured of a client."""
    rows = [
        (
            f"`{name}`",
            f"[`{field.setting}`](settings.md#{field.setting.lower()})",
            f"`--{name.replace('_', '-')}`" if name != "client_id" else "`ID`",
            field.expected.replace("<", "\\<"),
            "" if default_of(name) in (None, "") else f"`{default_of(name)}`",
            "yes" if field.is_changeable else "no",
        )
        for name, field in CLIENT_FIELDS.items()
    ]
    return _table(("field", "setting", "option", "expected", "default", "can change"), rows)


TABLES: Mapping[str, Callable[[], str]] = {
    "client fields": client_fields_table,
    "exit codes": exit_codes_table,
    "error codes": error_codes_table,
    "checks": checks_table,
    "fields of every event": event_fields_table,
    "log events": log_events_table,
    "log fields": log_fields_table,
}


def main() -> None:
    """Write all of it."""
    (DOCS / "settings.md").write_text(settings_document(), encoding="utf-8")
    (DOCS / "commands.md").write_text(commands_document(), encoding="utf-8")
    for page in sorted(DOCS.glob("*.md")):
        text = page.read_text(encoding="utf-8")
        if (filled := page_with_tables(text)) != text:
            page.write_text(filled, encoding="utf-8")


def _fields_table(fields: Mapping[str, Field]) -> str:
    return _table(
        ("field", "type", "what it is"), [(f"`{name}`", each.type, each.meaning) for name, each in fields.items()]
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [" | ".join(map(_cell, row)) for row in (head, *rows)]
    return "\n".join(f"| {line} |" for line in (lines[0], " | ".join("---" for _ in head), *lines[1:]))


def _cell(value: object) -> str:
    return str(value).replace("|", "\\|")


def _setting_section(name: str, field: FieldInfo) -> str:
    assert isinstance(field.json_schema_extra, dict)
    expected = str(field.json_schema_extra["expected"]).replace("<", "\\<")
    facts = [f"- Expected: {expected}"]
    if field.default_factory is None:
        shown = "not set" if field.default in (None, "") else f"`{field.default}`"
        facts.append(f"- Default: {shown}")
    facts += [f"- Example: `{example}`" for example in field.examples or ()]
    if field.json_schema_extra["secret"]:
        facts.append("- Secret: no error message shows its value")
    return f"## {name}\n\n{field.description}\n\n" + "\n".join(facts) + "\n"


def _command_section(path: str, command: Any) -> str:
    arguments = [parameter for parameter in command.params if not parameter.opts[0].startswith("-")]
    options = [parameter for parameter in command.params if parameter.opts[0].startswith("-")]
    words = [path, *(argument.metavar for argument in arguments), *(["[OPTIONS]"] if options else [])]
    lines = [f"## {path}", "", f"    {' '.join(words)}", "", _paragraphs(command.help), ""]
    if arguments or options:
        lines += ["| argument or option | meaning |", "|---|---|"]
        lines += [f"| {_spelling(parameter)} | {_meaning(parameter)} |" for parameter in (*arguments, *options)]
        lines.append("")
    if command.epilog:
        lines += [command.epilog.strip(), ""]
    return "\n".join(lines)


def _spelling(parameter: Any) -> str:
    names = [*parameter.opts, *parameter.secondary_opts]
    if not names[0].startswith("-"):
        return f"`{parameter.metavar}`"
    value = "" if parameter.is_flag else f" {parameter.metavar or 'N'}"
    if _choices(parameter):
        value = f" {parameter.metavar or 'NAME'}"
    return ", ".join(f"`{name}{value}`" for name in names)


def _meaning(parameter: Any) -> str:
    facts = [parameter.help]
    if choices := _choices(parameter):
        facts.append(f"One of {', '.join(choices)}.")
    if parameter.min is not None and parameter.max is not None:
        facts.append(f"From {parameter.min} to {parameter.max}.")
    if (default := _default(parameter)) is not None:
        facts.append(f"Default: `{default}`.")
    return " ".join(facts).replace("|", "\\|")


def _choices(parameter: Any) -> list[str]:
    choices = getattr(parameter.type_descriptor, "choices", None) or ()
    return [choice.value if isinstance(choice, Enum) else str(choice) for choice in choices]


def _default(parameter: Any) -> str | None:
    default = parameter.default
    if default in (None, False) or default == []:
        return None
    if default is True:
        return str(parameter.opts[0])
    if isinstance(default, list | tuple):
        return " ".join(map(str, default))
    return str(default.value if isinstance(default, Enum) else default)


def _paragraphs(text: str) -> str:
    return "\n".join(line.strip() for line in text.strip().splitlines())


if __name__ == "__main__":
    main()
