"""Probes of the machine: room in the spool, and memory for DuckDB."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import psutil

from billfold.model import Probe, ProbeState
from billfold.settings import Settings

# A large delivery takes a few gigabytes while it is unpacked.
_ROOM_BYTES = 5 * 2**30
# The process itself needs memory beside DuckDB.
_MEMORY_SHARE = 0.8
_CGROUP_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def probe_machine(settings: Settings) -> tuple[Probe, ...]:
    """The spool's disk and the memory."""
    return _probe_spool(settings), _probe_memory(settings)


def _probe_spool(settings: Settings) -> Probe:
    name, folder = "spool", settings.spool
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryFile(dir=folder):
            pass
        free = shutil.disk_usage(folder).free
    except OSError as error:
        fix = "set BILLFOLD_SPOOL to a folder that this user may write"
        return _probe(name, ProbeState.FAILED, f"{folder} cannot be written: {error.strerror}", fix)
    found = f"{free / 2**30:.1f} GiB free in {folder}"
    fix = "free some space, or set BILLFOLD_SPOOL to a folder on a larger disk"
    if free <= settings.min_free_bytes:
        kept = f"{settings.min_free_bytes / 2**30:.1f} GiB are kept free (BILLFOLD_MIN_FREE_BYTES)"
        return _probe(name, ProbeState.FAILED, f"{found}; {kept}", fix)
    if free < settings.min_free_bytes + _ROOM_BYTES:
        return _probe(name, ProbeState.WARNING, f"{found}: a large delivery may not fit", fix)
    return _probe(name, ProbeState.OK, found)


def _probe_memory(settings: Settings) -> Probe:
    total_mb = _memory_bytes() / 1e6
    found = f"DuckDB may use {settings.memory_limit_mb} MB of {total_mb:.0f} MB"
    fix = f"BILLFOLD_MEMORY_LIMIT_MB={max(256, int(total_mb * 0.5))}"
    if settings.memory_limit_mb >= total_mb:
        return _probe("memory", ProbeState.FAILED, found, fix)
    if settings.memory_limit_mb > total_mb * _MEMORY_SHARE:
        return _probe("memory", ProbeState.WARNING, f"{found}; the process itself needs some more", fix)
    return _probe("memory", ProbeState.OK, found)


def _memory_bytes() -> int:
    """The memory of the machine, or of the container if that is less."""
    total = int(psutil.virtual_memory().total)
    for path in _CGROUP_LIMITS:
        try:
            text = path.read_text().strip()
        except OSError:
            continue
        return min(total, int(text)) if text.isdecimal() else total
    return total


def _probe(name: str, state: ProbeState, found: str, fix: str = "") -> Probe:
    return Probe(name=name, state=state, found=found, fix=fix, area="machine")
