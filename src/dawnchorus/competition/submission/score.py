"""Scores of submissions by the competitions' own metrics."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from dawnchorus.competition.submission.form import read_submission
from dawnchorus.competition.submission.rescoring import Rescoring, RescoringTables, rescored
from dawnchorus.errors import DataError
from dawnchorus.formats.text_tables import some
from dawnchorus.metrics import macro_roc_auc, padded_cmap


class CompetitionScore(NamedTuple):
    """The score of a submission.

    Attributes
    ----------
    macro_roc_auc
        The metric of BirdCLEF 2024 and 2025: the mean ROC-AUC over the classes that have a positive row.
    padded_cmap
        The metric of BirdCLEF 2023: class-wise mean average precision with five positive rows of score 1
        added; None where the submission holds scores that are not probabilities.
    n_scored
        Classes that have a positive row, and one that is not: the others have no ROC-AUC.
    n_rows, n_classes
        Size of the table.

    Examples
    --------
    >>> CompetitionScore(0.91, padded_cmap=0.74, n_scored=2, n_rows=12, n_classes=2).macro_roc_auc
    0.91
    """

    macro_roc_auc: float
    padded_cmap: float | None
    n_scored: int
    n_rows: int
    n_classes: int


def competition_score(submission: Path, truth: Path) -> CompetitionScore:
    """Return the score of ``submission.csv`` against a table of the same rows and classes that holds 0 and 1.

    Rows and classes may be in another order.

    Raises
    ------
    DataError
        A file is not such a table, they differ in rows or classes, the truth holds values other than 0 and 1,
        or no class can be scored.

    Examples
    --------
    >>> from pathlib import Path
    >>> _ = Path("submission.csv").write_text("row_id,owl\\nnight_5,0.9\\nnight_10,0.2\\n")
    >>> _ = Path("truth.csv").write_text("row_id,owl\\nnight_5,1\\nnight_10,0\\n")
    >>> competition_score(Path("submission.csv"), Path("truth.csv")).macro_roc_auc
    1.0
    """
    return score_table(read_submission(submission), truth, where=submission)


def score_changes(
    submission: Path,
    truth: Path,
    changes: Sequence[Rescoring],
    tables: RescoringTables | None = None,
) -> dict[str, CompetitionScore]:
    """Return the scores of a submission as it is, after each change by itself, and after all in their order.

    Parameters
    ----------
    submission, truth
        As for :func:`competition_score`, with its errors.
    changes, tables
        As for :func:`dawnchorus.competition.submission.rescoring.rescored`, with its errors.

    Examples
    --------
    >>> from pathlib import Path
    >>> from dawnchorus.competition.submission.rescoring import Rescoring
    >>> _ = Path("submission.csv").write_text("row_id,owl\\nnight_5,0.9\\nnight_10,0.2\\n")
    >>> _ = Path("truth.csv").write_text("row_id,owl\\nnight_5,1\\nnight_10,0\\n")
    >>> list(score_changes(Path("submission.csv"), Path("truth.csv"), [Rescoring("top-two")]))
    ['as it is', 'top-two', 'all']
    """
    given = read_submission(submission)
    named = {"as it is": [], **{str(change): [change] for change in changes}, "all": list(changes)}
    return {
        name: score_table(rescored(given, each, tables), truth, where=submission)
        for name, each in named.items()
    }


def score_table(given: pd.DataFrame, truth: Path, *, where: Path) -> CompetitionScore:
    """Return the score of a submission in memory, as :func:`competition_score` does; ``where`` names it.

    Examples
    --------
    >>> from pathlib import Path
    >>> import pandas as pd
    >>> _ = Path("truth.csv").write_text("row_id,owl\\nnight_5,1\\nnight_10,0\\n")
    >>> given = pd.DataFrame({"owl": [0.9, 0.2]}, index=["night_5", "night_10"])
    >>> score_table(given, Path("truth.csv"), where=Path("mine.csv")).macro_roc_auc
    1.0
    """
    wanted, submission = read_submission(truth), where
    _check_same(given.index, wanted.index, "rows", submission, truth)
    _check_same(given.columns, wanted.columns, "classes", submission, truth)
    y_score = given.loc[wanted.index, wanted.columns].to_numpy()
    y_true = wanted.to_numpy()
    if not y_true.size:
        raise DataError(f"{truth}: has no rows; nothing can be scored")
    soft = y_true[~np.isin(y_true, (0, 1))]
    if soft.size:
        raise DataError(f"{truth}: holds {soft[0]:g}; a truth is 0 and 1")
    is_probability = y_score.min() >= 0 and y_score.max() <= 1
    return CompetitionScore(
        macro_roc_auc(y_true, y_score),
        padded_cmap(y_true, y_score) if is_probability else None,
        int((y_true.any(axis=0) & ~y_true.all(axis=0)).sum()),
        *y_true.shape,
    )


def _check_same(given: object, wanted: object, what: str, submission: Path, truth: Path) -> None:
    ours, theirs = set(given), set(wanted)  # type: ignore[call-overload]
    if missing := sorted(theirs - ours):
        raise DataError(f"{submission}: lacks {what} of {truth}: {some(missing)}")
    if extra := sorted(ours - theirs):
        raise DataError(f"{submission}: has {what} that {truth} lacks: {some(extra)}")
