"""What may be said of a key of S3 whatever stands at it."""

from __future__ import annotations


def is_trick(key: str) -> bool:
    """Whether a key has parts that other programs take for another folder; S3 does not, and AWS writes none."""
    return any(part in (".", "..") for part in key.split("/"))
