"""The page of a run: its settings, scores and recordings; readable offline, on screen and on paper."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from dawnchorus.config import read_json_if_sound
from dawnchorus.errors import DawnchorusError
from dawnchorus.evaluate.calibration import NEVER, OWN, POOLED
from dawnchorus.evaluate.confusions import CALIBRATED_RELIABILITY_NAME
from dawnchorus.evaluate.frozen_baseline import FrozenBaseline, read_baseline
from dawnchorus.files import replacing, write_text
from dawnchorus.models.score_calibration import SCORE_CALIBRATION_NAME, ScoreCalibration
from dawnchorus.predict.thresholds import CALIBRATION_NAME, THRESHOLDS_NAME
from dawnchorus.report.page_parts import Column, picture_of, shown_table
from dawnchorus.report.page_template import rendered
from dawnchorus.report.run_curves import draw_classes, draw_curves
from dawnchorus.report.run_mistakes import confusion_table, draw_reliability, wrong_recordings
from dawnchorus.report.run_tables import (
    FINISHED,
    ShownMetric,
    class_labels,
    class_table,
    config_table,
    failures_table,
    fold_histories,
    fold_numbers,
    fold_table,
    read_object,
    recordings_table,
    shown_metrics,
    starting_weights_table,
)
from dawnchorus.runs import Run
from dawnchorus.wording import counted

PAGE_NAME, CURVES_NAME = "report.html", "curves.png"
_TEMPLATE_NAME = "run_page.html.jinja"
_NOT_RECORDED = "not recorded"
_DASH = "—"


def write_run_page(run: Run, *, with_recordings: bool = True) -> Path:
    """Write ``report.html`` and ``curves.png`` into a run, and return the page.

    Whatever the run lacks is called "not recorded"; folds may be finished, unfinished or not begun.

    Parameters
    ----------
    run
        The run.
    with_recordings
        Also read the recordings that are most wrong out of fold, to show and to play them.

    Examples
    --------
    >>> from dawnchorus.runs import Run
    >>> page = write_run_page(Run.open("logdirs/tiny"))
    >>> page.as_posix(), "tiny" in page.read_text()
    ('logdirs/tiny/report.html', True)
    """
    histories = fold_histories(run)
    folds = fold_table(run, histories)
    best_epochs = dict(zip(folds["fold"], folds["best_epoch"], strict=True))
    curves = draw_curves(histories, best_epochs, shown_metrics(run))
    picture = picture_of(curves, "The curves of every fold, epoch by epoch")
    page = rendered(
        _TEMPLATE_NAME,
        **_training_part(run, folds, class_table(run, histories)),
        **_out_of_fold_part(run, with_recordings=with_recordings),
        **_making_part(run),
        curves=picture if curves.axes else None,
    )
    with replacing(run.path / CURVES_NAME) as temporary:
        temporary.write_bytes(picture.light)
    path = run.path / PAGE_NAME
    write_text(path, page)
    return path


def duration_text(seconds: float) -> str:
    """Return seconds as ``h:mm:ss``: 3725.4 is ``1:02:05``.

    Examples
    --------
    >>> duration_text(3725.4)
    '1:02:05'
    """
    minutes, second = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{second:02}"


_FOLD_COLUMNS = {
    "fold": Column("fold", "{}".format),
    "state": Column("state"),
    "best_epoch": Column("best epoch", "{:.0f}".format),
}
_COLUMNS_AFTER_METRICS = {
    "n_epochs": Column("epochs", "{:.0f}".format),
    "seconds": Column("time", duration_text),
    "clips_per_s": Column("clips/s", "{:,.1f}".format),
    "loader_wait_share": Column("loader wait", "{:.1%}".format),
}
_CLASS_COLUMNS = {
    "label": Column("class"),
    "n_positive": Column("positives", "{:,.0f}".format),
    "mean_roc_auc": Column("mean ROC-AUC", "{:.4f}".format),
    "lowest_roc_auc": Column("lowest fold", "{:.4f}".format),
    "n_folds": Column("folds", "{}".format),
    "mean_average_precision": Column("mean average precision", "{:.4f}".format),
}
_CONFUSION_COLUMNS = {
    "label": Column("class"),
    "taken_for": Column("taken for"),
    "n_taken": Column("recordings", "{:,.0f}".format),
    "n_recordings": Column("of", "{:,.0f}".format),
    "fraction": Column("fraction", "{:.1%}".format),
}
_NOTE_ON_FOLDS = (
    "Scores are of the validation recordings at the best epoch: the best so far, where a fold is unfinished. "
    "Epochs count from 0. Loader wait is the share of the training time in which the device waited for "
    f"clips. {_DASH} is not recorded."
)


def _training_part(run: Run, folds: pd.DataFrame, classes: pd.DataFrame) -> dict[str, Any]:
    spread, metrics = draw_classes(classes), shown_metrics(run)
    scores = {metric.column: Column(metric.heading, partial(_formatted, metric.format)) for metric in metrics}
    return {
        "title": str(read_object(run.card_file).get("exp_name") or run.path.name),
        "summary": _summary(
            folds, read_object(run.path / "oof_score.json"), metrics, _newer_folds(run), read_baseline(run)
        ),
        "folds": shown_table(folds, {**_FOLD_COLUMNS, **scores, **_COLUMNS_AFTER_METRICS}),
        "note_on_folds": _NOTE_ON_FOLDS,
        "classes": shown_table(classes, _CLASS_COLUMNS),
        "note_on_classes": _note_on_classes(classes),
        "spread": picture_of(spread, "The ROC-AUC of every class, the worst first") if spread else None,
    }


def _out_of_fold_part(run: Run, *, with_recordings: bool) -> dict[str, Any]:
    figure, pairs = draw_reliability(run), confusion_table(run)
    calibration = read_json_if_sound(run.path / SCORE_CALIBRATION_NAME, ScoreCalibration)
    held_out = None if calibration is None else draw_reliability(run, CALIBRATED_RELIABILITY_NAME)
    return {
        "calibrated_reliability": held_out
        and picture_of(held_out, "Reliability of calibrated scores on recordings held out"),
        "note_on_calibration": "" if calibration is None else _note_on_calibration(calibration),
        "reliability": picture_of(figure, "Reliability of the out-of-fold scores") if figure else None,
        "confusions": shown_table(pairs, _CONFUSION_COLUMNS),
        "wrong_recordings": wrong_recordings(run, with_sound=with_recordings),
        "is_evaluated": bool(read_object(run.path / "oof_score.json")),
        "note_on_thresholds": _note_on_thresholds(read_object(run.path / CALIBRATION_NAME)),
    }


def _newer_folds(run: Run) -> list[int]:
    """Return the finished folds whose weights are newer than the out-of-fold predictions."""
    if not run.oof_file.is_file():
        return []
    predicted = run.oof_file.stat().st_mtime_ns
    newer = []
    for fold in fold_numbers(run):
        with suppress(DawnchorusError, OSError):
            if run.best_checkpoint(fold).stat().st_mtime_ns > predicted:
                newer.append(fold)
    return newer


def _note_on_calibration(calibration: ScoreCalibration) -> str:
    """Return sentences on how good calibrated scores are on recordings held out, and what was held out."""
    held, own = calibration.held_out, sum(each.how == OWN for each in calibration.classes)
    if held is None:
        return f"Calibrated scores; how good they are was not counted ({SCORE_CALIBRATION_NAME})."
    scale = "brought to one scale before" if calibration.folds_together else "taken as they are"
    one_by_one = "each fold" if held.by == "fold" else f"each of {held.n_parts} parts of the fold's groups"
    return (
        f"Calibrated scores, held out: {one_by_one} is calibrated by the others, which is how their "
        f"reliability and these numbers are measured. The folds' scores are {scale}. Expected calibration "
        f"error {held.ece:.3f}, of raw scores {held.raw_ece:.3f}. At the default threshold "
        f"{calibration.threshold:g} ({calibration.aim}), {held.n_right} of "
        f"{counted(held.n_above, 'detection')} are right ({held.precision:.0%}), and {held.recall:.0%} of "
        f"the birds are found. {own} of "
        f"{counted(len(calibration.classes), 'class', 'classes')} are calibrated on their own, the others on "
        f"all together ({SCORE_CALIBRATION_NAME})."
    )


def _note_on_thresholds(calibration: Mapping[str, Any]) -> str:
    counts = calibration.get("n_classes_by_how")
    if not isinstance(counts, dict):
        return ""
    own, pooled, never = (counts.get(how) for how in (OWN, POOLED, NEVER))
    return (
        f"Thresholds at a precision of {calibration.get('precision')}: {own} "
        f"{'class has its' if own == 1 else 'classes have their'} own, {pooled} "
        f"{'has' if pooled == 1 else 'have'} the pooled one, and {never} never reach it ({THRESHOLDS_NAME})."
    )


def _making_part(run: Run) -> dict[str, Any]:
    failures, weights = failures_table(run), starting_weights_table(run)
    return {
        "failures": shown_table(failures, {"path": Column("recording"), "reason": Column("reason")}),
        "note_on_failures": f"{counted(len(failures), 'recording')} could not be used.",
        "config": shown_table(config_table(run), {"key": Column("key"), "value": Column("value")}),
        "weights": shown_table(weights, {name: Column(name) for name in weights}),
        "facts": shown_table(_facts(run), {"name": Column("what"), "value": Column("value")}),
    }


def _formatted(how: str, value: Any) -> str:
    return format(value, how)


def _summary(
    folds: pd.DataFrame,
    out_of_fold: Mapping[str, Any],
    metrics: Sequence[ShownMetric],
    newer: Sequence[int],
    baseline: FrozenBaseline | None,
) -> list[str]:
    """Return sentences on how many folds are finished, and their scores."""
    finished = folds[folds["state"] == FINISHED]
    sentences = [f"{len(finished)} of {counted(len(folds), 'fold')} finished."]
    main = metrics[0]
    scores = finished[main.column].dropna()
    if len(scores):
        deviation = f" ± {scores.std():{main.format}} (mean ± standard deviation over folds)"
        spread = deviation if len(scores) > 1 else ""
        sentences.append(
            f"Validation {main.heading} {scores.mean():{main.format}}{spread}: the score of each finished "
            "fold at its best epoch, which was chosen on the same recordings, so that the score favours "
            "itself slightly."
        )
    found = ((metric, out_of_fold.get(f"oof_{metric.column.removeprefix('val_')}")) for metric in metrics)
    texts = [
        f"{metric.heading} {score:{metric.format}}"
        for metric, score in found
        if isinstance(score, int | float)
    ]
    n_recordings = out_of_fold.get("n_recordings")
    if texts:
        over = f" over {counted(n_recordings, 'recording')}" if isinstance(n_recordings, int) else ""
        sentences.append(f"Out-of-fold {', '.join(texts)}{over}, all folds pooled, raw scores.")
        if newer:
            sentences.append(
                f"The weights of {'fold' if len(newer) == 1 else 'folds'} {', '.join(map(str, newer))} are "
                "newer than the out-of-fold predictions; dawnchorus evaluate makes them anew."
            )
    if baseline is not None:
        sentences.append(baseline.sentence())
    together = out_of_fold.get("oof_macro_roc_auc_folds_together")
    if isinstance(together, int | float) and not math.isnan(together):
        sentences.append(
            f"Out-of-fold macro ROC-AUC {together:.4f}, pooled after the folds' scores were brought to one "
            "scale."
        )
    mean, of_folds = (
        out_of_fold.get(f"oof_macro_roc_auc_{key}") for key in ("mean_of_folds", "of_each_fold")
    )
    if isinstance(mean, int | float) and isinstance(of_folds, dict):
        numbers = ((fold, score) for fold, score in of_folds.items() if isinstance(score, int | float))
        each = ", ".join(f"fold {fold} {score:.4f}" for fold, score in numbers)
        sentences.append(f"Mean of the folds' out-of-fold macro ROC-AUC {mean:.4f}: {each}.")
    return sentences


def _note_on_classes(classes: pd.DataFrame) -> str:
    scored = classes["mean_roc_auc"].dropna()
    median = f", median ROC-AUC {scored.median():.4f}" if len(scored) else ""
    return (
        f"{len(scored)} of {counted(len(classes), 'class', 'classes')} scored{median}: validation scores at "
        "each fold's best epoch. Positives are summed over the folds."
    )


def _facts(run: Run) -> pd.DataFrame:
    environment = read_object(run.path / "environment.json")
    recordings, labels = recordings_table(run), class_labels(run)
    n_recordings, n_validated = None, None
    if recordings is not None:
        n_recordings = f"{len(recordings):,}"
        n_validated = f"{(recordings['validated'] & (recordings['fold'] >= 0)).sum():,}"
    digest = run.labels_digest_file
    packages = environment.get("packages")
    rows = {
        "recordings": n_recordings,
        "recordings that a fold validates": n_validated,
        "classes": f"{len(labels):,}" if labels else None,
        "hash of the recordings and their labels": digest.read_text().strip() if digest.is_file() else None,
        "git state of dawnchorus": environment.get("git"),
        "Python": environment.get("python"),
        **(packages if isinstance(packages, dict) else {"packages": None}),
    }
    texts = [(name, str(value or _NOT_RECORDED)) for name, value in rows.items()]
    return pd.DataFrame(texts, columns=["name", "value"])
