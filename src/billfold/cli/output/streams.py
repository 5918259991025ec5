"""Standard output without Rich: finished documents, and readers that have gone."""

from __future__ import annotations

import os
import sys

from billfold import __version__


def discard_output() -> None:
    """Let everything that is still written to standard output vanish."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def print_version() -> None:
    """One line: scripts ask for it."""
    sys.stdout.write(f"billfold {__version__}\n")


def write_document(text: str) -> None:
    """Write a finished JSON document to standard output."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        discard_output()
