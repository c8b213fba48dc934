"""An excerpt of a recording: the sound of a detection, with what is before and after it."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dawnchorus.audio.channels import Channel
from dawnchorus.audio.decode import read_info, stream_crop
from dawnchorus.errors import AudioError

_SHORTEST_S = 0.25


class Excerpt(NamedTuple):
    """Sound around a detection.

    Attributes
    ----------
    wave
        Mono, shape (n_samples,), float32, full scale ±1.
    sample_rate
        Hz.
    start_s
        Where it begins in the recording, seconds.
    detected_s
        Begin and end of the detection in the recording, seconds.

    Examples
    --------
    >>> import numpy as np
    >>> Excerpt(np.zeros(64_000, np.float32), 32_000, 3.0, (4.0, 5.0)).end_s
    5.0
    """

    wave: npt.NDArray[np.float32]
    sample_rate: int
    start_s: float
    detected_s: tuple[float, float]

    @property
    def end_s(self) -> float:
        """Where it ends in the recording, seconds."""
        return self.start_s + len(self.wave) / self.sample_rate


def read_excerpt(
    path: Path,
    start_s: float,
    end_s: float,
    *,
    padding_s: float = 1.0,
    highest_rate: int | None = 32_000,
    channel: Channel = "mean",
    salvage: bool = False,
) -> Excerpt:
    """Return the sound of a detection and what is before and after it.

    Parameters
    ----------
    path
        The recording.
    start_s, end_s
        The detection, in seconds of the recording.
    padding_s
        Seconds kept before and after; less where the recording begins or ends.
    highest_rate
        Sample rate in Hz; a recording of a lower one keeps its own, and with None every one does.
    channel
        Channel of a recording with several.
    salvage
        Whether a damaged recording is read as far as it goes.

    Raises
    ------
    AudioError
        The recording cannot be read, or has no sound there.

    Examples
    --------
    >>> from pathlib import Path
    >>> excerpt = read_excerpt(Path("night.wav"), 0.0, 5.0)
    >>> excerpt.start_s, excerpt.end_s, excerpt.sample_rate
    (0.0, 6.0, 32000)
    """
    info = read_info(path, salvage=salvage)
    rate = info.sample_rate if highest_rate is None else min(highest_rate, info.sample_rate)
    first = max(0, round((start_s - padding_s) * rate))
    n_samples = round((end_s + padding_s) * rate) - first
    blocks = stream_crop(path, first, n_samples, sample_rate=rate, channel=channel, salvage=salvage)
    wave = np.concatenate([np.zeros(0, np.float32), *blocks])
    if len(wave) < _SHORTEST_S * rate or first + len(wave) <= round(start_s * rate):
        raise AudioError(
            f"{path}: has no sound from {start_s:g} s on, where a detection begins; it lasts "
            f"{info.duration_s:g} s"
        )
    return Excerpt(wave, rate, first / rate, (start_s, end_s))
