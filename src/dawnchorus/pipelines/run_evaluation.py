"""Out-of-fold predictions of a run, with its page renewed."""

from __future__ import annotations

from collections.abc import Sequence

from dawnchorus.config import TrainConfig
from dawnchorus.evaluate.out_of_fold import OutOfFold, predict_out_of_fold
from dawnchorus.report.run_page import write_run_page
from dawnchorus.runs import Run


def evaluate_run(
    run: Run, config: TrainConfig, *, folds: Sequence[int] | None = None, batch_size: int = 16
) -> OutOfFold:
    """Return every recording as predicted by the fold that was not trained on it, and renew the page.

    Parameters
    ----------
    run
        A run with finished folds.
    config
        Its config.
    folds
        Folds whose recordings are predicted; None takes all that are finished.
    batch_size
        Clips per forward pass.

    Raises
    ------
    DataError
        No class can be scored without a leak.
    RunError
        A fold is not finished, or recordings of the folds are missing.

    Examples
    --------
    >>> from dawnchorus.runs import Run
    >>> run = Run.open("logdirs/tiny")
    >>> len(evaluate_run(run, run.config()).predictions)
    8
    >>> "Out-of-fold macro ROC-AUC" in (run.path / "report.html").read_text()
    True
    """
    result = predict_out_of_fold(run, config, folds=folds, batch_size=batch_size)
    write_run_page(run)
    return result
