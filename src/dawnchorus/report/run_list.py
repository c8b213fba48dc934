"""All runs of a folder side by side: scores, folds, backbone, and the settings in which they differ."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from dawnchorus.errors import RunError
from dawnchorus.evaluate.frozen_baseline import read_baseline
from dawnchorus.report.run_tables import (
    config_table,
    config_values,
    fold_numbers,
    read_object,
    shown_metrics,
)
from dawnchorus.runs import Run

_OUT_OF_FOLD = "oof_macro_roc_auc"
_NOT_COMPARED = ("exp_name", "logdir", "data.")


def list_runs(folders: Sequence[Path | str] = ("logdirs",)) -> pd.DataFrame:
    """Return a row a run, the best out-of-fold score first.

    Parameters
    ----------
    folders
        Runs, and folders of runs.

    Returns
    -------
    pandas.DataFrame
        name; out_of_fold, macro ROC-AUC of recordings predicted by the fold that was not trained on them (NaN
        before ``dawnchorus evaluate``); validation, mean main metric of the finished folds at their best
        epochs, which favours itself slightly; metric, its name; baseline, the out-of-fold score of a logistic
        regression on frozen features in the same folds (NaN without); n_finished and n_folds; backbone;
        trained, UTC time of the last finished fold, ISO 8601, or an empty text; path; and differences, a dict
        of the settings that are not the same in all runs.

    Raises
    ------
    RunError
        There is no run in a folder.

    Examples
    --------
    >>> runs = list_runs(["logdirs/tiny"])
    >>> runs[["name", "n_finished", "n_folds", "backbone"]].to_numpy().tolist()
    [['tiny', 2, 2, 'test_resnet.r160_in1k']]
    """
    runs = [run for folder in folders for run in _runs_in(Path(folder))]
    configs = [dict(config_table(run).itertuples(index=False, name=None)) for run in runs]
    keys = [key for key in dict.fromkeys(key for config in configs for key in config) if _is_compared(key)]
    varying = [key for key in keys if len({config.get(key) for config in configs}) > 1]
    table = pd.DataFrame(map(_row, runs))
    table["differences"] = [{key: config[key] for key in varying if key in config} for config in configs]
    by = table.sort_values(["out_of_fold", "validation", "name"], ascending=[False, False, True])
    return by.reset_index(drop=True)


def _runs_in(folder: Path) -> list[Run]:
    cards = [folder / "model_card.json", *sorted(folder.glob("*/model_card.json"))]
    found = [Run(card.parent) for card in cards if card.is_file()]
    if not found:
        raise RunError(f"{folder}: no runs here; give a folder of runs, such as logdirs, or train one first")
    return found


def _row(run: Run) -> dict[str, object]:
    metric = shown_metrics(run)[0]
    finished = [run.finished_file(fold) for fold in fold_numbers(run) if run.finished_file(fold).is_file()]
    scores = [read_object(file).get(metric.column) for file in finished]
    known = [float(score) for score in scores if isinstance(score, int | float)]
    out_of_fold = read_object(run.path / "oof_score.json").get(_OUT_OF_FOLD)
    baseline = read_baseline(run)
    newest = max((file.stat().st_mtime for file in finished), default=None)
    return {
        "name": run.path.name,
        "out_of_fold": float(out_of_fold) if isinstance(out_of_fold, int | float) else math.nan,
        "validation": sum(known) / len(known) if known else math.nan,
        "metric": metric.column,
        "baseline": math.nan if baseline is None else baseline.macro_roc_auc,
        "n_finished": len(finished),
        "n_folds": len(fold_numbers(run)),
        "backbone": str(config_values(run, "nn_model_config").get("backbone", "")),
        "trained": "" if newest is None else datetime.fromtimestamp(newest, UTC).isoformat("T", "minutes"),
        "path": run.path.as_posix(),
    }


def _is_compared(key: str) -> bool:
    return not key.startswith(_NOT_COMPARED)
