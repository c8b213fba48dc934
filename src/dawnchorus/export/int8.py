"""The networks in 8 bits: faster where a CPU multiplies bytes, and only kept where the score does not fall.

Rules that make the best of the 256 values of a byte:

- Only large products compute in 8 bits, for nearly all of the time goes there. The first one of a network
  stays in float32: its few weights are contrasts, in which rounding leaves an offset that reaches all later
  layers. So do the head, which raises features to a power, gates from pooled features, and sums of branches.
- Channels are scaled towards each other, and the weights behind them by the inverse (Xiao et al.,
  "SmoothQuant", ICML 2023; there for matrix products, here for convolutions too). Otherwise one loud channel
  leaves few values to the others.
- Ranges are those of the loudest calibration clip and not of a mean clip, which loud ones would exceed.
- Weights use 7 of their 8 bits. Processors without VNNI add pairs of products in 16 bits, which overflow
  otherwise: the same file would give other results than where it was checked.

Measured on trained networks and real clips. With all 8 bits, 400 clips: probabilities move by 0.007 on
average with EfficientNetV2-S and by 0.001 with ECA-NFNet-L0, macro ROC-AUC by less than 0.001; nncf's own
settings move them by 0.2 and 0.06 and lose 0.025 and 0.010, at the same speed. With 7 bits,
EfficientNetV2-S, 80 held-out clips: 0.0075 (0.0067 with 8 bits there), macro ROC-AUC 0.9622 against 0.9616
in float32; on AVX2 0.0073 and 0.9620. Single probabilities differ by up to 0.036 between AVX2 and AMX, with
7 bits as with 8.
"""

from __future__ import annotations

import contextlib
import io
import logging
import math
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import openvino
import pandas as pd

from dawnchorus.config import TrainConfig
from dawnchorus.engines.engine import Engine
from dawnchorus.engines.openvino_engine import networks_of, openvino_core
from dawnchorus.errors import DataError, ExportError, MissingExtraError
from dawnchorus.export.parity import Parity, first_windows
from dawnchorus.metrics import macro_roc_auc
from dawnchorus.models.card import CARD_KEY, LOGMEL_NAME
from dawnchorus.progress import track
from dawnchorus.recordings.labels import LabelMap
from dawnchorus.wording import install_extra

MAX_SCORE_LOSS = 0.002
N_CALIBRATION_CLIPS = 128
N_SCORE_CLIPS = 400

SMOOTHING = 0.5
"""Fraction of the differences between channels that the weights take over, the paper's choice. At 0.7 the
weights of an ECA-NFNet-L0 suffered (three times the error), at 0.3 the activations of an EfficientNetV2-S."""

_N_PASSES = 2  # for the ranges of channels, then for those of the scaled channels
_CONVOLUTIONS = ("Convolution", "GroupConvolution")
_PICTURE_RANK = 4  # clips, channels, frequency, time
_LOUD_LOGGERS = ("nncf", "torch.utils.cpp_extension")


class ScoreClips(NamedTuple):
    """Real clips to score on: ``waves`` (n_clips, n_samples), ``targets`` (n_clips, n_classes) in {0, 1}.

    Examples
    --------
    >>> import numpy as np
    >>> clips = ScoreClips(np.zeros((4, 80_000), np.float32), np.zeros((4, 3), np.float32))
    >>> clips.waves.shape
    (4, 80000)
    """

    waves: npt.NDArray[np.float32]
    targets: npt.NDArray[np.float32]


def score_clips(recordings: pd.DataFrame, config: TrainConfig, labels: LabelMap) -> ScoreClips:
    """Return one window of each of many recordings, spread evenly over the table, with its targets.

    Examples
    --------
    >>> from dawnchorus import label_map_of, load_recordings
    >>> from dawnchorus.config import load_train_config
    >>> recordings = load_recordings("recordings").table
    >>> clips = score_clips(recordings, load_train_config("train.py"), label_map_of(recordings))
    >>> clips.waves.shape, clips.targets.shape
    ((8, 32000), (8, 2))
    """
    first = first_windows(recordings, config, labels, n_clips=N_SCORE_CLIPS)
    return ScoreClips(first.waves, (first.targets > 0.5).astype(np.float32))


def quantize(model: Any, waves: npt.NDArray[np.float32]) -> Any:
    """Return an OpenVINO model with the networks in 8 bits; the front-end is the same nodes in float32.

    Parameters
    ----------
    model
        The ensemble as :func:`dawnchorus.export.openvino.read_onnx` returns it; it cannot be used any more.
    waves
        Clips that ranges of activations are taken from, shape (n_clips, n_samples), float32 in [-1, 1].
        Up to 128 of them are used, spread evenly.

    Raises
    ------
    MissingExtraError
        nncf is not installed.

    Examples
    --------
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from dawnchorus import open_engine
    >>> from dawnchorus.export.openvino import read_onnx
    >>> card = open_engine("model", n_threads=1).card
    >>> waves = np.random.default_rng(0).normal(size=(2, 80_000)).astype(np.float32)
    >>> narrow = quantize(read_onnx(Path("model/model.onnx"), card), waves)
    >>> any(node.get_type_name() == "FakeQuantize" for node in narrow.get_ops())
    True
    """
    try:
        import nncf
    except ModuleNotFoundError:
        raise MissingExtraError(
            f"an export in 8 bits needs nncf; install it with: {install_extra('nncf')}"
        ) from None
    rows = np.unique(np.linspace(0, len(waves) - 1, N_CALIBRATION_CLIPS).astype(int))
    inputs, spectrogram, name = model.get_parameters(), _spectrogram(model), model.get_friendly_name()
    card_json = str(model.get_rt_info([CARD_KEY]).astype(str))
    spectrograms = _computed(spectrogram, inputs, waves[rows])
    networks: Any = networks_of(model)
    # A copy, for nncf follows constants to all their users, and the front-end shares some.
    networks = _in_eight_bits(nncf, networks.clone(), spectrograms)
    for target in networks.input(0).get_target_inputs():
        target.replace_source_output(spectrogram)
    joined = openvino.Model(networks.get_results(), inputs, name)
    joined.set_rt_info(card_json, [CARD_KEY])
    return joined


def _in_eight_bits(nncf: Any, networks: Any, spectrograms: npt.NDArray[np.float32]) -> Any:
    """Return the networks in 8 bits, with ranges from spectrograms, shape (n_clips, 1, n_mels, n_frames)."""
    steps = track(range(_N_PASSES * len(spectrograms) + 1), "Calibrating 8 bits")
    next(steps)

    def shown(spectrogram: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        next(steps, None)
        return spectrogram[None]

    with _quietly():
        quantized = nncf.quantize(
            networks,
            nncf.Dataset(spectrograms, shown),
            subset_size=len(spectrograms),
            preset=nncf.QuantizationPreset.MIXED,
            model_type=nncf.ModelType.TRANSFORMER,  # nncf scales channels for this type alone
            ignored_scope=nncf.IgnoredScope(names=sorted(float_nodes(networks)), validate=False),
            advanced_parameters=nncf.AdvancedQuantizationParameters(
                # Bias correction brought the probabilities no nearer to float32's, and takes longer.
                disable_bias_correction=True,
                overflow_fix=nncf.OverflowFix.ENABLE,
                smooth_quant_alphas=nncf.AdvancedSmoothQuantParameters(
                    convolution=SMOOTHING, matmul=SMOOTHING
                ),
                activations_range_estimator_params=_loudest_clip(),
            ),
        )
    for _ in steps:  # completes the progress bar
        pass
    return quantized


def _loudest_clip() -> Any:
    """Return nncf's constant for ranges from the lowest to the highest value of all clips."""
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet

    return RangeEstimatorParametersSet.MINMAX


def float_nodes(networks: Any) -> set[str]:
    """Return the names of the nodes that stay in float32: all but the large products of backbones.

    Those are products with weights, at more than one position, between a network's first product and its
    last feature map. Gates after pooling have one position, and the head comes after the last feature map.

    Examples
    --------
    >>> import numpy as np
    >>> import openvino
    >>> from openvino import opset13
    >>> wave = opset13.parameter([1, 4], np.float32, name="input")
    >>> model = openvino.Model([opset13.relu(wave)], [wave], "tiny")
    >>> len(float_nodes(model)) == len(model.get_ops())  # there is no large product in it
    True
    """
    nodes = networks.get_ordered_ops()
    within = _before_feature_maps(nodes) & _behind_products(nodes)
    return {
        node.get_friendly_name()
        for node in nodes
        if not (_is_large_product(node) and node.get_friendly_name() in within)
    }


def _behind_products(nodes: Sequence[Any]) -> set[str]:
    """Return the names of nodes, in the order of computing, that depend on the result of a large product."""
    names: set[str] = set()
    for node in nodes:
        sources = [value.get_node() for value in node.input_values()]
        if any(_is_large_product(source) or source.get_friendly_name() in names for source in sources):
            names.add(node.get_friendly_name())
    return names


def _before_feature_maps(nodes: Sequence[Any]) -> set[str]:
    """Return the names of nodes, in the order of computing, that make feature maps or lead to one."""
    names: set[str] = set()
    for node in reversed(nodes):
        ports = [port for output in node.outputs() for port in output.get_target_inputs()]
        users = {port.get_node().get_friendly_name() for port in ports}
        if _rank(node) == _PICTURE_RANK or not names.isdisjoint(users):
            names.add(node.get_friendly_name())
    return names


def _is_large_product(node: Any) -> bool:
    """Return whether a node is a product with weights at more than one position."""
    kind = node.get_type_name()
    if kind in _CONVOLUTIONS:
        # Convolutions in one dimension are gates over channels, or the head.
        return _rank(node) == _PICTURE_RANK and _n_positions(node.output(0).get_partial_shape()[2:]) > 1
    if kind == "MatMul":
        has_weights = node.input_value(1).get_node().get_type_name() == "Constant"
        return has_weights and _rank(node) > 0 and _n_positions(node.output(0).get_partial_shape()[1:-1]) > 1
    return False


def _rank(node: Any) -> int:
    """Return the number of a node's dimensions, 0 where it is dynamic."""
    shape = node.output(0).get_partial_shape()
    return len(shape) if shape.rank.is_static else 0


def _n_positions(dimensions: Sequence[Any]) -> int:
    """Return the number of positions in some dimensions; dynamic ones count as several."""
    return math.prod(d.get_length() if d.is_static else 2 for d in dimensions)


def _spectrogram(model: Any) -> Any:
    """Return the output of the node that makes the spectrogram."""
    return next(
        output for node in model.get_ops() for output in node.outputs() if LOGMEL_NAME in output.get_names()
    )


def _computed(
    spectrogram: Any, inputs: Sequence[Any], waves: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """Return the spectrograms of clips, shape (n_clips, 1, n_mels, n_frames)."""
    frontend = openvino_core().compile_model(
        openvino.Model([spectrogram], inputs, "frontend"), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    return np.concatenate([frontend([wave[None]])[0].copy() for wave in waves])


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Suppress nncf's messages and progress bars, and deprecations of its libraries, but not its errors."""
    loggers = [logging.getLogger(name) for name in _LOUD_LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def check_score(exported: Engine, reference: Engine, clips: ScoreClips) -> Parity:
    """Return the 8-bit ensemble's difference from PyTorch, or raise where its score is lower.

    Raises
    ------
    ExportError
        Its macro ROC-AUC over the clips is lower by more than 0.002, or the score of the clips is not
        defined.

    Examples
    --------
    >>> import numpy as np
    >>> from dawnchorus import open_engine
    >>> engine = open_engine("model", n_threads=1)
    >>> waves = np.random.default_rng(0).normal(size=(2, 80_000)).astype(np.float32)
    >>> clips = ScoreClips(waves, np.float32([[1, 0, 0], [0, 1, 1]]))
    >>> check_score(engine, engine, clips).largest_difference
    0.0
    """
    found, expected = exported.predict(clips.waves), reference.predict(clips.waves)
    try:
        loss = macro_roc_auc(clips.targets, expected) - macro_roc_auc(clips.targets, found)
    except DataError as error:
        raise ExportError(f"the int8 export is refused: its score cannot be compared; {error}") from None
    if not loss <= MAX_SCORE_LOSS:
        raise ExportError(
            f"the int8 export is refused: its macro ROC-AUC over {len(found)} clips is {loss:.4f} below that "
            f"of PyTorch, more than {MAX_SCORE_LOSS:g}; nothing was written"
        )
    differences = np.abs(found - expected).max(axis=1)
    return Parity("OpenVINO int8", float(differences.max()), f"{loss:+.5f} macro ROC-AUC lost")
