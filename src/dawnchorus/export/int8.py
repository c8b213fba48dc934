"""The networks in 8 bits: faster where a CPU multiplies bytes, and only kept where the score does not fall."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from dawnchorus.config import TrainConfig
from dawnchorus.data.labels import LabelMap
from dawnchorus.errors import DataError, ExportError, MissingExtraError
from dawnchorus.export.openvino import frontend_nodes
from dawnchorus.export.parity import Parity
from dawnchorus.inference.runtimes.runtime import Runtime
from dawnchorus.metrics import macro_roc_auc

MAX_SCORE_LOSS = 0.002
N_CALIBRATION_CLIPS = 128
N_SCORE_CLIPS = 400


class ScoreClips(NamedTuple):
    """Real clips to score on: ``waves`` (n_clips, n_samples), ``targets`` (n_clips, n_classes) in {0, 1}."""

    waves: npt.NDArray[np.float32]
    targets: npt.NDArray[np.float32]


def score_clips(recordings: pd.DataFrame, config: TrainConfig, labels: LabelMap) -> ScoreClips:
    """Return one window of each of many recordings, spread evenly over the table, with its targets."""
    rows = np.unique(np.linspace(0, len(recordings) - 1, N_SCORE_CLIPS).astype(int))
    args = config.train_function_args
    chosen = recordings.iloc[rows].reset_index(drop=True)
    dataset = args.val_dataset_class(chosen, labels, args.val_dataset_config)
    firsts = [number for number, (_, start) in enumerate(dataset.windows) if start == 0]
    waves = np.stack([dataset[number].wave.numpy() for number in firsts])
    return ScoreClips(waves, (dataset.targets > 0.5).astype(np.float32))


def quantize(model: Any, waves: npt.NDArray[np.float32]) -> Any:
    """Return an OpenVINO model with the networks in 8 bits, the front-end left in float32.

    Ranges of activations are taken from ``waves``, shape (n_clips, n_samples).

    Raises
    ------
    MissingExtraError
        nncf is not installed.
    """
    try:
        import nncf
    except ModuleNotFoundError:
        raise MissingExtraError(
            "an export in 8 bits needs nncf; install it with: pip install 'dawnchorus[nncf]'"
        ) from None
    rows = np.unique(np.linspace(0, len(waves) - 1, N_CALIBRATION_CLIPS).astype(int))
    return nncf.quantize(
        model,
        nncf.Dataset([waves[row : row + 1] for row in rows]),
        preset=nncf.QuantizationPreset.MIXED,
        subset_size=len(rows),
        ignored_scope=nncf.IgnoredScope(names=sorted(frontend_nodes(model)), validate=False),
    )


def check_score(exported: Runtime, reference: Runtime, clips: ScoreClips) -> Parity:
    """Return how far the 8-bit ensemble is from PyTorch, given that its score is as good.

    Raises
    ------
    ExportError
        Its macro ROC-AUC over the clips is lower by more than 0.002, or the clips allow no score.
    """
    found, expected = exported.predict(clips.waves), reference.predict(clips.waves)
    try:
        loss = macro_roc_auc(clips.targets, expected) - macro_roc_auc(clips.targets, found)
    except DataError as error:
        raise ExportError(f"the int8 export is refused: its score cannot be compared; {error}") from None
    if not loss <= MAX_SCORE_LOSS:
        raise ExportError(
            f"the int8 export is refused: its macro ROC-AUC over {len(found)} clips is {loss:.4f} below that of "
            f"PyTorch, more than {MAX_SCORE_LOSS:g}; nothing was written"
        )
    differences = np.abs(found - expected).max(axis=1)
    return Parity("OpenVINO int8", float(differences.max()), f"{loss:+.5f} macro ROC-AUC lost")
