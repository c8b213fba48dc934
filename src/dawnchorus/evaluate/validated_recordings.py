"""The recordings of a run with their folds, and those that a fold is validated on."""

from __future__ import annotations

from typing import Any, NamedTuple

import pandas as pd

from dawnchorus.config import TrainConfig
from dawnchorus.datasets.labelled_audio import composition_untold
from dawnchorus.errors import RunError
from dawnchorus.folds.assignment import validation_rows
from dawnchorus.recordings.dataset_root import real_path
from dawnchorus.recordings.labels import LabelMap
from dawnchorus.recordings.recordings_table import load_recordings, names_of_roots
from dawnchorus.runs import Run


def recordings_with_folds(run: Run, config: TrainConfig) -> pd.DataFrame:
    """Return the run's recordings table with its columns ``fold`` and ``validated``.

    Recordings that the run left out, or that were added later, are not in it.

    Raises
    ------
    RunError
        Recordings of the folds are missing.

    Examples
    --------
    >>> from dawnchorus.runs import Run
    >>> run = Run.open("logdirs/tiny")
    >>> table = recordings_with_folds(run, run.config())
    >>> len(table), sorted(set(table["fold"]))
    (8, [0, 1])
    """
    labels = None if config.labels is None else LabelMap(run.card().labels)
    recordings = load_recordings(config.data, labels=labels).table.drop(
        columns=["fold", "validated"], errors="ignore"
    )
    folds = run.folds()[["filename", "fold", "validated"]]
    joined = recordings.merge(folds, on="filename")
    if len(joined) < len(folds):
        folders = " or ".join(str(root.audio_dir) for root in config.data)
        raise RunError(
            f"{len(folds) - len(joined)} recordings of {run.folds_file} are no longer in {folders}; restore "
            "them or choose another exp_name"
        )
    return joined


def folds_of_files(run: Run) -> dict[str, int]:
    """Return the fold of each labelled recording of a run, by its resolved path; the files may be gone.

    Examples
    --------
    >>> from dawnchorus.runs import Run
    >>> folds = folds_of_files(Run.open("logdirs/tiny"))
    >>> len(folds), set(folds.values())
    (8, {0, 1})
    """
    if not run.folds_file.is_file():
        return {}
    roots = run.data()
    names = names_of_roots(roots)
    folders = {f"{name}/" if name else "": root.audio_dir for name, root in zip(names, roots, strict=True)}
    table = run.folds()
    fold_of = {}
    for filename, fold in zip(table["filename"], table["fold"].tolist(), strict=True):
        prefix = next(prefix for prefix in folders if filename.startswith(prefix))
        fold_of[real_path(folders[prefix] / filename.removeprefix(prefix))] = fold
    return fold_of


class Validated(NamedTuple):
    """The recordings that a fold is validated on, and the dataset of their windows.

    Examples
    --------
    >>> import pandas as pd
    >>> Validated(pd.DataFrame({"filename": ["owl.wav"]}), dataset=None).recordings["filename"].tolist()
    ['owl.wav']
    """

    recordings: pd.DataFrame
    dataset: Any


def validated_by(recordings: pd.DataFrame, config: TrainConfig, labels: LabelMap, fold: int) -> Validated:
    """Return the recordings that a fold is validated on, of :func:`recordings_with_folds`, and their windows.

    Examples
    --------
    >>> from dawnchorus.recordings.labels import LabelMap
    >>> from dawnchorus.runs import Run
    >>> run = Run.open("logdirs/tiny")
    >>> config, labels = run.config(), LabelMap(run.card().labels)
    >>> len(validated_by(recordings_with_folds(run, config), config, labels, fold=0).recordings)
    4
    """
    tested = validation_rows(recordings["fold"].to_numpy(), recordings["validated"].to_numpy(), fold)
    rows = recordings[tested].reset_index(drop=True)
    args = config.train_function_args
    with composition_untold():
        return Validated(rows, args.val_dataset_class(rows, labels, args.val_dataset_config))
