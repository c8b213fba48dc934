"""Background noise, a late augmentation: mixed into a clip before its last normalisation."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import Field, model_validator

from dawnchorus.audio.headers import read_headers
from dawnchorus.audio.listing import list_audio_files
from dawnchorus.audio.source import AudioSource, find_stored, open_source, stream_recording
from dawnchorus.audio.windows import normalize_peak, peak_of
from dawnchorus.augment.mixup import mix_at_equal_peaks, mix_waves
from dawnchorus.config import Settings
from dawnchorus.errors import AudioError, DataError, StoreError
from dawnchorus.files import is_file
from dawnchorus.formats.text_tables import read_text_table, some

_LABEL_COLUMNS = ("primary_label", "label", "category")

NoiseChoice: TypeAlias = Literal["in_turn", "one_of"]
"""How one of several kinds of noise is drawn, see :class:`BackgroundNoise`."""


class BackgroundSettings(Settings):
    """One kind of noise: sounds without the species that are trained, their probability and level.

    Attributes
    ----------
    folder
        Sound files, searched with all sub-folders; with a table, the folder that its file names are in.
    table
        CSV table with the column ``filename``: only these files. With ``start_s`` and ``end_s`` only these
        chunks of them; a file may have several.
    labels
        Only rows of the table with one of these in the column ``primary_label``, ``label`` or ``category``,
        such as ``rain`` and ``wind`` of ESC-50.
    features_dir
        Folder of HDF5 files that ``dawnchorus precompute`` made of ``folder``; other files are decoded.
    probability
        Probability that a clip gets this noise.
    min_share, max_share
        Range of the noise's fraction ``a`` in ``clip · (1 − a) + noise · a``, the clip at peak 1.
    peak_of
        What of the noise is scaled to peak 1: the ``crop`` that is mixed in, or the whole ``file``, whose
        quiet stretches then stay quiet, as in the published system.
    unknown_labels
        Classes that the sound may hold, for soundscapes without labels: ``all``, or their labels. In a clip
        with it, the target of such a class is unknown (-1) unless the clip has it. Needs a loss that passes
        over unknown targets, such as ``masked_bce``.

    Examples
    --------
    >>> rain = BackgroundSettings(folder="noise", labels=("rain",), table="noise.csv", probability=0.3)
    >>> rain.probability, rain.max_share
    (0.3, 0.75)
    """

    folder: Path
    table: Path | None = None
    labels: tuple[str, ...] = ()
    features_dir: Path | None = None
    probability: float = Field(default=0.5, ge=0, le=1)
    min_share: float = Field(default=0.25, ge=0, le=1)
    max_share: float = Field(default=0.75, ge=0, le=1)
    peak_of: Literal["crop", "file"] = "crop"
    unknown_labels: Literal["all"] | tuple[str, ...] = ()

    @model_validator(mode="after")
    def _in_order(self) -> BackgroundSettings:
        if self.min_share > self.max_share:
            raise ValueError(f"min_share is {self.min_share:g}, above max_share, {self.max_share:g}")
        if self.labels and self.table is None:
            raise ValueError("labels choose rows of a table; name the table too")
        return self


class Chunk(NamedTuple):
    """A stretch of a noise file, in samples: ``start`` and ``stop``.

    Examples
    --------
    >>> from dawnchorus.audio.source import open_source
    >>> chunk = Chunk(open_source("night.wav"), start=0, stop=32_000)
    >>> chunk.source.read(chunk.start, chunk.stop).shape
    (32000,)
    """

    source: AudioSource
    start: int
    stop: int


class NoiseDraw(NamedTuple):
    """A noise that was drawn: its kind, its chunk, the first sample of the crop, and its fraction of the mix.

    Examples
    --------
    >>> NoiseDraw(kind=0, chunk=3, start=16_000, share=0.4).share
    0.4
    """

    kind: int
    chunk: int
    start: int
    share: float


class BackgroundNoise:
    """Noises to draw from; all are listed when it is made, so that a missing file raises at once.

    Parameters
    ----------
    kinds
        The kinds of noise.
    sample_rate
        Of the clips, Hz.
    n_samples
        Length of a clip.
    late_normalize
        Whether clips are scaled to peak 1 afterwards, and so may have any level.
    use_h5py
        Whether HDF5 files are read where there are any.
    choice
        ``in_turn`` tries the kinds in a random order, each with its own probability, until one is drawn;
        ``one_of`` chooses one kind, all equally often, and draws it with its probability.

    Examples
    --------
    >>> import numpy as np
    >>> kinds = (BackgroundSettings(folder="recordings", probability=1.0),)
    >>> noise = BackgroundNoise(kinds, sample_rate=32_000, n_samples=32_000, late_normalize=True)
    >>> drawn = noise.draw(np.random.default_rng(0))
    >>> noise.apply(np.ones(32_000, np.float32), drawn).shape, 0.25 <= drawn.share <= 0.75
    ((32000,), True)
    """

    def __init__(
        self,
        kinds: tuple[BackgroundSettings, ...],
        *,
        sample_rate: int,
        n_samples: int,
        late_normalize: bool,
        use_h5py: bool = True,
        choice: NoiseChoice = "in_turn",
    ) -> None:
        self.kinds = kinds
        self.choice = choice
        self.n_samples = n_samples
        self.late_normalize = late_normalize
        self.chunks = [_chunks_of(kind, sample_rate=sample_rate, use_h5py=use_h5py) for kind in kinds]
        self._file_peaks: dict[Path, float] = {}

    def draw(self, rng: np.random.Generator) -> NoiseDraw | None:
        """Return a noise, or None where none is drawn."""
        if not self.kinds:
            return None
        order = rng.permutation(len(self.kinds))
        for kind in order[:1] if self.choice == "one_of" else order:
            if rng.random() < self.kinds[kind].probability:
                return self.draw_of(int(kind), rng)
        return None

    def draw_of(self, kind: int, rng: np.random.Generator) -> NoiseDraw:
        """Return a noise of one kind."""
        chunk = int(rng.integers(len(self.chunks[kind])))
        _, first, stop = self.chunks[kind][chunk]
        start = int(rng.integers(first, max(stop - self.n_samples, first) + 1))
        share = float(rng.uniform(self.kinds[kind].min_share, self.kinds[kind].max_share))
        return NoiseDraw(kind, chunk, start, share)

    def draw_empty(self, rng: np.random.Generator) -> NoiseDraw:
        """Return a noise that holds no species, of a kind without ``unknown_labels``, all equally often."""
        empty = [number for number, kind in enumerate(self.kinds) if not kind.unknown_labels]
        return self.draw_of(empty[int(rng.integers(len(empty)))], rng)

    def apply(self, wave: npt.NDArray[np.float32], drawn: NoiseDraw) -> npt.NDArray[np.float32]:
        """Return the clip with the noise in it, shape (n_samples,); the clip may be changed in place.

        With ``late_normalize``, the mix is not normalised yet.
        """
        if self.late_normalize and self.kinds[drawn.kind].peak_of == "crop":
            return mix_at_equal_peaks(wave, self._read(drawn), 1 - drawn.share)
        return mix_waves(
            normalize_peak(wave) if self.late_normalize else wave, self.noise(drawn), 1 - drawn.share
        )

    def noise(self, drawn: NoiseDraw) -> npt.NDArray[np.float32]:
        """Return the noise alone, shape (n_samples,), the crop or its file at peak 1."""
        noise = self._read(drawn)
        if self.kinds[drawn.kind].peak_of == "file":
            source = self.chunks[drawn.kind][drawn.chunk].source
            return noise / np.float32(self._file_peak(source) or 1)
        return normalize_peak(noise)

    def _read(self, drawn: NoiseDraw) -> npt.NDArray[np.float32]:
        chunk = self.chunks[drawn.kind][drawn.chunk]
        length = min(self.n_samples, chunk.stop - drawn.start)
        return np.resize(chunk.source.read(drawn.start, length), self.n_samples)  # a short one is repeated

    def _file_peak(self, source: AudioSource) -> float:
        if source.path not in self._file_peaks:
            _, blocks = stream_recording(source.path, sample_rate=source.sample_rate)
            self._file_peaks[source.path] = max(map(peak_of, blocks))
        return self._file_peaks[source.path]


def _chunks_of(settings: BackgroundSettings, *, sample_rate: int, use_h5py: bool) -> list[Chunk]:
    names, bounds_s = _listed(settings)
    stored = {
        name: find_stored(settings.features_dir if use_h5py else None, Path(name)) for name in set(names)
    }
    read_headers(settings.folder, sorted(name for name, store in stored.items() if store is None))
    sources = {}
    for name, store in stored.items():
        try:
            sources[name] = open_source(settings.folder / name, stored=store, sample_rate=sample_rate)
        except (AudioError, StoreError) as error:
            raise DataError(f"background noise cannot be read: {error}; mend or remove it") from error
    chunks = []
    for name, (start_s, end_s) in zip(names, bounds_s, strict=True):
        n_samples = sources[name].n_samples
        stop = n_samples if end_s is None else min(round(end_s * sample_rate), n_samples)
        start = round(start_s * sample_rate)
        if start >= stop:
            raise DataError(
                f"{settings.table}: the chunk of {name} from {start_s:g} s begins past its end at "
                f"{n_samples / sample_rate:.2f} s; correct or drop the line"
            )
        chunks.append(Chunk(sources[name], start, stop))
    return chunks


def _listed(settings: BackgroundSettings) -> tuple[list[str], list[tuple[float, float | None]]]:
    """Return the file names relative to the folder, and the bounds of each chunk in seconds."""
    if settings.table is None:
        names = [path.relative_to(settings.folder).as_posix() for path in list_audio_files(settings.folder)]
        return names, [(0.0, None)] * len(names)
    table = _chosen_rows(read_text_table(settings.table, required=("filename",)), settings)
    missing = [
        name
        for name in dict.fromkeys(table["filename"])
        if not is_file(settings.folder / name) and find_stored(settings.features_dir, Path(name)) is None
    ]
    if missing:
        raise DataError(f"{settings.table} names {some(missing)} not found in {settings.folder}")
    if not {"start_s", "end_s"} <= set(table):
        return table["filename"].tolist(), [(0.0, None)] * len(table)
    bounds = table[["start_s", "end_s"]].apply(pd.to_numeric, errors="coerce")
    wrong = table.index[~((bounds["start_s"] >= 0) & (bounds["end_s"] > bounds["start_s"]))]
    if len(wrong):
        raise DataError(
            f"{settings.table}: start_s and end_s in line {wrong[0] + 2} are no stretch of time; they are "
            "seconds with a decimal point, and the end comes after the start"
        )
    return table["filename"].tolist(), list(bounds.itertuples(index=False, name=None))


def _chosen_rows(table: pd.DataFrame, settings: BackgroundSettings) -> pd.DataFrame:
    if not settings.labels:
        return table
    column = next((name for name in _LABEL_COLUMNS if name in table), None)
    if column is None:
        raise DataError(
            f"{settings.table} has no column {' or '.join(_LABEL_COLUMNS)}, which labels choose from"
        )
    chosen = table[table[column].isin(settings.labels)]
    missing = sorted(set(settings.labels) - set(chosen[column]))
    if missing:
        raise DataError(
            f"{settings.table} has no row of {some(missing)}; its {column} is one of "
            f"{some(sorted(set(table[column])))}"
        )
    return chosen
