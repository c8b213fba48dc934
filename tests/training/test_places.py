"""Several places of recordings, boxes and given classes, from the config to the out-of-fold score."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dawnchorus.config import TrainConfig, from_json_file, merge, read_config_file, validate
from dawnchorus.engines.torch_engine import TorchEngine
from dawnchorus.errors import RunError
from dawnchorus.evaluate.out_of_fold import predict_out_of_fold
from dawnchorus.files import read_failures
from dawnchorus.formats.faults import FaultyTableError
from dawnchorus.predict.birds_inference import BirdsInference
from dawnchorus.recordings.labels import LabelMap
from dawnchorus.recordings.recordings_table import load_recordings
from dawnchorus.training.lightning_training import lightning_training
from dawnchorus.training.run_preparation import prepare_run

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def places(data_factory_in: Any, tmp_path: Path) -> list[dict[str, Any]]:
    """A folder of recordings, one of them missing, and two nights with boxes of a species of their own."""
    recordings = data_factory_in(tmp_path / "recordings").recordings(
        n_species=2, n_per_species=6, duration_s=(5.0, 6.0)
    )
    (recordings / "species_0" / "XC0.wav").unlink()
    nights = data_factory_in(tmp_path / "nights")
    for name in ("H1", "H2"):
        nights.tone(f"{name}.wav", duration_s=12.0)
        (nights.root / f"{name}.txt").write_text("1.0\t2.0\tspecies_1\n6.0\t7.5\towl\n8.0\t9.0\tUnk\n")
    return [
        {"audio_dir": recordings, "faulty": "leave_out"},
        {"audio_dir": nights.root, "annotations": nights.root, "ignored_labels": ["Unk"]},
    ]


@pytest.fixture
def make_config(places: list[dict[str, Any]], tmp_path: Path) -> Any:
    def make(**changes: Any) -> TrainConfig:
        values = read_config_file(REPOSITORY / "train_configs" / "smoke.py")
        wide = {"look_back_s": 0.5, "look_ahead_s": 0.5, "segment_len": 2.0}
        small = {
            "logdir": tmp_path / "logdirs",
            "data": places,
            "nn_model_config": {"backbone": "test_resnet.r160_in1k"},
            "train_function_args": {
                "clips_per_epoch": 8,
                "n_epochs": 1,
                "train_loader": {"batch_size": 4, "num_workers": 2},
                "val_loader": {"batch_size": 4, "num_workers": 1},
                "train_dataset_config": wide,
                "val_dataset_config": wide,
            },
        }
        return validate(TrainConfig, merge(merge(values, small), changes), where="test")

    return make


def test_a_run_of_several_places_is_trained_scored_and_read_back(make_config: Any, places: Any) -> None:
    config = make_config()
    run = lightning_training(config)
    assert run.card().labels == ("owl", "species_0", "species_1")
    assert run.card().n_samples == 96_000
    (failure,) = read_failures(run.path)
    assert failure.path == Path("recordings/species_0/XC0.wav")
    assert "not found" in failure.reason
    assert set(run.folds()["filename"].str.split("/").str[0]) == {"recordings", "nights"}
    assert [place.audio_dir for place in run.data()] == [place["audio_dir"] for place in places]
    assert from_json_file(run.config_file).data == run.config().data
    scored = predict_out_of_fold(run, config)
    assert len(scored.predictions) == 13
    nights = scored.predictions["filename"].str.startswith("nights")
    assert scored.targets[nights.to_numpy()].tolist() == [[1, 0, 1]] * 2
    inference = BirdsInference(TorchEngine([run.load_model(0)], run.card()))
    predicted = inference.predict_recording(places[1]["audio_dir"] / "H1.wav")
    assert (predicted.starts / 32_000).tolist() == [0, 2, 4, 6, 8, 10]
    assert (predicted.stops / 32_000).tolist() == [2, 4, 6, 8, 10, 12]


def test_windows_of_a_stream_are_those_of_the_dataset(make_config: Any, places: Any) -> None:
    config = make_config()
    run = lightning_training(config, folds=[0])
    args, rows = config.train_function_args, run.folds()
    table = load_recordings(config.data).table
    assert set(rows["filename"]) == set(table["filename"])
    dataset = args.val_dataset_class(table, LabelMap(run.card().labels), args.val_dataset_config)
    inference = BirdsInference(TorchEngine([run.load_model(0)], run.card(), clips_per_request=3))
    best = inference.predict_dataset(dataset, num_workers=2)
    for row, path in enumerate(table["audio_path"]):
        streamed = inference.predict_recording(Path(path)).probabilities.max(axis=0)
        assert streamed == pytest.approx(best[row], abs=2e-5)


def test_the_classes_and_their_order_may_be_given(make_config: Any, tmp_path: Path) -> None:
    taxonomy = tmp_path / "taxonomy.csv"
    taxonomy.write_text(
        "primary_label,scientific_name,common_name\nspecies_1,,\nowl,Strix aluco,Tawny Owl\n"
        "species_0,,\nwren,,Winter Wren\n"
    )
    run = lightning_training(make_config(labels=taxonomy), folds=[0])
    assert run.card().labels == ("species_1", "owl", "species_0", "wren")
    assert run.card().species["owl"] == {"scientific_name": "Strix aluco", "common_name": "Tawny Owl"}
    assert run.card().species["wren"] == {"common_name": "Winter Wren"}
    with pytest.raises(FaultyTableError, match="2 faults"):
        lightning_training(make_config(labels=["species_0", "species_1"], exp_name="other"))


def test_names_of_the_classes_come_from_a_table_that_may_change_later(
    make_config: Any, tmp_path: Path
) -> None:
    names = tmp_path / "names.csv"
    names.write_text("scientific_name,common_name,ebird_code\nStrix aluco,Owl,tawowl1\n")
    first = prepare_run(make_config(taxonomy=names)).run
    owl = {"scientific_name": "Strix aluco", "common_name": "Owl", "species_code": "tawowl1"}
    assert first.card().species == {"owl": owl}
    assert first.card().labels == ("owl", "species_0", "species_1")
    assert from_json_file(first.config_file).taxonomy == names
    first.check_made_from(make_config())


def test_a_run_with_other_places_is_noticed(make_config: Any, places: Any) -> None:
    lightning_training(make_config(), folds=[0])
    with pytest.raises(RunError, match=r"was begun with the recordings in .*nights, not fewer folders"):
        lightning_training(make_config(data=places[:1]))


def test_a_run_whose_boxes_or_classes_changed_is_noticed(
    make_config: Any, places: Any, tmp_path: Path
) -> None:
    taxonomy = tmp_path / "taxonomy.txt"
    taxonomy.write_text("owl\nspecies_0\nspecies_1\n")
    lightning_training(make_config(labels=taxonomy), folds=[0])
    taxonomy.write_text("species_1\nowl\nspecies_0\n")
    with pytest.raises(RunError, match="was begun with other recordings, labels or folds"):
        lightning_training(make_config(labels=taxonomy))
    taxonomy.write_text("owl\nspecies_0\nspecies_1\n")
    boxes = places[1]["audio_dir"] / "H1.txt"
    boxes.write_text(boxes.read_text().replace("7.5", "7.6"))
    with pytest.raises(RunError, match="was begun with other recordings, labels or folds"):
        lightning_training(make_config(labels=taxonomy))


def test_a_species_of_boxes_is_scored(make_config: Any) -> None:
    config = make_config()
    run = lightning_training(config)
    assert "owl" in predict_out_of_fold(run, config).scored_labels
