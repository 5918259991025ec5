"""Signals belong to the command line: the library leaves them alone."""

from __future__ import annotations

import signal

import pytest

from billfold import interruption
from billfold.cli import main


def test_nothing_that_is_imported_handles_a_signal() -> None:
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert signal.getsignal(signal.SIGHUP) in (signal.SIG_DFL, signal.SIG_IGN)
    assert not interruption.is_watched()


def test_a_command_within_another_program_gives_the_signals_back(capsys: pytest.CaptureFixture[str]) -> None:
    before = [signal.getsignal(number) for number in interruption.SIGNALS]

    code = main(["version"])

    assert (code, capsys.readouterr().err) == (0, "")
    assert [signal.getsignal(number) for number in interruption.SIGNALS] == before
    assert not interruption.is_watched()


def test_a_signal_within_another_program_ends_the_command_alone(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("billfold.cli.commands.ingest.start", lambda *_: signal.raise_signal(signal.SIGTERM))

    code = main(["ingest", "anywhere", "--json"])

    told = capsys.readouterr()
    assert (code, told.err) == (143, "error: interrupted by SIGTERM\n")
    assert '"interrupted"' in told.out
    interruption.check()


def test_what_nobody_interrupts_goes_on() -> None:
    with interruption.unfinished(lambda: "never asked"), interruption.stoppable(lambda: None):
        interruption.pause(0)

    interruption.check()


def test_an_error_is_itself_where_nobody_interrupts() -> None:
    with pytest.raises(ValueError, match="wrong"), interruption.session(lambda _: None, "name"):
        raise ValueError("wrong")


def test_a_signal_inside_a_finalizer_prints_no_traceback_and_the_next_step_is_interrupted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Finalized:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGTERM)

    with interruption.watching(lambda _number, _text: None, until_end=False) as watch:
        Finalized()
        with pytest.raises(interruption.Interruption):
            interruption.check()
        assert watch.finish() == 143

    assert capsys.readouterr().err == ""
