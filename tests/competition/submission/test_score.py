"""The competitions' metrics of a submission, against scikit-learn used plainly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from dawnchorus.competition.submission import competition_score
from dawnchorus.errors import DataError

LABELS = [f"species_{number}" for number in range(7)]


def tables(tmp_path: Path, *, seed: int = 0) -> tuple[Path, Path, pd.DataFrame, pd.DataFrame]:
    """Return a submission and its truth, on disk and in memory; the last class has no positive row."""
    rng = np.random.default_rng(seed)
    rows = pd.Index([f"H{number // 12}_{5 * (number % 12) + 5}" for number in range(60)], name="row_id")
    truth = pd.DataFrame(rng.random((60, 7)) < 0.2, rows, LABELS).astype(int)
    truth["species_6"] = 0
    given = pd.DataFrame(0.5 * truth + 0.5 * rng.random((60, 7)).round(1), rows, LABELS)
    truth.to_csv(tmp_path / "truth.csv")
    given.sample(frac=1, random_state=1)[LABELS[::-1]].to_csv(tmp_path / "submission.csv")
    return tmp_path / "submission.csv", tmp_path / "truth.csv", given, truth


@pytest.mark.parametrize("seed", range(3))
def test_the_score_is_the_published_metric_of_scikit_learn(tmp_path: Path, seed: int) -> None:
    submission, truth_file, given, truth = tables(tmp_path, seed=seed)
    scored = competition_score(submission, truth_file)
    # As the competition states it: classes without a positive row are dropped, then a macro average.
    present = truth.columns[truth.sum() > 0]
    assert scored.macro_roc_auc == pytest.approx(
        roc_auc_score(truth[present], given[present], average="macro"), abs=1e-12
    )
    assert (scored.n_scored, scored.n_rows, scored.n_classes) == (6, 60, 7)


def test_the_padded_cmap_is_that_of_2023(tmp_path: Path) -> None:
    submission, truth_file, given, truth = tables(tmp_path)
    ones = pd.DataFrame(np.ones((5, 7)), columns=LABELS)
    padded_truth, padded_given = pd.concat([truth, ones]), pd.concat([given, ones])
    expected = average_precision_score(padded_truth.astype(int), padded_given, average="macro")
    assert competition_score(submission, truth_file).padded_cmap == pytest.approx(expected, abs=1e-12)


def test_scores_that_are_no_probabilities_have_no_padded_cmap(tmp_path: Path) -> None:
    submission, truth_file, given, _ = tables(tmp_path)
    (given * 10 - 5).to_csv(submission)
    scored = competition_score(submission, truth_file)
    assert scored.padded_cmap is None
    assert scored.macro_roc_auc > 0.5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda given: given.iloc[1:], r"lacks rows of .*truth.csv: H0_5$"),
        (lambda given: given.drop(columns="species_2"), "lacks classes of .*: species_2"),
        (lambda given: given.assign(condor=0.5), "has classes that .* lacks: condor"),
        (lambda given: pd.concat([given, given.iloc[:1].rename({"H0_5": "H9_5"})]), "has rows that .*: H9_5"),
    ],
)
def test_a_submission_of_other_rows_or_classes_is_refused(
    tmp_path: Path, change: object, message: str
) -> None:
    submission, truth_file, given, _ = tables(tmp_path)
    change(given).to_csv(submission, index_label="row_id")  # type: ignore[operator]
    with pytest.raises(DataError, match=message):
        competition_score(submission, truth_file)


def test_a_truth_of_probabilities_is_refused(tmp_path: Path) -> None:
    submission, truth_file, given, _ = tables(tmp_path)
    given.to_csv(truth_file)
    with pytest.raises(DataError, match="a truth is 0 and 1"):
        competition_score(submission, truth_file)


def test_tables_without_rows_are_refused(tmp_path: Path) -> None:
    for name in ("submission.csv", "truth.csv"):
        (tmp_path / name).write_text("row_id,wren\n", encoding="utf-8")
    with pytest.raises(DataError, match="has no rows; nothing can be scored"):
        competition_score(tmp_path / "submission.csv", tmp_path / "truth.csv")


def test_a_class_that_is_in_every_row_is_not_counted_as_scored(tmp_path: Path) -> None:
    submission, truth_file, _, truth = tables(tmp_path)
    truth["species_0"] = 1
    truth.to_csv(truth_file)
    assert competition_score(submission, truth_file).n_scored == 5
