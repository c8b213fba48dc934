"""Starting weights of a training, whose classes may differ from those of the file."""

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


class ClassStart(NamedTuple):
    """The starting weights of a class.

    Attributes
    ----------
    label
        The class.
    start
        ``kept`` where its rows were taken over, ``fresh`` where they are new.
    source_row
        Its index among the classes of the file; None where it is fresh.

    Examples
    --------
    >>> ClassStart("wren", start="kept", source_row=41).start
    'kept'
    """

    label: str
    start: str
    source_row: int | None


class StartingWeights(NamedTuple):
    """The tensors and classes of a file that were loaded into a model, and those that were not.

    Attributes
    ----------
    report
        Tensors that were loaded, or were not.
    classes
        One for each class of the model; empty where the file is a backbone's, which has none.
    unused_labels
        Classes of the file that the model does not have.
    labels_known
        Whether the file's classes are known, or it has none.

    Examples
    --------
    >>> from dawnchorus.models.weights import LoadReport
    >>> classes = (ClassStart("owl", "fresh", None),)
    >>> started = StartingWeights(LoadReport((), (), (), ()), classes, unused_labels=("wren",))
    >>> [start.label for start in started.classes if start.start == "fresh"], started.unused_labels
    (['owl'], ('wren',))
    """

    report: LoadReport
    classes: tuple[ClassStart, ...]
    unused_labels: tuple[str, ...]
    labels_known: bool = True


def start_from(
    model: nn.Module, source: str, *, labels: Sequence[str], source_labels: Sequence[str] | None = None
) -> StartingWeights:
    """Copy weights into a model whose classes may differ, and return a report of what was loaded.

    Classes that both have keep their rows, whatever their order; the others stay as they are. Where the
    classes of a file are not known, all classes stay as they are: a different class order would mix up the
    rows. A head that does not name its ``class_layers`` is taken over where the classes are the same, in the
    same order, and stays as it is otherwise.

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

    Examples
    --------
    >>> from pathlib import Path
    >>> from dawnchorus import WaveCNNAttenClassifier
    >>> from dawnchorus.models.checkpoint_file import write_checkpoint
    >>> earlier = WaveCNNAttenClassifier(n_classes=2, backbone="test_resnet.r160_in1k")
    >>> write_checkpoint(Path("earlier.safetensors"), earlier.state_dict())
    >>> model = WaveCNNAttenClassifier(n_classes=2, backbone="test_resnet.r160_in1k")
    >>> labels, source_labels = ["owl", "robin"], ["wren", "owl"]
    >>> started = start_from(model, "earlier.safetensors", labels=labels, source_labels=source_labels)
    >>> [(start.label, start.start, start.source_row) for start in started.classes]
    [('owl', 'kept', 1), ('robin', 'fresh', None)]
    """
    if source.startswith(PREFIX):
        tensors = read_packaged_weights(source.removeprefix(PREFIX))
    else:
        tensors = load_state_dict_file(source)
    classes: tuple[ClassStart, ...] = ()
    unused: tuple[str, ...] = ()
    labels_known = True
    own = model.state_dict()
    if is_whole_model(tensors) or tensors.keys() == own.keys():
        known, layers = tuple(source_labels or _labels_of(Path(source)) or ()), class_layers(model)
        labels_known = bool(known)
        if layers is None:
            is_same = known == tuple(labels)
            classes = _class_starts(labels, known if is_same else ())
            tensors = tensors if is_same else _without_classes(tensors, own, len(labels))
        else:
            _check_count(tensors, known, source, layers)
            classes = _class_starts(labels, known if _rows_fit(own, tensors, layers) else ())
            tensors = _with_rows_of(own, tensors, classes, layers)
        unused = tuple(label for label in known if label not in set(labels))
    report = fit_weights(model, tensors, where=source, strict=False)
    return StartingWeights(report, classes, unused, labels_known)


def class_layers(model: nn.Module) -> tuple[str, ...] | None:
    """Return the tensors of a model that have a row for each class, None where its head does not name them.

    Examples
    --------
    >>> from dawnchorus.models.wave_cnn import WaveCNNAttenClassifier
    >>> class_layers(WaveCNNAttenClassifier(n_classes=2, backbone="test_resnet"))[0]
    'head.attention.weight'
    """
    named = getattr(getattr(model, "head", None), "class_layers", None)
    return None if named is None else tuple(f"head.{name}" for name in named)


def _without_classes(
    tensors: Mapping[str, Tensor], own: Mapping[str, Tensor], n_classes: int
) -> dict[str, Tensor]:
    """Return a file's tensors without the head, or for a network without one, without its class layers."""
    has_head = any(name.startswith("head.") for name in own)
    return {
        name: tensor
        for name, tensor in tensors.items()
        if not (
            name.startswith("head.")
            if has_head
            else name in own and own[name].ndim > 0 and len(own[name]) == n_classes
        )
    }


def _labels_of(path: Path) -> tuple[str, ...] | None:
    """Return the classes in a checkpoint of ours, or those of the run that a file lies in, or None."""
    if path.suffix == ".safetensors":
        text = read_metadata(path).get(CARD_KEY)
        if text is not None:
            return ModelCard.from_json(text, where=str(path)).labels
    for folder in path.absolute().parents[2:3]:  # the run of {run}/fold_0/checkpoints/best.ckpt
        card = folder / "model_card.json"
        if path.parent.name == "checkpoints" and card.is_file():
            return ModelCard.from_json(card.read_text(encoding="utf-8"), where=str(card)).labels
    return None


def _check_count(
    tensors: Mapping[str, Tensor], known: Sequence[str], source: str, layers: Sequence[str]
) -> None:
    rows = {len(tensors[name]) for name in layers if name in tensors}
    if known and rows and rows != {len(known)}:
        raise WeightsError(
            f"{source} has {max(rows)} classes, and its labels are {len(known)}; give the labels that it was "
            "trained with, in their order, as weights_labels"
        )


def _rows_fit(own: Mapping[str, Tensor], tensors: Mapping[str, Tensor], layers: Sequence[str]) -> bool:
    """Return whether the rows of a class have the same shape in the file and in the model, in every layer."""
    return all(
        name in own and name in tensors and own[name].shape[1:] == tensors[name].shape[1:] for name in layers
    )


def _class_starts(labels: Sequence[str], source_labels: Sequence[str]) -> tuple[ClassStart, ...]:
    rows = {label: row for row, label in enumerate(source_labels)}
    return tuple(ClassStart(label, "kept" if label in rows else "fresh", rows.get(label)) for label in labels)


def _with_rows_of(
    own: Mapping[str, Tensor],
    tensors: Mapping[str, Tensor],
    classes: Sequence[ClassStart],
    layers: Sequence[str],
) -> dict[str, Tensor]:
    """Return the file's tensors with their class layers in the order of the model's classes."""
    rows = [(row, start.source_row) for row, start in enumerate(classes) if start.source_row is not None]
    laid_out = {name: tensor for name, tensor in tensors.items() if name not in layers}
    if not rows:
        return laid_out
    here, there = (list(column) for column in zip(*rows, strict=True))
    for name in layers:
        laid_out[name] = own[name].clone()
        laid_out[name][here] = tensors[name][there].to(own[name].dtype)
    return laid_out
