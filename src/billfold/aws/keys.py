"""Tests of S3 keys and of other names from outside."""

from __future__ import annotations

# The maximum length of a key in S3.
MAX_KEY_BYTES = 1024


def is_trick(key: str) -> bool:
    """Whether a key has parts that other programs resolve to another folder; S3 does not, and AWS never writes them."""
    return any(part in (".", "..") for part in key.split("/"))


def is_clean(text: str) -> bool:
    """Whether PostgreSQL and UTF-8 can hold the text: JSON can contain half characters and NUL."""
    return not any(character == "\0" or "\ud800" <= character <= "\udfff" for character in text)
