"""The home's token: who makes it, who may read it, and what is never taken for one."""

from __future__ import annotations

import os
import re
import threading
from pathlib import Path

import pytest

from billfold.clients import tokens
from billfold.errors import ConfigurationError
from billfold.web import home_token as serve_token
from billfold.web.home_token import FILE_NAME, ensure

SECRET = tokens.new_secret()


def put(home: Path, text: str = f"{SECRET}\n", mode: int = 0o600) -> Path:
    home.mkdir(parents=True, exist_ok=True)
    path = home / FILE_NAME
    path.write_text(text)
    path.chmod(mode)
    return path


def test_the_first_start_makes_it_for_this_user_alone(tmp_path: Path) -> None:
    home = tmp_path / "new" / "home"

    made = ensure(home)

    assert made.path == home / FILE_NAME
    assert home.stat().st_mode & 0o777 == 0o700
    assert made.path.stat().st_mode & 0o777 == 0o600
    assert re.fullmatch(r"bf_[\w-]{43}\n", made.path.read_text())
    assert [path.name for path in home.iterdir()] == [FILE_NAME]


def test_later_starts_keep_it(tmp_path: Path) -> None:
    secret = ensure(tmp_path).read()

    assert ensure(tmp_path).read() == secret
    assert ensure(tmp_path).opens(secret or "")
    assert not ensure(tmp_path).opens("")
    assert not ensure(tmp_path).opens(f"{secret}x")


def test_servers_that_start_at_once_agree(tmp_path: Path) -> None:
    barrier = threading.Barrier(8)
    found: list[str | None] = []

    def start() -> None:
        barrier.wait()
        found.append(ensure(tmp_path).read())

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(found) == 8
    assert len(set(found)) == 1
    assert None not in found
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]


def test_without_hard_links_it_is_made_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_path: Path, _target: Path) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", refuse)

    assert ensure(tmp_path).read()
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o620, 0o666, 0o644, 0o755])
def test_one_that_others_could_read_or_write_is_replaced(tmp_path: Path, mode: int) -> None:
    put(tmp_path, mode=mode)
    assert not serve_token.HomeToken(path=tmp_path / FILE_NAME).opens(SECRET)

    token = ensure(tmp_path)

    assert token.read() not in (None, SECRET)
    assert token.path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "text",
    ["", "bf_", SECRET[:-1], f"{SECRET}x", f"{SECRET}\n{SECRET}\n", "\0" * 50, "é" * 46],
    ids=["empty", "prefix alone", "cut", "longer", "twice", "NUL", "not ASCII"],
)
def test_one_that_is_not_whole_is_replaced(tmp_path: Path, text: str) -> None:
    put(tmp_path, text)

    assert ensure(tmp_path).read() not in (None, SECRET)


def test_a_file_of_another_user_is_refused_and_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = put(tmp_path)
    monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)

    with pytest.raises(ConfigurationError, match=rf"serve.token belongs to user {path.stat().st_uid}: remove it"):
        ensure(tmp_path)

    assert path.read_text() == f"{SECRET}\n"
    assert not serve_token.HomeToken(path=path).opens(SECRET)


def test_a_link_a_folder_and_a_pipe_are_refused(tmp_path: Path) -> None:
    target = put(tmp_path / "elsewhere")
    for number, make in enumerate((lambda path: path.symlink_to(target), Path.mkdir, os.mkfifo)):
        home = tmp_path / str(number)
        home.mkdir()
        make(home / FILE_NAME)

        with pytest.raises(ConfigurationError) as caught:
            ensure(home)

        assert len(str(caught.value).splitlines()) == 1
        assert serve_token.HomeToken(path=home / FILE_NAME).read() is None


def test_a_home_that_cannot_be_created_is_one_line_of_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(ConfigurationError, match="cannot create or read") as caught:
        ensure(tmp_path / "file" / "home")

    assert len(str(caught.value).splitlines()) == 1


def test_a_rotated_or_removed_one_ends_at_once(tmp_path: Path) -> None:
    token = ensure(tmp_path)
    first = token.read() or ""

    put(tmp_path)
    assert (token.opens(first), token.opens(SECRET)) == (False, True)
    token.path.unlink()
    assert (token.opens(first), token.opens(SECRET)) == (False, False)
