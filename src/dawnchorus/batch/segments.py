"""Clips of the most probable detections of each species, as short sound files to listen to.

A clip is mono and has 16 bits. Sound beyond full scale, which a float recording can hold, is not clipped: the
whole clip is scaled down so that its peak is full scale. Nothing else is scaled, so that the clip of a 16-bit
mono recording at its own rate has that recording's very samples.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import soundfile

from dawnchorus.audio.decode import read_crop, read_info
from dawnchorus.audio.windows import peak_of
from dawnchorus.errors import AudioError, ConfigError, DataError
from dawnchorus.files import Failure, replacing, write_text
from dawnchorus.formats.detection_tables import DETECTION_COLUMNS, NUMBER_COLUMNS
from dawnchorus.formats.whole_tables import write_csv
from dawnchorus.predict.recording_files import SEGMENTS_INDEX
from dawnchorus.progress import track

SETTINGS_NAME = "segments.json"
INDEX_COLUMNS = ["file", *DETECTION_COLUMNS]

_FORMATS = ("flac", "wav")
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
        Clips of each label at most, the most probable.
    min_probability
        Probability below which a detection is left out, in 0 … 1.
    padding_s
        Sound kept before and after, in seconds; less where the recording begins or ends.
    format
        ``flac`` or ``wav``.
    sample_rate
        Of the clips, in Hz; each recording's own if None.

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

    def __post_init__(self) -> None:
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


class _Clip(NamedTuple):
    """One clip: its file below the folder of clips, its recording, and the detection."""

    file: str
    filename: str
    start_s: float
    end_s: float
    label: str
    probability: float


def choose_detections(detections: pd.DataFrame, settings: SegmentSettings) -> pd.DataFrame:
    """Return the most probable detections of each label, sorted by label and falling probability.

    Where probabilities are equal, the first by recording and time is taken, whatever the order of the rows.

    Examples
    --------
    >>> import pandas as pd
    >>> detections = pd.DataFrame({"filename": "night.wav", "start_s": [0.0, 5.0], "end_s": [5.0, 10.0]})
    >>> detections = detections.assign(label="owl", probability=[0.6, 0.9])
    >>> choose_detections(detections, SegmentSettings(per_species=1))["start_s"].tolist()
    [5.0]
    """
    kept = detections.loc[detections["probability"] >= settings.min_probability, DETECTION_COLUMNS]
    order = ["label", "probability", "filename", "start_s", "end_s"]
    ranked = kept.drop_duplicates().sort_values(order, ascending=[True, False, True, True, True])
    return ranked.groupby("label", sort=False).head(settings.per_species).reset_index(drop=True)


def cut_segments(
    detections: pd.DataFrame, audio_dir: Path, out_dir: Path, settings: SegmentSettings
) -> SegmentReport:
    """Write the most probable detections of each label as sound files with an index; return counts.

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

    Raises
    ------
    DataError
        The table lacks a column, a row is not a detection in a recording below ``audio_dir``, or ``out_dir``
        holds clips of another padding or sample rate.

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
    clips = _clips_of(detections, settings)
    failures: dict[str, Failure] = {}
    failed: set[str] = set()
    n_written = n_there_already = 0
    by_recording = sorted(clips, key=lambda clip: (clip.filename, clip.start_s))
    for clip in track(by_recording, "cutting clips"):
        target = out_dir / clip.file
        if target.is_file():
            n_there_already += 1
            continue
        path = audio_dir / clip.filename
        try:
            content = _encoded(path, clip, settings)
        except AudioError as error:
            failures.setdefault(clip.filename, Failure(path, str(error)))
            failed.add(clip.file)
            continue
        with replacing(target) as temporary:
            temporary.write_bytes(content)
        n_written += 1
    index = out_dir / SEGMENTS_INDEX
    write_csv(index, pd.DataFrame((c for c in clips if c.file not in failed), columns=INDEX_COLUMNS))
    return SegmentReport(n_written, n_there_already, list(failures.values()), index)


def _check_earlier_clips(out_dir: Path, settings: SegmentSettings) -> None:
    """Refuse a folder with clips of another padding or rate, which would be taken for these."""
    file = out_dir / SETTINGS_NAME
    ours = {"padding_s": settings.padding_s, "sample_rate": settings.sample_rate}
    try:
        earlier = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        earlier = ours
    if earlier != ours:
        raise DataError(f"{out_dir} holds clips of another padding or sample rate; choose another --out")
    write_text(file, json.dumps(ours))


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


def _clips_of(detections: pd.DataFrame, settings: SegmentSettings) -> list[_Clip]:
    """Return the clips to make; detections that would have one file, such as those of one window, are one."""
    names = _recording_names(detections["filename"].unique())
    clips: dict[str, _Clip] = {}
    for filename, start_s, end_s, label, probability in choose_detections(detections, settings).itertuples(
        index=False, name=None
    ):
        times = f"{start_s:.2f}-{end_s:.2f}"
        file = f"{safe_name(label)}/{probability:.3f}_{names[filename]}_{times}.{settings.format}"
        clips.setdefault(file, _Clip(file, filename, start_s, end_s, label, probability))
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


def _encoded(path: Path, clip: _Clip, settings: SegmentSettings) -> bytes:
    """Return a clip as the bytes of a file, which are few enough to be made in memory."""
    info = read_info(path)
    sample_rate = settings.sample_rate or info.sample_rate
    start = max(0, round((clip.start_s - settings.padding_s) * sample_rate))
    stop = round((clip.end_s + settings.padding_s) * sample_rate)
    wave = read_crop(path, start, stop - start, sample_rate=sample_rate)
    if not len(wave):
        raise AudioError(
            f"{path}: has no sound from {clip.start_s:g} s on, where a detection begins; it lasts "
            f"{info.duration_s:g} s"
        )
    content = io.BytesIO()
    try:
        soundfile.write(content, to_int16(wave), sample_rate, format=settings.format, subtype="PCM_16")
    except soundfile.LibsndfileError as error:
        raise AudioError(
            f"{path}: cannot be written as {settings.format} at {sample_rate} Hz; choose wav, or another rate"
        ) from error
    return content.getvalue()


def to_int16(wave: np.ndarray) -> npt.NDArray[np.int16]:
    """Return a waveform of shape (n_samples,), float32, full scale ±1, as 16-bit numbers of the same shape.

    Where ``|wave|`` exceeds 1, all of it is divided by ``max |wave|``; +1 itself becomes 32767.

    Examples
    --------
    >>> import numpy as np
    >>> to_int16(np.float32([0.5, -1.0, 1.0]))
    array([ 16384, -32768,  32767], dtype=int16)
    """
    scaled = np.asarray(wave, np.float64) / max(1.0, peak_of(wave))
    return np.minimum(np.rint(scaled * _FULL_SCALE), _FULL_SCALE - 1).astype(np.int16)
