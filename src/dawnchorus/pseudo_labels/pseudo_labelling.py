"""Unlabelled soundscapes → the table of pseudo-labels that training samples from.

One row a segment, segments side by side: ``row_id`` (``{soundscape}_{end second}``), a column a class,
``primary_label`` and ``primary_label_prob`` (the class with the largest probability, and that), and out of
fold ``fold``. :mod:`dawnchorus.datasets.pseudo_clips` reads it.

A row ends a whole number of segments after the beginning, also where the soundscape ends before that.
Training then reads the last whole segment, of which the model had only the end as input; so the last row is
kept where that was half a segment or more. The only row of a short soundscape is always kept: both pad it
alike.

::

    {out_dir}/
    ├── settings.json               the settings of the table
    ├── all_folds/journal/          the ensemble's outputs; out of fold, fold_0/journal/ and so on
    └── failures.csv                soundscapes that could not be decoded
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dawnchorus.batch.journaled import JournaledInference, open_journal
from dawnchorus.engines.engine import Engine
from dawnchorus.errors import DataError, RunError
from dawnchorus.files import Failure, write_failures, write_text
from dawnchorus.files.shards import alone_in
from dawnchorus.predict.recording_files import RecordingFile, RecordingFiles
from dawnchorus.predict.window_predictions import WindowPredictions
from dawnchorus.progress import track
from dawnchorus.pseudo_labels.pseudo_label_settings import (
    SETTINGS_NAME,
    LabellingSettings,
    check_earlier,
    made_with,
)
from dawnchorus.pseudo_labels.pseudo_label_table import PseudoLabelTable, pseudo_label_table
from dawnchorus.pseudo_labels.soundscape_files import deal_labelled, deal_soundscapes, soundscapes_by_name

logger = logging.getLogger(__name__)


class PseudoLabels(NamedTuple):
    """The table that was made, and counts.

    Attributes
    ----------
    table
        The table.
    n_rows
        Its rows.
    n_soundscapes, n_new
        Soundscapes that were predicted, and those of them by this call.
    n_short
        Ends of soundscapes that got no row, being shorter than half a segment.
    failures
        Soundscapes that could not be decoded, also in ``failures.csv``.

    Examples
    --------
    >>> from pathlib import Path
    >>> made = PseudoLabels(Path("round_1.parquet"), 120, n_soundscapes=10, n_new=10, n_short=0, failures=[])
    >>> made.n_rows
    120
    """

    table: Path
    n_rows: int
    n_soundscapes: int
    n_new: int
    n_short: int
    failures: list[Failure]


@dataclass
class _Counted:
    """Sums of counts over parts."""

    n_new: int = 0
    n_short: int = 0
    failures: list[Failure] = field(default_factory=list)


class LabelledPart(NamedTuple):
    """Soundscapes that one ensemble predicts.

    Attributes
    ----------
    folder
        The folder of its journal.
    fold
        Its fold, where it is one.
    open_ensemble
        Opens it.
    recordings
        The soundscapes.

    Examples
    --------
    >>> from dawnchorus import open_engine
    >>> LabelledPart("all_folds", None, lambda: open_engine("model"), recordings=[]).folder
    'all_folds'
    """

    folder: str
    fold: int | None
    open_ensemble: Callable[[], Engine]
    recordings: list[RecordingFile]


Prediction = Callable[[JournaledInference, LabelledPart], tuple[int, list[Failure]]]
"""Brings the entries of a part into its journal; returns how many are new, and failures."""


def make_pseudo_labels(
    engine: Engine,
    found: RecordingFiles,
    out_dir: Path,
    settings: LabellingSettings,
    *,
    force: bool = False,
) -> PseudoLabels:
    """Predict soundscapes with an ensemble, write the table, and return it with counts.

    A call that was killed can be repeated: soundscapes in the journal are not predicted a second time, and
    the table is that of an undisturbed call, bit for bit. An earlier table stays until the new one is whole.

    Parameters
    ----------
    engine
        The ensemble.
    found
        The soundscapes.
    out_dir
        Folder for the journal and the list of failures; made if missing.
    settings
        Table, threshold of rows and postprocessing.
    force
        Whether a table made with other settings, or predictions of another model, are replaced.

    Raises
    ------
    DataError
        Two soundscapes have one name, a class has the name of another column, or nothing could be decoded.
    RunError
        The table is there and was made with other settings, and ``force`` is not set; or another process
        makes it.

    Examples
    --------
    >>> from pathlib import Path
    >>> from dawnchorus import open_engine
    >>> from dawnchorus.predict.recording_files import find_recordings
    >>> from dawnchorus.pseudo_labels.pseudo_label_settings import LabellingSettings
    >>> settings = LabellingSettings(Path("round_1.parquet"))
    >>> engine, found = open_engine("model", n_threads=1), find_recordings(["night.wav"])
    >>> made = make_pseudo_labels(engine, found, Path("out"), settings)
    >>> made.n_rows, made.n_short  # the last 2 s are less than half a window
    (2, 1)
    """
    return label_parts([whole_part(engine, found)], found, out_dir, settings, force=force)


def whole_part(engine: Engine, found: RecordingFiles) -> LabelledPart:
    """Return all soundscapes as one part.

    Examples
    --------
    >>> from dawnchorus import open_engine
    >>> from dawnchorus.predict.recording_files import find_recordings
    >>> len(whole_part(open_engine("model", n_threads=1), find_recordings(["recordings"])).recordings)
    8
    """
    return LabelledPart("all_folds", None, lambda: engine, found.recordings)


def make_out_of_fold_pseudo_labels(
    open_fold: Callable[[int], Engine],
    folds: Sequence[int],
    found: RecordingFiles,
    out_dir: Path,
    settings: LabellingSettings,
    *,
    fold_of: Mapping[Path, int] | None = None,
    force: bool = False,
) -> PseudoLabels:
    """Predict each soundscape with one fold's model alone, which column ``fold`` names.

    With ``out_of_fold``, :class:`~dawnchorus.datasets.pseudo_clips.PseudoClips` then gives no fold a row that
    its own model made. :func:`~dawnchorus.pseudo_labels.soundscape_files.deal_soundscapes` splits the
    soundscapes.

    Parameters
    ----------
    open_fold
        Opens the model of a fold; it is dropped before the next one is opened.
    folds
        Numbers of the folds, two or more.
    fold_of
        The fold that predicts each recording, by its path, instead of a split by hashes: for recordings that
        the models were trained on, the one that was left out with it.
    found, out_dir, settings, force
        As for :func:`make_pseudo_labels`, with its errors.

    Raises
    ------
    RunError
        There is only one fold.
    DataError
        There is only one soundscape.

    Examples
    --------
    >>> from pathlib import Path
    >>> import pandas as pd
    >>> from dawnchorus import open_engine
    >>> from dawnchorus.predict.recording_files import find_recordings
    >>> from dawnchorus.pseudo_labels.pseudo_label_settings import LabellingSettings
    >>> settings = LabellingSettings(Path("round_1.parquet"))
    >>> def open_fold(fold):
    ...     return open_engine("logdirs/tiny", "torch", folds=[fold])
    >>> found = find_recordings(["recordings/owl"])
    >>> made = make_out_of_fold_pseudo_labels(open_fold, [0, 1], found, Path("out"), settings)
    >>> made.n_rows, sorted(set(pd.read_parquet(made.table)["fold"]))
    (4, [0, 1])
    """
    parts = fold_parts(open_fold, folds, found, fold_of=fold_of)
    return label_parts(parts, found, out_dir, settings, force=force)


def fold_parts(
    open_fold: Callable[[int], Engine],
    folds: Sequence[int],
    found: RecordingFiles,
    *,
    fold_of: Mapping[Path, int] | None = None,
) -> list[LabelledPart]:
    """Return the soundscapes that each fold predicts.

    Parameters
    ----------
    open_fold, folds, found, fold_of
        As for :func:`make_out_of_fold_pseudo_labels`, with its errors.

    Examples
    --------
    >>> from dawnchorus import open_engine
    >>> from dawnchorus.predict.recording_files import find_recordings
    >>> found = find_recordings(["recordings/owl"])
    >>> parts = fold_parts(lambda fold: open_engine("model", n_threads=1), [0, 1], found)
    >>> [part.folder for part in parts]
    ['fold_0', 'fold_1']
    """
    if len(set(folds)) < 2:
        raise RunError(
            f"out of fold needs the models of two folds or more, and {len(set(folds))} is finished; train "
            "the others, or label with all of them"
        )
    if fold_of:
        dealt = deal_labelled(found.recordings, folds, fold_of)
    else:
        dealt = deal_soundscapes(found.recordings, folds)
    logger.info(f"Out of fold: every {dealt.unit} goes to one of the folds {sorted(folds)}")
    return [
        LabelledPart(f"fold_{fold}", fold, partial(open_fold, fold), recordings)
        for fold, recordings in dealt.by_fold.items()
        if recordings
    ]


def label_parts(
    parts: Sequence[LabelledPart],
    found: RecordingFiles,
    out_dir: Path,
    settings: LabellingSettings,
    *,
    prediction: Prediction | None = None,
    force: bool = False,
) -> PseudoLabels:
    """Write the table of several parts.

    Parameters
    ----------
    parts
        The parts.
    prediction
        What brings their entries into the journals; None predicts what is not there.
    found, out_dir, settings, force
        As for :func:`make_pseudo_labels`, with its errors.

    Examples
    --------
    >>> from pathlib import Path
    >>> from dawnchorus import open_engine
    >>> from dawnchorus.predict.recording_files import find_recordings
    >>> from dawnchorus.pseudo_labels.pseudo_label_settings import LabellingSettings
    >>> found, settings = find_recordings(["night.wav"]), LabellingSettings(Path("round_1.parquet"))
    >>> parts = [whole_part(open_engine("model", n_threads=1), found)]
    >>> label_parts(parts, found, Path("out"), settings).n_rows
    2
    """

    def predicted(work: JournaledInference, part: LabelledPart) -> tuple[int, list[Failure]]:
        return work.predict(RecordingFiles(found.root, part.recordings))

    names = {recording.path: name for name, recording in soundscapes_by_name(found.recordings).items()}
    folds = [part.fold for part in parts if part.fold is not None]
    made = {"folder of soundscapes": str(found.root.absolute()), **made_with(settings, folds)}
    counted = _Counted()
    out_dir.mkdir(parents=True, exist_ok=True)
    with alone_in(out_dir, lock=out_dir / "lock"):
        check_earlier(out_dir, settings.table, made, force=force)
        write_text(out_dir / SETTINGS_NAME, json.dumps(made, indent=2))
        with ExitStack() as stack:
            table: PseudoLabelTable | None = None
            for part in parts:
                engine = part.open_ensemble()
                if table is None:
                    has_folds, labels = part.fold is not None, engine.card.labels
                    table = stack.enter_context(
                        pseudo_label_table(settings.table, labels, has_folds=has_folds)
                    )
                journal = open_journal(engine, out_dir / part.folder, settings.journaled, force=force)
                with journal as work:
                    n_new, failures = (prediction or predicted)(work, part)
                    counted.n_new += n_new
                    counted.failures += failures
                    counted.n_short += _add_rows(table, work, part, names, failures, settings.min_prob)
            write_failures(out_dir, counted.failures)
            _check_some_decoded(found, counted.failures)
    n_soundscapes = len(found.recordings) - len(counted.failures)
    n_rows = 0 if table is None else table.n_rows
    return PseudoLabels(
        settings.table, n_rows, n_soundscapes, counted.n_new, counted.n_short, counted.failures
    )


def _check_some_decoded(found: RecordingFiles, failures: Sequence[Failure]) -> None:
    if len(failures) == len(found.recordings):
        raise DataError(
            f"none of the {len(failures)} soundscapes could be decoded; the first: {failures[0].reason}"
        )


def _add_rows(
    table: PseudoLabelTable,
    work: JournaledInference,
    part: LabelledPart,
    names: Mapping[Path, str],
    failures: Sequence[Failure],
    min_prob: float,
) -> int:
    """Add the rows of all decoded soundscapes of a part; return how many ends got none."""
    failed = {failure.path for failure in failures}
    done = [recording for recording in part.recordings if recording.path not in failed]
    n_segment, n_short = work.inference.card.n_segment, 0
    for recording in track(done, "Writing pseudo-labels", total=len(done)):
        windows = work.read(recording).predictions
        heard = heard_enough(windows, n_segment)
        n_short += int((~heard).sum())
        kept = heard & (windows.probabilities.max(axis=1) >= np.float32(min_prob))
        ends_s = (windows.starts[kept] + n_segment) / windows.sample_rate
        table.add(names[recording.path], ends_s, windows.probabilities[kept], fold=part.fold)
    return n_short


def heard_enough(windows: WindowPredictions, n_segment: int) -> npt.NDArray[np.bool_]:
    """Return which windows make a row: all but a last one that holds less than half of ``n_segment`` samples.

    The only window of a soundscape always makes one. Shape (n_windows,).

    Examples
    --------
    >>> import numpy as np
    >>> from dawnchorus.predict.window_predictions import WindowPredictions
    >>> starts, stops = np.array([0, 5, 10]), np.array([5, 10, 12])
    >>> windows = WindowPredictions(starts, stops, np.zeros((3, 2), np.float32), sample_rate=1)
    >>> heard_enough(windows, n_segment=5)
    array([ True,  True, False])
    """
    if len(windows.starts) == 1:
        return np.ones(1, bool)
    return 2 * (windows.stops - windows.starts) >= n_segment
