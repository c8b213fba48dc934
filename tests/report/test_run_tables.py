"""The tables of a run hold what can be read of it, and lack what cannot."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dawnchorus.files import Failure, write_failures
from dawnchorus.report.run_tables import (
    class_labels,
    class_table,
    config_table,
    failures_table,
    fold_histories,
    fold_history,
    fold_numbers,
    fold_table,
    history_columns,
    read_object,
    recordings_table,
    shown_metrics,
    starting_weights_table,
)
from dawnchorus.runs import Run


def rows_of(table: pd.DataFrame) -> list[tuple[Any, ...]]:
    """Return the rows, with None for NaN, so that they can be compared."""
    return [
        tuple(None if isinstance(value, float) and np.isnan(value) else value for value in row)
        for row in table.itertuples(index=False, name=None)
    ]


def folds_of(run: Run) -> pd.DataFrame:
    return fold_table(run, fold_histories(run)).set_index("fold")


def test_training_and_validation_of_an_epoch_are_one_row(written: Any) -> None:
    written.metrics(
        0,
        [
            {"epoch": 0, "step": 9, "val_loss": 0.6, "val_macro_roc_auc": 0.7},
            {"epoch": 0, "step": 9, "train_loss": 0.9, "learning_rate": 1e-3},
            {"epoch": 1, "step": 19, "val_loss": 0.5, "val_macro_roc_auc": 0.8},
            {"epoch": 1, "step": 19, "train_loss": 0.4, "learning_rate": 5e-4},
        ],
    )
    history = fold_history(written.run, 0)
    assert list(history.columns) == list(history_columns(shown_metrics(written.run)))
    assert history.index.tolist() == [0, 1]
    assert (history.dtypes == "float64").all()
    assert history["train_loss"].tolist() == [0.9, 0.4]
    assert history["val_loss"].tolist() == [0.6, 0.5]
    assert history["val_macro_roc_auc"].tolist() == [0.7, 0.8]
    assert history["learning_rate"].tolist() == [1e-3, 5e-4]
    assert history[["val_cmap", "clips_per_s", "loader_wait_share"]].isna().all(axis=None)


def test_the_later_log_of_an_epoch_counts_number_by_number(written: Any) -> None:
    written.metrics(0, [{"epoch": e, "train_loss": 1.0, "val_loss": 2.0} for e in (0, 1)], version=2)
    written.metrics(0, [{"epoch": 1, "train_loss": 3.0, "val_loss": ""}], version=10)
    written.metrics(0, [{"epoch": 1, "train_loss": 9.0}, {"epoch": 2, "train_loss": 4.0}], version=9)
    (written.path / "fold_0/logs/version_x").mkdir()
    history = fold_history(written.run, 0)
    assert history["train_loss"].tolist() == [1.0, 3.0, 4.0], "version_10 is later than version_9"
    assert history["val_loss"].tolist()[:2] == [2.0, 2.0], "an empty cell overrides nothing"


@pytest.mark.parametrize("end", ["1,19,0.", "1,19,0.87,0.4", "1", ",,", "\0\0\0\0"])
def test_a_line_that_a_kill_has_cut_is_left_out(written: Any, end: str) -> None:
    name = "fold_0/logs/version_0/metrics.csv"
    written.text(name, "epoch,step,val_macro_roc_auc,val_loss\n0,9,0.75,0.5\n" + end)
    history = fold_history(written.run, 0)
    assert history["val_macro_roc_auc"].to_dict() == {0: 0.75}
    written.text(name, "epoch,step,val_macro_roc_auc,val_loss\n0,9,0.75,0.5\n1,19,0.87,0.4\n")
    assert fold_history(written.run, 0)["val_macro_roc_auc"].to_dict() == {0: 0.75, 1: 0.87}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "epo",
        "epoch,train_loss\n",
        "step,train_loss\n3,0.5\n",
        "epoch,train_loss\n,0.5\nx,0.5\nnan,0.5\ninf,0.5\n",
    ],
)
def test_a_log_without_epochs_makes_a_history_without_rows(written: Any, text: str) -> None:
    written.text("fold_0/logs/version_0/metrics.csv", text)
    for fold in (0, 1):
        history = fold_history(written.run, fold)
        assert history.empty
        assert list(history.columns) == list(history_columns(shown_metrics(written.run)))


def test_words_and_surplus_cells_in_a_log_are_passed_over(written: Any) -> None:
    written.text("fold_0/logs/version_0/metrics.csv", "epoch,train_loss,val_loss\n0,soon,0.5,7,8\n1,0.25\n")
    history = fold_history(written.run, 0)
    assert rows_of(history[["train_loss", "val_loss"]]) == [(None, 0.5), (0.25, None)]


def test_folds_are_those_that_recordings_are_validated_in_and_those_with_a_folder(written: Any) -> None:
    written.json("config.json", {"folds": {"n_folds": 3}})
    assert fold_numbers(written.run) == [0, 1, 2], "before there is a table, the config says it"
    written.folds([-1, 1, 0, 1])
    assert fold_numbers(written.run) == [0, 1]
    (written.path / "fold_10").mkdir()
    (written.path / "fold_old").mkdir()
    written.text("fold_7", "no folder")
    assert fold_numbers(written.run) == [0, 1, 10]
    written.folds([5], validated=False)
    assert fold_numbers(written.run) == [10]


def test_every_fold_tells_how_far_it_is(written: Any) -> None:
    written.folds([0, 1, 2, 3])
    written.trained_fold(
        0, [0.7, 0.9, 0.8], val_macro_roc_auc=0.9, val_cmap=0.6, best_epoch=1, n_epochs=3, seconds=61.5,
        clips_per_s=200.0, loader_wait_share=0.5,
    )  # fmt: skip
    written.trained_fold(1, [0.7, 0.6])
    (written.path / "fold_2").mkdir()
    folds = folds_of(written.run)
    assert folds["state"].tolist() == ["finished", "unfinished", "not begun", "not begun"]
    assert rows_of(folds.drop(columns="state")) == [
        (1.0, 0.9, 0.6, 3.0, 61.5, 200.0, 0.5),
        (0.0, 0.7, 0.35, 2.0, None, 100.5, 0.25),
        (None,) * 7,
        (None,) * 7,
    ]


def test_what_the_report_of_an_older_run_lacks_is_taken_from_its_history(written: Any) -> None:
    written.trained_fold(
        0, [0.7, 0.9, 0.8], best_checkpoint="001-0.9000.ckpt", val_macro_roc_auc=0.9, seconds=5
    )
    folds = folds_of(written.run)
    assert rows_of(folds) == [("finished", 1.0, 0.9, 0.45, 3.0, 5.0, 101.0, 0.25)]


def test_the_best_epoch_so_far_is_by_the_metric_that_ranks_checkpoints(written: Any) -> None:
    written.metrics(
        0, [{"epoch": e, "val_macro_roc_auc": a, "val_cmap": c} for e, a, c in [(0, 0.9, 0.1), (1, 0.8, 0.2)]]
    )
    assert folds_of(written.run).loc[0, ["best_epoch", "val_macro_roc_auc"]].tolist() == [0, 0.9]
    written.json("config.json", {"train_function_args": {"main_metric": "val_cmap"}})
    assert folds_of(written.run).loc[0, ["best_epoch", "val_macro_roc_auc"]].tolist() == [1, 0.8]
    written.json("config.json", {"train_function_args": {"main_metric": "of another version"}})
    assert folds_of(written.run).loc[0, "best_epoch"] == 0


def test_classes_are_sorted_from_worst_to_best_over_the_folds_that_define_them(written: Any) -> None:
    columns = ("label", "n_positive", "roc_auc", "average_precision")
    scores = {
        0: [("good", 3, 1.0, 0.75), ("nan", 2, 0.5, 0.25), ("bad", 1, 0.25, 0.5), ("never", 0, "", "")],
        1: [("good", 5, 0.5, 0.25), ("nan", 4, 0.75, 0.75), ("bad", 0, "", ""), ("never", 0, "", "")],
    }
    for fold, rows in scores.items():
        written.table(f"fold_{fold}/per_class.csv", [dict(zip(columns, row, strict=True)) for row in rows])
    written.card("never", "unlisted", "bad", "nan", "good")
    table = class_table(written.run, [0, 1, 2])
    assert list(table.columns) == [
        "label", "n_positive", "mean_roc_auc", "lowest_roc_auc", "n_folds", "mean_average_precision",
    ]  # fmt: skip
    assert rows_of(table) == [
        ("bad", 1.0, 0.25, 0.25, 1, 0.5),
        ("nan", 6.0, 0.625, 0.5, 2, 0.5),
        ("good", 8.0, 0.75, 0.5, 2, 0.5),
        ("never", 0.0, None, None, 0, None),
        ("unlisted", None, None, None, 0, None),
    ]


def test_without_scores_the_classes_are_not_listed(written: Any) -> None:
    written.card("a", "b")
    assert class_table(written.run, [0, 1]).empty
    written.text("fold_0/per_class.csv", "something,else\n1,2\n")
    assert class_table(written.run, [0]).empty


def test_the_config_is_flattened_to_dotted_keys(written: Any) -> None:
    written.json(
        "config.json",
        {
            "seed": 42,
            "data": [{"audio_dir": "a b", "ignored_labels": []}, {"audio_dir": "c"}],
            "folds": {"group_column": ["author", "site"], "fold_column": None},
            "args": {"optimizer": {"lr": 1e-05}, "compile": False, "nothing": {}, "grid": [[1, 2], [3]]},
        },
    )
    assert rows_of(config_table(written.run)) == [
        ("seed", "42"),
        ("data.0.audio_dir", "a b"),
        ("data.0.ignored_labels", "[]"),
        ("data.1.audio_dir", "c"),
        ("folds.group_column", "author, site"),
        ("folds.fold_column", "None"),
        ("args.optimizer.lr", "1e-05"),
        ("args.compile", "False"),
        ("args.nothing", "{}"),
        ("args.grid", "1, 2, 3"),
    ]


def test_left_out_recordings_and_starting_weights_are_listed_as_they_stand(written: Any) -> None:
    assert failures_table(written.run).empty
    assert starting_weights_table(written.run).empty
    write_failures(written.path, [Failure(Path("a, b.ogg"), "a, b.ogg: empty (0 bytes)")])
    written.table("starting_weights.csv", [{"label": "NA", "start": "kept", "row": "007"}])
    assert rows_of(failures_table(written.run)) == [("a, b.ogg", "a, b.ogg: empty (0 bytes)")]
    assert starting_weights_table(written.run).to_dict("records") == [
        {"label": "NA", "start": "kept", "row": "007"}
    ]


@pytest.mark.parametrize("text", ["", "{", "[1, 2]", "null", '{"a": '])
def test_what_is_no_json_object_is_read_as_an_empty_one(written: Any, text: str) -> None:
    written.text("config.json", text)
    written.text("model_card.json", text)
    written.text("fold_0/finished.json", text)
    assert read_object(written.run.config_file) == {}
    assert config_table(written.run).empty
    assert class_labels(written.run) == []
    assert folds_of(written.run)["state"].tolist() == ["unfinished"]


@pytest.mark.parametrize(
    "text", ["", "filename,fold\na.ogg,first\n", "filename,fold,validated\na.ogg,0,so\n"]
)
def test_a_table_of_folds_that_cannot_be_read_is_none(written: Any, text: str) -> None:
    assert recordings_table(written.run) is None
    written.text("folds.csv", text)
    assert recordings_table(written.run) is None
    written.folds([0, 1])
    assert len(recordings_table(written.run)) == 2


def test_a_metric_of_the_users_is_a_column_after_the_main_one_and_the_run_says_how_it_is_shown(
    written: Any,
) -> None:
    written.json(
        "metrics.json",
        {"cmap": {"heading": "cmAP", "format": ".4f"}, "hits": {"heading": "hit rate", "format": ".1%"}},
    )
    written.json("config.json", {"train_function_args": {"main_metric": "val_hits"}})
    written.metrics(0, [{"epoch": 0, "val_hits": 0.5, "val_cmap": 0.9}, {"epoch": 1, "val_hits": 0.75}])
    assert shown_metrics(written.run) == [("val_hits", "hit rate", ".1%"), ("val_cmap", "cmAP", ".4f")]
    row = folds_of(written.run).loc[0]
    assert row["best_epoch"] == 1
    assert row["val_hits"] == 0.75
    assert math.isnan(row["val_cmap"])


@pytest.mark.parametrize("text", ["", "[]", '{"hits": 3}', '{"hits": {}}'])
def test_a_run_that_does_not_say_its_metrics_has_ours(written: Any, text: str) -> None:
    written.text("metrics.json", text)
    assert [metric.column for metric in shown_metrics(written.run)] == ["val_macro_roc_auc", "val_cmap"]


def test_a_format_that_is_none_is_not_used(written: Any) -> None:
    written.json("metrics.json", {"hits": {"heading": "hits", "format": "wide"}, "f1": {"heading": "F1"}})
    assert [metric.format for metric in shown_metrics(written.run)] == [".4f", ".4f"]
