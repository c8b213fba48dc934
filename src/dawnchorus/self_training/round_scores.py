"""The score of a round: on labelled soundscapes, or out of fold with the agreement between folds."""

from __future__ import annotations

import hashlib
import itertools
import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import rankdata

from dawnchorus.config import Record
from dawnchorus.engines import Engine, open_engine
from dawnchorus.errors import DataError
from dawnchorus.evaluate.soundscape_truth import soundscape_macro_roc_auc
from dawnchorus.formats.annotations import ANNOTATIONS_NAME, read_annotations
from dawnchorus.pipelines.experiment import TrainedRun
from dawnchorus.predict.recording_files import RecordingFile, RecordingFiles, find_recordings
from dawnchorus.pseudo_labels.pseudo_label_settings import LabellingSettings
from dawnchorus.pseudo_labels.pseudo_label_table import ROW_ID
from dawnchorus.pseudo_labels.pseudo_labelling import make_pseudo_labels
from dawnchorus.pseudo_labels.soundscape_files import soundscape_name
from dawnchorus.wording import first_few

logger = logging.getLogger(__name__)

ScoreKind = Literal["labelled soundscapes", "out of fold and agreement"]

N_COMPARED = 200
"""Soundscapes that the folds are compared on, at most."""


class RoundScore(Record):
    """The scores of a round.

    Attributes
    ----------
    kind
        What :attr:`value` is of.
    value
        The score that rounds are compared by: macro ROC-AUC on labelled soundscapes, or the mean of
        ``out_of_fold`` and ``agreement``.
    out_of_fold
        Macro ROC-AUC of the labelled recordings, each by the fold that was not trained on it, pooled; None
        where it cannot be had.
    soundscapes
        Macro ROC-AUC of the windows of labelled soundscapes; None without such.
    agreement
        How alike the folds rank the windows of unlabelled soundscapes (:func:`fold_agreement`); None where
        it was not needed.

    Examples
    --------
    >>> RoundScore.of(out_of_fold=0.9, agreement=0.7).value
    0.8
    >>> RoundScore.of(out_of_fold=0.9, soundscapes=0.85).kind
    'labelled soundscapes'
    """

    kind: ScoreKind
    value: float
    out_of_fold: float | None = None
    soundscapes: float | None = None
    agreement: float | None = None

    @classmethod
    def of(
        cls,
        *,
        out_of_fold: float | None = None,
        soundscapes: float | None = None,
        agreement: float | None = None,
    ) -> RoundScore:
        """Return the score from its parts: ``soundscapes``, or else both of the others."""
        parts = {"out_of_fold": out_of_fold, "soundscapes": soundscapes, "agreement": agreement}
        if soundscapes is not None:
            return cls(kind="labelled soundscapes", value=soundscapes, **parts)
        assert out_of_fold is not None
        assert agreement is not None
        return cls(kind="out of fold and agreement", value=(out_of_fold + agreement) / 2, **parts)


class LabelledSoundscapes:
    """Soundscapes whose species are known, to score rounds on.

    Parameters
    ----------
    folder
        Folder of the soundscapes with ``annotations.csv``, or tables of boxes as
        :func:`dawnchorus.formats.annotations.read_annotations` reads them. Recordings that no table names are
        left out.

    Attributes
    ----------
    found
        The soundscapes.
    boxes
        Their boxes: filename, start_s, end_s, label.

    Raises
    ------
    DataError
        There are no tables, or none names a recording of the folder, or rows are faulty.

    Examples
    --------
    >>> import shutil
    >>> from pathlib import Path
    >>> Path("known").mkdir()
    >>> _ = shutil.copy("night.wav", "known")
    >>> _ = Path("known/annotations.csv").write_text("filename,start_s,end_s,label\\nnight.wav,7,9,owl\\n")
    >>> known = LabelledSoundscapes("known")
    >>> len(known.found.recordings), known.boxes["label"].tolist()
    (1, ['owl'])
    """

    def __init__(self, folder: str | Path) -> None:
        found = find_recordings([str(folder)])
        file = found.root / ANNOTATIONS_NAME
        names = [recording.name for recording in found.recordings]
        annotations = read_annotations(file if file.is_file() else found.root, names)
        if annotations.faults:
            faults = first_few([str(fault) for fault in annotations.faults])
            raise DataError(f"{folder}: rows of the labelled soundscapes are faulty: {faults}")
        listed = set(annotations.filenames)
        recordings = [recording for recording in found.recordings if recording.name in listed]
        if not recordings:
            raise DataError(f"{folder}: no table names one of its {len(names)} recordings")
        self.found = RecordingFiles(found.root, recordings)
        self.boxes = annotations.boxes

    @property
    def boxes_digest(self) -> str:
        """SHA-256 of the boxes."""
        return hashlib.sha256(self.boxes.to_csv(index=False).encode("utf-8", "surrogateescape")).hexdigest()

    def check_known(self, labels: Sequence[str]) -> None:
        """Raise a DataError where no box has one of the classes."""
        if not set(labels) & set(self.boxes["label"]):
            raise DataError(
                f"{self.found.root}: none of the species {first_few(sorted(set(self.boxes['label'])))} is "
                "among the classes, so that rounds cannot be scored on it"
            )

    def macro_roc_auc(self, engine: Engine, out_dir: Path) -> float:
        """Return macro ROC-AUC of an ensemble on the windows; what it predicts is kept in ``out_dir``.

        Raises
        ------
        DataError
            No species can be scored: none has windows with and without it.
        """
        windows = window_table(engine, self.found, out_dir)
        score = soundscape_macro_roc_auc(windows, self.boxes)
        if score is None:
            raise DataError(
                f"{self.found.root}: no species has windows with and without it, so that nothing is scored"
            )
        return score


def window_table(engine: Engine, found: RecordingFiles, out_dir: Path) -> pd.DataFrame:
    """Return filename, start_s, end_s and the probabilities of the windows, a column a class.

    What was predicted is kept in ``out_dir``, so that a call that was killed goes on.

    Examples
    --------
    >>> from pathlib import Path
    >>> from dawnchorus import open_engine
    >>> from dawnchorus.predict.recording_files import find_recordings
    >>> windows = window_table(open_engine("model", n_threads=1), find_recordings(["night.wav"]), Path("out"))
    >>> windows[["filename", "start_s", "end_s"]].values.tolist()
    [['night.wav', 0.0, 5.0], ['night.wav', 5.0, 10.0]]
    """
    made = make_pseudo_labels(engine, found, out_dir, LabellingSettings(out_dir / "windows.parquet"))
    if made.failures:
        unread = first_few([failure.path.name for failure in made.failures])
        logger.warning(f"{len(made.failures)} soundscapes cannot be read, and count for no score: {unread}")
    rows = pd.read_parquet(made.table)
    names = {soundscape_name(recording): recording.name for recording in found.recordings}
    parts = rows[ROW_ID].str.rpartition("_")
    end_s = parts[2].astype(float)
    return pd.DataFrame(
        {
            "filename": parts[0].map(names),
            "start_s": end_s - engine.card.segment_len,
            "end_s": end_s,
            **{label: rows[label] for label in engine.card.labels},
        }
    )


def fold_agreement(probabilities: npt.NDArray[np.float32]) -> float:
    """Return how alike folds rank windows: Spearman's correlation, mean over classes and pairs of folds.

    A class that a fold gives the same probability everywhere has none, and is left out of its pairs.

    Parameters
    ----------
    probabilities
        Shape (n_folds, n_windows, n_classes).

    Returns
    -------
    float
        In -1 to 1; 0 where nothing can be compared.

    Examples
    --------
    >>> import numpy as np
    >>> first, second = np.float32([[0.1], [0.2], [0.9]]), np.float32([[0.3], [0.4], [0.5]])
    >>> [round(fold_agreement(np.stack([first, other])), 6) for other in (second, second[::-1])]
    [1.0, -1.0]
    """
    ranks = rankdata(probabilities, axis=1)
    ranks -= ranks.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(ranks, axis=1)
    found = []
    for one, other in itertools.combinations(range(len(ranks)), 2):
        varies = (norms[one] > 0) & (norms[other] > 0)
        products = (ranks[one] * ranks[other]).sum(axis=0)[varies]
        found.append(products / (norms[one] * norms[other])[varies])
    together = np.concatenate(found) if found else np.zeros(0)
    return float(together.mean()) if len(together) else 0.0


def score_round(
    run: TrainedRun, soundscapes: RecordingFiles, labelled: LabelledSoundscapes | None, out_dir: Path
) -> RoundScore:
    """Return the score of a round.

    Parameters
    ----------
    run
        Its run.
    soundscapes
        The unlabelled soundscapes, on a part of which the folds are compared.
    labelled
        The labelled ones; with these, the folds are not compared.
    out_dir
        Folder for what is predicted, so that a call that was killed goes on.

    Raises
    ------
    DataError
        Nothing can be scored.

    Examples
    --------
    >>> from pathlib import Path
    >>> from dawnchorus import open_run
    >>> from dawnchorus.predict.recording_files import find_recordings
    >>> score_round(open_run("logdirs/tiny"), find_recordings(["night.wav"]), None, Path("scores")).kind
    'out of fold and agreement'
    """
    out_of_fold: float | None = None
    try:
        out_of_fold = run.out_of_fold().macro_roc_auc
    except DataError:
        if labelled is None:
            raise
    if out_of_fold is not None and math.isnan(out_of_fold):
        out_of_fold = None
    if labelled is not None:
        engine = open_engine(run.path, "torch", config=run.experiment)
        return RoundScore.of(
            out_of_fold=out_of_fold, soundscapes=labelled.macro_roc_auc(engine, out_dir / "labelled")
        )
    if out_of_fold is None:
        raise DataError(f"{run.path}: nothing can be scored out of fold; give labelled soundscapes")
    compared = RecordingFiles(soundscapes.root, compared_soundscapes(soundscapes.recordings))
    outputs = []
    for fold in run.finished_folds():
        engine = open_engine(run.path, "torch", config=run.experiment, folds=[fold])
        windows = window_table(engine, compared, out_dir / f"fold_{fold}")
        outputs.append(windows[list(engine.card.labels)].to_numpy(np.float32))
    return RoundScore.of(out_of_fold=out_of_fold, agreement=fold_agreement(np.stack(outputs)))


def compared_soundscapes(recordings: Sequence[RecordingFile]) -> list[RecordingFile]:
    """Return at most :data:`N_COMPARED` recordings, chosen by a hash of their names, in their order.

    Examples
    --------
    >>> from pathlib import Path
    >>> from dawnchorus.predict.recording_files import RecordingFile
    >>> night = RecordingFile(Path("night.wav"), "night.wav")
    >>> compared_soundscapes([night]) == [night]
    True
    """

    def digest(recording: RecordingFile) -> bytes:
        return hashlib.sha256(recording.name.encode("utf-8", "surrogateescape")).digest()

    chosen = set(sorted(recordings, key=digest)[:N_COMPARED])
    return [recording for recording in recordings if recording in chosen]
