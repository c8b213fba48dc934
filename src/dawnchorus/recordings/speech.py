"""Speech in recordings: where it is, and the stretches without it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from dawnchorus.audio.decode import load_audio
from dawnchorus.audio.listing import list_audio_files
from dawnchorus.errors import AudioError, MissingExtraError
from dawnchorus.files import Failure, legible, replacing, write_failures
from dawnchorus.progress import track
from dawnchorus.recordings.stretches import COLUMNS
from dawnchorus.wording import install_extra

RATE = 16_000
"""Sample rate that the detector of speech takes, Hz."""


class SpeechSettings(NamedTuple):
    """What counts as speech, and what is left beside it.

    Attributes
    ----------
    threshold
        Probability from which 32 ms are speech, in (0, 1).
    margin_s
        Seconds before and after speech that are left out with it.
    shortest_s
        Shortest stretch without speech that is kept, seconds.

    Examples
    --------
    >>> SpeechSettings(threshold=0.3).margin_s
    0.5
    """

    threshold: float = 0.5
    margin_s: float = 0.5
    shortest_s: float = 1.0


class SpeechReport(NamedTuple):
    """What was found in a folder.

    Attributes
    ----------
    n_recordings, n_with_speech, n_without_rest
        Recordings that were read; those of them with speech; and those with nothing left beside it.
    speech_s
        Seconds that are left out.
    failures
        Recordings that cannot be read, and why.

    Examples
    --------
    >>> SpeechReport(12, 3, 0, 41.5, []).n_with_speech
    3
    """

    n_recordings: int
    n_with_speech: int
    n_without_rest: int
    speech_s: float
    failures: list[Failure]


def find_speech(wave: npt.NDArray[np.float32], *, threshold: float = 0.5) -> npt.NDArray[np.float64]:
    """Return start and end of each stretch of speech, seconds, shape (n_stretches, 2).

    By Silero VAD (https://github.com/snakers4/silero-vad), whose weights are in its package.

    Parameters
    ----------
    wave
        Shape (n_samples,), float32 at 16 kHz.
    threshold
        Probability from which 32 ms are speech, in (0, 1).

    Raises
    ------
    MissingExtraError
        The extra ``speech`` is not installed.

    Examples
    --------
    >>> import numpy as np
    >>> from dawnchorus.errors import MissingExtraError
    >>> try:
    ...     n_stretches = len(find_speech(np.zeros(16_000, np.float32)))
    ... except MissingExtraError:  # the extra dawnchorus[speech] is not installed
    ...     n_stretches = 0
    >>> n_stretches
    0
    """
    get_speech_timestamps, model = _detector()
    found = get_speech_timestamps(wave.copy(), model, threshold=threshold, sampling_rate=RATE)
    return np.array([[one["start"], one["end"]] for one in found], dtype=np.float64).reshape(-1, 2) / RATE


@cache
def _detector() -> tuple[Any, Any]:
    try:
        import torch

        n_threads = torch.get_num_threads()
        from silero_vad import get_speech_timestamps, load_silero_vad

        torch.set_num_threads(n_threads)  # which importing it sets to 1
    except ImportError as error:
        raise MissingExtraError(
            f"speech is found by the package silero-vad, which cannot be imported ({error}); install it "
            f"with: {install_extra('speech')}"
        ) from error
    return get_speech_timestamps, load_silero_vad(onnx=True)


def stretches_beside(
    speech_s: npt.NDArray[np.float64], duration_s: float, *, margin_s: float, shortest_s: float
) -> list[tuple[float, float]]:
    """Return the stretches of a recording that are ``margin_s`` or more from speech, seconds.

    Examples
    --------
    >>> import numpy as np
    >>> stretches_beside(np.array([[2.0, 3.0], [4.0, 5.0]]), 10.0, margin_s=0.5, shortest_s=1.0)
    [(0.0, 1.5), (5.5, 10.0)]
    """
    starts = [0.0, *(end_s + margin_s for _, end_s in speech_s.tolist())]
    ends = [*(start_s - margin_s for start_s, _ in speech_s.tolist()), duration_s]
    return [(start, end) for start, end in zip(starts, ends, strict=True) if end - start >= shortest_s]


def write_speechless_stretches(
    folder: Path, table: Path, settings: SpeechSettings | None = None, *, n_cores: int = 1
) -> SpeechReport:
    """Return what speech there is in the recordings of a folder, and write the stretches without it.

    Recordings without speech are not in the table, and so are drawn from as a whole; one that has nothing
    else is there with an empty stretch. Recordings that cannot be read are listed in a table beside it, with
    ``_failures`` after its name.

    Parameters
    ----------
    folder
        Recordings, with any sub-folders; the table names them relative to it.
    table
        CSV table to write, for ``stretches`` of a training dataset.
    settings
        What counts as speech.
    n_cores
        Processes.

    Raises
    ------
    MissingExtraError
        The extra ``speech`` is not installed.

    Examples
    --------
    >>> from pathlib import Path
    >>> from dawnchorus.errors import MissingExtraError
    >>> try:
    ...     report = write_speechless_stretches(Path("recordings"), Path("stretches.csv"))
    ...     n_with_speech = report.n_with_speech
    ... except MissingExtraError:  # the extra dawnchorus[speech] is not installed
    ...     n_with_speech = 0
    >>> n_with_speech
    0
    """
    from joblib import Parallel, delayed

    _detector()
    chosen = settings or SpeechSettings()
    paths = list_audio_files(folder)
    work = delayed(partial(_examined, settings=chosen))
    found: Iterable[Any] = Parallel(n_jobs=n_cores, return_as="generator")(map(work, paths))
    rows: list[tuple[str, float, float]] = []
    failures, n_with_speech, n_without_rest, left_out_s = [], 0, 0, 0.0
    for path, one in zip(paths, track(found, "Finding speech", total=len(paths)), strict=True):
        name = legible(path.relative_to(folder).as_posix())
        if isinstance(one, str):
            failures.append(Failure(path.relative_to(folder), one))
        elif one.has_speech:
            n_with_speech += 1
            n_without_rest += not one.stretches
            left_out_s += one.duration_s - sum(end_s - start_s for start_s, end_s in one.stretches)
            rows += [(name, start_s, end_s) for start_s, end_s in one.stretches or [(0.0, 0.0)]]
    _write(table, rows)
    write_failures(table.parent, failures, name=f"{table.stem}_failures.csv")
    return SpeechReport(len(paths) - len(failures), n_with_speech, n_without_rest, left_out_s, failures)


class _Examined(NamedTuple):
    has_speech: bool
    duration_s: float
    stretches: list[tuple[float, float]]


def _examined(path: Path, settings: SpeechSettings) -> _Examined | str:
    """Return the stretches without speech, or why a recording cannot be read."""
    try:
        wave = load_audio(path, sample_rate=RATE)
    except AudioError as error:
        return str(error)
    speech, duration_s = find_speech(wave, threshold=settings.threshold), len(wave) / RATE
    beside = stretches_beside(speech, duration_s, margin_s=settings.margin_s, shortest_s=settings.shortest_s)
    return _Examined(len(speech) > 0, duration_s, beside)


def _write(table: Path, rows: Sequence[tuple[str, float, float]]) -> None:
    table.parent.mkdir(parents=True, exist_ok=True)
    with replacing(table) as temporary:
        pd.DataFrame(list(rows), columns=list(COLUMNS)).to_csv(temporary, index=False)
