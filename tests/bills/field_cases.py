"""Inputs from public bug reports, played step by step through the command line, with SQL over what came of them."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Runs the command with these words and returns its exit code, and what it wrote on standard output and error.
Run = Callable[[Sequence[str]], tuple[int, str, str]]

_WRITTEN_AT = 1_780_000_000
_SECONDS_BETWEEN_STEPS = 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What happens to the bucket's folder, and the exit codes that are right for its ingest: numbers or "not 0"."""

    tree: Path | None = None
    remove: str | None = None
    exits: Sequence[int | str] = (0,)
    # Options of `billfold ingest`, and words that it has to say on standard error.
    options: Sequence[str] = ()
    says: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A query with one row and one column, `v`, and the answers that are right, as text."""

    sql: str
    answers: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Steps that follow one another in one folder and one database, and what must hold after the last."""

    name: str
    steps: Sequence[Step]
    checks: Sequence[Check]


def read_cases(file: Path) -> dict[str, Case]:
    """The cases of a file like `cases.json`, by name; their trees are folders beside it.

    Raises ValueError for a key that is not known here: a case that is only half understood proves nothing.
    """
    return {case["name"]: _read_case(case, file.parent) for case in json.loads(file.read_text(encoding="utf-8"))}


def play(case: Case, bucket: Path, run: Run) -> list[str]:
    """What came out wrong, in the order of the case; `bucket` is the folder that its trees are copied into."""
    wrong = []
    for number, step in enumerate(case.steps, start=1):
        _change(bucket, step, number)
        code, _, said = run(["ingest", str(bucket), *step.options])
        if not any(code == wanted or (wanted == "not 0" and code != 0) for wanted in step.exits):
            wrong.append(f"step {number}: exit code {code}, expected {list(step.exits)}: {_last_line(said)}")
        if "Traceback" in said:
            wrong.append(f"step {number}: a traceback: {_last_line(said)}")
        if step.says not in said:
            wrong.append(f"step {number}: {step.says!r} is not in: {said}")
    for check in case.checks:
        code, written, said = run(["sql", check.sql, "--json"])
        answers = [row["v"] for row in json.loads(written)] if code == 0 else [_last_line(said)]
        if len(answers) != 1 or answers[0] not in check.answers:
            wrong.append(f"{check.sql}: {answers}, expected {list(check.answers)}")
    return wrong


def _read_case(case: dict[str, Any], folder: Path) -> Case:
    _refuse_unknown(case, {"name", "source", "what", "steps", "checks"})
    steps = []
    for step in case["steps"]:
        _refuse_unknown(step, {"tree", "remove", "exit"})
        tree = folder / step["tree"] if "tree" in step else None
        steps.append(Step(tree=tree, remove=step.get("remove"), exits=step["exit"]))
    checks = []
    for check in case["checks"]:
        _refuse_unknown(check, {"sql", "equals", "one_of"})
        answers = check["one_of"] if "one_of" in check else [check["equals"]]
        checks.append(Check(sql=check["sql"], answers=answers))
    return Case(name=case["name"], steps=steps, checks=checks)


def _refuse_unknown(part: dict[str, Any], known: set[str]) -> None:
    if unknown := part.keys() - known:
        raise ValueError(f"unknown in a case: {sorted(unknown)}")


def _change(bucket: Path, step: Step, number: int) -> None:
    """Lay the step's tree over the folder, each file written as late as its step, or remove what matches."""
    bucket.mkdir(parents=True, exist_ok=True)
    if step.remove:
        for path in [path for path in bucket.rglob(step.remove) if path.is_file()]:
            path.unlink()
    if step.tree is None:
        return
    written_at = _WRITTEN_AT + _SECONDS_BETWEEN_STEPS * number
    for source in (path for path in step.tree.rglob("*") if path.is_file()):
        target = bucket / source.relative_to(step.tree)
        target.parent.mkdir(parents=True, exist_ok=True)
        # The copy's rights are its own: the folder that it comes from may be read-only.
        shutil.copyfile(source, target)
        os.utime(target, (written_at, written_at))


def _last_line(said: str) -> str:
    return (said.strip().splitlines() or [""])[-1]
