"""The picture of a config's augmentations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.image
import pytest

from dawnchorus.cli import main
from dawnchorus.config import TrainConfig, merge, validate
from dawnchorus.datasets.wave_all_file_dataset import WaveAllFileDataset
from dawnchorus.datasets.wave_dataset import WaveDataset
from dawnchorus.errors import ConfigError, DataError
from dawnchorus.models.wave_cnn import WaveCNNAttenClassifier
from dawnchorus.pipelines.augmentation_panels import show_augmentations
from dawnchorus.training.lightning_training import lightning_training


@pytest.fixture
def make_config(data_factory: Any, tmp_path: Path) -> Any:
    root = data_factory.recordings(n_species=2, n_per_species=4, duration_s=(3.0, 8.0))
    noise = data_factory.tone("../noise/rain.wav", duration_s=8, noise=0.3).parent
    night = data_factory.tone("../nights/H1.wav", duration_s=20).parent
    pseudo = tmp_path / "pseudo.csv"
    pseudo.write_text("row_id,species_0,species_1\nH1_5,0.9,0.2\n")
    values = {
        "exp_name": "shown",
        "data": {"audio_dir": root},
        "nn_model_class": WaveCNNAttenClassifier,
        "nn_model_config": {"backbone": "test_resnet.r160_in1k", "pretrained": False},
        "train_function": lightning_training,
        "train_function_args": {
            "train_dataset_class": WaveDataset,
            "val_dataset_class": WaveAllFileDataset,
            "train_dataset_config": {
                "mixup": {"probability": 0.5},
                "early_transforms": [{"name": "PolarityInversion"}],
                "background": [{"folder": noise}],
                "late_transforms": [{"name": "AddGaussianSNR", "params": {"p": 0.1}}],
                "soundscape_pseudo_config": {"tables": [{"table": pseudo, "audio_dir": night}]},
            },
            "batch_augmentations": {
                "random_filtering": {},
                "spectrogram_masks": {"frequency_probability": 0.1},
                "power_scaling": {},
                "spectral_tilt": {},
            },
        },
    }
    return lambda **changes: validate(TrainConfig, merge(values, changes), where="test")


def test_every_augmentation_of_the_config_has_its_panel(make_config: Any, tmp_path: Path) -> None:
    titles = show_augmentations(make_config(), tmp_path / "shown.png")
    assert titles[:4] == [
        "species_0, the clip",
        "PolarityInversion, early",
        "AddGaussianSNR, late",
        "mixup with species_1",
    ]
    assert titles[4].startswith("noise of noise, share 0.")
    assert titles[5:10] == [
        "pseudo-labelled species_0",
        "random_filtering",
        "spectral_tilt",
        "power_scaling",
        "spectrogram_masks",
    ]
    assert titles[10:] == [f"as training draws it, epoch {epoch}" for epoch in range(3)]
    assert min(matplotlib.image.imread(tmp_path / "shown.png").shape[:2]) > 500


def test_the_same_seed_draws_the_same_picture_and_another_does_not(make_config: Any, tmp_path: Path) -> None:
    for name, config in (("a", make_config()), ("b", make_config()), ("c", make_config(seed=7))):
        show_augmentations(config, tmp_path / f"{name}.png")
    first, again, other = ((tmp_path / f"{name}.png").read_bytes() for name in "abc")
    assert first == again
    assert first != other


def test_one_recording_can_be_chosen(make_config: Any, tmp_path: Path) -> None:
    titles = show_augmentations(make_config(), tmp_path / "a.png", filename="species_1/XC1001.flac")
    assert titles[0] == "species_1, the clip"
    with pytest.raises(DataError, match="XC9 is none of the 8 recordings"):
        show_augmentations(make_config(), tmp_path / "b.png", filename="XC9")


def test_a_noise_that_is_not_there_is_left_out_and_said(
    make_config: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    dataset = {"background": [{"folder": tmp_path / "nowhere"}]}
    config = make_config(train_function_args={"train_dataset_config": dataset})
    titles = show_augmentations(config, tmp_path / "a.png")
    assert not any(title.startswith("noise") for title in titles)
    assert "nowhere: no such folder; the picture does without this noise" in caplog.text


def test_another_dataset_is_refused(make_config: Any, tmp_path: Path) -> None:
    config = make_config()
    other = {"train_dataset_class": WaveAllFileDataset, "train_dataset_config": {}}
    args = config.train_function_args.model_copy(update=other)
    with pytest.raises(ConfigError, match="the picture is for WaveDataset"):
        show_augmentations(config.model_copy(update={"train_function_args": args}), tmp_path / "a.png")


def test_the_command_writes_the_picture_and_never_over_another(
    data_factory: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = data_factory.recordings(n_species=2, n_per_species=2)
    config = Path(__file__).parents[2] / "train_configs" / "smoke.py"
    command = ["show-augmentations", str(config), "--audio", str(root), "--out", str(tmp_path / "a.png")]
    with pytest.raises(SystemExit) as ended:
        main(command)
    assert ended.value.code == 0
    assert "written to" in capsys.readouterr().out
    with pytest.raises(SystemExit) as ended:
        main(command)
    assert ended.value.code == 1
    assert "exists; choose another name, or overwrite it with --force" in capsys.readouterr().err
