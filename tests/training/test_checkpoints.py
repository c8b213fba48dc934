"""What a fold leaves behind, where its run is moved, averaged or damaged."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dawnchorus.cli import main
from dawnchorus.config import TrainConfig, merge, read_config_file, validate
from dawnchorus.errors import ConfigError, RunError, UnsafePathError, WeightsError
from dawnchorus.models.card import ModelCard
from dawnchorus.models.checkpoint_file import CARD_KEY, read_checkpoint, write_checkpoint
from dawnchorus.models.weights import load_state_dict_file
from dawnchorus.report.run_tables import fold_history
from dawnchorus.runs import Run
from dawnchorus.training.checkpoint_choice import choose_checkpoints
from dawnchorus.training.checkpoints import (
    BestCheckpoints,
    SafetensorsIO,
    average_checkpoints,
    epoch_metrics,
    epochs_done,
)
from dawnchorus.training.fold_training import train_fold
from dawnchorus.training.lightning_training import lightning_training
from dawnchorus.training.run_preparation import prepare_run

REPOSITORY = Path(__file__).resolve().parents[2]
MakeConfig = Callable[..., TrainConfig]
CARD = ModelCard("run", "dawnchorus:X", {}, ("robin", "wren"), {}, 32_000, 5.0, True)


@pytest.fixture
def make_config(data_factory: Any, tmp_path: Path) -> MakeConfig:
    root = data_factory.recordings(n_species=2, n_per_species=6, duration_s=(5.0, 5.5))

    def make(**changes: Any) -> TrainConfig:
        clips = {f"{role}_dataset_config": {"segment_len": 1.0} for role in ("train", "val")}
        values = read_config_file(REPOSITORY / "train_configs" / "smoke.py")
        small = {
            "logdir": tmp_path / "logdirs",
            "data": {"audio_dir": root, "features_dir": None},
            "nn_model_config": {"backbone": "test_resnet.r160_in1k"},
            "train_function_args": {"clips_per_epoch": 4, "n_epochs": 3, "train_loader": {"batch_size": 4}}
            | clips,
        }
        return validate(TrainConfig, merge(merge(values, small), changes), where="test")

    return make


class Trap:
    """Creates a file when it is unpickled."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self):
        return (open, (str(self.proof), "w"))


class KilledError(Exception):
    pass


def test_a_run_that_was_moved_goes_on_with_the_checkpoints_where_they_lie_now(
    make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die_in_epoch_2(self: Any) -> None:
        if self.current_epoch == 2:
            raise KilledError

    args = {"n_checkpoints": 2}
    with monkeypatch.context() as patch:
        patch.setattr("dawnchorus.training.module.WaveClassifierModule.on_train_epoch_end", die_in_epoch_2)
        with pytest.raises(KilledError):
            lightning_training(make_config(train_function_args=args), folds=[0])
    kept = sorted(path.name for path in (tmp_path / "logdirs/smoke/fold_0/checkpoints").iterdir())
    assert len(kept) == 3
    assert kept[2] == "last.safetensors"
    shutil.move(tmp_path / "logdirs", tmp_path / "elsewhere")

    seen: list[BestCheckpoints] = []
    original = BestCheckpoints.__init__

    def remember(self: Any, *given: Any) -> None:
        original(self, *given)
        seen.append(self)

    monkeypatch.setattr(BestCheckpoints, "__init__", remember)
    config = make_config(logdir=tmp_path / "elsewhere", train_function_args=args)
    run = lightning_training(config, folds=[0])
    assert not (tmp_path / "logdirs").exists()
    (best,) = seen
    listed = sorted(Path(path) for path in best.best_k_models)
    there = sorted(run.checkpoints_dir(0).iterdir())
    assert listed == [path for path in there if path.name != "last.safetensors"]
    assert len(listed) == 2, "what is no longer among the best was removed in the new place"
    assert set(best.ranked()) == set(listed)
    assert best.ranked()[0] == Path(best.best_model_path) == run.best_checkpoint(0)
    scores = [epoch_metrics(path)["val_macro_roc_auc"] for path in best.ranked()]
    assert scores == sorted(scores, reverse=True)
    assert Path(best.kth_best_model_path) in listed
    assert epochs_done(run.checkpoints_dir(0) / "last.safetensors") == 3


def test_the_ranking_follows_the_score_and_of_equal_ones_the_best_comes_first(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    best = BestCheckpoints(tmp_path, make_config().train_function_args)
    scores = {"a": 0.5, "b": 0.9, "c": 0.7, "d": 0.9}
    best.best_k_models = {str(tmp_path / name): torch.tensor(score) for name, score in scores.items()}
    best.best_model_path = str(tmp_path / "d")
    assert [path.name for path in best.ranked()] == ["d", "b", "c", "a"]


def test_the_best_epoch_may_be_that_of_the_smallest_validation_loss(make_config: MakeConfig) -> None:
    args = {"main_metric": "loss", "n_checkpoints": 2, "early_stopping_epochs": 2}
    run = lightning_training(make_config(train_function_args=args), folds=[0])
    losses = [row["val_loss"] for _, row in fold_history(run, 0).iterrows()]
    assert len(losses) == 3
    report = run.finished(0)
    assert report is not None
    assert report["best_epoch"] == int(np.argmin(losses))
    assert report["val_loss"] == pytest.approx(min(losses))
    kept = list(run.checkpoints_dir(0).glob("0*.safetensors"))
    assert sorted(epoch_metrics(path)["val_loss"] for path in kept) == pytest.approx(sorted(losses)[:2])
    assert run.best_of_folds() == run.best_checkpoint(0)
    assert (run.fold_dir(0) / "per_class.csv").is_file()


def test_another_kept_checkpoint_may_be_chosen_after_training(
    make_config: MakeConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    config = make_config(train_function_args={"n_checkpoints": 3})
    run = lightning_training(config, folds=[0])
    kept = list(run.checkpoints_dir(0).glob("0*.safetensors"))
    losses = {path: epoch_metrics(path)["val_loss"] for path in kept}
    (chosen,) = choose_checkpoints(run, config, "loss")
    assert run.best_checkpoint(0) == min(losses, key=lambda path: losses[path])
    scored = epoch_metrics(run.best_checkpoint(0))["val_macro_roc_auc"]
    assert chosen.report["val_macro_roc_auc"] == pytest.approx(scored, abs=1e-6)
    (chosen,) = choose_checkpoints(run, config, "cmap", average=3)
    assert chosen.checkpoint == run.best_checkpoint(0).name == "averaged.safetensors"
    weights = [read_checkpoint(path).weights["head.pooling.p"] for path in kept]
    averaged = read_checkpoint(run.best_checkpoint(0)).weights["head.pooling.p"]
    torch.testing.assert_close(averaged, torch.stack(weights).mean(0))
    before = run.newest_weights_ns([0])
    with pytest.raises(SystemExit) as end:
        main(["choose-checkpoints", str(run.path), "--by", "last", "--fold", "0"])
    assert end.value.code == 0
    assert capsys.readouterr().out.startswith("fold 0: last.safetensors, val_macro_roc_auc 0.")
    assert run.best_checkpoint(0).name == "last.safetensors"
    assert run.newest_weights_ns([0]) > before, "what was made before is outdated"
    with pytest.raises(ConfigError, match="has no 'hits' of its epochs; legal are cmap, loss, macro_roc_auc"):
        choose_checkpoints(run, config, "hits")
    with pytest.raises(ConfigError, match="4 checkpoints cannot be averaged: fold 0 has 3 to choose from"):
        choose_checkpoints(run, config, "cmap", average=4)


def test_of_validation_losses_the_smallest_ranks_first(make_config: MakeConfig, tmp_path: Path) -> None:
    best = BestCheckpoints(
        tmp_path, make_config(train_function_args={"main_metric": "loss"}).train_function_args
    )
    best.best_k_models = {str(tmp_path / name): torch.tensor(loss) for name, loss in (("a", 0.5), ("b", 0.2))}
    assert [path.name for path in best.ranked()] == ["b", "a"]
    with pytest.raises(
        ConfigError, match="average_best is 2, and an average of checkpoints has scores but no"
    ):
        make_config(train_function_args={"main_metric": "loss", "average_best": 2})


def test_the_average_is_the_plain_mean_and_counts_are_the_first_ones(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(3, 4, 5)).astype(np.float32)
    means, variances = rng.normal(size=(3, 5)).astype(np.float32), rng.random((3, 5)).astype(np.float32)
    paths = [tmp_path / f"{k}.safetensors" for k in range(3)]
    for k, path in enumerate(paths):
        weights = {
            "conv.weight": torch.from_numpy(values[k]),
            "bn.running_mean": torch.from_numpy(means[k]),
            "bn.running_var": torch.from_numpy(variances[k]),
            "bn.num_batches_tracked": torch.tensor(70 - 10 * k),
            "half": torch.tensor([k / 2], dtype=torch.float16),
        }
        write_checkpoint(path, weights, state={"epoch": k} if k == 0 else None)
    average_checkpoints(paths, tmp_path / "averaged.safetensors", CARD)
    averaged, state, metadata = read_checkpoint(tmp_path / "averaged.safetensors")
    for name, expected in (
        ("conv.weight", values), ("bn.running_mean", means), ("bn.running_var", variances)
    ):  # fmt: skip
        assert averaged[name].dtype == torch.float32
        np.testing.assert_allclose(averaged[name], expected.astype(np.float64).mean(0), rtol=1e-7)
    assert averaged["bn.num_batches_tracked"].item() == 70
    assert averaged["bn.num_batches_tracked"].dtype == torch.int64
    assert (averaged["half"].item(), averaged["half"].dtype) == (0.5, torch.float16)
    assert len(averaged) == 5
    assert state is None
    assert ModelCard.from_json(metadata[CARD_KEY], where="test") == CARD


def test_a_fold_ends_with_the_average_of_its_best(make_config: MakeConfig) -> None:
    config = make_config(train_function_args={"n_epochs": 2, "n_checkpoints": 2, "average_best": 2})
    prepared = prepare_run(config)
    report = train_fold(config, prepared, 0)
    assert report is not None
    assert report["best_checkpoint"] == "averaged.safetensors"
    folder = prepared.run.checkpoints_dir(0)
    single = [load_state_dict_file(path) for path in folder.glob("0*.safetensors")]
    assert len(single) == 2
    for name, tensor in load_state_dict_file(folder / "averaged.safetensors").items():
        if tensor.is_floating_point():
            expected = np.mean([weights[name].double().numpy() for weights in single], axis=0)
            np.testing.assert_allclose(tensor, expected, rtol=1e-6, atol=1e-9)
    prepared.run.load_model(0)


def test_only_the_last_checkpoint_holds_more_than_weights(make_config: MakeConfig) -> None:
    config = make_config(train_function_args={"n_epochs": 1})
    prepared = prepare_run(config)
    report = train_fold(config, prepared, 0)
    assert report is not None
    last, best = (
        read_checkpoint(prepared.run.checkpoints_dir(0) / name)
        for name in ("last.safetensors", report["best_checkpoint"])
    )
    assert best.state is None
    assert set(last.state) >= {"optimizer_states", "lr_schedulers", "callbacks", "loops", "epoch"}
    assert last.weights.keys() == best.weights.keys() == prepared.run.load_model(0).state_dict().keys()
    assert best.metadata["epoch"] == "0"
    assert ModelCard.from_json(best.metadata[CARD_KEY], where="test") == prepared.run.card()
    scores = epoch_metrics(prepared.run.best_checkpoint(0))
    assert scores["val_macro_roc_auc"] == report["val_macro_roc_auc"]


def test_a_checkpoint_of_weights_alone_cannot_be_gone_on_from(tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"
    write_checkpoint(path, {"a": torch.ones(1)}, metadata={"epoch": "3"})
    with pytest.raises(RunError, match=r"last\.safetensors holds weights alone; delete it, and the fold"):
        SafetensorsIO(CARD).load_checkpoint(path)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_damaged_checkpoint_cannot_be_gone_on_from(tmp_path: Path, share: float) -> None:
    path = tmp_path / "last.safetensors"
    write_checkpoint(path, {"a": torch.ones(100)}, state={"epoch": 3}, metadata={"epoch": "3"})
    assert epochs_done(path) == 4
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(
        RunError, match=r"last\.safetensors: the file is damaged .*; delete it, and the fold is"
    ):
        SafetensorsIO(CARD).load_checkpoint(path)
    with pytest.raises(RunError, match=r"last\.safetensors: the file is damaged .*; delete it to train"):
        epochs_done(path)


@pytest.mark.parametrize("metadata", [{}, {"epoch": "many"}])
def test_a_checkpoint_that_does_not_say_its_epoch_is_no_checkpoint_of_training(
    tmp_path: Path, metadata: dict[str, str]
) -> None:
    path = tmp_path / "last.safetensors"
    write_checkpoint(path, {"a": torch.ones(1)}, metadata=metadata)
    with pytest.raises(RunError, match=r"last\.safetensors, header: epoch is .*; legal: a whole"):
        epochs_done(path)


def test_what_was_saved_for_going_on_comes_back_under_lightnings_names(tmp_path: Path) -> None:
    plugin = SafetensorsIO(CARD)
    saved = {
        "state_dict": {"model.a": torch.ones(2)},
        "epoch": 4,
        "optimizer_states": [
            {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"betas": (0.9, 1)}]}
        ],
        "metrics": {"val_cmap": 0.5},
    }
    path = tmp_path / "last.safetensors"
    plugin.save_checkpoint(saved, path)
    found = plugin.load_checkpoint(path)
    assert str({key: found[key] for key in saved}) == str(saved)  # tensors, keys and types alike
    assert found.keys() == saved.keys()
    assert list(load_state_dict_file(path)) == ["a"]
    assert epoch_metrics(path) == {"epoch": 4, "val_cmap": 0.5}
    plugin.save_checkpoint(saved, tmp_path / "004-0.5.safetensors")
    assert read_checkpoint(tmp_path / "004-0.5.safetensors").state is None
    plugin.remove_checkpoint(path)
    plugin.remove_checkpoint(path)
    assert not path.exists()


@pytest.mark.parametrize("save", [torch.save, lambda value, path: path.write_bytes(pickle.dumps(value))])
def test_a_pickle_under_the_name_of_a_checkpoint_is_refused_and_its_code_not_run(
    make_config: MakeConfig, tmp_path: Path, save: Callable[[Any, Path], None]
) -> None:
    config = make_config()
    last = Run(config.run_dir).checkpoints_dir(0) / "last.safetensors"
    proof = tmp_path / "the code ran"
    prepare_run(config)
    last.parent.mkdir(parents=True)
    save({"state_dict": {}, "epoch": 0, "callback": Trap(proof)}, last)
    with pytest.raises(RunError, match=r"last\.safetensors: the file is damaged .*; delete it to train"):
        lightning_training(config, folds=[0])
    with pytest.raises(RunError, match=r"last\.safetensors: the file is damaged or no safetensors file"):
        SafetensorsIO(CARD).load_checkpoint(last)
    with pytest.raises(WeightsError, match="damaged or no safetensors file"):
        load_state_dict_file(last)
    assert not proof.exists()


def test_a_checkpoint_names_no_file_outside_its_folder(make_config: MakeConfig, tmp_path: Path) -> None:
    best = BestCheckpoints(tmp_path / "checkpoints", make_config().train_function_args)
    state = best.state_dict()
    kept = {**state, "best_k_models": {"/elsewhere/victim.safetensors": torch.tensor(0.5)}}
    best.load_state_dict(kept)
    assert list(best.best_k_models) == [str(tmp_path / "checkpoints" / "victim.safetensors")]
    with pytest.raises(UnsafePathError, match=r"last\.safetensors names '\.\.'"):
        best.load_state_dict({**state, "best_model_path": "checkpoints/.."})
