"""Requests of clips from sounds, which are read in a stream; a request may span several sounds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dawnchorus.audio.clips import ClipLayout, make_clip
from dawnchorus.audio.sound import Sound
from dawnchorus.audio.windows import WindowStream
from dawnchorus.errors import AudioError, StoreError
from dawnchorus.models.card import ModelCard


@dataclass(frozen=True)
class WindowPlan:
    """The windows of a recording that are predicted, in samples.

    Attributes
    ----------
    step
        From one window's start to the next, at most a segment.
    shift
        Distance of the two neighbours that shift test-time augmentation adds to each window.
    shortest
        Least length of a recording's last window, :func:`dawnchorus.audio.windows.shortest_window`.

    Examples
    --------
    >>> plan = WindowPlan(step=80_000, shift=40_000)
    >>> plan.step
    80000
    """

    step: int
    shift: int | None = None
    shortest: int = 1


class ClipPosition(NamedTuple):
    """The origin of a clip: the number of its sound, its segment's first and last sample, and its channel.

    The channel is 0 where it is not one by its number.

    Examples
    --------
    >>> ClipPosition(recording=0, start=160_000, stop=320_000).start
    160000
    """

    recording: int
    start: int
    stop: int
    channel: int = 0


class Ended(NamedTuple):
    """A sound without further clips, and the reason if it failed.

    Examples
    --------
    >>> Ended(recording=3, failure="truncated").failure
    'truncated'
    """

    recording: int
    failure: str | None


class ClipRequest(NamedTuple):
    """Clips of one request, shape (at most its size, n_samples), their positions, and the sounds that end.

    Examples
    --------
    >>> import numpy as np
    >>> request = ClipRequest(np.zeros((2, 160_000), np.float32), [ClipPosition(0, 0, 160_000)], ended=[])
    >>> request.waves.shape
    (2, 160000)
    """

    waves: npt.NDArray[np.float32]
    positions: list[ClipPosition]
    ended: list[Ended]


def clip_requests(
    sounds: Iterable[Sound], clip: ClipLayout, plan: WindowPlan, *, sample_rate: int, size: int
) -> Iterator[ClipRequest]:
    """Yield the clips of sounds, ``size`` at a time; only the last request may hold fewer.

    A sound that cannot be read to its end is reported as ended with the reason, the others go on.

    Examples
    --------
    >>> from dawnchorus.audio.sound import Sound
    >>> from dawnchorus.datasets.clip_settings import ClipSettings
    >>> plan = WindowPlan(step=160_000)
    >>> requests = clip_requests([Sound.of("night.wav")], ClipSettings(), plan, sample_rate=32_000, size=2)
    >>> [request.waves.shape for request in requests]  # three windows of 5 s in 12 s
    [(2, 160000), (1, 160000)]
    """
    waves: list[npt.NDArray[np.float32]] = []
    positions: list[ClipPosition] = []
    ended: list[Ended] = []
    for number, sound in enumerate(sounds):
        failure = None
        try:
            for start, stop, wave, channel in _clips(sound, clip, plan, sample_rate):
                # A full request waits for the next clip, so that it lists all sounds that ended before that.
                if len(waves) == size:
                    yield ClipRequest(np.stack(waves), positions, ended)
                    waves, positions, ended = [], [], []
                waves.append(wave)
                positions.append(ClipPosition(number, start, stop, channel))
        except (AudioError, StoreError) as error:
            failure = str(error)
        except OSError as error:  # the disk itself, while it was read
            failure = f"{sound.name}: cannot be read; {error.strerror or error}"
        ended.append(Ended(number, failure))
    if ended:
        yield ClipRequest(
            np.stack(waves) if waves else np.zeros((0, clip.n_samples), np.float32), positions, ended
        )


def window_stream(clip: ClipLayout, plan: WindowPlan) -> WindowStream:
    """Return a stream that cuts a sound into the windows of a plan, each with the clip's context around it.

    Examples
    --------
    >>> import numpy as np
    >>> from dawnchorus.datasets.clip_settings import ClipSettings
    >>> windows = window_stream(ClipSettings(), WindowPlan(step=160_000))
    >>> [(start, stop) for start, stop, wave in windows.add(np.zeros(200_000, np.float32))]
    [(0, 160000)]
    >>> [(start, stop) for start, stop, wave in windows.end()]
    [(160000, 200000)]
    """
    n_after = clip.n_samples - clip.n_look_back - clip.n_segment
    return WindowStream(
        clip.n_segment,
        plan.step,
        plan.shift,
        n_before=clip.n_look_back,
        n_after=n_after,
        shortest=plan.shortest,
    )


def _clips(
    sound: Sound, clip: ClipLayout, plan: WindowPlan, sample_rate: int
) -> Iterator[tuple[int, int, npt.NDArray[np.float32], int]]:
    """Yield each segment of a sound: first and last sample, clip of shape (n_samples,), and channel."""
    for part, channel in channels_of(sound):
        windows = window_stream(clip, plan)
        for block in part.blocks(sample_rate):
            for start, stop, wave in windows.add(block):
                yield start, stop, make_clip(wave, clip), channel
        if not windows.n_samples:
            raise AudioError(f"{sound.name}: holds no samples")
        for start, stop, wave in windows.end():
            yield start, stop, make_clip(wave, clip), channel


def channels_of(sound: Sound) -> list[tuple[Sound, int]]:
    """Return the sounds to read, with the number of their channel, 0 for the mean or the loudest one.

    Examples
    --------
    >>> import numpy as np
    >>> from dawnchorus.audio.sound import Sound
    >>> stereo = Sound.of(np.zeros((100, 2)), sample_rate=16_000, channel="each")
    >>> [number for _, number in channels_of(stereo)]
    [1, 2]
    """
    return [(part, part.channel if isinstance(part.channel, int) else 0) for part in sound.split()]


def first_clips(paths: Sequence[Path], card: ModelCard, *, n_clips: int = 24) -> npt.NDArray[np.float32]:
    """Return up to ``n_clips`` clips from the beginnings of recordings, shape (n_clips, n_samples), float32.

    Each of the first recordings gives some. Those that cannot be decoded give none.

    Examples
    --------
    >>> from pathlib import Path
    >>> from dawnchorus import open_engine
    >>> card = open_engine("model", n_threads=1).card
    >>> first_clips([Path("night.wav")], card, n_clips=2).shape  # clips of 5 s at 16 kHz
    (2, 80000)
    """
    plan = WindowPlan(card.n_segment)
    clips: list[npt.NDArray[np.float32]] = []
    n_each = -(-n_clips // max(len(paths), 1))
    for path in paths[:n_clips]:
        sound = Sound.of(path, channel=card.channel)
        requests = clip_requests([sound], card, plan, sample_rate=card.sample_rate, size=n_each)
        clips.extend(next(requests).waves)
    return np.array(clips[:n_clips], dtype=np.float32).reshape(-1, card.n_samples)
