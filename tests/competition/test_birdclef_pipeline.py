"""``rock_that_bird.sh``: its plan, and all of it on the miniature competition."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import typer

from dawnchorus.cli import app
from dawnchorus.competition.birdclef_pipeline import RockSettings, competition_steps, sample_steps
from dawnchorus.competition.submission import competition_score
from dawnchorus.errors import RunError

REPOSITORY = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.timeout(1600)  # the whole run, beside other work


def rock(*arguments: str, timeout_s: float = 60, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the script as a user would, with the environment that the tests run in."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["bash", str(REPOSITORY / "rock_that_bird.sh"), *arguments],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        env={**os.environ, "PATH": path, "OMP_NUM_THREADS": "1"},
        cwd=cwd,
        check=False,
    )


@pytest.fixture(scope="module")
def rocked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a whole run on the miniature."""
    folder = tmp_path_factory.mktemp("rock") / "sample"
    result = rock("--sample", "--out", str(folder), timeout_s=1500)
    assert result.returncode == 0, result.stderr
    assert "12 steps in" in result.stdout
    assert "macro ROC-AUC" in result.stdout
    return folder


def test_the_submission_is_as_the_sample_wants_it_and_better_than_chance(rocked: Path) -> None:
    wanted = pd.read_csv(rocked / "data" / "sample_submission.csv")
    made = pd.read_csv(rocked / "submission.csv")
    assert list(made.columns) == list(wanted.columns)
    assert made["row_id"].tolist() == wanted["row_id"].tolist()
    assert made.iloc[:, 1:].to_numpy().min() >= 0
    assert made.iloc[:, 1:].to_numpy().max() <= 1
    scored = competition_score(rocked / "submission.csv", rocked / "data" / "solution.csv")
    assert scored.macro_roc_auc > 0.7


def test_every_step_of_the_document_has_left_what_it_makes(rocked: Path) -> None:
    for name in ("sample_a", "sample_b"):
        run = rocked / "logdirs" / name
        assert list(run.glob("fold_*/checkpoints/*.safetensors"))
        assert (run / "onnx_ensem_5first_folds" / "model.onnx").is_file()
        assert (run / "onnx_ensem_5first_folds_openvino_fp16" / "model.xml").is_file()
        assert (rocked / "bundle" / name / "model.xml").is_file()
    assert len(list((rocked / "data" / "train_features").glob("*/*.hdf5"))) == 128
    labels = pd.read_parquet(rocked / "data" / "pseudo_labels.parquet")
    assert len(labels) == 6 * 12


def test_a_second_run_does_nothing_again_and_a_lost_file_is_made_anew(rocked: Path) -> None:
    before = (rocked / "submission.csv").read_bytes()
    result = rock("--sample", "--out", str(rocked))
    assert result.returncode == 0, result.stderr
    assert result.stderr.count("done before") == 12
    (rocked / "submission.csv").unlink()
    result = rock("--sample", "--out", str(rocked), timeout_s=120)
    assert result.stderr.count("done before") == 10  # the submission and its score
    assert (rocked / "submission.csv").read_bytes() == before


@pytest.mark.stress
def test_half_a_bundle_is_made_whole_again(rocked: Path) -> None:
    before = (rocked / "submission.csv").read_bytes()
    (rocked / "bundle" / "sample_b" / "model.xml").unlink()
    result = rock("--sample", "--out", str(rocked), "--n_cores", "1", timeout_s=300)
    assert result.stderr.count("done before") == 9
    assert "2 + 2 networks, with shifted windows" in result.stdout
    assert (rocked / "submission.csv").read_bytes() == before


def test_a_bundle_alone_makes_the_same_submission_elsewhere(rocked: Path, tmp_path: Path) -> None:
    shutil.copytree(rocked / "bundle", tmp_path / "bundle")
    shutil.copytree(rocked / "data" / "test_soundscapes", tmp_path / "test_soundscapes")
    shutil.copy(rocked / "data" / "sample_submission.csv", tmp_path)
    command = [sys.executable, "-m", "dawnchorus", "submit-kaggle", "bundle", "test_soundscapes"]
    result = subprocess.run(
        [*command, "--shift", "2.5", "--smooth", "--budget-minutes", "5", "--threads", "1"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    ours = pd.read_csv(tmp_path / "submission.csv", index_col="row_id")
    theirs = pd.read_csv(rocked / "submission.csv", index_col="row_id")
    assert (ours - theirs).abs().to_numpy().max() < 1e-4
    assert ours.index.equals(theirs.index)


# The plan -----------------------------------------------------------------------------------------


def test_the_plan_is_printed_and_nothing_is_done(tmp_path: Path) -> None:
    result = rock("--dry-run", "--out", str(tmp_path / "here"))
    assert result.returncode == 0, result.stderr
    names = re.findall(r"^\[ ?\d+/12\] ([^:]+):", result.stdout, flags=re.MULTILINE)
    assert names[:3] == ["download", "check the tables", "convert train_audio"]
    assert names[-2:] == ["bundle", "submit"]
    assert "600 GB" in result.stdout
    assert "competition: the competition birdclef-2025" in result.stdout
    assert list(tmp_path.iterdir()) == []


def test_every_command_of_both_plans_is_one_that_the_command_line_takes() -> None:
    group = typer.main.get_command(app)
    settings = RockSettings(REPOSITORY, leave_gb=100, n_devices=2)
    for step in [*competition_steps(settings), *sample_steps(settings)]:
        command, arguments = group, [*step.command, *step.speed]
        while hasattr(command, "commands"):
            command = command.commands[arguments.pop(0)]
        command.make_context(step.name, arguments)


def test_a_small_disk_converts_the_biggest_first() -> None:
    steps = competition_steps(RockSettings(REPOSITORY, leave_gb=100))
    converting = [step for step in steps if step.command[0] == "precompute"]
    assert len(converting) == 4
    for step in converting:
        assert step.command[-3:] == ("--only_biggest", "--leave_gb", "100")


def test_several_gpus_share_a_fold() -> None:
    training = [
        step for step in competition_steps(RockSettings(REPOSITORY, n_devices=2)) if "train " in step.name
    ]
    assert [step.command[-2:] for step in training] == [("--devices", "2")] * 2


def test_a_gpu_that_is_no_number_is_refused() -> None:
    result = rock("abc", "--dry-run")
    assert result.returncode == 64
    assert "'abc' names no GPU; give numbers such as 0 or 0,1, or cpu" in result.stderr


def test_a_relative_folder_is_where_the_user_stands(tmp_path: Path) -> None:
    result = rock("--sample", "--dry-run", "--out", "here", cwd=tmp_path)
    assert f"folder: {tmp_path / 'here'}, free on its disk" in result.stdout


def test_outside_a_checkout_it_says_where_it_must_run(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"selected_ebs\.py is not there; run the pipeline in a checkout"):
        competition_steps(RockSettings(tmp_path))


def test_without_a_gpu_nothing_is_begun() -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    result = rock("0")
    assert result.returncode == 1
    assert "GPU 0 cannot be used by PyTorch here; name another, take cpu (weeks), or try" in result.stderr
