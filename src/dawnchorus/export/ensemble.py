"""A run's folds → ONNX and OpenVINO, compared with PyTorch before either takes its place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from dawnchorus.config import TrainConfig
from dawnchorus.data.labels import LabelMap
from dawnchorus.export.onnx import write_onnx
from dawnchorus.export.openvino import write_openvino
from dawnchorus.export.parity import Parity, check_parity, parity_clips
from dawnchorus.files import replacing
from dawnchorus.inference.out_of_fold import recordings_with_folds
from dawnchorus.inference.runs import Run
from dawnchorus.inference.runtimes import OnnxRuntime, OpenVinoRuntime, TorchRuntime


def export_ensemble(run: Run, config: TrainConfig, *, folds: Sequence[int] | None = None) -> list[Parity]:
    """Write both exports of a run, and return how far each is from PyTorch on real clips.

    Parameters
    ----------
    run
        A run with finished folds.
    config
        Its config; the clips for the comparison are read from its recordings.
    folds
        Folds of the ensemble; None takes all that are finished.

    Raises
    ------
    ExportError
        An export differs from PyTorch by more than 1e-3; the exports that were there stay.
    """
    chosen = run.chosen_folds(folds)
    card = replace(run.card(), folds=chosen)
    clips = parity_clips(recordings_with_folds(run, config), config, LabelMap(card.labels))
    models = [run.load_model(fold) for fold in chosen]
    reference = TorchRuntime(models, card, device="cpu")
    with (
        replacing(run.onnx_file.parent) as onnx_dir,
        replacing(run.openvino_file.parent) as openvino_dir,
    ):
        onnx_dir.mkdir()
        openvino_dir.mkdir()
        onnx_file = onnx_dir / run.onnx_file.name
        openvino_file = openvino_dir / run.openvino_file.name
        write_onnx(models, card, onnx_file)
        write_openvino(onnx_file, card, openvino_file)
        return [
            check_parity("ONNX", OnnxRuntime(onnx_file), reference, clips),
            check_parity("OpenVINO fp16", OpenVinoRuntime(openvino_file), reference, clips),
        ]
