"""Every public function and class has an example; that the examples are right is told by running them."""

from __future__ import annotations

import ast
import builtins
import doctest
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import dawnchorus

PACKAGE = Path(dawnchorus.__file__).parent
ROOMS_OF_COMMANDS = {"cli", "inference"}
"""Their functions are commands: ``--help`` and the pages of the documentation have their examples."""

WITHOUT_EXAMPLE = {
    "pipelines/demo.py: run_demo": "it trains for minutes; `make demo` runs it",
}
"""What has none, and why. Nothing is added here without a reason."""


class Public(NamedTuple):
    """A function or class that others may use: its module below the package, and its syntax."""

    module: Path
    node: ast.FunctionDef | ast.ClassDef

    def __str__(self) -> str:
        return f"{self.module.as_posix()}: {self.node.name}"

    @property
    def examples(self) -> list[str]:
        """The statements of its examples."""
        text = ast.get_docstring(self.node) or ""
        return [example.source for example in doctest.DocTestParser().get_examples(text)]


def modules() -> list[Path]:
    found = (path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))
    return sorted(path for path in found if path.parts[0] not in ROOMS_OF_COMMANDS)


def public_in(module: Path) -> Iterator[Public]:
    for node in ast.parse((PACKAGE / module).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield Public(module, node)


def all_public() -> list[Public]:
    return [public for module in modules() for public in public_in(module)]


def bound_in(tree: ast.AST) -> set[str]:
    """Return the names that statements bind, at any depth."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            names.add(node.id)
        elif isinstance(node, ast.arg):
            names.add(node.arg)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef) or (
            isinstance(node, ast.ExceptHandler) and node.name
        ):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name.partition(".")[0] for alias in node.names}
    return names


def own_names(module: Path) -> set[str]:
    """Return what a module defines itself: what it imports is not among it."""
    body = ast.parse((PACKAGE / module).read_text(encoding="utf-8")).body
    imports = (ast.Import, ast.ImportFrom, ast.If, ast.Try)
    defined = ast.Module([node for node in body if not isinstance(node, imports)], type_ignores=[])
    return bound_in(defined)


def test_every_public_function_and_class_has_an_example() -> None:
    without = [str(public) for public in all_public() if not public.examples]
    assert sorted(without) == sorted(WITHOUT_EXAMPLE)


def test_every_name_of_the_package_itself_has_an_example() -> None:
    with_example = {public.node.name for public in all_public() if public.examples}
    assert {
        getattr(dawnchorus, name).__name__ for name in dawnchorus.__all__ if name != "__version__"
    } <= with_example


@pytest.mark.parametrize("module", modules(), ids=str)
def test_examples_import_what_they_use(module: Path) -> None:
    known = own_names(module) | set(dir(builtins))
    for public in public_in(module):
        tree = ast.parse("".join(public.examples))
        used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        assert used <= known | bound_in(tree), str(public)


def test_no_example_is_skipped() -> None:
    texts = ((PACKAGE / module).read_text(encoding="utf-8") for module in modules())
    assert not any("+SKIP" in text for text in texts)
