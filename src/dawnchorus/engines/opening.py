"""Opening of engines: a run, an exported bundle or a model file → an engine."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import ConfigDict

from dawnchorus.config import Record, read_json_if_sound
from dawnchorus.engines.engine import Engine, fingerprint_of
from dawnchorus.engines.engine_settings import EngineSettings, engine_settings, read_tuned
from dawnchorus.engines.graphs import cards_in, graph_at, named_model
from dawnchorus.engines.probe_engine import embedder_path, is_probe, on_embedder
from dawnchorus.errors import ConfigError, DawnchorusError, ModelError, RunError
from dawnchorus.files import mend
from dawnchorus.models.probe_head import ProbeCard
from dawnchorus.wording import in_line

if TYPE_CHECKING:
    from dawnchorus.config import TrainConfig
    from dawnchorus.models.graph_card import GraphCard
    from dawnchorus.runs import Run

logger = logging.getLogger(__name__)

EngineName = Literal["torch", "onnx", "openvino", "int8"]

EXPORTS: dict[EngineName, str] = {
    "openvino": "onnx_ensem_5first_folds_openvino_fp16/model.xml",
    "onnx": "onnx_ensem_5first_folds/model.onnx",
    "int8": "onnx_ensem_5first_folds_openvino_int8/model.xml",
}
"""Exports below a run directory, the usually faster ones first; ``int8`` is opened only by its name."""

_SUFFIXES: dict[EngineName, str] = {"onnx": ".onnx", "openvino": ".xml", "int8": ".xml"}
_FILE_NAMES = ("model.xml", "model.onnx")
BUNDLE_NAME = "bundle.json"
"""The card of an exported model for people, and the fingerprint of its checkpoints."""


class BundleFacts(Record):
    """The content of ``bundle.json`` that is read again.

    Attributes
    ----------
    checkpoints
        Fingerprint of the checkpoints that the export was made of.
    folds
        Their folds.

    Examples
    --------
    >>> BundleFacts(checkpoints="torch 59f3d85be3f9f90b", folds=(0, 1), exp_name="left out").folds
    (0, 1)
    """

    model_config = ConfigDict(extra="ignore")

    checkpoints: str
    folds: tuple[int, ...]


def open_engine(
    path: Path | str,
    engine: EngineName | None = None,
    *,
    config: Path | str | TrainConfig | None = None,
    folds: Sequence[int] | None = None,
    n_threads: int | None = None,
    clips_per_request: int | None = None,
) -> Engine:
    """Return the engine of an ensemble.

    Parameters
    ----------
    path
        A run directory, the training config of a run (a ``.py`` file, which is run), a bundle (the folder of
        an export), an ``.onnx`` file or an OpenVINO ``.xml`` file; an ``.onnx`` or ``.tflite`` file of
        somebody else's with a card beside it, or their folder; the folder of a probe; or the name of a model,
        such as ``birdnet``.
    engine
        ``torch`` takes a run's checkpoints, the others its exports. None takes the engine of the file; for a
        run, the export that was measured to be the fastest on this machine, else OpenVINO's, else ONNX
        Engine's, else the checkpoints.
    config
        The training config of a run directory, as a file or an object. The checkpoints of a run with a
        network, backbone or head of one's own need it; an export does not.
    folds
        Folds to average in PyTorch; None takes all that are finished.
    n_threads, clips_per_request
        Threads of the engine and clips of a request; None takes those measured on this machine.

    Raises
    ------
    RunError
        There is no such model or export, or the config is not the run's.
    ModelError
        The file is no model of dawnchorus.
    ConfigError
        The run has parts of one's own and is opened without its config, or the config cannot be read.

    Examples
    --------
    >>> import numpy as np
    >>> from dawnchorus import open_engine
    >>> engine = open_engine("model", n_threads=1)
    >>> engine.predict(np.zeros((3, 80_000), np.float32)).shape  # three silent clips, three classes
    (3, 3)
    >>> open_engine("logdirs/tiny", "torch", config="train.py").card.labels
    ('owl', 'wren')
    """
    if engine is not None and engine not in ("torch", *EXPORTS):
        raise ConfigError(f"the engine is {engine!r}; legal: torch, {', '.join(sorted(EXPORTS))}")
    if n_threads is not None and n_threads < 1:
        raise ConfigError(f"n_threads is {n_threads}; legal: 1 or more, or None for all cores")
    path = Path(path)
    if is_probe(path):
        if config is not None or folds is not None or engine is not None:
            raise ConfigError(
                f"{path} is a probe, whose embedder is as it was; leave engine, config and folds out"
            )
        return _open_probe(path, n_threads, clips_per_request)
    if config is not None or path.suffix == ".py" or is_run(path):
        from dawnchorus.runs import open_run

        run = open_run(path, config=config)
        file = _file_of_run(run.path, "torch" if folds is not None and engine is None else engine)
        if file is None:
            return _open_checkpoints(run, folds, n_threads, clips_per_request)
        card = None
    else:
        graph = graph_at(path)
        file, card = (_file_of_bundle(path, engine), None) if graph is None else graph
        if graph is not None and engine not in (None, engine_of(file)):
            raise ConfigError(f"the engine is {engine!r}, and {file} is for {engine_of(file)}; leave it out")
    if folds is not None:
        raise ConfigError(
            f"folds is {list(folds)}, but {file} is the mean of those that it was exported with; folds are "
            "chosen of a run, with the engine torch"
        )
    settings = engine_settings(
        file.parent, engine_of(file), n_threads=n_threads, clips_per_request=clips_per_request
    )
    opened = open_file(file, settings, card)
    opened.folder = file.parent
    return opened


def _open_probe(folder: Path, n_threads: int | None, clips_per_request: int | None) -> Engine:
    card = ProbeCard.read(folder)
    embedder = open_engine(
        embedder_path(folder, card.embedder),
        card.embedder.engine,
        n_threads=n_threads,
        clips_per_request=clips_per_request,
    )
    return on_embedder(folder, card, embedder)


def is_run(path: Path) -> bool:
    """Return whether a folder is that of a run.

    Examples
    --------
    >>> from pathlib import Path
    >>> is_run(Path("model")), is_run(Path("logdirs/tiny"))
    (False, True)
    """
    return (path / "model_card.json").is_file()


def holds_model(path: Path) -> bool:
    """Return whether a folder is a run, a bundle, a probe, or holds a graph of somebody else's with its card.

    Examples
    --------
    >>> from pathlib import Path
    >>> holds_model(Path("model")), holds_model(Path("recordings"))
    (True, False)
    """
    has_file = any((path / name).is_file() for name in _FILE_NAMES)
    return is_run(path) or is_probe(path) or has_file or bool(cards_in(path))


def names_model(path: Path) -> bool:
    """Return whether a path or a name stands for a model, as far as that is seen without opening it.

    Examples
    --------
    >>> from pathlib import Path
    >>> names_model(Path("model")), names_model(Path("birdnet")), names_model(Path("night.wav"))
    (True, True, False)
    """
    suffixes = (*_SUFFIXES.values(), ".tflite", ".py")
    return holds_model(path) or path.suffix in suffixes or named_model(path) is not None


def exported_files(path: Path) -> list[Path]:
    """Return the model files of a run's exports, or the one of a bundle, or the file itself.

    Raises
    ------
    RunError
        There is none.

    Examples
    --------
    >>> from pathlib import Path
    >>> [path.as_posix() for path in exported_files(Path("model"))]
    ['model/model.onnx']
    """
    if named_model(path) is not None and not holds_model(path):
        raise RunError(
            f"{path} is a model by its name, beside which nothing is written; copy it, with a card"
        )
    if not is_run(path):
        graph = graph_at(path)
        return [_file_of_bundle(path, None) if graph is None else graph.file]
    files = [path / name for name in EXPORTS.values() if (path / name).is_file()]
    if not files:
        raise RunError(f"{path} has no export yet; make it with: dawnchorus export {path}")
    return files


def engine_of(file: Path) -> Literal["onnx", "openvino", "litert", "torch"]:
    """Return the engine of a model file.

    Examples
    --------
    >>> from pathlib import Path
    >>> engine_of(Path("model/model.onnx")), engine_of(Path("model/model.xml"))
    ('onnx', 'openvino')
    """
    if file.suffix == ".tflite":
        return "litert"
    if file.suffix == ".pth":
        return "torch"
    return "onnx" if file.suffix == ".onnx" else "openvino"


def open_file(file: Path, settings: EngineSettings, card: GraphCard | None = None) -> Engine:
    """Return the engine of a model file with given engine settings.

    Parameters
    ----------
    file
        ``model.onnx``, ``model.xml``, or a graph of somebody else's.
    settings
        Threads, streams, clips and precision.
    card
        The card of somebody else's graph; the one beside the file if not given.

    Raises
    ------
    RunError
        The file does not exist.
    ModelError
        It is no model of dawnchorus and has no card, or the engine is not installed.

    Examples
    --------
    >>> from pathlib import Path
    >>> from dawnchorus.engines.engine_settings import default_settings
    >>> open_file(Path("model/model.onnx"), default_settings(n_threads=1)).card.sample_rate
    16000
    """
    if not file.is_file():
        raise RunError(
            f"{file} does not exist; give a run directory, an exported folder, an .onnx or an .xml file"
        )
    if card is None and (graph := graph_at(file)) is not None:
        card = graph.card
    try:
        return _engine_in(file, settings, card)
    except DawnchorusError:
        raise
    except ModuleNotFoundError as error:
        raise ModelError(
            f"{file} needs {error.name}, which is not installed: pip install {error.name}"
        ) from None
    except Exception as error:  # engines raise classes of their own, which change between releases
        reason = in_line(str(error)) or type(error).__name__
        raise ModelError(f"{file} cannot be opened as a model: {reason}") from error


def _engine_in(file: Path, settings: EngineSettings, card: GraphCard | None) -> Engine:
    """Return the engine of a file; what it needs is imported here, for none needs all."""
    if card is not None and file.suffix == ".tflite":
        from dawnchorus.engines.litert_engine import LiteRtEngine

        return LiteRtEngine(file, card, settings)
    if card is not None and file.suffix == ".pth":
        from dawnchorus.engines.packaged_engine import PackagedEngine

        return PackagedEngine(file, card, settings)
    if card is not None:
        from dawnchorus.engines.onnx_graph_engine import OnnxGraphEngine

        return OnnxGraphEngine(file, card, settings)
    if engine_of(file) == "onnx":
        from dawnchorus.engines.onnx_engine import OnnxEngine

        return OnnxEngine(file, settings)
    from dawnchorus.engines.openvino_engine import OpenVinoEngine

    return OpenVinoEngine(file, settings)


def _file_of_bundle(path: Path, engine: EngineName | None) -> Path:
    if not path.exists():
        mend(path.parent)
    if path.is_dir():
        names = [name for name in _FILE_NAMES if (path / name).is_file()]
        # Where a folder has both, the one for the given engine.
        names.sort(key=lambda name: Path(name).suffix != _SUFFIXES.get(engine or "openvino"))
        if not names:
            raise RunError(
                f"{path} holds no model: no model_card.json of a run, no model.xml and no model.onnx; "
                "give a run directory or one that dawnchorus export has made"
            )
        path = path / names[0]
    if path.suffix not in _SUFFIXES.values():
        raise RunError(
            f"{path} is no model; give a run directory, an .onnx file, an OpenVINO .xml file, or one of "
            "dawnchorus models"
        )
    if engine == "int8" and path.suffix == ".xml" and not _is_in_8_bits(path):
        raise RunError(f"{path} is no model in 8 bits; make one with: dawnchorus export RUN --int8")
    if engine is not None and _SUFFIXES.get(engine) != path.suffix:
        raise RunError(
            f"{path} is a model for the engine {engine_of(path)}, not {engine}; leave --engine out"
        )
    return path


def _is_in_8_bits(file: Path) -> bool:
    """Return whether an OpenVINO model was quantised, by its ``FakeQuantize`` nodes."""
    return b'type="FakeQuantize"' in file.read_bytes()


def _file_of_run(run: Path, engine: EngineName | None) -> Path | None:
    """Return the export to open, or None for the checkpoints."""
    if engine == "torch":
        return None
    mend(run)  # an export that was killed while its engines were moved into place
    if engine is not None:
        file = run / EXPORTS[engine]
        if not file.is_file():
            option = " --int8" if engine == "int8" else ""
            raise RunError(f"{file} does not exist; make it with: dawnchorus export {run}{option}")
        _warn_if_outdated(run, file)
        return file
    files = [run / EXPORTS[name] for name in ("openvino", "onnx") if (run / EXPORTS[name]).is_file()]
    if not files:
        logger.info(
            "%s has no export yet, so PyTorch is used; dawnchorus export %s makes it faster.", run, run
        )
        return None
    file = min(files, key=_measured_ms)  # the first if none was measured
    _warn_if_outdated(run, file)
    return file


def _measured_ms(file: Path) -> float:
    """Return the milliseconds for a clip with a model on this machine, infinity where not measured."""
    tuned = read_tuned(file.parent, engine_of(file))
    return float("inf") if tuned is None else tuned.ms_per_clip


def _open_checkpoints(
    run: Run, folds: Sequence[int] | None, n_threads: int | None, clips_per_request: int | None
) -> Engine:
    import torch

    from dawnchorus.engines.torch_engine import TorchEngine

    if n_threads is not None:
        torch.set_num_threads(n_threads)
    chosen = run.chosen_folds(folds)
    opened = TorchEngine(
        [run.load_model(fold) for fold in chosen],
        replace(run.card(), folds=chosen),
        clips_per_request=clips_per_request,
        fingerprint=checkpoints_fingerprint(run, chosen),
    )
    opened.folder = run.path
    return opened


def checkpoints_fingerprint(run: Run, folds: Sequence[int]) -> str:
    """Return a fingerprint of the best checkpoints of folds, by their content.

    Examples
    --------
    >>> from dawnchorus.runs import Run
    >>> run = Run.open("logdirs/tiny")
    >>> checkpoints_fingerprint(run, [0, 1]).split()[0]
    'torch'
    >>> checkpoints_fingerprint(run, [0]) == checkpoints_fingerprint(run, [1])
    False
    """
    return fingerprint_of("torch", [run.best_checkpoint(fold) for fold in folds])


def _warn_if_folds_lack(export: Path, folds: Sequence[int], run: Run) -> None:
    """Log a warning where an export has fewer folds than its run; its folder's name does not say."""
    try:
        n_folds = len({fold for fold in run.folds()["fold"].tolist() if fold >= 0})
    except (OSError, RunError):
        return
    if len(folds) < n_folds:
        having = f"fold {folds[0]}" if len(folds) == 1 else f"folds {', '.join(map(str, folds))}"
        logger.warning("The export in %s is of %s; the run has %d folds.", export, having, n_folds)


def _warn_if_outdated(run_dir: Path, file: Path) -> None:
    """Log a warning where an export was made from other checkpoints than the run has now, or lacks folds."""
    from dawnchorus.runs import Run

    bundle = read_json_if_sound(file.parent / BUNDLE_NAME, BundleFacts)
    if bundle is None:
        return
    try:
        _warn_if_folds_lack(file.parent, bundle.folds, Run(run_dir))
        is_outdated = bundle.checkpoints != checkpoints_fingerprint(Run(run_dir), bundle.folds)
    except (OSError, RunError):
        return  # there is nothing to compare, as in a run without its checkpoints
    if is_outdated:
        logger.warning(
            "The export in %s is of earlier checkpoints than the run has now: dawnchorus export %s makes it "
            "anew.",
            file.parent,
            run_dir,
        )
