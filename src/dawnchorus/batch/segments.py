"""Clips of some detections of each species, as short sound files to listen to.

A clip is mono and has 16 bits. Sound beyond full scale, which a float recording can hold, is not clipped: the
whole clip is scaled down so that its peak is full scale. Nothing else is scaled, so that the clip of a 16-bit
mono recording at its own rate has that recording's very samples. Clips are written block by block, so that
memory does not grow with their length.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt
import pandas as pd
import soundfile

from dawnchorus.audio.channels import Channel, checked_channel
from dawnchorus.audio.decode import read_info, stream_crop
from dawnchorus.audio.windows import peak_of
from dawnchorus.config import read_json_if_sound
from dawnchorus.errors import AudioError, ConfigError, DataError
from dawnchorus.files import Failure, from_legible, replacing, write_text
from dawnchorus.formats.detection_tables import DETECTION_COLUMNS, NUMBER_COLUMNS
from dawnchorus.formats.whole_tables import write_csv
from dawnchorus.predict.recording_files import SEGMENTS_INDEX
from dawnchorus.predict.window_tables import read_windows
from dawnchorus.progress import track

SETTINGS_NAME = "segments.json"
INDEX_COLUMNS = ["file", *DETECTION_COLUMNS]

Order = Literal["surest", "doubtful", "random", "strata"]

_FORMATS = ("flac", "wav")
_N_STRATA = 10  # stretches of the scale of probabilities, 0 … 0.1, 0.1 … 0.2 …
_OF_CLIPS = {
    "longest_s": "longest length",
    "channel": "channel",
    "padding_s": "padding or sample rate",
    "sample_rate": "padding or sample rate",
}
"""Settings that all clips of a folder share."""

_DOUBT = 0.5  # the probability that leaves most open
_FULL_SCALE = 1 << 15  # the 16-bit number of -1; that of +1 is one less
_FORBIDDEN = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f]')  # in names on Windows; / anywhere
_DEVICES = re.compile(r"(?:con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(?:\..*)?", re.IGNORECASE)
_MAX_NAME = 180  # bytes of 255, so that the probability, the times and the suffix find room


@dataclass(frozen=True)
class SegmentSettings:
    """Choice of the detections that become clips, and properties of the clips.

    Parameters
    ----------
    per_species
        Clips of each label at most.
    min_probability
        Probability below which a detection is left out, in 0 … 1.
    padding_s
        Sound kept before and after, in seconds; less where the recording begins or ends.
    format
        ``flac`` or ``wav``.
    sample_rate
        Of the clips, in Hz; each recording's own if None.
    order
        Which detections of a label become clips: the ``surest``; the most ``doubtful``, nearest to 0.5;
        ``random`` ones; or ``strata``, as many from each tenth of the scale of probabilities as there are.
    seed
        Of ``random`` and ``strata``.
    longest_s
        Seconds of a detection at most, before padding: of a longer one, the stretch around its surest window.
    channel
        Channel of recordings with several: a number from 1, ``mean`` or ``loudest``. A detection that names
        one is cut from that.
    salvage
        Whether damaged recordings are read as far as they go.

    Raises
    ------
    ConfigError
        A value is out of its range.

    Examples
    --------
    >>> settings = SegmentSettings(per_species=5, padding_s=0.5, format="wav")
    >>> settings.per_species, settings.padding_s
    (5, 0.5)
    """

    per_species: int = 10
    min_probability: float = 0.0
    padding_s: float = 0.0
    format: Literal["flac", "wav"] = "flac"
    sample_rate: int | None = None
    order: Order = "surest"
    seed: int = 42
    longest_s: float | None = None
    channel: Channel = "mean"
    salvage: bool = False

    def __post_init__(self) -> None:
        checked_channel(self.channel, each=False)
        if self.per_species < 1:
            raise ConfigError(f"per_species={self.per_species} must be 1 or more")
        if not 0 <= self.min_probability <= 1:
            raise ConfigError(f"min_probability={self.min_probability:g} must lie in 0 … 1")
        if not 0 <= self.padding_s < float("inf"):
            raise ConfigError(f"padding_s={self.padding_s:g} must be 0 s or more")
        if self.format not in _FORMATS:
            raise ConfigError(f"format={self.format!r} is not known; choose one of {', '.join(_FORMATS)}")
        if self.sample_rate is not None and self.sample_rate < 1:
            raise ConfigError(f"sample_rate={self.sample_rate} must be 1 Hz or more")
        if self.order not in get_args(Order):
            known = ", ".join(get_args(Order))
            raise ConfigError(f"order={self.order!r} is not known; choose one of {known}")
        if self.seed < 0:
            raise ConfigError(f"seed={self.seed} must be 0 or more")
        if self.longest_s is not None and not 0 < self.longest_s < float("inf"):
            raise ConfigError(f"longest_s={self.longest_s:g} must be above 0 s; leave it out for any length")


class SegmentReport(NamedTuple):
    """Clips that were cut, and failures.

    Attributes
    ----------
    n_written, n_there_already
        Clips that were made now, and those that an earlier run had made.
    failures
        Recordings of which some clip could not be made, each with the first reason.
    index
        ``segments.csv``: a row a clip with ``file`` (relative to its folder), and the detection.
    notes
        What is odd about the sound of clips that were made now, such as channels whose mean is silence.

    Examples
    --------
    >>> from pathlib import Path
    >>> SegmentReport(21, n_there_already=0, failures=[], index=Path("segments/segments.csv")).n_written
    21
    """

    n_written: int
    n_there_already: int
    failures: list[Failure]
    index: Path  # type: ignore[assignment]  # it hides tuple.index, which is not used
    notes: Sequence[Failure] = ()


class _Clip(NamedTuple):
    """One clip: its file below the folder of clips, its recording, and the detection."""

    file: str
    filename: str
    start_s: float
    end_s: float
    label: str
    probability: float
    channel: int | None = None


def choose_detections(detections: pd.DataFrame, settings: SegmentSettings) -> pd.DataFrame:
    """Return the detections of each label that become clips, sorted by label and falling probability.

    The order of the rows changes nothing. Among equals, the first by recording and time is taken.

    Examples
    --------
    >>> import pandas as pd
    >>> detections = pd.DataFrame({"filename": "night.wav", "start_s": [0.0, 5.0], "end_s": [5.0, 10.0]})
    >>> detections = detections.assign(label="owl", probability=[0.6, 0.9])
    >>> choose_detections(detections, SegmentSettings(per_species=1))["start_s"].tolist()
    [5.0]
    >>> choose_detections(detections, SegmentSettings(per_species=1, order="doubtful"))["start_s"].tolist()
    [0.0]
    """
    columns = [column for column in (*DETECTION_COLUMNS, "channel") if column in detections]
    kept = detections.loc[detections["probability"] >= settings.min_probability, columns]
    order = ["label", "probability", "filename", "start_s", "end_s"]
    falling = [True, False, True, True, True]
    kept = kept.drop_duplicates().sort_values(order, ascending=falling).reset_index(drop=True)
    ranks = detection_ranks(kept, settings.order, settings.seed)
    ranked = kept.assign(rank=ranks).sort_values(["label", "rank"], kind="stable")
    chosen = ranked.groupby("label", sort=False).head(settings.per_species)
    return chosen.sort_index().drop(columns="rank").reset_index(drop=True)


def detection_ranks(detections: pd.DataFrame, order: Order, seed: int) -> pd.Series:
    """Return a number for each detection of a table, lowest where an order wants it most.

    Examples
    --------
    >>> import pandas as pd
    >>> detections = pd.DataFrame({"label": ["owl", "owl"], "probability": [0.6, 0.9]})
    >>> detection_ranks(detections, "surest", seed=42).tolist()
    [-0.6, -0.9]
    """
    if order == "surest":
        return -detections["probability"]
    if order == "doubtful":
        return (detections["probability"] - _DOUBT).abs()
    # Drawn row by row, so that more recordings do not change which of the others are before which.
    key = f"{seed:016d}"[-16:]
    drawn = pd.util.hash_pandas_object(detections, index=False, hash_key=key) / 2.0**64
    if order == "random":
        return drawn
    return (
        drawn.groupby([detections["label"], strata(detections["probability"])]).rank(method="first") + drawn
    )


def strata(probabilities: pd.Series) -> pd.Series:
    """Return the tenth of the scale of probabilities that each lies in, 0 to 9, int64.

    Examples
    --------
    >>> import pandas as pd
    >>> strata(pd.Series([0.05, 0.5, 1.0])).tolist()
    [0, 5, 9]
    """
    return (probabilities * _N_STRATA).astype(int).clip(upper=_N_STRATA - 1)


def cut_segments(
    detections: pd.DataFrame,
    audio_dir: Path,
    out_dir: Path,
    settings: SegmentSettings,
    *,
    windows: Path | None = None,
) -> SegmentReport:
    """Write some detections of each label as sound files with an index; return counts.

    A clip is ``{label}/{probability:.3f}_{recording}_{start_s:.2f}-{end_s:.2f}.flac``; the recording's
    sub-folders are joined to its name by ``__``, and what file systems forbid becomes ``_``. A clip that is
    there is left alone, so that a run may be killed and begun again; other settings need another folder.

    Parameters
    ----------
    detections
        Detection table: ``filename`` (posix, relative to ``audio_dir``), ``start_s``, ``end_s``, ``label``,
        ``probability``.
    audio_dir
        Folder of the recordings.
    out_dir
        Folder for the clips and ``segments.csv``, which lists those of these detections.
    settings
        Choice of detections, and properties of the clips.
    windows
        The ``windows.parquet`` of these detections, in which the surest window of a detection that is longer
        than ``longest_s`` is looked up. Without it, the middle of the detection is taken.

    Raises
    ------
    DataError
        The table lacks a column, a row is not a detection in a recording below ``audio_dir``, or ``out_dir``
        holds clips of another padding, longest length or sample rate.

    Examples
    --------
    >>> from pathlib import Path
    >>> import pandas as pd
    >>> detections = pd.DataFrame({"filename": ["night.wav"], "start_s": [7.0], "end_s": [12.0]})
    >>> detections = detections.assign(label="owl", probability=0.9)
    >>> report = cut_segments(detections, Path(), Path("segments"), SegmentSettings())
    >>> report.n_written, [path.as_posix() for path in Path("segments").glob("*/*")]
    (1, ['segments/owl/0.900_night_7.00-12.00.flac'])
    """
    _check_detections(detections)
    _check_earlier_clips(out_dir, settings)
    clips = _clips_of(
        shorten_detections(choose_detections(detections, settings), settings.longest_s, windows), settings
    )
    failures: dict[str, Failure] = {}
    notes: dict[str, Failure] = {}
    failed: set[str] = set()
    n_written = n_there_already = 0
    by_recording = sorted(clips, key=lambda clip: (clip.filename, clip.start_s))
    for clip in track(by_recording, "cutting clips"):
        target = out_dir / clip.file
        if target.is_file():
            n_there_already += 1
            continue
        path = audio_dir / from_legible(clip.filename)
        try:
            for note in _write_clip(target, path, clip, settings):
                notes.setdefault(clip.filename, Failure(path, note))
        except AudioError as error:
            failures.setdefault(clip.filename, Failure(path, str(error)))
            failed.add(clip.file)
        else:
            n_written += 1
    index = out_dir / SEGMENTS_INDEX
    listed = pd.DataFrame((c for c in clips if c.file not in failed), columns=[*INDEX_COLUMNS, "channel"])
    write_csv(index, listed if "channel" in detections else listed[INDEX_COLUMNS])
    return SegmentReport(n_written, n_there_already, list(failures.values()), index, list(notes.values()))


def _check_earlier_clips(out_dir: Path, settings: SegmentSettings) -> None:
    """Refuse a folder with clips of other lengths, rate or channel, which would be taken for these."""
    file = out_dir / SETTINGS_NAME
    ours = {name: getattr(settings, name) for name in _OF_CLIPS}
    found = read_json_if_sound(file, dict[str, Any])
    earlier = ours
    if found is not None:
        earlier = {name: found.get(name, getattr(SegmentSettings, name)) for name in _OF_CLIPS}
    if earlier != ours:
        what = next(text for name, text in _OF_CLIPS.items() if earlier[name] != ours[name])
        raise DataError(f"{out_dir} holds clips of another {what}; choose another --out")
    write_text(file, json.dumps(ours))


def shorten_detections(
    chosen: pd.DataFrame, longest_s: float | None, windows: Path | None = None
) -> pd.DataFrame:
    """Return the detections; of those longer than ``longest_s``, the stretch around the surest window.

    Without the table of windows, it is the middle.

    Examples
    --------
    >>> import pandas as pd
    >>> detections = pd.DataFrame({"filename": "night.wav", "start_s": [0.0], "end_s": [60.0]})
    >>> detections = detections.assign(label="owl")
    >>> shorten_detections(detections, 10.0, None)[["start_s", "end_s"]].iloc[0].tolist()
    [25.0, 35.0]
    """
    if longest_s is None:
        return chosen
    chosen = chosen.astype({"start_s": float, "end_s": float})
    too_long = chosen[chosen["end_s"] - chosen["start_s"] > longest_s]
    for label, rows in too_long.groupby("label"):
        found = None if windows is None else read_windows(windows, str(label), rows["filename"].unique())
        for row in rows.itertuples():
            middle_s = (row.start_s + row.end_s) / 2
            if found is not None:
                within = (found["start_s"] >= row.start_s) & (found["end_s"] <= row.end_s)
                here = found[within & (found["filename"] == row.filename)]
                if "channel" in here and hasattr(row, "channel"):
                    here = here[here["channel"] == row.channel]
                if len(here):
                    surest = here.loc[here["probability"].idxmax()]
                    middle_s = (surest["start_s"] + surest["end_s"]) / 2
            start_s = min(max(middle_s - longest_s / 2, row.start_s), row.end_s - longest_s)
            chosen.loc[row.Index, ["start_s", "end_s"]] = start_s, start_s + longest_s
    return chosen


def _check_detections(detections: pd.DataFrame) -> None:
    missing = [column for column in DETECTION_COLUMNS if column not in detections]
    if missing:
        raise DataError(
            f"the detections have no column {', '.join(missing)}; {', '.join(DETECTION_COLUMNS)} are needed"
        )
    start, end, probability = (detections[column].to_numpy(np.float64) for column in NUMBER_COLUMNS)
    is_right = (start >= 0) & (end > start) & np.isfinite(end) & (probability >= 0) & (probability <= 1)
    if not is_right.all():
        row = detections.iloc[int(np.argmin(is_right))]
        raise DataError(
            f"{row['filename']}: a detection from {row['start_s']} s to {row['end_s']} s of probability "
            f"{row['probability']} is none; it must begin at 0 s or later, end after that, and lie in 0 … 1"
        )
    for filename in detections["filename"].unique():
        path = PurePosixPath(filename)
        if path.is_absolute() or ".." in path.parts or not path.name or "\0" in filename:
            raise DataError(
                f"the detections name the recording {filename!r}; write its path below the folder of "
                "recordings, without .."
            )


def _clips_of(chosen: pd.DataFrame, settings: SegmentSettings) -> list[_Clip]:
    """Return the clips to make; detections that would have one file, such as those of one window, are one."""
    names = _recording_names(chosen["filename"].unique())
    clips: dict[str, _Clip] = {}
    for filename, start_s, end_s, label, probability, *channel in chosen.itertuples(index=False, name=None):
        times = f"{start_s:.2f}-{end_s:.2f}" + "".join(f"_ch{number}" for number in channel)
        file = f"{safe_name(label)}/{probability:.3f}_{names[filename]}_{times}.{settings.format}"
        clips.setdefault(file, _Clip(file, filename, start_s, end_s, label, probability, *channel))
    return list(clips.values())


def _recording_names(filenames: Iterable[str]) -> dict[str, str]:
    """Return a name for each recording; duplicates get a hash of their path in it."""
    names = {name: "__".join(PurePosixPath(name).with_suffix("").parts) for name in filenames}
    folded = pd.Series({filename: safe_name(name).casefold() for filename, name in names.items()}, dtype=str)
    shared = set(folded.index[folded.duplicated(keep=False)])
    return {
        filename: safe_name(name) + (f"_{_mark(filename)}" if filename in shared else "")
        for filename, name in names.items()
    }


def safe_name(text: str) -> str:
    """Return ``text`` as the name of a file or folder that Windows, macOS and Linux all take.

    What is forbidden, and dots at the beginning, become ``_``; so do dots and blanks at the end. Letters are
    composed (NFC). A name that is too long is cut and gets a hash of the whole.

    Examples
    --------
    >>> safe_name("night: 4 a.m.?")
    'night_ 4 a.m._'
    """
    text = str(text)  # some tables return labels of digits as numbers
    name = _FORBIDDEN.sub("_", unicodedata.normalize("NFC", text))
    name = re.sub(r"^[. ]+|[. ]+$", lambda found: "_" * len(found[0]), name) or "_"
    if _DEVICES.fullmatch(name):
        name = f"_{name}"
    if len(name.encode("utf-8", "surrogateescape")) > _MAX_NAME:
        kept = name.encode("utf-8", "surrogateescape")[: _MAX_NAME - 9].decode("utf-8", "ignore")
        name = f"{kept}_{_mark(text)}"
    return name


def _mark(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:8]


def _write_clip(target: Path, path: Path, clip: _Clip, settings: SegmentSettings) -> list[str]:
    """Write a clip block by block: a second time, at a lower level, where it is beyond full scale.

    Returns what is odd about its sound.
    """
    notes: list[str] = []
    channel = settings.channel if clip.channel is None else clip.channel
    info = read_info(path, salvage=settings.salvage)
    sample_rate = settings.sample_rate or info.sample_rate
    start = max(0, round((clip.start_s - settings.padding_s) * sample_rate))
    stop = round((clip.end_s + settings.padding_s) * sample_rate)

    def written(temporary: Path, peak: float) -> float | None:
        blocks = stream_crop(
            path,
            start,
            stop - start,
            sample_rate=sample_rate,
            channel=channel,
            notes=notes,
            salvage=settings.salvage,
        )
        try:
            return _write_sound(temporary, blocks, sample_rate, settings.format, peak=peak)
        except soundfile.LibsndfileError as error:
            raise AudioError(
                f"{path}: cannot be written as {settings.format} at {sample_rate} Hz; choose wav, or "
                "another rate"
            ) from error

    with replacing(target) as temporary:
        peak = written(temporary, 1.0)
        if peak is None:
            raise AudioError(
                f"{path}: has no sound from {clip.start_s:g} s on, where a detection begins; it lasts "
                f"{info.duration_s:g} s"
            )
        if peak > 1:
            written(temporary, peak)
    return notes


def _write_sound(
    path: Path, blocks: Iterable[np.ndarray], sample_rate: int, format: str, *, peak: float
) -> float | None:
    """Write 16-bit samples, full scale being ``peak``; return the peak that was found, if any."""
    found = None
    with path.open("wb") as file:
        output = _Output(file)
        try:
            with soundfile.SoundFile(output, "w", sample_rate, 1, subtype="PCM_16", format=format) as sound:
                for block in blocks:
                    found = max(found or 0.0, peak_of(block))
                    sound.write(to_int16(block, peak=peak))
        finally:
            if output.error is not None:
                raise output.error
    return found


class _Output:
    """A file whose error is kept, because libsndfile goes on after one in a file of Python's."""

    def __init__(self, file: IO[bytes]) -> None:
        self.seek, self.tell, self.flush = file.seek, file.tell, file.flush
        self.file = file
        self.error: OSError | None = None

    def write(self, data: bytes) -> int:
        try:
            return self.file.write(data)
        except OSError as error:
            self.error = error
            return 0


def to_int16(wave: np.ndarray, *, peak: float | None = None) -> npt.NDArray[np.int16]:
    """Return a waveform of shape (n_samples,), float32, full scale ±1, as 16-bit numbers of the same shape.

    Where its peak exceeds 1, all of it is divided by that; +1 itself becomes 32767.

    Parameters
    ----------
    wave
        The samples.
    peak
        Peak of the whole sound that they are a part of; ``max |wave|`` if not given. What exceeds it is
        clipped.

    Examples
    --------
    >>> import numpy as np
    >>> to_int16(np.float32([0.5, -1.0, 1.0]))
    array([ 16384, -32768,  32767], dtype=int16)
    """
    scaled = np.asarray(wave, np.float64) / max(1.0, peak_of(wave) if peak is None else peak)
    return np.clip(np.rint(scaled * _FULL_SCALE), -_FULL_SCALE, _FULL_SCALE - 1).astype(np.int16)
