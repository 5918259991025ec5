"""The command line's exit code for every way of failing."""

from __future__ import annotations

import pytest

from billfold import errors
from billfold.cli import main
from billfold.cli.application import app
from billfold.cli.commands.ingest import ingest
from billfold.cli.exits import ExitCode, exit_code
from billfold.errors import BillfoldError

KINDS = errors.list_errors()


def fail(kind: type[BillfoldError]) -> BillfoldError:
    return kind("broken", file="bill.csv") if issubclass(kind, errors.InputError) else kind("broken")


@pytest.mark.parametrize("kind", KINDS)
def test_a_failure_never_looks_like_success(kind: type[BillfoldError]) -> None:
    assert exit_code([fail(kind)]) != ExitCode.SUCCESS


@pytest.mark.parametrize("kind", KINDS)
def test_what_can_succeed_later_and_nothing_else_says_so(kind: type[BillfoldError]) -> None:
    assert (exit_code([fail(kind)]) == ExitCode.TRY_AGAIN) == kind.retryable


def test_without_a_failure_the_command_succeeded() -> None:
    assert exit_code([]) == ExitCode.SUCCESS


def test_trying_again_is_advised_only_where_it_helps_every_delivery() -> None:
    conflict, ragged = fail(errors.RunConflictError), fail(errors.MalformedFileError)

    assert exit_code([conflict, conflict]) == ExitCode.TRY_AGAIN
    assert exit_code([conflict, ragged]) == ExitCode.INPUT


def test_money_that_does_not_agree_outweighs_bad_input() -> None:
    assert exit_code([fail(errors.ManifestError), fail(errors.ReconciliationError)]) == ExitCode.RECONCILIATION


def test_every_exit_code_has_its_place_among_several_failures() -> None:
    for kind in KINDS:
        assert exit_code([fail(kind), fail(errors.TornDeliveryError)]) in (kind.exit_code, ExitCode.TRY_AGAIN)


def test_the_help_of_ingest_tells_every_exit_code_that_a_delivery_can_end_with() -> None:
    [epilog] = [command.epilog for command in app.registered_commands if command.callback is ingest]
    codes = {kind.exit_code for kind in KINDS} - {ExitCode.INTERNAL}

    assert epilog is not None
    assert all(f" {code.value} " in epilog for code in codes)


def test_a_defect_ends_with_one_line_whatever_its_text(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise RuntimeError("one line\nand another")

    monkeypatch.setattr("billfold.settings.load_settings", fail)

    assert main(["statements"]) == ExitCode.INTERNAL
    assert capsys.readouterr().err.splitlines()[-1] == "error: RuntimeError: one line"
