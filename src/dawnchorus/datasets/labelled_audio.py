"""Labelled recordings with their audio and targets: the common base of both datasets."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import Field, model_validator

from dawnchorus.audio.channels import Channel
from dawnchorus.audio.clips import read_clip
from dawnchorus.audio.source import AudioSource, RawRecording, open_source
from dawnchorus.datasets.clip_settings import ClipSettings
from dawnchorus.errors import ConfigError, DataError
from dawnchorus.files import from_legible
from dawnchorus.formats.text_tables import some
from dawnchorus.progress import track
from dawnchorus.recordings.labels import NOCALL, UNKNOWN, LabelMap, read_labels
from dawnchorus.recordings.recordings_table import label_map_of, load_recordings
from dawnchorus.recordings.time_labels import MIN_OVERLAP_S, Boxes, time_targets
from dawnchorus.wording import counted

logger = logging.getLogger(__name__)

_GB = 1e9  # bytes


class LabelledAudioSettings(ClipSettings):
    """Settings of :class:`LabelledAudio`.

    Attributes
    ----------
    use_h5py
        Read the HDF5 file of a recording where there is one; the others are decoded at each read.
    use_audio_cache
        Keep recordings that were read in memory, for sets that are read many times.
    audio_cache_gb
        Size of this cache, GB (10⁹ bytes) a process; the recording not used for longest is dropped first.
    first_s
        Only the first seconds of each recording without labels in time, at least ``segment_len``: clips end
        there, and the last window begins before. None takes whole recordings.
    use_secondary_labels
        Count the secondary labels as present.
    min_overlap_s
        Smallest overlap of a clip with a box of a label in time that makes the label a target, seconds; of a
        box shorter than twice that, half is enough.

    Examples
    --------
    >>> settings = LabelledAudioSettings(segment_len=5.0, use_audio_cache=True)
    >>> settings.n_samples, settings.audio_cache_gb
    (160000, 4.0)
    """

    use_h5py: bool = True
    use_audio_cache: bool = False
    audio_cache_gb: float = Field(default=4.0, gt=0)
    first_s: float | None = Field(default=None, gt=0)
    use_secondary_labels: bool = True
    min_overlap_s: float = Field(default=MIN_OVERLAP_S, gt=0)

    @model_validator(mode="after")
    def _first_seconds_hold_a_clip(self) -> LabelledAudioSettings:
        if self.first_s is not None and self.first_s < self.segment_len:
            raise ValueError(
                f"first_s is {self.first_s:g}; legal: segment_len ({self.segment_len:g}) or more, so that it "
                "holds a clip"
            )
        return self


class LabelledAudio:
    """Recordings that can be read clip by clip, with their targets.

    Parameters
    ----------
    recordings
        Recordings table (:mod:`dawnchorus.recordings.recordings_table`).
    labels
        Classes of the model.
    settings
        Settings of clips and of reading.
    unknown_secondary_labels
        Make the targets of secondary labels unknown, for recordings that are labelled as a whole.
    known_labels_only
        Make the targets of species unknown that are neither labels of a recording nor among its
        ``known_labels``, where it has some; otherwise they are absent.

    Raises
    ------
    DataError
        The primary label of a recording is none of the classes. Other secondary labels are ignored.

    Attributes
    ----------
    sources
        The audio source of each recording.
    boxes
        The boxes of each recording with labels in time, None for the others.

    Examples
    --------
    >>> from dawnchorus.recordings.recordings_table import label_map_of, load_recordings
    >>> recordings = load_recordings("recordings").table
    >>> audio = LabelledAudio(recordings, label_map_of(recordings), LabelledAudioSettings(segment_len=1.0))
    >>> audio.target(0), audio.clip(0, segment_start=0).shape
    (array([1., 0.], dtype=float32), (32000,))
    """

    def __init__(
        self,
        recordings: pd.DataFrame,
        labels: LabelMap,
        settings: LabelledAudioSettings,
        *,
        unknown_secondary_labels: bool = False,
        known_labels_only: bool = False,
    ) -> None:
        self.settings = settings
        _check_primary_labels(recordings["primary_label"], labels)
        self.sources = open_recordings(
            recordings,
            sample_rate=settings.sample_rate,
            use_h5py=settings.use_h5py,
            channel=settings.channel,
        )
        self.boxes = [
            None if boxes is None else Boxes.of(boxes, labels)
            for boxes in recordings.get("boxes", [None] * len(recordings))
        ]
        self.n_classes = len(labels)
        self._classes = [
            np.unique(boxes.label) if boxes is not None else labels.indices([primary, *secondary])
            for boxes, primary, secondary in zip(
                self.boxes, recordings["primary_label"], self._secondary(recordings), strict=True
            )
        ]
        self._unknown = self._only_secondary(recordings, labels) if unknown_secondary_labels else None
        self._unasked = _unasked(recordings, labels) if known_labels_only else {}
        self._cache = AudioCache(settings.audio_cache_gb * _GB) if settings.use_audio_cache else None
        logger.info(composition(self.sources))

    def __len__(self) -> int:
        return len(self.sources)

    def target(self, recording: int) -> npt.NDArray[np.float32]:
        """Return 1 for each label of a recording, or for the labels of its boxes; shape (n_classes,).

        With ``unknown_secondary_labels``, -1 for its secondary labels; with ``known_labels_only``, -1 for
        the species that nobody looked for.
        """
        target = np.zeros(self.n_classes, dtype=np.float32)
        target[self._unasked.get(recording, [])] = UNKNOWN
        target[self._classes[recording]] = 1
        if self._unknown is not None:
            target[self._unknown[recording]] = UNKNOWN
        return target

    def targets(self) -> npt.NDArray[np.float32]:
        """Return :meth:`target` of all recordings, shape (n_recordings, n_classes), float32."""
        targets = np.zeros((len(self), self.n_classes), dtype=np.float32)
        for recording in range(len(self)):
            targets[recording] = self.target(recording)
        return targets

    def n_used(self, recording: int) -> int:
        """Return how many samples of a recording clips are taken from."""
        n_samples, first_s = self.sources[recording].n_samples, self.settings.first_s
        if first_s is None or self.boxes[recording] is not None:
            return n_samples
        return min(n_samples, round(first_s * self.settings.sample_rate))

    def keep_all(self) -> None:
        """Read every recording, and keep all in memory."""
        n_bytes = sum(4.0 * source.n_samples for source in self.sources)
        logger.info(f"Keeping {len(self)} recordings in memory: {n_bytes / _GB:.2f} GB")
        self._cache = AudioCache(n_bytes)
        for recording in track(range(len(self)), "Reading recordings", total=len(self)):
            self._cache.read(recording, self.sources[recording], 0, 1)

    def clip(
        self, recording: int, segment_start: int, *, within: npt.NDArray[np.int64] | None = None
    ) -> npt.NDArray[np.float32]:
        """Return the clip of a segment, shape (n_samples,), not normalised; it may be changed in place.

        It is silent outside the stretches ``within``, first and last sample each, shape (n_stretches, 2).
        """
        source = self.sources[recording]

        def read(start: int, n_samples: int) -> npt.NDArray[np.float32]:
            if self._cache is None:
                return source.read(start, n_samples)
            return self._cache.read(recording, source, start, n_samples)

        def read_within(start: int, n_samples: int) -> npt.NDArray[np.float32]:
            wave = read(start, n_samples)
            if within is None:
                return wave
            outside = np.ones(len(wave), dtype=bool)
            for first, stop in np.maximum(within - start, 0):
                outside[first:stop] = False
            wave[outside] = 0
            return wave

        return read_clip(read_within, segment_start, self.settings)

    def segment_targets(
        self, recording: int, starts: npt.NDArray[np.int64], *, n_samples: int | None = None
    ) -> npt.NDArray[np.float32]:
        """Return the targets of segments that begin at ``starts`` (samples), shape (n, n_classes).

        They are of ``n_samples``, or of a whole segment. Labels for the whole recording apply to all its
        segments.
        """
        boxes = self.boxes[recording]
        if boxes is None:
            return np.repeat(self.target(recording)[None], len(starts), axis=0)
        length = self.settings.n_segment if n_samples is None else n_samples
        stops = np.minimum(starts + length, self.sources[recording].n_samples)
        rate = self.settings.sample_rate
        targets = time_targets(
            starts / rate,
            stops / rate,
            boxes,
            self.n_classes,
            min_overlap_s=self.settings.min_overlap_s,
        )
        if recording in self._unasked:
            unasked = np.isin(np.arange(self.n_classes), self._unasked[recording])
            targets[unasked & (targets == 0)] = UNKNOWN
        return targets

    def _secondary(self, recordings: pd.DataFrame) -> Iterable[tuple[str, ...]]:
        if self.settings.use_secondary_labels and "secondary_labels" in recordings:
            return recordings["secondary_labels"]
        return [()] * len(recordings)

    def _only_secondary(self, recordings: pd.DataFrame, labels: LabelMap) -> list[npt.NDArray[np.int64]]:
        """Return the classes that are only secondary labels of each recording; none where there are boxes."""
        return [
            labels.indices(set(secondary) - {primary}) if boxes is None else labels.indices([])
            for boxes, primary, secondary in zip(
                self.boxes, recordings["primary_label"], self._secondary(recordings), strict=True
            )
        ]

    def __repr__(self) -> str:
        clip = f"clips of {self.settings.n_samples / self.settings.sample_rate:g} s"
        classes = counted(self.n_classes, "class", "classes")
        return f"LabelledAudio({counted(len(self), 'recording')}, {classes}, {clip})"


def _unasked(recordings: pd.DataFrame, labels: LabelMap) -> dict[int, npt.NDArray[np.int64]]:
    """Return the classes that nobody looked for in a recording, of those that have ``known_labels``."""
    known = recordings.get("known_labels", [()] * len(recordings))
    return {
        place: np.setdiff1d(np.arange(len(labels)), labels.indices(asked))
        for place, asked in enumerate(known)
        if isinstance(asked, tuple | list) and len(asked)
    }


class AudioCache:
    """Whole recordings in memory, at most ``max_bytes``; the one not used for longest is dropped first.

    Examples
    --------
    >>> from dawnchorus.audio.source import open_source
    >>> cache = AudioCache(max_bytes=10e6)
    >>> cache.read(0, open_source("night.wav"), start=0, n_samples=160_000).shape
    (160000,)
    """

    def __init__(self, max_bytes: float) -> None:
        self.max_bytes = max_bytes
        self.n_bytes = 0
        self._waves: OrderedDict[int, npt.NDArray[np.float32]] = OrderedDict()

    def read(
        self, recording: int, source: AudioSource, start: int, n_samples: int
    ) -> npt.NDArray[np.float32]:
        """Return a copy of a stretch, shape (at most n_samples,), from memory if the recording is there."""
        wave = self._waves.get(recording)
        if wave is None:
            wave = source.read(0, source.n_samples)
            self._keep(recording, wave)
        else:
            self._waves.move_to_end(recording)
        return wave[start : start + n_samples].copy()

    def _keep(self, recording: int, wave: npt.NDArray[np.float32]) -> None:
        if wave.nbytes > self.max_bytes:
            return
        while self.n_bytes + wave.nbytes > self.max_bytes:
            self.n_bytes -= self._waves.popitem(last=False)[1].nbytes
        self._waves[recording] = wave
        self.n_bytes += wave.nbytes


class LoadedTable(NamedTuple):
    """A checked recordings table, and the classes.

    Examples
    --------
    >>> import pandas as pd
    >>> from dawnchorus.recordings.labels import LabelMap
    >>> LoadedTable(pd.DataFrame({"primary_label": ["owl"]}), LabelMap(("owl",))).labels
    LabelMap(1 label: owl)
    """

    recordings: pd.DataFrame
    labels: LabelMap


def loaded_table(
    recordings: object,
    labels: LabelMap | Sequence[str] | None = None,
    *,
    audio_dir: str | Path | None = None,
) -> LoadedTable:
    """Return the recordings and classes of a dataset from its arguments.

    Parameters
    ----------
    recordings
        The table of :func:`~dawnchorus.recordings.recordings_table.load_recordings`, or a plain DataFrame
        with ``filename`` and ``primary_label``, which is then loaded in the same way.
    labels
        The classes, or their names; all labels of the recordings if not given.
    audio_dir
        Folder that the file names of a plain DataFrame are relative to; the working directory if not given.

    Raises
    ------
    DataError
        It is not such a table, or rows are faulty; all of them are named.

    Examples
    --------
    >>> import pandas as pd
    >>> table = pd.DataFrame({"filename": ["owl/XC1.wav", "wren/XC5.wav"], "primary_label": ["owl", "wren"]})
    >>> loaded_table(table, audio_dir="recordings").labels
    LabelMap(2 labels: owl, wren)
    """
    columns = set(recordings) if isinstance(recordings, pd.DataFrame) else set()
    if "primary_label" not in columns or not columns & {"audio_path", "filename"} or not len(recordings):  # type: ignore[arg-type]
        found = type(recordings).__name__
        if isinstance(recordings, pd.DataFrame):
            found = f"a table of {len(recordings)} rows with the columns {', '.join(map(str, recordings))}"
        raise DataError(
            "a dataset is made of a DataFrame with the columns filename and primary_label, not of "
            f'{found}; load_recordings("folder").table is one'
        )
    assert isinstance(recordings, pd.DataFrame)
    if "audio_path" not in recordings or audio_dir is not None:
        recordings = load_recordings(recordings, audio_dir=audio_dir).table
    if isinstance(labels, str | Mapping | ClipSettings):
        raise ConfigError(
            f"labels are a LabelMap or a list of names, not {type(labels).__name__}; name the settings: "
            "settings=..."
        )
    if labels is None:
        return LoadedTable(recordings, label_map_of(recordings))
    return LoadedTable(recordings, labels if isinstance(labels, LabelMap) else read_labels(labels))


def _check_primary_labels(primary_labels: pd.Series, labels: LabelMap) -> None:
    unknown = primary_labels[[label not in labels and label != NOCALL for label in primary_labels]]
    if len(unknown):
        raise DataError(
            f"{some(sorted(map(str, set(unknown))))}, the primary label of {len(unknown)} of the "
            f"{len(primary_labels)} recordings, is none of the {len(labels)} labels; add it to them "
            "(label_map_of(recordings) has all), or leave these recordings out"
        )


def open_recordings(
    recordings: pd.DataFrame, *, sample_rate: int, use_h5py: bool, channel: Channel = "mean"
) -> list[AudioSource]:
    """Return a source for each row: the HDF5 file where there is one and ``use_h5py``, else the raw audio.

    HDF5 files that were made from another version of their recording are not read; a warning counts them.

    Examples
    --------
    >>> from dawnchorus.recordings.recordings_table import load_recordings
    >>> sources = open_recordings(load_recordings("recordings").table, sample_rate=32_000, use_h5py=False)
    >>> len(sources), sources[0].n_samples
    (8, 32000)
    """
    has_stores = use_h5py and "stored_path" in recordings
    stored = recordings["stored_path"].fillna("") if has_stores else [""] * len(recordings)
    sources = [
        open_source(
            Path(from_legible(audio)),
            stored=Path(from_legible(store)) if store else None,
            sample_rate=sample_rate,
            channel=channel,
        )
        for audio, store in zip(recordings["audio_path"], stored, strict=True)
    ]
    n_outdated = sum(isinstance(source, RawRecording) and source.has_outdated_store for source in sources)
    if n_outdated:
        logger.warning(
            f"{n_outdated} of the HDF5 files were made from other versions of their recordings (size or "
            "time differ) and are not read; run `dawnchorus precompute` again"
        )
    return sources


@contextmanager
def composition_untold() -> Iterator[None]:
    """Make datasets in the block without a line on their composition, which the whole run has told.

    Examples
    --------
    >>> with composition_untold():
    ...     logger.info(composition([]))
    """
    before = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(before)


def composition(sources: list[AudioSource]) -> str:
    """Return the line of the log on the sources of a dataset.

    Examples
    --------
    >>> from dawnchorus.recordings.recordings_table import load_recordings
    >>> recordings = load_recordings("recordings").table
    >>> composition(open_recordings(recordings, sample_rate=32_000, use_h5py=True))
    'Dataset composition: 0 HDF5 files, 8 raw audio files'
    """
    n_stored = sum(source.kind == "hdf5" for source in sources)
    return f"Dataset composition: {n_stored} HDF5 files, {len(sources) - n_stored} raw audio files"
