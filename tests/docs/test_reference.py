"""The reference that is written from the code: nothing is missing in it."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import dawnchorus
from dawnchorus.config import Record, Settings

for name in ("numpydoc", "sphinx", "tabulate"):
    pytest.importorskip(name, reason="the extra docs is not installed")
reference_data = importlib.import_module("reference")
settings_tables = importlib.import_module("settings_tables")
REPOSITORY = Path(__file__).resolve().parents[2]


def test_every_command_and_option_is_in_the_reference(
    reference: dict[str, str], all_commands: dict[tuple[str, ...], Any]
) -> None:
    for path, command in all_commands.items():
        heading = f"## dawnchorus {' '.join(path)}\n"
        assert heading in reference["commands"]
        section = reference["commands"].partition(heading)[2].partition("\n## ")[0]
        for parameter in command.params:
            for name in parameter.opts if parameter.param_type_name == "option" else ():
                assert re.search(rf"[` ]{re.escape(name)}[,` ]", section), f"{path}: {name}"


def settings_classes(base: type[Settings] = Settings) -> Iterator[type[Settings]]:
    for child in base.__subclasses__():
        yield child
        yield from settings_classes(child)


def test_every_key_of_every_settings_class_is_in_the_reference(reference: dict[str, str]) -> None:
    importlib.import_module("dawnchorus.pipelines.demo")  # and with it all that has settings

    page = reference["settings"]
    every = (each for each in settings_classes() if each.__module__.startswith("dawnchorus."))
    found = [each for each in every if not issubclass(each, Record)]
    assert len(found) > 10
    for each in found:
        for name in each.model_fields:
            assert f"\n   | ``{name}`` " in page, f"{each.__name__}.{name}"


def test_a_key_is_told_with_its_type_range_default_and_description() -> None:
    sections = {section.path: section for section in settings_tables.train_sections()}
    keys = {key.name: key for key in sections["folds"].keys}
    assert keys["n_folds"][:3] == ("n_folds", "int, ≥ 1", "5")
    assert keys["n_folds"].description.startswith("Number of folds. 1 trains one model on all recordings: ")
    assert keys["group_column"].kind == "list of str or None"
    mixup = {key.name: key for key in sections["train_function_args.train_dataset_config.mixup"].keys}
    assert mixup["probability"][1:3] == ("float, ≥ 0, ≤ 1", "0.5")
    loader = {key.name: key for key in sections["train_function_args.train_loader"].keys}
    assert loader["batch_size"].default == "64"
    top = {key.name: key for key in sections[""].keys}
    assert top["exp_name"].default == settings_tables.REQUIRED
    network = {key.name: key for key in sections["nn_model_config"].keys}
    assert {"backbone", "pretrained", "weights", "weights_labels", "frontend"} <= set(network)
    assert "n_classes" not in network


def test_every_config_and_public_name_is_in_the_reference(reference: dict[str, str]) -> None:
    for folder in ("train_configs", "train_configs/parts", "inference_configs"):
        for path in (REPOSITORY / folder).glob("*.py"):
            assert f"### {path.parent.name}/{path.name}\n" in reference["configs"]
    for name in dawnchorus.__all__:
        assert re.search(rf"\b{name}\b", reference["api"])


class Owl:
    """Return a thing, see :class:`~dawnchorus.config.Settings`.

    More of ``it``.

    Parameters
    ----------
    low, high
        Range of the :mod:`dawnchorus.audio`,
        in Hz.
    n : int
        A number.

    Raises
    ------
    ConfigError
        If not.
    """

    __module__ = "dawnchorus.owl"


class YoungOwl(Owl):
    """A thing.

    Attributes
    ----------
    n
        Another number.
    """

    __module__ = "dawnchorus.owl"


def test_docstrings_are_taken_apart() -> None:
    told = "Return a thing, see :class:`~dawnchorus.config.Settings`.\n\nMore of ``it``."
    assert settings_tables.introduction(Owl) == told
    ranged = "Range of the :mod:`dawnchorus.audio`,\nin Hz."
    assert settings_tables.descriptions(YoungOwl) == {"low": ranged, "high": ranged, "n": "Another number."}


def test_text_of_commands_is_shown_letter_for_letter() -> None:
    table = reference_data.table([(reference_data.literal("--a | b"), "x")], "option", "what")
    assert "| ``--a | b`` | x" in table
    assert reference_data.literal("`x`") == "`x`"
    assert reference_data.literal("") == ""
