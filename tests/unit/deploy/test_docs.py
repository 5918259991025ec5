"""The documents say what the code has: commands, options, settings, errors, exit codes, tables and columns."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from billfold.settings import setting_fields
from billfold.store.migrate import list_migrations
from billfold.web.metrics import FAMILIES

ROOT = Path(__file__).resolve().parents[3]
DOCS = ROOT / "docs"
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / ".github").rglob("*.md"), *DOCS.rglob("*.md")])
GENERATED_ADVICE = "run: python docs/generate.py"

# Words of SQL with an underscore that no migration has to know.
SQL_WORDS = {"to_char"}


def load_generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_generate", DOCS / "generate.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


GENERATOR = load_generator()


def text_of(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def section(text: str, heading: str) -> str:
    """The part of a document under a heading, up to the next one of its level or above."""
    level = heading.split()[0]
    _, found, rest = f"\n{text}".partition(f"\n{heading}\n")
    assert found, f"{heading} is missing"
    return re.split(rf"\n#{{2,{len(level)}}} ", rest)[0]


def table_rows(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("|") and not line.startswith("|---")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def created_tables() -> dict[str, list[str]]:
    """The tables of the migrations and the columns that each declares itself, or was given later and still has."""
    script = "\n".join(migration.script for migration in list_migrations())
    tables = {
        name: re.findall(r"^    ([a-z_0-9]+) [a-z]", body, re.MULTILINE)
        for name, body in re.findall(r"^CREATE TABLE (\w+) \((.*?)^\)", script, re.MULTILINE | re.DOTALL)
    }
    for name, body in re.findall(r"^ALTER TABLE (\w+)(.*?);$", script, re.MULTILINE | re.DOTALL):
        tables[name] += re.findall(r"ADD COLUMN (\w+)", body)
        dropped = re.findall(r"DROP COLUMN (\w+)", body)
        tables[name] = [column for column in tables[name] if column not in dropped]
    for name in re.findall(r"^DROP TABLE (\w+);", script, re.MULTILINE):
        del tables[name]
    return tables


def view_columns() -> set[str]:
    """The columns of the views, whichever migration made a view last."""
    return {name for migration in list_migrations() for name in re.findall(r'AS "(\w+)"', migration.script)}


def sql_examples() -> list[str]:
    return [example for path in DOCUMENTS for example in re.findall(r"```sql\n(.*?)```", path.read_text(), re.DOTALL)]


@pytest.mark.parametrize(
    ("name", "text"),
    [("settings.md", GENERATOR.settings_document()), ("commands.md", GENERATOR.commands_document())],
)
def test_generated_documents_are_those_of_the_code(name: str, text: str) -> None:
    assert text_of(name) == text, GENERATED_ADVICE


def test_every_command_and_option_is_documented() -> None:
    document = text_of("commands.md")

    for name, command in GENERATOR.commands():
        described = section(document, f"## billfold {name}")
        assert command.help, f"billfold {name} has no help"
        for parameter in command.params:
            assert parameter.help, f"{parameter.name} of billfold {name} has no help"
            for option in (*parameter.opts, *parameter.secondary_opts):
                spelled = option if option.startswith("-") else parameter.metavar
                assert re.search(rf"`{re.escape(spelled)}[` ]", described), f"{spelled} of billfold {name}"


def test_every_setting_is_documented() -> None:
    document = text_of("settings.md")

    for name, (_, field) in setting_fields().items():
        assert field.description
        assert field.description in section(document, f"## {name}")


@pytest.mark.parametrize("columns", ["40", "200"])
def test_a_terminals_width_changes_no_document(columns: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", columns)

    text = GENERATOR.commands_document()

    assert text == text_of("commands.md")


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: page.name)
def test_tables_of_pages_are_those_of_the_code(page: Path) -> None:
    text = page.read_text(encoding="utf-8")

    assert GENERATOR.page_with_tables(text) == text, GENERATED_ADVICE
    # A line that begins a table and has a typing error in it would leave the table behind the code.
    assert len(re.findall("written by docs/generate.py", text)) == len(re.findall("<!-- end of ", text))


def test_every_table_has_its_place_in_a_page() -> None:
    pages = "\n".join(page.read_text(encoding="utf-8") for page in DOCS.glob("*.md"))

    for name in GENERATOR.TABLES:
        assert pages.count(f"<!-- {name}: written by docs/generate.py -->") == 1, name


def test_every_metric_is_documented_as_it_is_told() -> None:
    rows = table_rows(section(text_of("metrics.md"), "## The metrics"))[1:]

    documented = {(name.strip("`"), kind, labels.replace("`", ""), told) for name, kind, labels, told in rows}

    assert documented == {
        (
            family.full_name + ("_total" if family.kind == "counter" else ""),
            family.kind,
            ", ".join(family.labels),
            family.help,
        )
        for family in FAMILIES
    }


def test_metrics_that_are_explained_or_alarmed_on_are_told() -> None:
    names = {family.full_name + (family.kind == "counter") * "_total" for family in FAMILIES}

    assert set(re.findall(r"\bbillfold_\w+", text_of("metrics.md"))) <= names


def test_every_table_and_column_is_documented() -> None:
    words = set(re.findall(r"`(\w+)`", text_of("data-model.md")))

    for table, columns in created_tables().items():
        assert table in words or f"### {table}" in text_of("data-model.md"), table
        assert not set(columns) - words, f"columns of {table}"


def test_sql_examples_name_only_what_the_schema_has() -> None:
    known = set(re.findall(r"\w+", "\n".join(migration.script for migration in list_migrations()))) | SQL_WORDS
    columns = view_columns()

    assert sql_examples()
    for example in sql_examples():
        code = re.sub(r"'[^']*'", "", example)
        aliases = set(re.findall(r"\bAS (\w+)", code))
        assert set(re.findall(r'"(\w+)"', code)) <= columns, example
        assert set(re.findall(r"\b[a-z]+(?:_[a-z0-9]+)+\b", code)) <= known | aliases, example


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_between_documents_lead_somewhere(document: Path) -> None:
    text = re.sub(r"```.*?```", "", document.read_text(encoding="utf-8"), flags=re.DOTALL)

    for target in re.findall(r"\]\(([^)]+)\)", text):
        path, _, anchor = target.partition("#")
        linked = (document.parent / path).resolve() if path else document
        assert linked.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", linked.read_text(encoding="utf-8"), re.MULTILINE)
            anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in anchors, target


def test_every_page_is_listed_for_readers() -> None:
    listed = {
        (path.parent / target.partition("#")[0]).resolve()
        for path in (ROOT / "README.md", DOCS / "operating.md", DOCS / "decisions" / "README.md")
        for target in re.findall(r"\]\(([^)]+)\)", path.read_text(encoding="utf-8"))
    }

    assert set(DOCS.rglob("*.md")) <= listed
