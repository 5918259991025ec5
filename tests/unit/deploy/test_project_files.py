"""The files around the code hold together: hooks before a commit, templates of issues, versions of a release."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from billfold.cli import app
from tests.deployment import ROOT
from tools.release.installs import without_hashes
from tools.release.versions import find_disagreements, read_changelog, read_version

TEMPLATES = sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml"))
FORMS = [path for path in TEMPLATES if path.name != "config.yml"]
PROJECT_FILES = [ROOT / "SECURITY.md", ROOT / "docs/releasing.md", ROOT / ".github/pull_request_template.md", *FORMS]
# What GitHub takes in a form: https://docs.github.com, "Syntax for GitHub's form schema".
QUESTIONS = {"checkboxes", "dropdown", "input", "textarea"}


def recipe(target: str) -> list[str]:
    """The commands of a target of the Makefile."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    found = re.search(rf"^{target}:.*\n((?:\t.+\n)+)", makefile, re.MULTILINE)
    assert found, target
    return [line.strip().replace("$(BIN)", ".venv/bin") for line in found[1].splitlines()]


def read_form(path: Path) -> dict[str, Any]:
    form = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert isinstance(form, dict)
    return form


def test_a_commit_runs_what_make_check_runs() -> None:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))

    hooks = [hook for repository in config["repos"] for hook in repository["hooks"]]

    assert [hook["entry"] for hook in hooks] == recipe("check")


def test_a_commit_downloads_nothing_and_checks_every_file() -> None:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))

    assert [repository["repo"] for repository in config["repos"]] == ["local"]
    for hook in config["repos"][0]["hooks"]:
        assert (hook["language"], hook["pass_filenames"], hook["always_run"]) == ("system", False, True)


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_a_form_of_an_issue_is_one_that_can_be_shown(path: Path) -> None:
    form = read_form(path)

    questions = [element for element in form["body"] if element["type"] != "markdown"]

    assert form["name"]
    assert form["description"]
    assert {question["type"] for question in questions} <= QUESTIONS
    assert all(question["attributes"]["label"] for question in questions)
    assert all(question["attributes"]["options"] for question in questions if question["type"] == "dropdown")
    assert len({question["id"] for question in questions}) == len(questions)
    assert any(question.get("validations", {}).get("required") for question in questions)


def test_an_issue_can_be_about_an_amount_an_export_a_fault_or_a_feature() -> None:
    names = {read_form(path)["name"] for path in FORMS}

    assert names == {"Wrong amount", "Cannot read my export", "Something else fails", "Feature"}


@pytest.mark.parametrize("path", PROJECT_FILES, ids=lambda path: path.stem)
def test_commands_named_beside_the_documents_exist(path: Path) -> None:
    group = typer.main.get_command(app)
    assert isinstance(group, typer.core.TyperGroup)

    named = set(re.findall(r"`billfold ([a-z]+)", path.read_text(encoding="utf-8")))

    assert named <= set(group.commands)


def test_every_target_named_beside_the_documents_exists() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in [*PROJECT_FILES, ROOT / "CONTRIBUTING.md"])

    for target in sorted(set(re.findall(r"`make ([a-z0-9-]+)", text))):
        assert recipe(target)


def test_every_file_names_the_same_version() -> None:
    assert find_disagreements(ROOT) == []


@pytest.mark.parametrize("name", ["CHANGELOG.md", "Dockerfile", "deploy/compose.yaml"])
def test_a_file_that_names_another_version_stops_a_release(name: str, tmp_path: Path) -> None:
    for copied in ("CHANGELOG.md", "Dockerfile", "deploy/compose.yaml", "src/billfold/__init__.py"):
        (tmp_path / copied).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / copied, tmp_path / copied)
    version = read_version(ROOT)
    text = (tmp_path / name).read_text(encoding="utf-8")
    (tmp_path / name).write_text(text.replace(version, "9.9.9", 1), encoding="utf-8")

    assert find_disagreements(tmp_path) == [f"{name} names version 9.9.9, the package {version}"]


def test_the_changelog_says_whether_its_first_version_is_released() -> None:
    entry = read_changelog(ROOT)

    assert entry.note == "unreleased" or re.fullmatch(r"\d{4}-\d{2}-\d{2}", entry.note)


def test_pins_without_hashes_keep_version_and_marker() -> None:
    plain = "one==1.0 \\\n    --hash=sha256:00\n    # via two\n"
    marked = 'two==2.0 ; sys_platform == "linux" \\\n    --hash=sha256:11\n'

    assert without_hashes(plain + marked) == 'one==1.0\ntwo==2.0 ; sys_platform == "linux"\n'
