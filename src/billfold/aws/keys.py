"""What may be said of a key of S3, or of another name that a stranger wrote, whatever stands there."""

from __future__ import annotations

# S3: a key is at most so many bytes long.
MAX_KEY_BYTES = 1024


def is_trick(key: str) -> bool:
    """Whether a key has parts that other programs take for another folder; S3 does not, and AWS writes none."""
    return any(part in (".", "..") for part in key.split("/"))


def is_clean(text: str) -> bool:
    """Whether PostgreSQL and UTF-8 can hold it: JSON can spell halves of characters, and NUL."""
    return not any(character == "\0" or "\ud800" <= character <= "\udfff" for character in text)
