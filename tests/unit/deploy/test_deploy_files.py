"""The files of a deployment hold together: image, compose file, units, requirements."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer

from billfold import __version__
from billfold.cli import app
from billfold.cli.exits import ExitCode
from billfold.settings import setting_fields
from tests.deployment import DEPLOY, ROOT, read_compose, read_env_file

TRY_OUT = read_env_file("try-out.env")
SERVICES: dict[str, Any] = read_compose(TRY_OUT)["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"].startswith("billfold")}
PASSWORDS = {"POSTGRES_PASSWORD", "OWNER_PASSWORD", "INGEST_PASSWORD", "READER_PASSWORD"}
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
BOTO3S = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"}


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions with what follows each, lines joined."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    lines = [line for line in re.sub(r"\s*\\\n\s*", " ", text).splitlines() if line.strip()]
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in lines)]


def stage(name: str) -> list[tuple[str, str]]:
    """The instructions of one stage."""
    found: list[tuple[str, str]] = []
    current = ""
    for word, rest in instructions():
        if word == "FROM":
            current = rest.rpartition(" AS ")[2]
        elif current == name:
            found.append((word, rest))
    return found


def pins(name: str) -> dict[str, tuple[str, frozenset[str]]]:
    """What a file of requirements pins: name, version and hashes."""
    text = (ROOT / name).read_text(encoding="utf-8")
    found = re.findall(r"^([a-z0-9-]+)==(\S+) \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", text, re.MULTILINE)
    assert len(found) == len(re.findall(r"^[a-z]", text, re.MULTILINE)), name
    return {package: (version, frozenset(re.findall(r"[0-9a-f]{64}", hashes))) for package, version, hashes in found}


def dependencies(*extras: str) -> set[str]:
    """The packages that pyproject.toml names itself."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lists = [project["dependencies"], *(project["optional-dependencies"][extra] for extra in extras)]
    return {re.split(r"[\[<>=]", each)[0] for named in lists for each in named}


def command(words: list[str]) -> Any:
    """The command of the CLI that these words call, with options that it has."""
    known: Any = typer.main.get_command(app)
    name, *options = words
    found = known.commands[name]
    spelled = {option for parameter in found.params for option in (*parameter.opts, *parameter.secondary_opts)}
    assert {option for option in options if option.startswith("--")} <= spelled, words
    return found


@pytest.mark.parametrize(
    ("name", "named"),
    [
        ("requirements-runtime.txt", dependencies()),
        ("requirements-demo.txt", dependencies("demo")),
        ("requirements-build.txt", {"hatchling"}),
    ],
)
def test_the_smaller_requirements_are_parts_of_the_whole(name: str, named: set[str]) -> None:
    whole, part = pins("requirements.txt"), pins(name)

    assert named <= set(part)
    assert {package: whole[package] for package in part} == part


def test_only_the_whole_holds_what_tests_need() -> None:
    assert not set(pins("requirements-runtime.txt")) & {"moto", "pytest", "playwright", "ruff", "hatchling"}
    assert not set(pins("requirements-demo.txt")) & {"pytest", "playwright", "ruff", "hatchling"}


def test_the_image_begins_with_a_pinned_python_and_ends_with_what_runs() -> None:
    bases = [rest for word, rest in instructions() if word == "FROM"]
    stages = {base.rpartition(" AS ")[2] for base in bases if " AS " in base}

    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+ AS python", bases[0])
    assert {base.split()[0] for base in bases[1:]} <= stages
    assert bases[-1] == "run"


def test_the_image_installs_nothing_but_wheels_of_known_hashes() -> None:
    installs = re.findall(
        r"pip (?:--python \S+ )?(?:install|wheel) .*?(?= && |$)", "\n".join(r for _, r in instructions()), re.M
    )

    assert len(installs) == 5
    for install in installs:
        ours = install.endswith(("wheels .", "wheels/*.whl"))
        assert "--no-deps" in install
        assert ours or {"--require-hashes", "--only-binary"} <= set(install.split()), install


def test_the_image_copies_what_exists_and_what_is_let_in() -> None:
    let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {
        source
        for word, rest in instructions()
        if word == "COPY" and not rest.startswith("--from")
        for source in rest.split()[:-1]
    }

    assert copied == let_in
    assert all((ROOT / path).exists() for path in copied)


def test_the_image_runs_as_nobody_in_particular_and_says_how_it_is() -> None:
    run = dict(stage("run"))
    labels = dict(re.findall(r'org\.opencontainers\.image\.(\w+)="([^"]*)"', run["LABEL"]))
    [check] = re.findall(r"CMD (\[.*\])$", run["HEALTHCHECK"])

    assert run["USER"] == "10001:10001"
    assert (labels["version"], labels["licenses"]) == (__version__, "Apache-2.0")
    assert json.loads(run["ENTRYPOINT"]) == ["billfold"]
    assert json.loads(check)[:2] == ["python", "-c"]
    compile(json.loads(check)[2], "healthcheck", "exec")
    assert "/healthz" in check
    assert set(re.findall(r"\b(BILLFOLD_\w+)=", run["ENV"])) <= set(setting_fields())


def test_the_image_holds_no_secret() -> None:
    words = {word for word, _ in instructions()}
    assigned = " ".join(rest for word, rest in instructions() if word in ("ENV", "ARG", "LABEL"))

    assert "ADD" not in words
    assert not re.search(r"(?i)password|secret|token|key", assigned)
    assert not {".env", "deploy"} & set((ROOT / ".dockerignore").read_text().replace("!", "").splitlines())


@pytest.mark.parametrize("missing", sorted(PASSWORDS))
def test_the_compose_file_has_no_password_of_its_own(missing: str) -> None:
    with pytest.raises(KeyError, match=missing):
        read_compose({name: value for name, value in TRY_OUT.items() if name != missing})


def test_nothing_is_published_beyond_this_machine() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]

    assert published == ["127.0.0.1:8080:8080"]
    assert SERVICES["postgres"]["networks"] == ["database"]
    assert read_compose(TRY_OUT)["networks"]["database"] == {"internal": True}


@pytest.mark.parametrize("name", sorted(OURS))
def test_our_services_may_little(name: str) -> None:
    service = OURS[name]

    assert (service["read_only"], service["user"], service["cap_drop"]) == (True, "10001:10001", ["ALL"])
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["mem_limit"]
    assert service["image"].endswith(f":{__version__}")
    assert set(service.get("environment", {})) <= set(setting_fields()) | BOTO3S


def test_every_service_calls_a_command_with_options_that_it_has() -> None:
    commands = {name: service["command"] for name, service in OURS.items() if "entrypoint" not in service}

    assert {name: command(words).name or words[0] for name, words in commands.items()} == {
        name: name for name in ("migrate", "serve", "worker", "schedule")
    }


def test_services_wait_for_the_schema_and_depend_on_what_is_there() -> None:
    for name, service in SERVICES.items():
        waits = service.get("depends_on", {})
        assert set(waits) <= set(SERVICES), name
        # A service of a profile is not there without it.
        assert all(
            not SERVICES[other].get("profiles") or not wait.get("required", True) or service.get("profiles")
            for other, wait in waits.items()
        ), name
        for other, wait in waits.items():
            if wait["condition"] == "service_healthy":
                assert "test" in SERVICES[other]["healthcheck"]
    for name in ("serve", "worker", "schedule", "try-out"):
        assert SERVICES[name]["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}


def test_every_volume_is_declared_and_every_mounted_file_exists() -> None:
    declared = set(read_compose(TRY_OUT)["volumes"])

    for service in SERVICES.values():
        for mount in service.get("volumes", []):
            source = mount.split(":")[0]
            assert (DEPLOY / source).is_file() if source.startswith(".") else source in declared, mount


def test_the_stop_waits_longer_than_a_worker_takes_to_end() -> None:
    seconds = setting_fields()["BILLFOLD_SHUTDOWN_SECONDS"][1].default

    assert all(int(service["stop_grace_period"].removesuffix("s")) > seconds for service in OURS.values())


def read_unit(path: Path) -> dict[str, list[str]]:
    """The settings of a unit; one that is given several times keeps all its values."""
    found: dict[str, list[str]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if line and line[0] not in "#[":
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_every_unit_calls_a_command_as_somebody_who_may_little(path: Path) -> None:
    unit = read_unit(path)
    [program, *words] = unit["ExecStart"][0].split()

    assert program == "/opt/billfold/bin/billfold"
    assert path.stem == f"billfold-{words[0]}"
    assert command(words)
    assert (unit["User"], unit["NoNewPrivileges"], unit["ProtectSystem"]) == (["billfold"], ["yes"], ["strict"])
    assert unit["EnvironmentFile"] == ["/etc/billfold/billfold.env"]
    assert int(unit["TimeoutStopSec"][0]) > setting_fields()["BILLFOLD_SHUTDOWN_SECONDS"][1].default


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_a_service_comes_back_however_long_postgresql_was_away(path: Path) -> None:
    unit = read_unit(path)

    # A limit would be reached after two minutes: each start ends by itself, after seconds.
    assert (unit["Restart"], unit["StartLimitIntervalSec"]) == (["always"], ["0"])
    assert unit["RestartPreventExitStatus"] == [str(int(ExitCode.USAGE))]


def test_a_command_beside_the_services_uses_their_folder() -> None:
    guide = re.sub(r" *\\\n *", " ", (ROOT / "docs" / "deploying.md").read_text(encoding="utf-8"))
    [options] = re.findall(r"alias as-billfold='sudo systemd-run ([^']*)'", guide)
    unit = read_unit(UNITS[0])

    for name in ("StateDirectory", "StateDirectoryMode"):
        assert f"--property={name}={unit[name][0]}" in options.split()
    assert f"--working-directory={unit['WorkingDirectory'][0]}" in options.split()
    [home] = re.findall(r"BILLFOLD_HOME=\S+", unit["Environment"][0])
    assert f"--setenv={home}" in options.split()


def test_the_try_out_is_not_led_astray_by_what_a_shell_exports(tmp_path: Path) -> None:
    (tmp_path / "docker").write_text("#!/bin/sh\nenv\n")
    (tmp_path / "docker").chmod(0o755)
    exported = {"AWS_REGION": "eu-central-1", "AWS_ENDPOINT_URL": "http://elsewhere", "BILLFOLD_QUEUE_URL": "theirs"}
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "HOME": str(tmp_path), **exported}

    seen = subprocess.run(
        ["make", "--silent", "try-out-down"], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )

    assert "HOME=" in seen.stdout
    assert not {line.partition("=")[0] for line in seen.stdout.splitlines()} & (set(TRY_OUT) | set(exported))


def test_the_units_differ_in_what_they_run_alone() -> None:
    own = {"Description", "ExecStart", "MemoryMax"}
    shared = [{name: value for name, value in read_unit(path).items() if name not in own} for path in UNITS]

    assert len(UNITS) == 3
    assert all(each == shared[0] for each in shared)


def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    program = shutil.which("systemd-analyze")
    if not program:
        return  # Where there is no systemd, the tests above read the units.
    for path in UNITS:
        # A command that is not installed is a complaint: any other stands for it.
        (tmp_path / path.name).write_text(path.read_text().replace("/opt/billfold/bin/billfold", sys.executable))

    verified = subprocess.run(
        [program, "verify", "--man=no", "--recursive-errors=no", *(str(tmp_path / path.name) for path in UNITS)],
        capture_output=True,
        text=True,
    )

    assert (verified.returncode, verified.stderr) == (0, "")
