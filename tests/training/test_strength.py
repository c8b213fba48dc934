"""What a config may add to the recipe: averages, frozen layers, accumulation, precision, compilation."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dawnchorus.config import TrainConfig, merge, read_config_file, validate
from dawnchorus.datasets.wave_all_file_dataset import WaveAllFileDataset
from dawnchorus.errors import DataError
from dawnchorus.models.checkpoint_file import read_checkpoint
from dawnchorus.recordings.recordings_table import label_map_of, load_recordings
from dawnchorus.report.run_tables import fold_history
from dawnchorus.runs import Run
from dawnchorus.training.lightning_training import lightning_training
from dawnchorus.training.module import WaveClassifierModule
from dawnchorus.training.validation import Validation

REPOSITORY = Path(__file__).resolve().parents[2]
MakeConfig = Callable[..., TrainConfig]
PLAIN = {"backbone": "test_nfnet.r160_in1k", "dropout": 0.0}
"""Nothing in it looks at the batch as a whole, so that a batch in two halves is the same batch."""


@pytest.fixture
def make_config(data_factory: Any, tmp_path: Path) -> MakeConfig:
    root = data_factory.recordings(n_species=2, n_per_species=6, duration_s=(5.0, 6.0))
    names = (f"run_{number}" for number in itertools.count())

    def make(changes: dict[str, Any] | None = None, **args: Any) -> TrainConfig:
        values = read_config_file(REPOSITORY / "train_configs" / "smoke.py")
        small = {
            "exp_name": next(names),
            "logdir": tmp_path / "logdirs",
            "data": {"audio_dir": root, "features_dir": None},
            "train_function_args": {"clips_per_epoch": 8, "n_epochs": 2, "train_loader": {"batch_size": 4}},
        }
        given = merge(merge(merge(values, small), changes or {}), {"train_function_args": args})
        return validate(TrainConfig, given, where="test")

    return make


def last_weights(run: Run) -> dict[str, torch.Tensor]:
    return read_checkpoint(run.checkpoints_dir(0) / "last.safetensors").weights


def assert_close(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> None:
    for name, tensor in theirs.items():
        torch.testing.assert_close(ours[name], tensor, rtol=1e-4, atol=1e-5, msg=name)


def test_two_accumulated_batches_are_one_of_twice_the_size(make_config: MakeConfig) -> None:
    # Plain gradient descent: AdamW would divide the rounding of small gradients by their size.
    descent = {"optimizer": {"name": "SGD", "lr": 0.1, "weight_decay": 0.0}}
    halves = {"train_loader": {"batch_size": 2}, "accumulate_batches": 2}
    whole, accumulated = (
        lightning_training(make_config({"nn_model_config": PLAIN}, **descent, **how), folds=[0])
        for how in ({}, halves)
    )
    assert_close(last_weights(accumulated), last_weights(whole))


def test_gradients_are_clipped_to_their_norm(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    norms: list[float] = []

    def note(self: Any, *args: Any, **kwargs: Any) -> None:
        super(WaveClassifierModule, self).configure_gradient_clipping(*args, **kwargs)
        gradients = [p.grad.flatten() for p in self.parameters() if p.grad is not None]
        norms.append(float(torch.cat(gradients).norm()))

    monkeypatch.setattr(WaveClassifierModule, "configure_gradient_clipping", note)
    lightning_training(make_config(clip_gradient_norm=1e-3, n_epochs=1), folds=[0])
    assert norms == pytest.approx([1e-3] * 2, rel=1e-3)


def test_the_moving_average_is_validated_and_kept(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    decay, expected = 0.8, {}

    def follow(self: Any, *args: Any) -> None:
        for name, parameter in self.model.named_parameters():
            now = parameter.detach().clone()
            # PyTorch's average begins with the weights after the first step.
            expected[name] = decay * expected[name] + (1 - decay) * now if name in expected else now

    monkeypatch.setattr(WaveClassifierModule, "on_train_batch_end", follow, raising=False)
    run = lightning_training(make_config(ema_decay=decay), folds=[0])
    kept, state, _ = read_checkpoint(run.checkpoints_dir(0) / "last.safetensors")
    for name, tensor in expected.items():
        torch.testing.assert_close(kept[name], tensor, rtol=1e-5, atol=1e-6, msg=name)
    raw = state["current_model_state"]
    assert any(not torch.equal(raw[f"model.{name}"], kept[name]) for name in expected)


def test_the_best_checkpoints_of_a_fold_become_one(make_config: MakeConfig) -> None:
    run = lightning_training(make_config(average_best=2, n_checkpoints=2), folds=[0])
    report = run.finished(0) or {}
    assert report["best_checkpoint"] == "averaged.safetensors"
    singles = [read_checkpoint(path).weights for path in run.checkpoints_dir(0).glob("0*.safetensors")]
    assert len(singles) == 2
    averaged = read_checkpoint(run.best_checkpoint(0)).weights
    for name, tensor in averaged.items():
        if tensor.is_floating_point():
            mean = np.mean([weights[name].numpy() for weights in singles], axis=0, dtype=np.float64)
            np.testing.assert_allclose(tensor.numpy(), mean, rtol=1e-6, atol=1e-7)
    # The score is that of the averaged model, as inference has it.
    again = run.load_model(0)
    assert torch.equal(again.state_dict()["head.pooling.p"], averaged["head.pooling.p"])
    assert 0 <= report["val_macro_roc_auc"] <= 1


@pytest.mark.parametrize(
    "args",
    [
        {"precision_mode": "bf16-mixed"},
        pytest.param({"channels_last": True}, marks=pytest.mark.stress),
        pytest.param({"deterministic": True}, marks=pytest.mark.stress),
    ],
)
def test_faster_ways_learn_the_same_within_their_precision(
    make_config: MakeConfig, args: dict[str, Any]
) -> None:
    plain = lightning_training(make_config({"nn_model_config": PLAIN}), folds=[0])
    faster = lightning_training(make_config({"nn_model_config": PLAIN}, **args), folds=[0])
    tolerance = 0.02 if "precision_mode" in args else 1e-4
    for column in ("train_loss", "val_loss"):
        ours, theirs = (fold_history(run, 0)[column].to_numpy() for run in (faster, plain))
        assert ours == pytest.approx(theirs, rel=tolerance), column


@pytest.mark.stress
@pytest.mark.filterwarnings("ignore")  # the compiler warns of its own ways
def test_a_compiled_network_learns_the_same_and_keeps_its_names(make_config: MakeConfig) -> None:
    plain = lightning_training(make_config({"nn_model_config": PLAIN}, n_epochs=1), folds=[0])
    compiled = lightning_training(
        make_config({"nn_model_config": PLAIN}, n_epochs=1, compile=True), folds=[0]
    )
    assert last_weights(compiled).keys() == last_weights(plain).keys()
    ours, theirs = (fold_history(run, 0)["train_loss"].to_numpy() for run in (compiled, plain))
    assert ours == pytest.approx(theirs, rel=1e-4)


def test_frozen_layers_are_the_same_after_training(make_config: MakeConfig) -> None:
    run = lightning_training(make_config(frozen_layers=["backbone"], n_epochs=2, n_checkpoints=2), folds=[0])
    first, second = (
        read_checkpoint(path).weights for path in sorted(run.checkpoints_dir(0).glob("0*.safetensors"))
    )
    moved = {name for name, tensor in first.items() if not torch.equal(tensor, second[name])}
    assert moved
    assert all(name.startswith("head.") for name in moved)


def test_stochastic_depth_comes_from_the_network_config(make_config: MakeConfig) -> None:
    config = make_config(
        {"nn_model_config": {"backbone": "test_efficientnet.r160_in1k", "drop_path_rate": 0.15}}
    )
    run = lightning_training(config, folds=[0])
    rates = [
        module.drop_prob for module in run.load_model(0).modules() if type(module).__name__ == "DropPath"
    ]
    assert max(rates) > 0


@pytest.mark.parametrize(
    "loss", ["bce", "focal", "soft_auc", "cross_entropy", "masked_bce", "masked_bce_focal"]
)
def test_every_loss_trains(make_config: MakeConfig, loss: str) -> None:
    run = lightning_training(make_config(loss=loss, n_epochs=1), folds=[0])
    assert np.isfinite(fold_history(run, 0)[["train_loss", "val_loss"]].to_numpy()).all()


def test_every_epoch_logs_its_scores_its_pace_and_its_waiting(make_config: MakeConfig) -> None:
    history = fold_history(lightning_training(make_config(n_epochs=3), folds=[0]), 0)
    assert list(history.index) == [0, 1, 2]
    assert (history["clips_per_s"] > 0).all()
    assert history["loader_wait_share"].between(0, 1).all()
    assert history["val_cmap"].between(0, 1).all()
    assert history["learning_rate"].iloc[-1] < history["learning_rate"].max()


def test_a_fold_that_cannot_be_scored_is_told_before_it_is_trained(data_factory: Any) -> None:
    # Each species sings in the background of the other's recordings.
    table = load_recordings(data_factory.recordings(n_species=2, n_per_species=3)).table
    others = {"species_0": ("species_1",), "species_1": ("species_0",)}
    table["secondary_labels"] = table["primary_label"].map(others)
    labels = label_map_of(table)
    dataset = WaveAllFileDataset(table, labels)
    message = "fold 3 cannot be scored: none of the 2 classes is in some of its 6 validation recordings and"
    with pytest.raises(DataError, match=message):
        Validation(dataset, labels, fold=3, n_windows=len(dataset))
    lenient = Validation(dataset, labels, fold=3, n_windows=len(dataset), lenient=True)
    assert lenient.score(dataset.targets)["val_macro_roc_auc"] == 0
