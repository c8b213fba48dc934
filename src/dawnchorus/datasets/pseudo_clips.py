"""Pseudo-labels: stretches of soundscapes with the probabilities that an ensemble predicted.

A table has one row a stretch: ``row_id`` (``{soundscape}_{end second}``), a column a class, and where known
``fold``, the fold whose model made the row. The primary label is the class with the largest probability; a
column of that name is ignored.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from dawnchorus.audio.clips import read_clip
from dawnchorus.audio.headers import read_headers
from dawnchorus.audio.listing import list_audio_files
from dawnchorus.audio.source import find_stored
from dawnchorus.datasets.clip_settings import ClipSettings
from dawnchorus.datasets.labelled_audio import open_recordings
from dawnchorus.datasets.self_training_settings import (
    KnownSoundscapeSettings,
    PseudoLabelSettings,
    PseudoTableSettings,
)
from dawnchorus.errors import DataError
from dawnchorus.files import from_legible, legible
from dawnchorus.formats.text_tables import some
from dawnchorus.formats.whole_tables import read_whole_table
from dawnchorus.recordings.dataset_root import real_path
from dawnchorus.recordings.labels import UNKNOWN, LabelMap
from dawnchorus.wording import in_line, shown

logger = logging.getLogger(__name__)


class PseudoClips:
    """The kept rows of all tables, drawn by their primary label, or the soundscapes that they are of.

    Parameters
    ----------
    settings
        Tables, and the selection of their rows.
    labels
        Classes of the model; other columns of a table are ignored, and missing ones are 0.
    clip
        Settings of clips.
    use_h5py
        Read the HDF5 file of a soundscape where there is one.
    fold
        Fold that is left out of training.

    Attributes
    ----------
    targets
        Shape (n_rows, n_classes), float32 in [0, 1]: the probabilities, to their power, trimmed; -1 where
        unknown.

    Raises
    ------
    DataError
        A table cannot be read or has an invalid ``row_id``, a soundscape is missing, or no row is kept.

    Examples
    --------
    >>> from pathlib import Path
    >>> import numpy as np
    >>> import pandas as pd
    >>> from dawnchorus.datasets.clip_settings import ClipSettings
    >>> from dawnchorus.datasets.self_training_settings import PseudoLabelSettings
    >>> from dawnchorus.recordings.labels import LabelMap
    >>> rows = pd.DataFrame({"row_id": ["night_5", "night_10"], "owl": [0.05, 0.9], "wren": [0.8, 0.3]})
    >>> rows.to_csv("round_1.csv", index=False)
    >>> settings = PseudoLabelSettings(tables=[{"table": "round_1.csv", "audio_dir": "."}])
    >>> Path("night.wav").is_file()  # the soundscape that the rows are of
    True
    >>> labels = PseudoClips(settings, LabelMap(("owl", "wren")), ClipSettings(), use_h5py=False, fold=0)
    >>> labels.targets, labels.draw_row(0, np.random.default_rng(0))
    (array([[0. , 0.8],
           [0.9, 0.3]], dtype=float32), 1)
    """

    def __init__(
        self,
        settings: PseudoLabelSettings,
        labels: LabelMap,
        clip: ClipSettings,
        *,
        use_h5py: bool,
        fold: int,
    ) -> None:
        self.settings = settings
        self.clip_settings = clip
        rows = _kept_rows(settings, labels, fold)
        given = rows[list(labels.labels)].to_numpy(np.float32)
        probabilities = given.clip(min=0) ** np.float32(settings.exponent)
        trimmed = np.where(probabilities < settings.trim_min_prob, np.float32(0), probabilities)
        self.targets = np.where(given < 0, np.float32(UNKNOWN), trimmed)
        self.end_s, self.row_s = rows["end_s"].to_numpy(), rows["row_s"].to_numpy()
        soundscapes = rows[["audio_path", "stored_path"]].drop_duplicates("audio_path")
        self.sources = open_recordings(
            soundscapes, sample_rate=clip.sample_rate, use_h5py=use_h5py, channel=clip.channel
        )
        self.audio_paths = soundscapes["audio_path"].tolist()
        self.source_of_row = pd.Index(soundscapes["audio_path"]).get_indexer(pd.Index(rows["audio_path"]))
        self._refuse_rows_outside()
        self.rows_of_source = [np.flatnonzero(self.source_of_row == one) for one in range(len(self.sources))]
        weights = [self.targets[one].max(axis=0).clip(min=0).sum() for one in self.rows_of_source]
        self.source_weights = soundscape_weights(np.array(weights, dtype=np.float64))
        primary = probabilities.argmax(axis=1)
        self.rows_of_class = [np.flatnonzero(primary == index) for index in range(len(labels))]
        logger.info(f"Pseudo-labels: {len(rows)} rows of {len(soundscapes)} soundscapes are trained on")

    def __len__(self) -> int:
        return len(self.targets)

    def refuse_labelled(self, audio_paths: Iterable[str]) -> None:
        """Raise a DataError where a soundscape is also a labelled recording, which a fold may test on."""
        labelled = {real_path(from_legible(path)) for path in audio_paths}
        both = [Path(path).name for path in self.audio_paths if real_path(from_legible(path)) in labelled]
        if both:
            raise DataError(
                f"{some(both)} both a labelled recording and a pseudo-labelled soundscape; keep it in one of "
                "the two, or a model would be tested on what it has learnt"
            )

    def draw(self, label: int | None, rng: np.random.Generator) -> tuple[int, int] | None:
        """Return a row and the first sample of a segment, or None where the class has no row.

        With ``drawing`` ``soundscapes``, the row is the first of the soundscape that was drawn.

        ``label`` is the class of the row's primary label; None allows any.
        """
        if self.settings.drawing == "soundscapes":
            source = int(rng.choice(len(self.sources), p=self.source_weights))
            last = max(self.sources[source].n_samples - self.clip_settings.n_segment, 0)
            return int(self.rows_of_source[source][0]), int(rng.integers(last + 1))
        row = self.draw_row(label, rng)
        return None if row is None else (row, self.draw_start(row, rng))

    def target(self, row: int, segment_start: int) -> npt.NDArray[np.float32]:
        """Return the target of a segment that was drawn, shape (n_classes,), in [0, 1], or -1 if unknown."""
        if self.settings.drawing == "rows":
            return cap_label_sum(self.targets[row], self.settings.max_label_sum)
        rows, rate = self.rows_of_source[self.source_of_row[row]], self.clip_settings.sample_rate
        stops = self.end_s[rows] * rate
        starts = stops - self.row_s[rows] * rate
        touched = rows[(starts < segment_start + self.clip_settings.n_segment) & (stops > segment_start)]
        if not len(touched):
            return np.zeros(self.targets.shape[1], np.float32)
        return cap_label_sum(self.targets[touched].max(axis=0), self.settings.max_label_sum)

    def draw_row(self, label: int | None, rng: np.random.Generator) -> int | None:
        """Return a random row, or None where the class (-1: no class) has none.

        ``label`` is the class of the row's primary label; None allows any.
        """
        if label is None:
            return int(rng.integers(len(self)))
        rows = self.rows_of_class[label] if label >= 0 else ()
        return int(rows[rng.integers(len(rows))]) if len(rows) else None

    def draw_start(self, row: int, rng: np.random.Generator) -> int:
        """Return the first sample of a random segment that contains the row, or lies within it."""
        rate, n_segment = self.clip_settings.sample_rate, self.clip_settings.n_segment
        stop = round(self.end_s[row] * rate)
        start = max(stop - round(self.row_s[row] * rate), 0)
        earliest, latest = sorted((start, stop - n_segment))
        last = max(self.sources[self.source_of_row[row]].n_samples - n_segment, 0)
        earliest, latest = min(max(earliest, 0), last), min(max(latest, 0), last)
        return int(rng.integers(earliest, latest + 1))

    def _refuse_rows_outside(self) -> None:
        rate, row_s = self.clip_settings.sample_rate, self.row_s
        durations_s = np.array([source.n_samples for source in self.sources])[self.source_of_row] / rate
        wrong = np.flatnonzero((self.end_s - row_s >= durations_s) | (self.end_s < row_s))
        if len(wrong):
            name = Path(self.audio_paths[self.source_of_row[wrong[0]]]).name
            raise DataError(
                f"{len(wrong)} pseudo-labels of {row_s[wrong[0]]:g} s lie outside their soundscapes: one "
                f"ends at {self.end_s[wrong[0]]:g} s of {name}, which has {durations_s[wrong[0]]:.2f} s; "
                "make the tables again, or set row_s to the length of their rows"
            )

    def clip(self, row: int, segment_start: int) -> npt.NDArray[np.float32]:
        """Return a clip of a row's soundscape, shape (n_samples,), not normalised."""
        return read_clip(self.sources[self.source_of_row[row]].read, segment_start, self.clip_settings)


def of_known(settings: PseudoLabelSettings, known: KnownSoundscapeSettings) -> PseudoLabelSettings:
    """Return the settings by which soundscapes with labels are drawn: all rows as they are, whole rows.

    Examples
    --------
    >>> from dawnchorus.datasets.self_training_settings import KnownSoundscapeSettings, PseudoLabelSettings
    >>> known = KnownSoundscapeSettings(tables=[{"table": "known.csv", "audio_dir": "known"}])
    >>> settings = PseudoLabelSettings(tables=[{"table": "round_1.csv", "audio_dir": "nights"}], exponent=2)
    >>> of_known(settings, known).exponent
    1.0
    """
    return settings.model_copy(
        update={
            "tables": known.tables,
            "primary_label_min_prob": -1.0,  # rows in which nothing sings, too
            "trim_min_prob": 0.0,
            "exponent": 1.0,
            "drawing": "rows",
            "max_label_sum": known.max_label_sum,
            "out_of_fold": False,
        }
    )


def soundscape_weights(sums: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the chance of each soundscape to be drawn; all are as likely where none has a probability.

    BirdCLEF+ 2025, first place: a soundscape's weight is the sum over classes of its largest probability.

    Parameters
    ----------
    sums
        Shape (n_soundscapes,), the weights.

    Examples
    --------
    >>> import numpy as np
    >>> soundscape_weights(np.array([3.0, 1.0]))
    array([0.75, 0.25])
    """
    total = sums.sum()
    return sums / total if total > 0 else np.full(len(sums), 1 / len(sums))


def cap_label_sum(target: npt.NDArray[np.float32], largest: float | None) -> npt.NDArray[np.float32]:
    """Return a target scaled down so that it sums to at most ``largest``, shape (n_classes,).

    Unknown classes (-1) stay unknown and do not count. None caps nothing.

    Examples
    --------
    >>> import numpy as np
    >>> cap_label_sum(np.float32([0.9, 0.6, -1]), 0.75)
    array([ 0.45,  0.3 , -1.  ], dtype=float32)
    """
    total = float(target.clip(min=0).sum())
    if largest is None or total <= largest:
        return target
    return np.where(target > 0, target * np.float32(largest / total), target)


def _kept_rows(settings: PseudoLabelSettings, labels: LabelMap, fold: int) -> pd.DataFrame:
    kept: list[pd.DataFrame] = []
    used: set[str] = set()
    for each in settings.tables:
        rows = read_pseudo_labels(each.table, labels, needs_fold=settings.out_of_fold, missing=each.missing)
        rows = rows[~rows["soundscape"].isin(used)]
        if settings.out_of_fold:
            rows = rows[rows["fold"] != fold]
        rows = rows[rows["primary_label_prob"] > settings.primary_label_min_prob]
        used.update(rows["soundscape"])
        rows = rows.assign(row_s=each.row_s or settings.row_s)
        kept.append(_with_soundscapes(rows, each))
    rows = pd.concat(kept, ignore_index=True)
    if rows.empty:
        raise DataError(
            f"{' and '.join(str(each.table) for each in settings.tables)}: no row has a probability above "
            f"{settings.primary_label_min_prob:g}; lower primary_label_min_prob, or leave the tables out"
        )
    return rows


def read_pseudo_labels(
    path: Path,
    labels: LabelMap,
    *,
    needs_fold: bool,
    missing: Literal["absent", "unknown"] = "absent",
) -> pd.DataFrame:
    """Return soundscape, end_s, primary_label_prob, where needed fold, and a column a class.

    Parameters
    ----------
    path
        A table of pseudo-labels, ``.parquet`` or ``.csv``.
    labels
        Classes of the model; other columns are ignored.
    needs_fold
        Whether the column ``fold``, or the published tables' ``fold_id``, must be there.
    missing
        What the classes without a column are: 0, or -1.

    Raises
    ------
    DataError
        It cannot be read, a column is missing, or a value is illegal.

    Examples
    --------
    >>> from pathlib import Path
    >>> import pandas as pd
    >>> from dawnchorus.recordings.labels import LabelMap
    >>> pd.DataFrame({"row_id": ["night_5"], "owl": [0.75]}).to_csv("round_1.csv", index=False)
    >>> read_pseudo_labels(Path("round_1.csv"), LabelMap(("owl",)), needs_fold=False)
      soundscape  end_s  primary_label_prob   owl
    0      night    5.0                0.75  0.75
    """
    table = read_whole_table(path)
    if "fold" not in table:
        table = table.rename(columns={"fold_id": "fold"})
    needed = ["row_id", *(["fold"] if needs_fold else [])]
    lacking = [column for column in needed if column not in table]
    if lacking:
        hint = "; without out_of_fold it is not needed" if lacking == ["fold"] else ""
        raise DataError(f"{path} has no column {', '.join(lacking)}{hint}")
    absent = [label for label in labels.labels if label not in table]
    if len(absent) == len(labels):
        raise DataError(f"{path} has no column of the classes {some(list(labels.labels))}")
    if absent:
        logger.warning(f"{path} has no column {some(absent)}: these classes count as {missing} in its rows")
    probabilities = _checked_probabilities(table.reindex(columns=list(labels.labels), fill_value=0.0), path)
    row_ids = table["row_id"].astype(object).fillna("").astype(str)
    keys = row_ids.str.extract(r"^(?P<soundscape>.+)_(?P<end_s>\d+(?:\.\d+)?)$")
    wrong = row_ids[keys["end_s"].isna()].tolist()
    if wrong:
        raise DataError(f"{path}: row_id {some(wrong)} does not end in _ and a second, such as XC1_5")
    twice = row_ids[row_ids.duplicated()].tolist()
    if twice:
        raise DataError(f"{path}: row_id {some(twice)} stands more than once; keep one row a stretch")
    keys["end_s"] = keys["end_s"].astype(float)
    keys["primary_label_prob"] = probabilities.max(axis=1)
    if needs_fold:
        keys["fold"] = _checked_folds(table["fold"], path)
    if missing == "unknown":
        probabilities = probabilities.assign(**dict.fromkeys(absent, np.float32(UNKNOWN)))
    return pd.concat([keys, probabilities], axis=1)


def _checked_folds(column: pd.Series, path: Path) -> pd.Series:
    folds = pd.to_numeric(column, errors="coerce")
    wrong = column[folds.isna() | (folds % 1 != 0)]
    if len(wrong):
        raise DataError(
            f"{path}: fold is {shown(wrong.iloc[0])} in {len(wrong)} of {len(column)} rows; out_of_fold "
            "needs the number of the fold whose model made the row, from 0"
        )
    return folds.astype(int)


def _checked_probabilities(probabilities: pd.DataFrame, path: Path) -> pd.DataFrame:
    try:
        numbers = probabilities.astype(np.float32)
    except (ValueError, TypeError) as error:
        raise DataError(f"{path}: a probability is no number: {in_line(str(error))}") from None
    outside = ~((numbers >= 0) & (numbers <= 1))
    if outside.to_numpy().any():
        label = str(outside.any().idxmax())
        raise DataError(
            f"{path}: the probability of {label} is {numbers[label][outside[label]].iloc[0]}, beyond 0 to 1"
        )
    return numbers


def _with_soundscapes(rows: pd.DataFrame, settings: PseudoTableSettings) -> pd.DataFrame:
    """Return the rows with the files of their soundscapes, found by their stems."""
    wanted = set(rows["soundscape"])
    paths = [path for path in list_audio_files(settings.audio_dir) if path.stem in wanted]
    files = {path.stem: path.relative_to(settings.audio_dir) for path in paths}
    missing = sorted(wanted - set(files))
    if missing:
        raise DataError(f"{settings.table} names {some(missing)} not found in {settings.audio_dir}")
    if len(paths) > len(files):
        twice = sorted(
            {path.stem for path in paths if path.relative_to(settings.audio_dir) != files[path.stem]}
        )
        raise DataError(
            f"{settings.audio_dir} holds {some(twice)} more than once; rows name a soundscape by it"
        )
    stored = {stem: find_stored(settings.features_dir, file) for stem, file in files.items()}
    read_headers(
        settings.audio_dir, [file.as_posix() for stem, file in files.items() if stored[stem] is None]
    )
    return rows.assign(
        audio_path=[legible(str(settings.audio_dir / files[stem])) for stem in rows["soundscape"]],
        stored_path=[legible(str(stored[stem] or "")) for stem in rows["soundscape"]],
    )
