"""Seeking in recordings to a frame whose samples are those of sequential decoding.

A compressed file is entered ``_PREROLL`` frames before the frame that is wanted, and only if doing so in its
fourth second gives the samples of sequential decoding; otherwise it is decoded from the start. libsndfile
misses the target in Vorbis files whose pages do not count whole blocks from 0 (by 325 frames, often): they
are decoded from the start. It also misses in the last page of Vorbis files that it did not write: seeks aim
before that page.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dawnchorus.audio.container import BLOCK, COMPRESSED, SequentialFile, file_identity, open_recording
from dawnchorus.audio.unclaimed_sound import ogg_pages
from dawnchorus.errors import AudioError

_PREROLL = 16_384  # frames an MP3 or Opus decoder needs to settle; 24 MP3 frames of 576 are 13,824
_VORBIS_GRID = 64  # frames; every Vorbis page but the last ends on it, by libvorbis's blocks of 256 and 2048
_PROBE_S = 4  # longer than two Ogg pages of ffmpeg's default of one second


class SeekRule(NamedTuple):
    """Limits of a seek after which the samples are those of sequential decoding.

    Examples
    --------
    >>> rule = SeekRule(preroll=16_384, last_target=384_000)
    >>> rule.preroll
    16384
    """

    preroll: int  # frames to decode before the first that is wanted
    last_target: int  # frame beyond which no seek may aim


def skip_to(file: SequentialFile, frame: int, rule: SeekRule | None) -> None:
    """Move to ``frame``: by a seek within ``rule``, or by decoding from the start if it is None.

    Examples
    --------
    >>> from pathlib import Path
    >>> from dawnchorus.audio.container import open_recording
    >>> with open_recording(Path("night.wav")) as file:
    ...     skip_to(file, 32_000, SeekRule(0, file.frames))
    ...     file.tell()
    32000
    """
    position = 0
    if rule is not None:
        position = file.seek(max(0, min(frame - rule.preroll, rule.last_target)))
    while position < frame:
        n_read = len(file.read(min(BLOCK, frame - position), dtype="float32", always_2d=True))
        if not n_read:
            return
        position += n_read


def seek_rule(path: Path, *, salvage: bool = False) -> SeekRule | None:
    """Return the rule for seeks in a recording, or None where it must be decoded from its start.

    With ``salvage``, that is so where it is damaged.

    Examples
    --------
    >>> from pathlib import Path
    >>> seek_rule(Path("night.wav"))  # a WAV file needs no run-up
    SeekRule(preroll=0, last_target=384000)
    """
    identity = file_identity(path)
    try:
        return _cached_seek_rule(*identity)
    except AudioError:
        if not salvage:
            raise
        return None


@lru_cache(maxsize=1 << 16)
def _cached_seek_rule(path: Path, size: int, mtime_ns: int) -> SeekRule | None:
    with open_recording(path) as file:
        if file.format not in COMPRESSED:
            return SeekRule(0, file.frames)
        last_target = file.frames
        if file.subtype == "VORBIS":
            *ends, _ = _ogg_page_ends(path) or [0]
            if not ends or ends != sorted(ends) or any(end % _VORBIS_GRID for end in ends):
                return None
            last_target = ends[-1] - 1
        rule = SeekRule(_PREROLL, last_target)
        n_probe = file.samplerate
        frame = (_PROBE_S - 1) * n_probe
        skip_to(file, frame, None)
        expected = file.read(n_probe, dtype="float32", always_2d=True)
        skip_to(file, frame, rule)
        found = file.read(n_probe, dtype="float32", always_2d=True)
    has_sound = len(expected) == n_probe and expected.std() > 0  # silence would agree with any other silence
    agrees = found.shape == expected.shape and np.allclose(found, expected, atol=1e-4)
    return rule if has_sound and agrees else None


def _ogg_page_ends(path: Path) -> list[int]:
    """Return the granule position of each page of sound of an Ogg file: the frame at which it ends."""
    with path.open("rb") as file:
        ends = [page.granule for page in ogg_pages(file)]
    return [end for end in ends if end > 0]  # 0 marks the headers, -1 a page within a packet
