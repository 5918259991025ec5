"""Bits that turn over."""

from __future__ import annotations

from random import Random


def flip_bits(random: Random, content: bytes, count: int) -> bytes:
    """The content with some of its bits flipped."""
    flipped = bytearray(content)
    for _ in range(count if flipped else 0):
        flipped[random.randrange(len(flipped))] ^= 1 << random.randrange(8)
    return bytes(flipped)
