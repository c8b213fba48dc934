"""Tables of a run's records. Missing and damaged ones are left out without an error.

A training of many hours ends with a report, and a report that fails would look like a training that failed.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from dawnchorus.config import read_json_if_sound
from dawnchorus.errors import RunError
from dawnchorus.files import Failure, read_failures
from dawnchorus.metrics import CMAP, LOG_PREFIX, MACRO_ROC_AUC
from dawnchorus.runs import Run

FINISHED, UNFINISHED, NOT_BEGUN = "finished", "unfinished", "not begun"
_CLASS_SCORES = ("n_positive", "roc_auc", "average_precision")
_MEANS = ("clips_per_s", "loader_wait_share")
_MOST_FOLDS = 1000
_OWN_METRICS = (MACRO_ROC_AUC, CMAP)


class ShownMetric(NamedTuple):
    """A validation metric in tables; the function that computes it need not be importable.

    Attributes
    ----------
    column
        Its name in logs and reports: ``val_macro_roc_auc``.
    heading
        Its heading in tables.
    format
        Format of a number, as in an f-string.

    Examples
    --------
    >>> ShownMetric("val_cmap", "padded cMAP", ".4f").heading
    'padded cMAP'
    """

    column: str
    heading: str
    format: str


def shown_metrics(run: Run) -> list[ShownMetric]:
    """Return the metrics of a run, the main one first; runs of earlier versions have recorded none.

    Examples
    --------
    >>> from dawnchorus.runs import Run
    >>> [metric.column for metric in shown_metrics(Run.open("logdirs/tiny"))]
    ['val_macro_roc_auc', 'val_cmap']
    """
    noted = read_object(run.metrics_file)
    shown = [
        ShownMetric(LOG_PREFIX + name, str(how["heading"]), _legal_format(how.get("format")))
        for name, how in noted.items()
        if isinstance(how, dict) and "heading" in how
    ] or [ShownMetric(metric.log_name, metric.heading, metric.format) for metric in _OWN_METRICS]
    main = config_values(run, "train_function_args").get("main_metric")
    return sorted(shown, key=lambda metric: metric.column != main)


def history_columns(metrics: Sequence[ShownMetric]) -> tuple[str, ...]:
    """Return the columns of a fold's history: losses and scores without unit, clips a second, a fraction.

    Examples
    --------
    >>> history_columns([ShownMetric("val_cmap", "padded cMAP", ".4f")])[:3]
    ('train_loss', 'val_loss', 'val_cmap')
    """
    scores = (metric.column for metric in metrics)
    return ("train_loss", "val_loss", *scores, "learning_rate", "clips_per_s", "loader_wait_share")


def fold_history(run: Run, fold: int) -> pd.DataFrame:
    """Return the logged values of every epoch of a fold.

    A resumed fold has several logs: of a number in two, the later log's is taken.

    Returns
    -------
    pandas.DataFrame
        Indexed by epoch (int64, from 0, rising), a float64 column for each of :func:`history_columns`; NaN
        where nothing was logged. Without rows where no epoch was.

    Examples
    --------
    >>> from dawnchorus.runs import Run
    >>> history = fold_history(Run.open("logdirs/tiny"), 0)
    >>> len(history), list(history.columns)[:2]
    (1, ['train_loss', 'val_loss'])
    """
    rows = [row for file in _metrics_files(run.fold_dir(fold)) for row in _csv_rows(file, whole_lines=True)]
    logged = _numbers(rows, ("epoch", *history_columns(shown_metrics(run))))
    logged = logged[np.isfinite(logged["epoch"])].astype({"epoch": "int64"})
    return logged.groupby("epoch").last()


def fold_histories(run: Run) -> dict[int, pd.DataFrame]:
    """Return the history of every fold that the run has or will have, by rising number.

    Examples
    --------
    >>> from dawnchorus.runs import Run
    >>> list(fold_histories(Run.open("logdirs/tiny")))
    [0, 1]
    """
    return {fold: fold_history(run, fold) for fold in fold_numbers(run)}


def fold_numbers(run: Run) -> list[int]:
    """Return the folds that the run trains and validates, and those that it has a folder of, rising.

    Examples
    --------
    >>> from dawnchorus.runs import Run
    >>> fold_numbers(Run.open("logdirs/tiny"))
    [0, 1]
    """
    table = recordings_table(run)
    if table is None:
        n_folds = _number(config_values(run, "folds").get("n_folds"))
        planned = set(range(int(n_folds))) if 0 < n_folds <= _MOST_FOLDS else set()
    else:
        planned = set(table["fold"][table["validated"] & (table["fold"] >= 0)].tolist())
    trained = config_values(run, "folds").get("trained")
    planned = planned.intersection(trained) if isinstance(trained, list) else planned
    names = (path.name.removeprefix("fold_") for path in run.path.glob("fold_*") if path.is_dir())
    return sorted(planned | {int(name) for name in names if name.isdecimal()})


def fold_table(run: Run, histories: Mapping[int, pd.DataFrame]) -> pd.DataFrame:
    """Return a row a fold.

    Values of unfinished folds, and those that the report of a finished one lacks, are taken from the history.

    Returns
    -------
    pandas.DataFrame
        fold, state, best_epoch (from 0), a column for each of :func:`shown_metrics` (at the best epoch),
        n_epochs, seconds, clips_per_s, loader_wait_share (both a mean over the epochs); NaN where not
        recorded.

    Examples
    --------
    >>> from dawnchorus.runs import Run
    >>> run = Run.open("logdirs/tiny")
    >>> fold_table(run, fold_histories(run))[["fold", "state", "n_epochs"]]
       fold     state  n_epochs
    0     0  finished       1.0
    1     1  finished       1.0
    """
    metrics = [metric.column for metric in shown_metrics(run)]
    rows = [_fold_row(run, fold, history, metrics) for fold, history in histories.items()]
    columns = ("fold", "state", "best_epoch", *metrics, "n_epochs", "seconds", *_MEANS)
    return pd.DataFrame(rows, columns=list(columns))


def class_table(run: Run, folds: Iterable[int]) -> pd.DataFrame:
    """Return a row a class, the worst first: its validation scores at the best epoch of every fold.

    Returns
    -------
    pandas.DataFrame
        label, n_positive (sum over the folds), mean_roc_auc, lowest_roc_auc, n_folds (folds that define the
        ROC-AUC), mean_average_precision. Classes without a ROC-AUC are last. Without rows where no fold
        has scores.

    Examples
    --------
    >>> from dawnchorus.runs import Run
    >>> sorted(class_table(Run.open("logdirs/tiny"), [0, 1])["label"])
    ['owl', 'wren']
    """
    rows = [row for fold in folds for row in _csv_rows(run.fold_dir(fold) / "per_class.csv")]
    rows = [row for row in rows if row.get("label")]
    by_class = _numbers(rows, _CLASS_SCORES).groupby(np.array([row["label"] for row in rows], dtype=object))
    table = pd.DataFrame(
        {
            "n_positive": by_class["n_positive"].sum(min_count=1),
            "mean_roc_auc": by_class["roc_auc"].mean(),
            "lowest_roc_auc": by_class["roc_auc"].min(),
            "n_folds": by_class["roc_auc"].count(),
            "mean_average_precision": by_class["average_precision"].mean(),
        }
    )
    if rows:
        table = table.reindex(table.index.union(class_labels(run)))
    table["n_folds"] = table["n_folds"].fillna(0).astype("int64")
    return table.rename_axis("label").reset_index().sort_values(["mean_roc_auc", "label"], ignore_index=True)


def config_table(run: Run) -> pd.DataFrame:
    """Return the resolved config as key (``train_loader.batch_size``) and value, in its own order.

    Examples
    --------
    >>> from dawnchorus.runs import Run
    >>> table = config_table(Run.open("logdirs/tiny")).set_index("key")["value"]
    >>> table["exp_name"]
    'tiny'
    """
    return _texts(_dotted(read_object(run.config_file)), ["key", "value"])


def failures_table(run: Run) -> pd.DataFrame:
    """Return the recordings that were left out: path and reason.

    Examples
    --------
    >>> from dawnchorus.runs import Run
    >>> len(failures_table(Run.open("logdirs/tiny")))
    0
    """
    rows = ((str(failure.path), failure.reason) for failure in read_failures(run.path))
    return _texts(rows, Failure._fields)


def starting_weights_table(run: Run) -> pd.DataFrame:
    """Return the record of the starting weights, as text, with all its columns.

    Examples
    --------
    >>> from dawnchorus.runs import Run
    >>> len(starting_weights_table(Run.open("logdirs/tiny")))  # it starts from random weights
    0
    """
    return pd.DataFrame(_csv_rows(run.path / "starting_weights.csv"))


def read_csv_table(path: Path, columns: Sequence[str], *, numbers: Sequence[str] = ()) -> pd.DataFrame:
    """Return columns of a CSV file, text but for the numbers; without rows where there is no such file.

    A row that lacks a column has an empty text there, or NaN.

    Examples
    --------
    >>> from pathlib import Path
    >>> _ = Path("pairs.csv").write_text("label,n_taken\\nowl,3\\n")
    >>> read_csv_table(Path("pairs.csv"), ["label", "n_taken"], numbers=["n_taken"])
      label  n_taken
    0   owl      3.0
    """
    rows = _csv_rows(path, whole_lines=True)
    table = _texts((tuple(row.get(column, "") for column in columns) for row in rows), columns)
    return table.assign(**{name: _numbers(rows, [name])[name] for name in numbers})


def recordings_table(run: Run) -> pd.DataFrame | None:
    """Return the table of :meth:`Run.folds`, or None where it cannot be read.

    Examples
    --------
    >>> from dawnchorus.runs import Run
    >>> len(recordings_table(Run.open("logdirs/tiny")))
    8
    """
    try:
        return run.folds()
    except RunError:
        return None


def class_labels(run: Run) -> list[str]:
    """Return the classes of the model card; none where there is no card.

    Examples
    --------
    >>> from dawnchorus.runs import Run
    >>> class_labels(Run.open("logdirs/tiny"))
    ['owl', 'wren']
    """
    labels = read_object(run.card_file).get("labels")
    return [str(label) for label in labels] if isinstance(labels, list) else []


def config_values(run: Run, section: str) -> dict[str, Any]:
    """Return a section of the resolved config; an empty one where it has none.

    Examples
    --------
    >>> from dawnchorus.runs import Run
    >>> config_values(Run.open("logdirs/tiny"), "folds")["n_folds"]
    2
    """
    values = read_object(run.config_file).get(section)
    return values if isinstance(values, dict) else {}


def read_object(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file; an empty one where there is none.

    Examples
    --------
    >>> from pathlib import Path
    >>> _ = Path("scores.json").write_text('{"val_cmap": 0.8}')
    >>> read_object(Path("scores.json")), read_object(Path("missing.json"))
    ({'val_cmap': 0.8}, {})
    """
    return read_json_if_sound(path, dict[str, Any]) or {}


def _legal_format(given: Any) -> str:
    """Return the number format in a file where it is a plain one such as ``.4f``, else the default."""
    return str(given) if re.fullmatch(r"(\.\d)?[fge%]", str(given)) else MACRO_ROC_AUC.format


def _fold_row(run: Run, fold: int, history: pd.DataFrame, metrics: Sequence[str]) -> dict[str, Any]:
    """Return a row of the fold table; the first metric is the one that epochs are ranked by."""
    report = read_object(run.finished_file(fold))
    ranked = history[metrics[0]].dropna()
    best = _number(report.get("best_epoch", ranked.idxmax() if len(ranked) else None))
    at_best = history.loc[best] if best in history.index else {}

    def of_best(name: str) -> float:
        return _number(report.get(name, at_best.get(name)))

    def of_all(name: str) -> float:
        return _number(report.get(name, history[name].mean()))

    return {
        "fold": fold,
        "state": _state(run, fold, finished=bool(report)),
        "best_epoch": best,
        **{name: of_best(name) for name in metrics},
        "n_epochs": _number(report.get("n_epochs", len(history) or None)),
        "seconds": _number(report.get("seconds")),
        **{name: of_all(name) for name in _MEANS},
    }


def _state(run: Run, fold: int, *, finished: bool) -> str:
    if finished:
        return FINISHED
    folder = run.fold_dir(fold)
    return UNFINISHED if folder.is_dir() and any(folder.iterdir()) else NOT_BEGUN


def _metrics_files(fold_dir: Path) -> list[Path]:
    """Return the logs of a fold, the oldest first: by number, since version_10 comes after version_9."""
    files = {
        file.parent.name.removeprefix("version_"): file
        for file in fold_dir.glob("logs/version_*/metrics.csv")
    }
    return [files[number] for number in sorted(filter(str.isdecimal, files), key=int)]


def _csv_rows(path: Path, *, whole_lines: bool = False) -> list[dict[str, str]]:
    """Return the rows of a CSV file; none where there is no file.

    With ``whole_lines``, a last line without a newline is left out: a kill may have cut a number in two.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    if whole_lines:
        text = text[: text.rfind("\n") + 1]
    rows = csv.DictReader(io.StringIO(text), restval="")
    return [{name: value for name, value in row.items() if name is not None} for row in rows]


def _numbers(rows: Sequence[Mapping[str, str]], columns: Sequence[str]) -> pd.DataFrame:
    """Return columns of the rows as float64; NaN where there is no number."""
    numbers = [[_number(row.get(column)) for column in columns] for row in rows]
    return pd.DataFrame(numbers, columns=list(columns), dtype="float64")


def _texts(rows: Iterable[tuple[str, ...]], columns: Sequence[str]) -> pd.DataFrame:
    # As objects: a file name that is not valid text does not fit into a text column.
    return pd.DataFrame(list(rows), columns=list(columns), dtype=object)


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan


def _dotted(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Yield key and value of everything in a nested object; a list without objects is one value."""
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        value = {str(number): item for number, item in enumerate(value)}
    if isinstance(value, dict) and value:
        for name, item in value.items():
            yield from _dotted(item, f"{key}.{name}" if key else str(name))
    elif key:
        yield key, _shown(value)


def _shown(value: Any) -> str:
    """Return a value as in the Python config, text without quotes and lists without brackets."""
    if isinstance(value, list) and value:
        return ", ".join(map(_shown, value))
    return str(value)
