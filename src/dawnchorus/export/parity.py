"""The difference of an exported graph's probabilities from PyTorch's."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import expit

from dawnchorus.config import TrainConfig
from dawnchorus.engines import Engine
from dawnchorus.errors import ExportError
from dawnchorus.models.card import ModelCard
from dawnchorus.recordings.labels import LabelMap

TOLERANCE = 1e-4
"""Largest difference of a probability where the weights are float32."""

TOLERANCE_FP16 = 1e-3
"""The same where the weights are rounded to fp16."""

N_CLIPS = 24


class ParityClips(NamedTuple):
    """Real clips to compare on: ``waves`` (n_clips, n_samples) and the file that each is from.

    Examples
    --------
    >>> import numpy as np
    >>> ParityClips(np.zeros((2, 80_000), np.float32), ("a.wav", "b.wav")).filenames
    ('a.wav', 'b.wav')
    """

    waves: npt.NDArray[np.float32]
    filenames: tuple[str, ...]


class Parity(NamedTuple):
    """The largest difference of a probability from PyTorch's, and the clip where it is.

    Examples
    --------
    >>> Parity("ONNX", largest_difference=2e-6, filename="a.wav").engine
    'ONNX'
    """

    engine: str
    largest_difference: float
    filename: str


class FirstWindows(NamedTuple):
    """The first window of each of some recordings, with their labels and names.

    Attributes
    ----------
    waves
        Shape (n_clips, n_samples).
    targets
        All labels of each recording, shape (n_clips, n_classes).
    filenames
        The recordings.

    Examples
    --------
    >>> from dawnchorus import label_map_of, load_recordings
    >>> from dawnchorus.config import load_train_config
    >>> recordings = load_recordings("recordings").table
    >>> config = load_train_config("train.py")
    >>> first_windows(recordings, config, label_map_of(recordings), n_clips=3).targets.shape
    (3, 2)
    """

    waves: npt.NDArray[np.float32]
    targets: npt.NDArray[np.float32]
    filenames: tuple[str, ...]


def first_windows(
    recordings: pd.DataFrame, config: TrainConfig, labels: LabelMap, *, n_clips: int
) -> FirstWindows:
    """Return the first windows of up to ``n_clips`` recordings, spread evenly over the table.

    Examples
    --------
    >>> from dawnchorus import label_map_of, load_recordings
    >>> from dawnchorus.config import load_train_config
    >>> recordings = load_recordings("recordings").table
    >>> config = load_train_config("train.py")
    >>> first_windows(recordings, config, label_map_of(recordings), n_clips=3).waves.shape
    (3, 32000)
    """
    rows = np.unique(np.linspace(0, len(recordings) - 1, n_clips).astype(int))
    chosen = recordings.iloc[rows].reset_index(drop=True)
    args = config.train_function_args
    dataset = args.val_dataset_class(chosen, labels, args.val_dataset_config)
    firsts = [number for number, (_, start) in enumerate(dataset.windows) if start == 0]
    waves = np.stack([dataset[number].wave.numpy() for number in firsts])
    return FirstWindows(waves, dataset.targets, tuple(chosen["filename"]))


def parity_clips(recordings: pd.DataFrame, config: TrainConfig, labels: LabelMap) -> ParityClips:
    """Return the first windows of some recordings.

    Examples
    --------
    >>> from dawnchorus import label_map_of, load_recordings
    >>> from dawnchorus.config import load_train_config
    >>> recordings = load_recordings("recordings").table
    >>> len(parity_clips(recordings, load_train_config("train.py"), label_map_of(recordings)).filenames)
    8
    """
    first = first_windows(recordings, config, labels, n_clips=N_CLIPS)
    return ParityClips(first.waves, first.filenames)


def generated_clips(card: ModelCard) -> ParityClips:
    """Return tones in noise at several levels, for a run whose recordings are not at hand.

    Examples
    --------
    >>> from dawnchorus.runs import Run
    >>> generated_clips(Run.open("logdirs/tiny").card()).waves.shape
    (24, 32000)
    """
    rng = np.random.default_rng(0)
    time_s = np.arange(card.n_samples) / card.sample_rate
    tones_hz = rng.uniform(0.01, 0.4, (N_CLIPS, 1)) * card.sample_rate
    waves = np.sin(2 * np.pi * tones_hz * time_s) * np.sin(np.pi * time_s) ** 2
    waves += rng.uniform(0.001, 1, (N_CLIPS, 1)) * rng.standard_normal(waves.shape)
    waves *= rng.uniform(0.01, 1, (N_CLIPS, 1)) / np.abs(waves).max(axis=1, keepdims=True)
    return ParityClips(waves.astype(np.float32), tuple(f"generated clip {n}" for n in range(N_CLIPS)))


def check_parity(
    engine: str, exported: Engine, reference: Engine, clips: ParityClips, *, tolerance: float = TOLERANCE
) -> Parity:
    """Return an exported ensemble's largest difference from PyTorch on real clips.

    Where the export has frames, their probabilities are compared too.

    Raises
    ------
    ExportError
        The difference exceeds ``tolerance``; the message names the clip where it is largest.

    Examples
    --------
    >>> import numpy as np
    >>> from dawnchorus import open_engine
    >>> engine = open_engine("model", n_threads=1)
    >>> clips = ParityClips(np.ones((1, 80_000), np.float32), ("a.wav",))
    >>> check_parity("ONNX", engine, engine, clips)
    Parity(engine='ONNX', largest_difference=0.0, filename='a.wav')
    """
    found, expected = exported.outputs(clips.waves), reference.outputs(clips.waves)
    differences = np.abs(found.probabilities - expected.probabilities).max(axis=1)
    if found.frame_logits is not None and expected.frame_logits is not None:
        frames = np.abs(expit(found.frame_logits) - expit(expected.frame_logits)).max(axis=(1, 2))
        differences = np.maximum(differences, frames)
    worst = int(np.argmax(differences))
    parity = Parity(engine, float(differences[worst]), clips.filenames[worst])
    # Written so that a NaN fails too.
    if not parity.largest_difference <= tolerance:
        raise ExportError(
            f"the {engine} export is refused: on {parity.filename} it differs from PyTorch by "
            f"{parity.largest_difference:.2g}, more than {tolerance:g}; nothing was written"
        )
    return parity
