"""A picture of one clip under each augmentation of a config."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch

from dawnchorus.audio.windows import normalize_peak
from dawnchorus.augment.batch_augmentations import ON_SPECTROGRAM, ON_WAVE, BatchAugmentations
from dawnchorus.augment.mixup import MixupSettings, draw_mixup_weight
from dawnchorus.augment.waveform_transforms import TransformSettings, WaveTransforms
from dawnchorus.config import TrainConfig
from dawnchorus.datasets.sampling import Draw, generator
from dawnchorus.datasets.wave_dataset import ClipDraw, CropDraw, WaveDataset, WaveDatasetSettings
from dawnchorus.errors import ConfigError, DataError
from dawnchorus.features.frontend import LogMelFrontend
from dawnchorus.features.logmel import FrontendSettings
from dawnchorus.recordings.labels import LabelMap, read_labels
from dawnchorus.recordings.recordings_table import label_map_of, leave_out_unreadable, load_recordings
from dawnchorus.report.augmentation_picture import Panel, draw_panels
from dawnchorus.training.run_preparation import check_train_config, few_of_each_class

logger = logging.getLogger(__name__)

_N_EPOCHS = 3  # in which the whole chain is shown
_STREAM = 1  # apart from those of the epochs


def show_augmentations(config: TrainConfig, picture: Path, *, filename: str | None = None) -> list[str]:
    """Write a picture of one clip, of each augmentation alone, and of all as training draws them.

    Every augmentation is applied, whatever its probability.

    Parameters
    ----------
    config
        The experiment; its seed decides what is drawn.
    picture
        PNG to write.
    filename
        Recording to show; the first that is long enough for a clip if not given.

    Returns
    -------
    list of str
        Titles of the panels.

    Raises
    ------
    ConfigError
        The training dataset is not a :class:`WaveDataset`, or a setting is wrong.
    DataError
        The recording is missing.

    Examples
    --------
    >>> from pathlib import Path
    >>> from dawnchorus.config import load_train_config
    >>> masks = {"train_function_args": {"batch_augmentations": {"spectrogram_masks": {"max_frames": 9}}}}
    >>> titles = show_augmentations(load_train_config("train.py", masks), Path("augmentations.png"))
    >>> len(titles), Path("augmentations.png").is_file()
    (5, True)
    """
    check_train_config(config)
    args = config.train_function_args
    if not issubclass(args.train_dataset_class, WaveDataset):
        raise ConfigError(
            f"{config.exp_name}: the picture is for WaveDataset, not {args.train_dataset_class}"
        )
    shown = _shown_recordings(config, filename)
    frontend = LogMelFrontend(FrontendSettings.from_mapping(config.nn_model_config.get("frontend", {})))
    panels = []
    with torch.inference_mode():
        for title, wave, change in _examples(shown, config):
            logmel = change(frontend(wave[None]))[0, 0].numpy()
            panels.append(Panel(title, logmel, len(wave) / frontend.settings.sample_rate))
    draw_panels(picture, panels, frontend=frontend.settings, title=f"{config.exp_name}: augmentations")
    return [panel.title for panel in panels]


class _Shown(NamedTuple):
    """Recordings to draw from, the row of the one to show, and how clips are made of them."""

    recordings: pd.DataFrame
    row: int
    labels: LabelMap
    settings: WaveDatasetSettings


def _shown_recordings(config: TrainConfig, filename: str | None) -> _Shown:
    """Return a few recordings of each class, and the one to show among them."""
    given = None if config.labels is None else read_labels(config.labels)
    recordings = load_recordings(config.data, labels=given).table
    chosen = few_of_each_class(recordings)
    if filename is not None:
        wanted = recordings[recordings["filename"] == filename]
        if wanted.empty:
            raise DataError(f"{filename} is none of the {len(recordings)} recordings of the config")
        chosen = pd.concat([wanted, chosen[chosen["filename"] != filename]], ignore_index=True)
    settings = WaveDatasetSettings.model_validate(config.train_function_args.train_dataset_config)
    there = tuple(kind for kind in settings.background if kind.folder.is_dir())
    for kind in settings.background:
        if kind not in there:
            logger.warning(f"{kind.folder}: no such folder; the picture does without this noise")
    empty = settings.empty_probability * any(not kind.unknown_labels for kind in there)
    changes = {"background": there, "empty_probability": empty, "precompute": False}
    settings = settings.model_copy(update=changes)
    chosen, _ = leave_out_unreadable(
        chosen, config.data, sample_rate=settings.sample_rate, channel=settings.channel
    )
    labels = given or label_map_of(recordings)
    long_enough = np.flatnonzero(chosen["duration_s"].to_numpy() >= settings.segment_len)
    row = 0 if filename is not None or not len(long_enough) else int(long_enough[0])
    return _Shown(chosen, row, labels, settings)


def _examples(
    shown: _Shown, config: TrainConfig
) -> Iterator[tuple[str, torch.Tensor, Callable[[torch.Tensor], torch.Tensor]]]:
    """Yield a title, a waveform of shape (n_samples,), and a function of its spectrogram."""
    dataset = WaveDataset(shown.recordings, shown.labels, shown.settings, seed=config.seed)
    without = shown.settings.model_copy(update={"early_transforms": (), "late_transforms": ()})
    bare = WaveDataset(shown.recordings, shown.labels, without, seed=config.seed)
    rng = generator(config.seed, 0, _STREAM)
    last_start = max(bare.audio.sources[shown.row].n_samples - without.n_segment, 0)
    untouched = ClipDraw(CropDraw(False, shown.row, last_start // 2, 0), None, 1.0, None, 0)
    clip = bare.apply(untouched).wave
    yield f"{shown.recordings['primary_label'].iloc[shown.row]}, the clip", clip, _nothing
    for title, wave in _on_the_clip(bare, untouched, shown.settings, rng):
        yield title, wave, _nothing
    settings = config.train_function_args.batch_augmentations
    torch_rng = torch.Generator().manual_seed(config.seed)
    on_wave, on_spectrogram = (BatchAugmentations(settings, domain) for domain in (ON_WAVE, ON_SPECTROGRAM))
    for name, step in on_wave.named:
        yield name, _always(step)(clip[None], torch_rng)[0], _nothing
    for name, step in on_spectrogram.named:
        yield name, clip, partial(_call, _always(step), torch_rng)
    item = next(item for item, (row, _) in enumerate(dataset.items) if row == shown.row)
    for epoch in range(_N_EPOCHS):
        wave = on_wave(dataset[Draw(epoch, 0, item)].wave[None], torch_rng)[0]
        yield f"as training draws it, epoch {epoch}", wave, partial(on_spectrogram, generator=torch_rng)


def _nothing(logmel: torch.Tensor) -> torch.Tensor:
    return logmel


def _on_the_clip(
    dataset: WaveDataset, untouched: ClipDraw, settings: WaveDatasetSettings, rng: np.random.Generator
) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield each augmentation of the waveform, alone."""
    clip = dataset.apply(untouched).wave.numpy()
    for place in ("early", "late"):
        for step in getattr(settings, f"{place}_transforms"):
            transform = WaveTransforms((_surely(step),), sample_rate=settings.sample_rate)
            changed = normalize_peak(transform.apply(clip, transform.draw(rng)))
            yield f"{step.label}, {place}", torch.from_numpy(changed)
    if settings.mixup is not None:
        yield _mixed(dataset, untouched, settings.mixup, rng)
    for kind, noise in enumerate(settings.background):
        drawn = dataset.background.draw_of(kind, rng)
        made = dataset.apply(untouched._replace(noise=drawn)).wave
        yield f"noise of {noise.folder.name}, share {drawn.share:.2f}", made
    if dataset.pseudo is not None:
        row = dataset.pseudo.draw_row(None, rng)
        assert row is not None
        crop = CropDraw(True, row, dataset.pseudo.draw_start(row, rng), 0)
        label = dataset.labels.labels[int(dataset.pseudo.targets[row].argmax())]
        yield f"pseudo-labelled {label}", dataset.apply(untouched._replace(first=crop)).wave


def _mixed(
    dataset: WaveDataset, untouched: ClipDraw, mixup: MixupSettings, rng: np.random.Generator
) -> tuple[str, torch.Tensor]:
    """Return the clip mixed with one of another species, where there is one."""
    rows = range(len(dataset.audio))
    own, targets = dataset.audio.target(untouched.first.row), dataset.audio.targets()
    others = [row for row in rows if not np.array_equal(targets[row], own)] or list(rows)
    row = int(rng.choice(others))
    start = int(
        rng.integers(0, max(dataset.audio.sources[row].n_samples - dataset.settings.n_segment, 0) + 1)
    )
    drawn = untouched._replace(second=CropDraw(False, row, start, 0), weight=draw_mixup_weight(mixup, rng))
    labels = [dataset.labels.labels[index] for index in np.flatnonzero(targets[row])]
    return f"mixup with {', '.join(labels) or 'nocall'}", dataset.apply(drawn).wave


def _surely(step: TransformSettings) -> TransformSettings:
    """Return a transform with all probabilities 1, nested ones too; a user's own is returned unchanged."""
    if step.is_own:
        return step
    inner = tuple(_surely(each) for each in step.transforms)
    return step.model_copy(update={"params": {**step.params, "p": 1.0}, "transforms": inner})


def _always(augmentation: Any) -> Any:
    """Return a batch augmentation with probability 1; one without a probability is returned unchanged."""
    if not dataclasses.is_dataclass(augmentation):
        return augmentation
    chances = {field.name: 1.0 for field in dataclasses.fields(augmentation) if "probability" in field.name}
    return dataclasses.replace(augmentation, **chances)  # type: ignore[type-var]


def _call(augmentation: Any, generator: torch.Generator, logmel: torch.Tensor) -> torch.Tensor:
    """Return augmented spectrograms, whatever the names of the augmentation's arguments."""
    return augmentation(logmel, generator)
