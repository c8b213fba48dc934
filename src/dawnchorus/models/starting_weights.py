"""The weights that training starts from, where the classes may be others than before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from torch import Tensor, nn

from dawnchorus.errors import WeightsError
from dawnchorus.models.card import ModelCard
from dawnchorus.models.checkpoint_file import CARD_KEY, read_metadata
from dawnchorus.models.packaged_weights import PREFIX, read_packaged_weights
from dawnchorus.models.weights import LoadReport, fit_weights, is_whole_model, load_state_dict_file

CLASS_LAYERS = (
    "head.attention.weight",
    "head.attention.bias",
    "head.fix_scale.weight",
    "head.fix_scale.bias",
)
"""Tensors with a row for each class."""


class ClassStart(NamedTuple):
    """How a class begins.

    Attributes
    ----------
    label
        The class.
    start
        ``kept`` where its rows were taken over, ``fresh`` where they are new.
    source_row
        Its place among the classes of the file; None where it is fresh.
    """

    label: str
    start: str
    source_row: int | None


class StartingWeights(NamedTuple):
    """What became of the tensors of a file, and of each class.

    Attributes
    ----------
    report
        Tensors that found their place, or did not.
    classes
        One for each class of the model; empty where the file is a backbone's, which has none.
    unused_labels
        Classes of the file that the model does not have.
    labels_known
        Whether the file's classes are known, or it has none.
    """

    report: LoadReport
    classes: tuple[ClassStart, ...]
    unused_labels: tuple[str, ...]
    labels_known: bool = True


def start_from(
    model: nn.Module, source: str, *, labels: Sequence[str], source_labels: Sequence[str] | None = None
) -> StartingWeights:
    """Copy weights into a model of perhaps other classes, and return what found its place.

    Classes that both have keep their rows, whatever their order; the others stay as they are. Where the
    classes of a file are not known, all classes stay as they are, for rows in another order would teach
    each species another's song.

    Parameters
    ----------
    model
        Has ``backbone`` and ``head``; changed in place.
    source
        A file, of a whole model or of a backbone, or ``package:NAME``.
    labels
        Classes of the model.
    source_labels
        Classes of the file, in their order; None takes them from the file, or from the run that it lies in.

    Raises
    ------
    WeightsError
        The weights cannot be had, hold nothing for this model, or have another number of classes than
        ``source_labels``.
    MissingExtraError
        The package is not installed.
    """
    if source.startswith(PREFIX):
        tensors = read_packaged_weights(source.removeprefix(PREFIX))
    else:
        tensors = load_state_dict_file(source)
    classes: tuple[ClassStart, ...] = ()
    unused: tuple[str, ...] = ()
    labels_known = True
    if is_whole_model(tensors):
        known = tuple(source_labels or _labels_of(Path(source)) or ())
        _check_count(tensors, known, source)
        labels_known = bool(known)
        classes = _class_starts(labels, known if _rows_fit(model.state_dict(), tensors) else ())
        unused = tuple(label for label in known if label not in set(labels))
        tensors = _with_rows_of(model.state_dict(), tensors, classes)
    report = fit_weights(model, tensors, where=source, strict=False)
    return StartingWeights(report, classes, unused, labels_known)


def _labels_of(path: Path) -> tuple[str, ...] | None:
    """Return the classes that a checkpoint of ours names, or those of the run that a file lies in."""
    if path.suffix == ".safetensors":
        text = read_metadata(path).get(CARD_KEY)
        if text is not None:
            return ModelCard.from_json(text, where=str(path)).labels
    for folder in path.absolute().parents[2:3]:  # the run of {run}/fold_0/checkpoints/best.ckpt
        card = folder / "model_card.json"
        if path.parent.name == "checkpoints" and card.is_file():
            return ModelCard.from_json(card.read_text(encoding="utf-8"), where=str(card)).labels
    return None


def _check_count(tensors: Mapping[str, Tensor], known: Sequence[str], source: str) -> None:
    rows = {len(tensors[name]) for name in CLASS_LAYERS if name in tensors}
    if known and rows and rows != {len(known)}:
        raise WeightsError(
            f"{source} has {max(rows)} classes, and its labels are {len(known)}; give the labels that it was "
            "trained with, in their order, as weights_labels"
        )


def _rows_fit(own: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> bool:
    """Tell whether a class of the file has in every layer what a class of the model has there."""
    return all(
        name in own and name in tensors and own[name].shape[1:] == tensors[name].shape[1:]
        for name in CLASS_LAYERS
    )


def _class_starts(labels: Sequence[str], source_labels: Sequence[str]) -> tuple[ClassStart, ...]:
    rows = {label: row for row, label in enumerate(source_labels)}
    return tuple(ClassStart(label, "kept" if label in rows else "fresh", rows.get(label)) for label in labels)


def _with_rows_of(
    own: Mapping[str, Tensor], tensors: Mapping[str, Tensor], classes: Sequence[ClassStart]
) -> dict[str, Tensor]:
    """Return the file's tensors with their class layers laid out as the model's classes are."""
    rows = [(row, start.source_row) for row, start in enumerate(classes) if start.source_row is not None]
    laid_out = {name: tensor for name, tensor in tensors.items() if name not in CLASS_LAYERS}
    if not rows:
        return laid_out
    here, there = (list(column) for column in zip(*rows, strict=True))
    for name in CLASS_LAYERS:
        laid_out[name] = own[name].clone()
        laid_out[name][here] = tensors[name][there].to(own[name].dtype)
    return laid_out
