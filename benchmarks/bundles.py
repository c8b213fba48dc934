"""Exported ensembles for the benchmark of inference, kept while the code that writes them is the same."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from published import clips_of, write_published
from trained_networks import FOLD, TrainedNetwork

import dawnchorus
from dawnchorus.config import to_jsonable
from dawnchorus.engines.onnx_engine import NETWORKS_NAME
from dawnchorus.errors import MissingExtraError
from dawnchorus.export.int8 import quantize
from dawnchorus.export.onnx import write_onnx
from dawnchorus.export.openvino import read_onnx, write_fp16, write_ir
from dawnchorus.features.logmel import FrontendSettings
from dawnchorus.files import replacing
from dawnchorus.models.card import ModelCard
from dawnchorus.models.wave_cnn import WaveCNNAttenClassifier

N_CLASSES = 206

_CODE = ("export/*.py", "models/*.py", "engines/openvino_engine.py")
_LIBRARIES = ("torch", "timm", "onnx", "onnxscript", "openvino")


class Bundle(NamedTuple):
    """An ensemble in PyTorch and as files.

    Attributes
    ----------
    models
        In evaluation mode.
    card
        What they are.
    folder
        Of the files.
    """

    models: Sequence[torch.nn.Module]
    card: ModelCard
    folder: Path

    @property
    def file(self) -> Path:
        """Our export: weights in fp16, the front-end in float32."""
        return self.folder / "model.xml"

    @property
    def int8_file(self) -> Path:
        """Our export in 8 bits; it does not exist where nncf is not installed."""
        return self.folder / "int8.xml"

    @property
    def published_file(self) -> Path:
        """The published graph."""
        return self.folder / "published.xml"


def untrained_bundle(backbone: str, n_folds: int, recording: Path, work: Path) -> Bundle:
    """Return an ensemble of different networks of 206 classes; its speed is that of trained ones.

    The ranges of its 8 bits are taken from the clips of ``recording``.
    """
    models = [_untrained(backbone, fold) for fold in range(n_folds)]
    settings = FrontendSettings()
    card = ModelCard(
        exp_name=f"{backbone}_{n_folds}",
        model_class=to_jsonable(WaveCNNAttenClassifier),
        model_config={"backbone": backbone},
        labels=tuple(f"species_{number:03d}" for number in range(N_CLASSES)),
        frontend=asdict(settings),
        sample_rate=settings.sample_rate,
        segment_len=5.0,
        late_normalize=True,
        folds=tuple(range(n_folds)),
    )
    return _written(Bundle(models, card, _kept(work) / card.exp_name), clips_of(recording, card))


def trained_bundle(trained: TrainedNetwork, work: Path) -> Bundle:
    """Return the exports of a trained network."""
    weights = hashlib.sha256(trained.run.best_checkpoint(FOLD).read_bytes()).hexdigest()[:12]
    folder = _kept(work) / f"{trained.run.path.name}_{weights}"
    bundle = Bundle([trained.run.load_model(FOLD)], trained.run.card(), folder)
    return _written(bundle, trained.learnt)


def _untrained(backbone: str, seed: int) -> torch.nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return WaveCNNAttenClassifier(n_classes=N_CLASSES, backbone=backbone).eval()


def _kept(work: Path) -> Path:
    """Return the folder of the exports that the code of this process has written."""
    return work / "bundles" / _digest_of_code()


@functools.cache
def _digest_of_code() -> str:
    code = hashlib.sha256()
    for pattern in _CODE:
        for path in sorted(Path(dawnchorus.__file__).parent.glob(pattern)):
            code.update(path.read_bytes())
    code.update(Path(__file__).with_name("published.py").read_bytes())
    code.update(str([importlib.metadata.version(name) for name in _LIBRARIES]).encode())
    return code.hexdigest()[:12]


def _written(bundle: Bundle, waves: npt.NDArray[np.float32]) -> Bundle:
    if bundle.folder.is_dir():
        return bundle
    print(f"exporting {bundle.folder.name}; it is kept in {bundle.folder.parent}", flush=True)
    with replacing(bundle.folder) as folder:
        made = bundle._replace(folder=folder)
        onnx_file = folder / "onnx" / "model.onnx"
        onnx_file.parent.mkdir(parents=True)
        write_onnx(bundle.models, bundle.card, onnx_file)
        write_fp16(read_onnx(onnx_file, bundle.card), made.file)
        write_published(onnx_file.with_name(NETWORKS_NAME), bundle.card, made.published_file)
        _write_int8(onnx_file, waves, made)
        shutil.rmtree(onnx_file.parent)
    return bundle


def _write_int8(onnx_file: Path, waves: npt.NDArray[np.float32], bundle: Bundle) -> None:
    """Write the export in 8 bits, or leave it out with a note."""
    try:
        quantized = quantize(read_onnx(onnx_file, bundle.card), waves)
    except MissingExtraError as error:
        print(f"8 bits are left out: {error}")
        return
    write_ir(quantized, bundle.int8_file)
