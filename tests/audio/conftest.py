"""What the tests of this room share."""

from __future__ import annotations

import numpy as np
import pytest


def _mutated(content: bytes, rng: np.random.Generator) -> bytes:
    """Return the content with flipped bits, overwritten, cut, moved doubled or copied stretches."""
    data = bytearray(content)
    for _ in range(rng.integers(1, 4)):
        kind, a = rng.integers(6), int(rng.integers(len(data)))
        if rng.random() < 0.5:
            a = min(a, int(rng.integers(4_000)))  # most of what can go wrong is in the header
        b = min(len(data), a + int(rng.integers(1, 600)))
        if kind == 0:
            data[a] ^= 1 << int(rng.integers(8))
        elif kind == 1:
            data[a:b] = rng.bytes(b - a)
        elif kind == 2:
            data[a:b] = bytes(b - a)
        elif kind == 5:
            c = int(rng.integers(len(data) - (b - a) + 1))
            data[c : c + b - a] = data[a:b]
        elif kind == 3 and a > 0:
            del data[a:b]
        else:
            data[b:b] = data[a:b]
        if not data:
            return b""
    return bytes(data)


@pytest.fixture
def mutated():
    """A function (content, generator) → content with some damage."""
    return _mutated
