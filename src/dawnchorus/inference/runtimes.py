"""The engines that run an ensemble: PyTorch, ONNX Runtime, OpenVINO. All give the same numbers."""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from dawnchorus.errors import ModelError, RunError
from dawnchorus.models.card import ModelCard

logger = logging.getLogger(__name__)

EngineName = Literal["torch", "onnx", "openvino"]
CARD_KEY = "dawnchorus_model_card"
"""Key of the model card in an ONNX file's metadata and in an OpenVINO model's runtime information."""


class Runtime(Protocol):
    """An ensemble that is ready to predict."""

    card: ModelCard

    def predict(self, waves: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return probabilities, shape (batch, n_classes), of clips, shape (batch, n_samples)."""
        ...


class TorchRuntime:
    """The ensemble in PyTorch, on a GPU where there is one."""

    def __init__(self, models: Sequence[object], card: ModelCard, *, device: str | None = None) -> None:
        import torch

        from dawnchorus.models.ensemble import Ensemble

        self.card = card
        self.device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        self.ensemble = Ensemble(models, models[0].frontend).eval().to(self.device)  # type: ignore[arg-type,attr-defined]

    def predict(self, waves: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return probabilities, shape (batch, n_classes), of clips, shape (batch, n_samples)."""
        import torch

        with torch.inference_mode():
            return self.ensemble(torch.from_numpy(waves).to(self.device)).float().cpu().numpy()


class OnnxRuntime:
    """The exported ensemble in ONNX Runtime, on the CPU."""

    def __init__(self, path: Path, *, n_threads: int | None = None) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        if n_threads is not None:
            options.intra_op_num_threads = n_threads
        self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        metadata = self.session.get_modelmeta().custom_metadata_map
        self.card = ModelCard.from_json(metadata.get(CARD_KEY, ""), where=str(path))

    def predict(self, waves: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return probabilities, shape (batch, n_classes), of clips, shape (batch, n_samples)."""
        return np.asarray(self.session.run(["output"], {"input": waves})[0])


class OpenVinoRuntime:
    """The exported ensemble in OpenVINO, on the CPU, in float32.

    OpenVINO computes in bfloat16 by default where a CPU has it, which is slower without AMX and
    moves the probabilities; the precision is therefore asked for.
    """

    def __init__(self, path: Path, *, n_threads: int | None = None) -> None:
        core = _openvino_core()
        model = core.read_model(path)
        if not model.has_rt_info([CARD_KEY]):
            raise ModelError(f"{path} holds no dawnchorus model card; export the model again")
        self.card = ModelCard.from_json(str(model.get_rt_info([CARD_KEY]).astype(str)), where=str(path))
        config = {"INFERENCE_PRECISION_HINT": "f32"}
        if n_threads is not None:
            config["INFERENCE_NUM_THREADS"] = str(n_threads)
        self.compiled = core.compile_model(model, "CPU", config)

    def predict(self, waves: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return probabilities, shape (batch, n_classes), of clips, shape (batch, n_samples)."""
        return np.asarray(self.compiled([waves])["output"])


@functools.cache
def _openvino_core() -> Any:
    """Return the one core of this process, which lives as long as the process does.

    Its CPU plugin gives the main thread a stack for signal handlers and unmaps it when the core
    goes; the next handled signal, such as the end of a loader's worker, would then end the process.
    """
    import openvino

    return openvino.Core()


def open_runtime(path: Path | str, engine: EngineName, *, folds: Sequence[int] | None = None) -> Runtime:
    """Return the ensemble of a run, or an exported model file, in an engine.

    Parameters
    ----------
    path
        A run directory, an ``.onnx`` file or an OpenVINO ``.xml`` file.
    engine
        ``torch`` takes the run's checkpoints; the others the run's export.
    folds
        Folds to average in PyTorch; None takes all that are finished.

    Raises
    ------
    RunError
        There is no such file or export.
    """
    from dawnchorus.inference.runs import Run

    path = Path(path)
    if path.suffix in (".onnx", ".xml"):
        wanted = "onnx" if path.suffix == ".onnx" else "openvino"
        if engine != wanted:
            raise RunError(
                f"{path} is a model for the engine {wanted}, not {engine}; choose --engine {wanted}"
            )
        return _open_file(path)
    run = Run.open(path)
    if engine == "torch":
        return TorchRuntime([run.load_model(fold) for fold in run.chosen_folds(folds)], run.card())
    file = run.onnx_file if engine == "onnx" else run.openvino_file
    if not file.is_file():
        raise RunError(f"{file} does not exist; make it with: dawnchorus export {path}")
    runtime = _open_file(file)
    if set(runtime.card.folds) != set(run.finished_folds()):
        logger.warning(
            "The export in %s averages the folds %s, and the run has finished %s: dawnchorus export %s "
            "makes it anew.",
            file.parent,
            list(runtime.card.folds),
            run.finished_folds(),
            path,
        )
    return runtime


def _open_file(file: Path) -> Runtime:
    if not file.is_file():
        raise RunError(f"{file} does not exist; give a run directory, an .onnx or an OpenVINO .xml file")
    try:
        return OnnxRuntime(file) if file.suffix == ".onnx" else OpenVinoRuntime(file)
    except ModelError:
        raise
    except Exception as error:  # engines raise classes of their own, which change between releases
        raise ModelError(f"{file} cannot be opened as a model: {str(error).splitlines()[0]}") from error
