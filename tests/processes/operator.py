"""Somebody with a home of Billfold's, a folder of bills and a shell."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from billfold.cli import main
from billfold.store.database import Database
from tests.folders import short_folder
from tests.processes import homes
from tests.processes.warm_process import WarmProcess

# Nothing here takes nearly as long; who waits longer waits for a process that hangs.
LIMIT_SECONDS = 120
PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "PYTHONPATH", "SYSTEMROOT")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """Standard output, which is one JSON document and nothing else; numbers are never floats of money."""
        return json.loads(self.out)

    @property
    def error_lines(self) -> list[str]:
        return [line for line in self.err.splitlines() if line.startswith("error: ")]

    @property
    def events(self) -> list[dict[str, Any]]:
        """The log: the lines of standard error that are JSON."""
        return [json.loads(line) for line in self.err.splitlines() if line.startswith("{")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """Runs commands as processes, or calls them within this one, which saves the second that a process starts in."""

    home: Path
    folder: Path
    variables: Mapping[str, str] = field(default_factory=dict)

    def run(self, *words: str, stdin: str = "", **variables: str) -> Ended:
        return self.run_python("-m", "billfold", *words, stdin=stdin, **variables)

    def run_python(self, *words: str, stdin: str = "", **variables: str) -> Ended:
        with self.start(WarmProcess, *words, **variables) as process:
            out, err = process.communicate(stdin, timeout=LIMIT_SECONDS)
        return Ended(code=process.returncode, out=out, err=err)

    def run_cold(self, *words: str, **variables: str) -> Ended:
        """The command as a process that imports everything itself."""
        with self.start(subprocess.Popen, "-m", "billfold", *words, **variables) as process:
            out, err = process.communicate(timeout=LIMIT_SECONDS)
        return Ended(code=process.returncode, out=out, err=err)

    def start(self, kind: type[subprocess.Popen[str]], *words: str, **variables: str) -> subprocess.Popen[str]:
        return kind(
            [sys.executable, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.folder,
            env=self.environment(**variables),
        )

    def call(self, *words: str, stdin: str = "", **variables: str) -> Ended:
        """The command within this process, with the same environment and its own streams."""
        streams = {name: io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for name in ("stdin", "stdout", "stderr")}
        streams["stdin"].write(stdin)
        streams["stdin"].seek(0)
        environment = self.environment(**variables)
        with pytest.MonkeyPatch.context() as shell:
            shell.chdir(self.folder)
            for name in os.environ.keys() - environment.keys():
                shell.delenv(name)
            for name, value in environment.items():
                shell.setenv(name, value)
            for name, stream in streams.items():
                shell.setattr(sys, name, stream)
            code = main(words)
        out, err = (self._read(streams[name]) for name in ("stdout", "stderr"))
        return Ended(code=code, out=out, err=err)

    @staticmethod
    def _read(stream: io.TextIOWrapper) -> str:
        stream.seek(0)
        return stream.read()

    def environment(self, **variables: str) -> dict[str, str]:
        kept = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        if "PYTHONPATH" in kept:
            kept["PYTHONPATH"] = os.pathsep.join(
                str(Path(folder).absolute()) for folder in kept["PYTHONPATH"].split(os.pathsep)
            )
        # Nobody waits for retries, and the disk may be as full as it likes.
        settings = {"BILLFOLD_HOME": str(self.home), "BILLFOLD_MIN_FREE_BYTES": "0", "INGEST_RETRY_BASE_DELAY_MS": "0"}
        return {**kept, **settings, **self.variables, **variables}

    @contextmanager
    def server(self) -> Iterator[str]:
        """The home's embedded server, which runs meanwhile: no command waits for its start; the owner's address."""
        with homes.use(self.home) as conninfo:
            yield conninfo

    def with_database(self, database: Database) -> Operator:
        """The same on a database that runs elsewhere."""
        assert database.reader_conninfo
        variables = {"DATABASE_URL": database.conninfo, "BILLFOLD_READER_DATABASE_URL": database.reader_conninfo}
        return replace(self, variables={**self.variables, **variables})


@contextmanager
def new_operator() -> Iterator[Operator]:
    """Has nothing yet."""
    with short_folder() as folder:
        (folder / "work").mkdir()
        yield Operator(home=folder / "home", folder=folder / "work")
