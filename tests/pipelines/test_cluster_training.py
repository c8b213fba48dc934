"""Folds that workers of a cluster train side by side → the run of one process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from dawnchorus.cli import app
from dawnchorus.models.checkpoint_file import read_checkpoint
from dawnchorus.runs import Run

REPOSITORY = Path(__file__).resolve().parents[2]
CONFIG = """
CONFIG = {{
    "base": {base!r},
    "exp_name": "tiny",
    "logdir": {logdir!r},
    "data": {{"audio_dir": {audio!r}, "features_dir": None}},
    "folds": {{"n_folds": 3}},
    "nn_model_config": {{"backbone": "test_resnet.r160_in1k"}},
    "train_function_args": {{
        "clips_per_epoch": 8, "n_epochs": 1, "accelerator": "cpu", "train_loader": {{"batch_size": 4}},
    }},
}}
"""


@pytest.mark.stress
def test_folds_of_workers_are_those_of_one_process(data_factory: Any, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    audio = data_factory.recordings(n_species=2, n_per_species=6, duration_s=(5.0, 5.5))
    base = str(REPOSITORY / "train_configs" / "smoke.py")
    for name, options in {"alone": [], "spread": ["--cluster", "local", "--workers", "2"]}.items():
        config = tmp_path / f"{name}.py"
        config.write_text(CONFIG.format(base=base, logdir=str(tmp_path / name), audio=str(audio)))
        result = CliRunner().invoke(app, ["train", str(config), *options], catch_exceptions=False)
        assert result.exit_code == 0, result.output
    alone, spread = Run(tmp_path / "alone" / "tiny"), Run(tmp_path / "spread" / "tiny")
    assert spread.finished_folds() == [0, 1, 2]
    for fold in range(3):
        one, other = (read_checkpoint(run.best_checkpoint(fold)) for run in (alone, spread))
        assert one.weights.keys() == other.weights.keys()
        assert all((one.weights[key] == other.weights[key]).all() for key in one.weights)
    assert (spread.path / "report.html").is_file()
    before = spread.best_checkpoint(0).stat().st_mtime_ns
    assert CliRunner().invoke(app, ["train", str(config), *options]).exit_code == 0
    assert spread.best_checkpoint(0).stat().st_mtime_ns == before
