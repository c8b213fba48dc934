"""``dawnchorus extract-backbone`` as a person uses it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from dawnchorus.cli import main
from dawnchorus.models.weights import load_state_dict_file


def run(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as stopped:
        main(["extract-backbone", *map(str, arguments)])
    return int(stopped.value.code or 0)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "model.ckpt"
    torch.save({"state_dict": {"model.backbone.a": torch.ones(2), "model.head.b": torch.ones(1)}}, path)
    return path


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """A run of three folds, of which the second is the best and the third is not finished."""
    folder = tmp_path / "run"
    for fold, score in enumerate((0.7, 0.9, None)):
        checkpoints = folder / f"fold_{fold}" / "checkpoints"
        checkpoints.mkdir(parents=True)
        torch.save({"backbone.fold": torch.tensor([fold])}, checkpoints / "best.ckpt")
        if score is not None:
            report = {"best_checkpoint": "best.ckpt", "val_macro_roc_auc": score}
            (folder / f"fold_{fold}" / "finished.json").write_text(json.dumps(report))
    (folder / "model_card.json").write_text("{}")
    (folder / "config.json").write_text(
        json.dumps({"train_function_args": {"main_metric": "val_macro_roc_auc"}})
    )
    return folder


def test_it_says_what_it_wrote(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "backbone.safetensors"
    assert run(checkpoint, out) == 0
    assert capsys.readouterr().out == f"1 tensors of the backbone of {checkpoint} are in {out}\n"
    assert load_state_dict_file(out)["a"].tolist() == [1, 1]


def test_a_run_gives_its_best_fold_or_the_one_that_is_named(trained: Path, tmp_path: Path) -> None:
    for fold, arguments in ((1, ()), (0, ("--fold", "0")), (1, ("--fold", "1"))):
        assert run(trained, tmp_path / "backbone.pth", "--force", *arguments) == 0
        assert load_state_dict_file(tmp_path / "backbone.pth")["fold"].tolist() == [fold]


def test_a_fold_that_is_not_finished_is_refused(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(trained, tmp_path / "backbone.pth", "--fold", "2") == 1
    assert "error: fold 2 of" in capsys.readouterr().err


def test_a_file_is_not_overwritten_unless_it_is_asked_for(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "backbone.pth"
    out.write_text("mine")
    assert run(checkpoint, out) == 1
    assert capsys.readouterr().err == (
        f"error: {out} exists; choose another name, or overwrite it with --force\n"
    )
    assert out.read_text() == "mine"
    assert run(checkpoint, out, "--force") == 0
    assert load_state_dict_file(out)["a"].tolist() == [1, 1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("model.ckpt", "b.pth", "--fold", "0"), "--fold is 0, and model.ckpt is a single checkpoint; leave"),
        (("model.ckpt", "b.onnx"), "b.onnx: a backbone is written as .safetensors or .pth"),
        (("gone.ckpt", "b.pth"), "gone.ckpt: there is no such weights file"),
        (("empty", "b.pth"), "empty holds no run"),
    ],
)
def test_a_mistake_is_told_in_a_sentence(
    checkpoint: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.chdir(checkpoint.parent)
    Path("empty").mkdir()
    assert run(*arguments) == 1
    assert capsys.readouterr().err.startswith(f"error: {message}")
    assert sorted(path.name for path in checkpoint.parent.iterdir()) == ["empty", "model.ckpt"]
