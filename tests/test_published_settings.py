"""The published system's settings in its configs, a test for each row of docs/explanation/published.md."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch

from dawnchorus.augment.background import BackgroundNoise, BackgroundSettings
from dawnchorus.augment.random_filtering import RandomFiltering
from dawnchorus.augment.spectrogram_masks import SpectrogramMasks
from dawnchorus.config import TrainConfig, load_train_config, validate
from dawnchorus.datasets.sampling import Draw
from dawnchorus.datasets.wave_dataset import ClipDraw, CropDraw, WaveDataset, WaveDatasetSettings
from dawnchorus.recordings.recordings_table import load_recordings

RATE = 32_000
REPOSITORY = Path(__file__).resolve().parents[1]
FINE_TUNING = ("selected_ebs", "selected_eca", "best_solo_ebs", "best_ensem_ebs1", "best_ensem_ebs2")
PRETRAINING = ("pretrain_ebs", "pretrain_ebs_large", "pretrain_eca", "pretrain_eca_large")


def published(name: str) -> TrainConfig:
    return load_train_config(REPOSITORY / "train_configs" / f"{name}.py")


def clip_settings(name: str, **changes: Any) -> dict[str, Any]:
    """Return the settings of a config's training clips, without the files that it names."""
    files = {"background": (), "soundscape_pseudo_config": None, "out_of_fold_targets": None}
    return {**published(name).train_function_args.train_dataset_config, **files, **changes}


@pytest.fixture
def birds(data_factory: Any) -> pd.DataFrame:
    root = data_factory.recordings(n_species=2, n_per_species=2, duration_s=(6.0, 7.0))
    return load_recordings(root).table


@pytest.fixture
def noises(tmp_path: Path) -> Path:
    """A folder of each kind of noise, with a file that is loud in one place, and a short one."""
    rng = np.random.default_rng(0)
    quiet = rng.uniform(-0.05, 0.05, 30 * RATE)
    quiet[12 * RATE] = 0.5
    for name, wave in (("nocall/night.wav", quiet), ("esc50/rain.wav", quiet[: 2 * RATE])):
        (tmp_path / name).parent.mkdir()
        soundfile.write(tmp_path / name, wave, RATE, subtype="FLOAT")
    return tmp_path


def winning_noise(noises: Path) -> BackgroundNoise:
    settings = validate(
        WaveDatasetSettings,
        published("selected_ebs").train_function_args.train_dataset_config,
        where="selected_ebs",
    )
    moved = tuple(
        kind.model_copy(update={"folder": noises / folder, "table": None, "labels": ()})
        for kind, folder in zip(settings.background, ("nocall", "esc50"), strict=True)
    )
    return BackgroundNoise(
        moved, sample_rate=RATE, n_samples=5 * RATE, late_normalize=True, choice=settings.background_choice
    )


@pytest.mark.parametrize("name", [*FINE_TUNING, *PRETRAINING])
def test_a_rating_changes_no_target(name: str, birds: pd.DataFrame) -> None:
    of_config = clip_settings(name, mixup=None)
    rated = WaveDataset(birds.assign(rating=3.0), None, of_config)[0].target
    assert torch.equal(rated, WaveDataset(birds, None, of_config)[0].target)
    scaled = WaveDataset(birds.assign(rating=3.0), None, {**of_config, "use_rating": True})[0].target
    torch.testing.assert_close(scaled, 0.6 * rated)


def test_late_noise_comes_to_half_of_the_clips_a_quarter_of_each_kind(noises: Path) -> None:
    noise, rng = winning_noise(noises), np.random.default_rng(0)
    drawn = Counter(None if draw is None else draw.kind for draw in (noise.draw(rng) for _ in range(20_000)))
    assert drawn[None] / 20_000 == pytest.approx(0.500, abs=0.01)
    assert drawn[0] / 20_000 == pytest.approx(0.253, abs=0.01)
    assert drawn[1] / 20_000 == pytest.approx(0.247, abs=0.01)


def test_late_noise_is_normalised_as_a_whole_file_and_then_cropped(noises: Path) -> None:
    noise = winning_noise(noises)
    whole = soundfile.read(noises / "nocall" / "night.wav", dtype="float32")[0]
    bird = np.sin(np.arange(5 * RATE, dtype=np.float32))
    peaks = []
    for seed in range(20):
        drawn = noise.draw_of(0, np.random.default_rng(seed))
        crop = whole[drawn.start : drawn.start + 5 * RATE] / 0.5
        peaks.append(np.abs(crop).max())
        expected = (1 - drawn.share) * bird / np.abs(bird).max() + drawn.share * crop
        np.testing.assert_allclose(noise.apply(0.1 * bird, drawn), expected, atol=1e-5)
    # 20 dB below the crop that holds the file's peak.
    assert 20 * np.log10(min(peaks) / max(peaks)) == pytest.approx(-20, abs=0.1)


def test_noise_shorter_than_a_clip_is_repeated(noises: Path) -> None:
    kinds = (BackgroundSettings(folder=noises / "esc50", min_share=1, max_share=1),)
    noise = BackgroundNoise(kinds, sample_rate=RATE, n_samples=5 * RATE, late_normalize=False)
    heard = noise.apply(np.zeros(5 * RATE, np.float32), noise.draw_of(0, np.random.default_rng(0)))
    rain = soundfile.read(noises / "esc50" / "rain.wav", dtype="float32")[0]
    np.testing.assert_allclose(heard, np.concatenate([rain, rain, rain[:RATE]]) / np.abs(rain).max())


def two_clips(first: CropDraw, second: CropDraw | None) -> ClipDraw:
    return ClipDraw(first, second, weight=0.5, noise=None, late=0)


def test_targets_of_pseudo_labels_stay_as_they_are(
    birds: pd.DataFrame, data_factory: Any, tmp_path: Path
) -> None:
    soundscape = data_factory.tone("../nights/night.wav", duration_s=10.0)
    rows = pd.DataFrame({"row_id": ["night_5"], "species_0": [0.997], "species_1": [0.2]})
    rows.to_csv(tmp_path / "pseudo.csv", index=False)
    pseudo = {"tables": [{"table": tmp_path / "pseudo.csv", "audio_dir": soundscape.parent}]}
    of_config = clip_settings("selected_ebs", soundscape_pseudo_config=pseudo)
    dataset = WaveDataset(birds, None, of_config)
    soft = CropDraw(pseudo=True, row=0, start=0, early=0)
    np.testing.assert_allclose(dataset.apply(two_clips(soft, None)).target, [0.997, 0.2])
    hard = CropDraw(pseudo=False, row=0, start=0, early=0)  # of species_0
    mixed = dataset.apply(two_clips(soft, hard)).target
    np.testing.assert_allclose(mixed, [1.0, 0.2 + 0.05 / 2], rtol=1e-6)


def test_a_species_in_both_clips_of_a_mix_is_certain(birds: pd.DataFrame) -> None:
    dataset = WaveDataset(birds, None, clip_settings("selected_ebs"))
    first, again, other = (CropDraw(pseudo=False, row=row, start=0, early=0) for row in (0, 1, 2))
    alone = dataset.apply(two_clips(first, None)).target
    np.testing.assert_allclose(alone, [0.95 + 0.05 / 2, 0.05 / 2], rtol=1e-6)
    np.testing.assert_allclose(dataset.apply(two_clips(first, again)).target, [1.0, 0.05], rtol=1e-6)
    np.testing.assert_allclose(dataset.apply(two_clips(first, other)).target, [1.0, 1.0], rtol=1e-6)


def test_masks_are_narrower_and_cover_3_79_percent_of_the_cells() -> None:
    masks = SpectrogramMasks(**settings_of_augmentation("spectrogram_masks"))
    drawn = masks.draw(60_000, 128, 313, generator=torch.Generator().manual_seed(0))
    assert (int(drawn.mel_width.min()), int(drawn.mel_width.max())) == (0, 9)
    assert (int(drawn.frame_width.min()), int(drawn.frame_width.max())) == (0, 19)
    mels = covered(128, drawn.mel_start, drawn.mel_width)
    frames = covered(313, drawn.frame_start, drawn.frame_width)
    assert float((mels + frames - mels * frames).mean()) == pytest.approx(0.0379, abs=0.0006)


def settings_of_augmentation(name: str) -> dict[str, Any]:
    settings: dict[str, Any] = published(
        "selected_ebs"
    ).train_function_args.batch_augmentations.switched_on()[name]
    return settings


def covered(length: int, start: torch.Tensor, width: torch.Tensor) -> np.ndarray:
    """Return the fraction of an axis that lies under the bars of each example, shape (batch,)."""
    change = np.zeros((len(start), length + 1))
    rows = np.arange(len(start))[:, None]
    np.add.at(change, (rows, start.numpy()), 1)
    np.add.at(change, (rows, (start + width).numpy()), -1)
    return (change[:, :-1].cumsum(1) > 0).mean(1)


def test_the_filter_has_its_gains_at_the_centres_of_four_bands_and_flat_ends() -> None:
    filtering = RandomFiltering(**settings_of_augmentation("random_filtering"))
    gains_db = torch.tensor([[-20.0, 0.0, -10.0, -5.0]])
    curve_db = 20 * filtering.bin_gains(gains_db).log10()[0]
    bins = (np.arange(513) + 0.5) / 513
    expected = np.interp(bins, np.array([0.5, 1.5, 2.5, 3.5]) / 4, gains_db[0])
    np.testing.assert_allclose(curve_db, expected, atol=1e-3)
    assert (filtering.n_bands, filtering.min_db, filtering.max_db) == (4, -20.0, 0.0)


@pytest.mark.parametrize("name", PRETRAINING)
def test_pretraining_has_a_wide_head_no_balance_no_smoothing_and_one_of_twenty_folds(name: str) -> None:
    config = published(name)
    args = config.train_function_args
    assert config.nn_model_config["hidden_features"] == 1024
    assert (args.class_balance, args.repeat_rare_to) == ("none", 0)
    assert args.train_dataset_config["label_smoothing"] == 0
    assert (config.folds.n_folds, config.folds.trained) == (20, (0,))


@pytest.mark.parametrize(("name", "metric"), [("", "val_macro_roc_auc"), ("_large", "val_loss")])
def test_pretraining_of_efficientnet(name: str, metric: str) -> None:
    args = published(f"pretrain_ebs{name}").train_function_args
    assert (args.optimizer.name, args.optimizer.lr, args.scheduler.min_lr) == ("AdamW", 2.5e-4, 1e-6)
    assert (args.main_metric, args.main_mode) == (metric, "min" if metric == "val_loss" else "max")


@pytest.mark.parametrize(("name", "min_lr"), [("", 1e-6), ("_large", 1e-5)])
def test_pretraining_of_eca_nfnet(name: str, min_lr: float) -> None:
    config = published(f"pretrain_eca{name}")
    args = config.train_function_args
    assert config.nn_model_config["drop_path_rate"] == 0.2
    assert args.train_dataset_config["background"] == []
    assert (args.optimizer.name, args.optimizer.lr, args.scheduler.min_lr) == ("RAdam", 1e-3, min_lr)
    assert args.main_metric == "val_macro_roc_auc"


def test_best_ensem_ebs1_takes_the_recordings_own_out_of_fold_predictions_as_targets(
    birds: pd.DataFrame, tmp_path: Path
) -> None:
    stems = [Path(name).stem for name in birds["filename"]]
    rows = {  # of recording 0 two rows, of recording 2 one that is not accepted
        f"{stems[0]}_5": (0.9, 0.1, 1),
        f"{stems[0]}_10": (0.2, 0.8, 1),
        f"{stems[2]}_5": (0.3, 0.4, 1),
        f"{stems[1]}_5": (0.6, 0.7, 0),
    }
    table = pd.DataFrame(list(rows.values()), columns=["species_0", "species_1", "fold"])
    table.assign(row_id=list(rows)).to_csv(tmp_path / "own.csv", index=False)
    settings = published("best_ensem_ebs1").train_function_args.train_dataset_config["out_of_fold_targets"]
    own = {**settings, "table": tmp_path / "own.csv"}
    dataset = WaveDataset(birds, None, clip_settings("best_ensem_ebs1", out_of_fold_targets=own), fold=0)

    def target(row: int, start_s: float) -> list[float]:
        crop = CropDraw(pseudo=False, row=row, start=round(start_s * RATE), early=0)
        return dataset.apply(two_clips(crop, None)).target.tolist()

    assert target(0, 0.0) == pytest.approx([0.9, 0.1])
    assert target(0, 1.0) == pytest.approx([0.8 * 0.9 + 0.2 * 0.2, 0.8 * 0.1 + 0.2 * 0.8])
    smoothed = [0.95 + 0.05 / 2, 0.05 / 2]
    assert target(2, 0.0) == pytest.approx(smoothed[::-1]), "0.4 is below the threshold"
    assert target(1, 0.0) == pytest.approx(smoothed), "what the fold's own model predicted is not used"
    assert dataset.draw(Draw(0, 0, 0)) == WaveDataset(
        birds, None, clip_settings("best_ensem_ebs1"), fold=0
    ).draw(Draw(0, 0, 0))
