"""The digest of a recording's content: which changes it sees, and what it reads."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from dawnchorus.audio import content_digest as module
from dawnchorus.audio.content_digest import content_digest, head_digest

N_BYTES = 1 << 20


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "night.wav"
    path.write_bytes(np.random.default_rng(0).bytes(N_BYTES))
    return path


@pytest.mark.parametrize("place", [0, 65_535, N_BYTES - 65_536, N_BYTES - 1])
def test_a_changed_byte_of_head_or_tail_is_seen(path: Path, place: int) -> None:
    before, content = content_digest(path), bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    assert content_digest(path) != before


def test_a_changed_stretch_between_is_seen_wherever_it_lies(path: Path) -> None:
    before, content = content_digest(path), path.read_bytes()
    length = (N_BYTES - (3 << 16)) // 17 + 1  # a gap between two blocks, and a byte
    for start in range(0, N_BYTES - length, length // 3):
        path.write_bytes(content[:start] + bytes(length) + content[start + length :])
        assert content_digest(path) != before


def test_any_byte_of_a_small_file_is_seen_and_so_is_its_length(tmp_path: Path) -> None:
    path = tmp_path / "call.wav"
    content = np.random.default_rng(0).bytes(3 << 16)
    path.write_bytes(content)
    before = content_digest(path)
    for place in range(0, len(content), 4999):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        assert content_digest(path) != before
    digests = set()
    for length in range(4):
        path.write_bytes(bytes(length))
        digests.add(content_digest(path))
    assert len(digests) == 4


def test_no_more_than_192_kib_are_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    read = module._read
    monkeypatch.setattr(module, "_read", lambda *given: asked.append(given[1:]) or read(*given))
    content_digest(path)
    assert sum(length for _, length in asked) == 192 << 10
    assert len(asked) == 18
    ends = [start + length for start, length in asked]
    assert all(end <= start for end, (start, _) in zip(ends, asked[1:], strict=False)), "none overlap"
    assert ends[-1] == N_BYTES


def test_the_digest_of_the_head_is_that_of_earlier_journals(path: Path) -> None:
    assert head_digest(path) == hashlib.sha256(path.read_bytes()[:65_536]).hexdigest()
