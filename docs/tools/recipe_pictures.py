"""The pictures of the recipe's page, made by the package's own code on the synthetic aviary.

``python docs/tools/recipe_pictures.py`` writes them into ``docs/explanation/pictures``.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from network_pictures import CLIP_S, DPI, draw_attention, draw_windows, train_small_network
from sklearn.model_selection import StratifiedKFold

from dawnchorus import load_recordings
from dawnchorus.audio.decode import SAMPLE_RATE, read_crop
from dawnchorus.audio.windows import normalize_peak
from dawnchorus.augment.mixup import mix_at_equal_peaks, mix_targets
from dawnchorus.aviary import Aviary, AviarySettings, make_aviary
from dawnchorus.config import FoldSettings, load_train_config
from dawnchorus.datasets.sampling import class_weights
from dawnchorus.features.frontend import LogMelFrontend
from dawnchorus.features.logmel import FrontendSettings
from dawnchorus.features.mel_axis import LEVEL_LABEL, show_spectrogram
from dawnchorus.folds.assignment import assign_folds
from dawnchorus.pipelines.augmentation_panels import show_augmentations
from dawnchorus.progress import silence_progress
from dawnchorus.report.augmentation_picture import Panel, draw_panels
from dawnchorus.training.losses import bce_loss, focal_loss

DOCS = Path(__file__).resolve().parents[1]
AVIARY = AviarySettings(n_species=5, n_recordings=110, n_nocall=10, n_recordists=9, n_soundscapes=3)
SEED = 42
_COUNTS = {"common": 400, "frequent": 100, "scarce": 25, "rare": 5}
"""Recordings of four invented classes, for the picture of class balance."""


def draw_pictures(folder: Path, *, work: Path) -> None:
    """Write all pictures of the recipe into ``folder``.

    Parameters
    ----------
    folder
        For the PNG files.
    work
        For the aviary and a small network; what is there from an earlier build is used again.
    """
    folder.mkdir(exist_ok=True)
    aviary = make_aviary(work / "aviary", AVIARY)
    recordings = load_recordings(aviary.recordings_dir).table
    draw_clip(folder / "clip.png", recordings)
    draw_mixup(folder / "mixup.png", recordings)
    draw_augmentations(folder / "augmentations.png", aviary)
    draw_balance(folder / "balance.png")
    draw_loss(folder / "loss.png")
    draw_folds(folder / "folds.png", recordings)
    run = train_small_network(aviary, work)
    draw_attention(folder / "attention.png", run, aviary)
    draw_windows(folder / "windows.png", run, aviary)


def _loudest_clip(recording: pd.Series) -> np.ndarray:
    """Return the five seconds of a recording with most energy, shape (n_samples,), at peak 1."""
    n_samples = round(CLIP_S * SAMPLE_RATE)
    wave = read_crop(recording["audio_path"], 0, 40 * SAMPLE_RATE, sample_rate=SAMPLE_RATE)
    energy = np.concatenate([[0.0], np.cumsum(np.square(wave, dtype=np.float64))])
    last = max(len(wave) - n_samples, 0)
    start = int(np.argmax(energy[n_samples:] - energy[:-n_samples])) if last else 0
    return normalize_peak(wave[start : start + n_samples])


def _clips(recordings: pd.DataFrame, n_clips: int) -> list[tuple[str, np.ndarray]]:
    """Return a clip of the first long recording of so many species, with the species' names."""
    long = recordings[(recordings["duration_s"] >= CLIP_S) & (recordings["primary_label"] != "nocall")]
    first = long.drop_duplicates("primary_label").head(n_clips)
    return [(str(row["primary_label"]), _loudest_clip(row)) for _, row in first.iterrows()]


def draw_clip(picture: Path, recordings: pd.DataFrame) -> None:
    """Draw a clip as the wave that is read, and as the picture that the network sees."""
    settings = FrontendSettings()
    ((label, wave),) = _clips(recordings, 1)
    logmel = LogMelFrontend(settings)(torch.from_numpy(wave)[None])[0, 0].numpy()
    figure = Figure(figsize=(9, 4.5), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[1, 2])
    above.plot(np.arange(len(wave)) / SAMPLE_RATE, wave, linewidth=0.3, color="black")
    above.set_ylabel("wave")
    above.set_title(
        f"{label}: {len(wave):,} samples, {logmel.shape[0]} mel bands by {logmel.shape[1]} frames"
    )
    image = show_spectrogram(below, logmel, frontend=settings, duration_s=CLIP_S)
    below.set_ylabel("frequency (kHz, mel scale)")
    below.set_xlabel("time (s)")
    figure.colorbar(image, ax=below, label=LEVEL_LABEL, pad=0.01)
    figure.savefig(picture, dpi=DPI)


def draw_mixup(picture: Path, recordings: pd.DataFrame) -> None:
    """Draw two clips, and one half of each, with the target of each."""
    settings = FrontendSettings()
    frontend = LogMelFrontend(settings)
    (first_label, first), (second_label, second) = _clips(recordings, 2)
    present, absent = np.array([1, 0], np.float32), np.array([0, 1], np.float32)
    target = mix_targets(present, absent, 0.5, soft=False)
    mixed = normalize_peak(mix_at_equal_peaks(first.copy(), second.copy(), 0.5))
    panels = []
    for title, wave in (
        (f"{first_label}: 1", first),
        (f"{second_label}: 1", second),
        (f"mixed; {first_label}: {target[0]:g}, {second_label}: {target[1]:g}", mixed),
    ):
        logmel = frontend(torch.from_numpy(wave)[None])[0, 0].numpy()
        panels.append(Panel(title, logmel, CLIP_S))
    draw_panels(picture, panels, frontend=settings, title="mixup of two clips, hard targets")


def draw_augmentations(picture: Path, aviary: Aviary) -> None:
    """Draw what the augmentations of the winning configs make of a clip, and the two that they leave out."""
    noise = {"folder": aviary.recordings_dir / "nocall", "probability": 0.5}
    changes = {
        "exp_name": "winning",
        "data": {"audio_dir": aviary.recordings_dir, "features_dir": None},
        "train_function_args": {
            "train_dataset_config": {"background": [noise]},
            "batch_augmentations": {"power_scaling": {}, "spectral_tilt": {}},
        },
    }
    show_augmentations(load_train_config(DOCS.parent / "train_configs" / "winning.py", changes), picture)


def draw_balance(picture: Path) -> None:
    """Draw the share of an epoch's clips that goes to classes of very different size."""
    labels = [label for label, count in _COUNTS.items() for _ in range(count)]
    kinds = {
        "none": class_weights(labels, "none"),
        "inverse": class_weights(labels, "inverse"),
        "inverse_sqrt": class_weights(labels, "inverse_sqrt"),
        "inverse_sqrt,\nrepeat_rare_to 100": class_weights(labels, "inverse_sqrt", repeat_rare_to=100),
    }
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    axes = figure.subplots()
    for place, (label, count) in enumerate(_COUNTS.items()):
        of_class = np.array(labels) == label
        shares = [weights[of_class].sum() for weights in kinds.values()]
        axes.bar(np.arange(len(kinds)) + 0.2 * (place - 1.5), shares, 0.18, label=f"{label} ({count})")
    axes.set_xticks(range(len(kinds)), list(kinds))
    axes.set_ylabel("share of the clips")
    axes.legend(title="class (recordings)", fontsize="small")
    figure.savefig(picture, dpi=DPI)


def draw_loss(picture: Path) -> None:
    """Draw what an answer costs, for a species that is there, by both parts of the loss."""
    probability = torch.linspace(0.001, 0.999, 999)
    logits, targets = torch.logit(probability)[:, None], torch.ones(999, 1)
    bce, focal = (loss(logits, targets, reduction="none")[:, 0] for loss in (bce_loss, focal_loss))
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    axes = figure.subplots()
    for name, values in (("binary cross-entropy", bce), ("focal", focal), ("their sum", bce + focal)):
        axes.plot(probability.numpy(), values.numpy(), label=name)
    axes.set_ylim(0, 4)
    axes.set_xlabel("probability given to a species that is there")
    axes.set_ylabel("loss")
    axes.legend()
    figure.savefig(picture, dpi=DPI)


def draw_folds(picture: Path, recordings: pd.DataFrame) -> None:
    """Draw whose recordings each fold tests: dealt one by one, and dealt by recordist."""
    labels = recordings["primary_label"].to_numpy()
    alone = np.empty(len(labels), dtype=np.int64)
    splitter = StratifiedKFold(n_splits=5, shuffle=True, random_state=SEED)
    for fold, (_, tested) in enumerate(splitter.split(labels, labels)):
        alone[tested] = fold
    grouped = assign_folds(recordings, FoldSettings(fewer_if_needed=True), seed=SEED).folds
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    _draw_deal(left, recordings, alone, "each recording for itself")
    _draw_deal(right, recordings, grouped, "all of a recordist together")
    left.set_ylabel("recordist")
    figure.savefig(picture, dpi=DPI)


def _draw_deal(axes: Axes, recordings: pd.DataFrame, folds: np.ndarray, title: str) -> None:
    counts = pd.crosstab(recordings["author"], folds)
    axes.imshow(counts.to_numpy(), cmap="Blues", aspect="auto")
    for (row, column), count in np.ndenumerate(counts.to_numpy()):
        if count:
            colour = "white" if count > counts.to_numpy().max() / 2 else "black"
            axes.text(column, row, str(count), ha="center", va="center", color=colour, fontsize="small")
    axes.set_xticks(range(counts.shape[1]), [str(fold) for fold in counts.columns])
    axes.set_yticks(range(counts.shape[0]), list(counts.index))
    axes.set_xlabel("fold that tests the recordings")
    n_known = sum(
        author in set(recordings["author"][folds != fold])
        for author, fold in zip(recordings["author"], folds, strict=True)
    )
    axes.set_title(f"{title}: {n_known / len(folds):.0%} leak", fontsize="medium")


if __name__ == "__main__":
    silence_progress()
    draw_pictures(DOCS / "explanation" / "pictures", work=DOCS / "_build" / "work")
