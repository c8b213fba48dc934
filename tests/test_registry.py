"""Parts by name, import path or object, made ready to be called, and saved as text."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pytest

from dawnchorus.config import to_jsonable
from dawnchorus.config.import_paths import made_part, saved_text
from dawnchorus.config.registry import REGISTRIES, Registry
from dawnchorus.errors import ConfigError


class Scaled:
    def __init__(self, factor: float = 2.0) -> None:
        if factor < 0:
            raise ValueError("below 0\nand more")
        self.factor, self._hidden, self.weights = factor, object(), np.ones(3)

    def __call__(self, x: float) -> float:
        return self.factor * x


@dataclass
class Point:
    names: tuple[str, ...] = ("a",)
    of: dict[str, Any] | None = None


def power(x: float, *, exponent: float = 2.0) -> float:
    return x**exponent


@pytest.fixture
def shapes() -> Registry:
    return Registry("shape", {"path": "pathlib:Path"})


def test_a_registry_is_a_mapping_that_imports_what_is_asked_for(shapes: Registry) -> None:
    shapes.register("scaled", Scaled)
    assert list(shapes) == ["path", "scaled"]
    assert len(shapes) == 2
    assert shapes["scaled"] is Scaled
    assert dict(shapes)["path"].__name__ == "Path"
    assert "square" not in shapes
    with pytest.raises(KeyError):
        shapes["square"]


def test_every_part_of_ours_is_where_its_registry_says() -> None:
    for registry in REGISTRIES.values():
        assert all(part is not None for part in registry.values()), registry


def test_a_part_that_is_defined_anew_takes_its_place_and_another_may_not(shapes: Registry) -> None:
    def made(module: str) -> type:
        return type("Round", (), {"__module__": module})

    shapes.register("round", made("here"))
    again = made("here")
    shapes.register("round", again)  # a cell of a notebook that is run again
    assert shapes["round"] is again
    for name, part in (("round", made("there")), ("path", Scaled)):
        with pytest.raises(
            ConfigError, match=rf"the shape '{name}' is registered already; choose another name"
        ):
            shapes.register(name, part)


def test_a_part_is_made_ready_to_be_called() -> None:
    assert made_part(Scaled, {"factor": 3.0}, where="args")(2) == 6
    assert made_part(power, {"exponent": 3.0}, where="args", given_later=1)(2) == 8
    assert made_part(power, {}, where="args", given_later=1) is power
    scaled = Scaled()
    assert made_part(scaled, {}, where="args") is scaled
    assert made_part(partial(power, exponent=0.5), {}, where="args")(4) == 2


@pytest.mark.parametrize(
    ("part", "args", "message"),
    [
        (Scaled, {"fcator": 1}, r"^args.fcator is not known; did you mean factor\?"),
        (Scaled, {"factor": -1}, r"^args: Scaled refuses {'factor': -1}: below 0$"),
        (Scaled, {"factor": None}, "^args: Scaled refuses {'factor': None}: '<' not supported"),
        (power, {"x": 1}, "^args.x is not known; legal keys are exponent"),
        (len, {"x": 1}, "^args is {'x': 1}, but len takes none; leave it out"),
        (
            Scaled(),
            {"factor": 1},
            r"Scaled\(factor=2.0, weights=\w+\) is an object that is made already;",
        ),
        ([1], {}, r"^args: \[1\] cannot be called; give a class, a function or an object"),
    ],
)
def test_what_a_part_does_not_take_is_told_in_a_sentence(
    part: Any, args: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        made_part(part, args, where="args", given_later=1)
    assert "\n" not in str(caught.value)


def test_a_part_is_saved_as_its_import_path_and_the_plain_values_that_it_was_made_with() -> None:
    here = __name__
    assert saved_text(power) == f"{here}:power"
    assert saved_text(Scaled) == f"{here}:Scaled"
    assert re.fullmatch(rf"{here}:Scaled\(factor=3.0, weights=\w{{16}}\)", saved_text(Scaled(3.0)))
    assert saved_text(Scaled(3.0)) == saved_text(Scaled(3.0))
    other = Scaled(3.0)
    other.weights[1] = 2
    assert saved_text(other) != saved_text(Scaled(3.0)), "arrays tell objects apart"
    point = Point(of={"of": power, 1: None})
    assert saved_text(point) == f"{here}:Point(names=['a'], of=['of', {here}:power, 1, None])"
    assert saved_text(Point(of={"x": object()})) == f"{here}:Point(names=['a'])"
    assert saved_text(partial(power, exponent=0.5)) == f"{here}:power(exponent=0.5)"
    assert to_jsonable({"parts": (power, Scaled(3.0))})["parts"] == [
        saved_text(power),
        saved_text(Scaled(3.0)),
    ]
