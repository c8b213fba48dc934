"""Checks of the Python that pages and notebooks show: imports, names and keywords of dawnchorus exist."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import re
import typing
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from run_blocks import NO_RUN, code_blocks

PACKAGE = "dawnchorus"
_UNKNOWN = object()


class ShownPython(NamedTuple):
    """Python that a page or a notebook shows.

    Attributes
    ----------
    where
        Page and line, or notebook and cell.
    code
        Its lines.
    """

    where: str
    code: str


def notebook_cells(notebook: Path) -> list[ShownPython]:
    """Return the code cells of a notebook."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return [
        ShownPython(f"{notebook.name}, cell {number}", "".join(cell["source"]))
        for number, cell in enumerate(cells, start=1)
        if cell["cell_type"] == "code"
    ]


def page_blocks(page: Path) -> list[ShownPython]:
    """Return the Python blocks of a page that are programs; parts of a config stand for themselves."""
    blocks = code_blocks(page.read_text(encoding="utf-8"), name=str(page))
    return [
        ShownPython(f"{page.name}:{block.line}", block.code)
        for block in blocks
        if block.language == "python" and _is_program(block.code) and NO_RUN not in block.marks
    ]


def _is_program(code: str) -> bool:
    try:
        return not all(isinstance(node, ast.Expr | ast.AnnAssign) for node in ast.parse(code).body)
    except SyntaxError:
        return PACKAGE in code


def faults_of(shown: Sequence[ShownPython]) -> list[str]:
    """Return what a page's Python asks of dawnchorus in vain, one sentence each.

    The blocks are read in their order as one program. What an object is, is known where it comes from an
    import, or from a call of a function of dawnchorus that says what it returns.
    """
    reader = _Reader()
    faults: list[str] = []
    for where, code in shown:
        try:
            tree = ast.parse(code)
        except SyntaxError as error:
            faults.append(f"{where}: line {error.lineno} is no Python: {error.msg}")
            continue
        for node in tree.body:
            faults.extend(f"{where}: {fault}" for fault in reader.read(node))
    return faults


class _Reader:
    """Follows the names of a program as far as dawnchorus gave them."""

    def __init__(self) -> None:
        self.objects: dict[str, Any] = {}
        self.instances: dict[str, type] = {}

    def read(self, node: ast.stmt) -> Iterator[str]:
        for inner in ast.walk(node):
            if isinstance(inner, ast.Import | ast.ImportFrom):
                yield from self._import(inner)
            elif isinstance(inner, ast.Attribute):
                yield from self._attribute(inner)
            elif isinstance(inner, ast.Call):
                yield from self._call(inner)
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            self._assign(node.targets[0].id, node.value)

    def _import(self, node: ast.Import | ast.ImportFrom) -> Iterator[str]:
        for alias in node.names:
            module = node.module if isinstance(node, ast.ImportFrom) else alias.name
            if module is None or module.partition(".")[0] != PACKAGE:
                continue
            try:
                found = importlib.import_module(module)
            except ModuleNotFoundError:
                yield f"there is no module {module}"
                continue
            if isinstance(node, ast.Import):
                self.objects[alias.asname or PACKAGE] = (
                    found if alias.asname else importlib.import_module(PACKAGE)
                )
            elif hasattr(found, alias.name):
                self.objects[alias.asname or alias.name] = getattr(found, alias.name)
            else:
                yield f"{module} has no {alias.name}"

    def _attribute(self, node: ast.Attribute) -> Iterator[str]:
        owner = self._value(node.value)
        if owner is not _UNKNOWN and not _has(owner, node.attr):
            yield f"{ast.unparse(node)}: {_name(owner)} has no {node.attr}"

    def _call(self, node: ast.Call) -> Iterator[str]:
        function = self._value(node.func)
        if function is _UNKNOWN or not callable(function) or _is_foreign(function):
            return
        try:
            parameters = inspect.signature(function).parameters
        except (TypeError, ValueError):
            return
        if any(each.kind is each.VAR_KEYWORD for each in parameters.values()):
            return
        for keyword in node.keywords:
            if keyword.arg is not None and keyword.arg not in parameters:
                yield f"{ast.unparse(node.func)} has no argument {keyword.arg}"

    def _assign(self, name: str, value: ast.expr) -> None:
        self.objects.pop(name, None)
        self.instances.pop(name, None)
        if (made := self._made(value)) is not None:
            self.instances[name] = made

    def _made(self, value: ast.expr) -> type | None:
        """Return the class of dawnchorus that an expression makes an object of, None where it is unknown."""
        if isinstance(value, ast.Name):
            return self.instances.get(value.id)
        function = self._value(value.func) if isinstance(value, ast.Call) else _UNKNOWN
        if function is _UNKNOWN or _is_foreign(function):
            return None
        if isinstance(function, type):
            return function
        try:
            returned = typing.get_type_hints(function).get("return")
        except (NameError, TypeError):
            return None
        if returned is typing.Self and isinstance(value, ast.Call) and isinstance(value.func, ast.Attribute):
            owner = self._value(value.func.value)
            returned = owner if isinstance(owner, type) else None
        return returned if isinstance(returned, type) and not _is_foreign(returned) else None

    def _value(self, node: ast.expr) -> Any:
        """Return the object, or the class of the object, that an expression is; _UNKNOWN where it is not."""
        if isinstance(node, ast.Name):
            return self.objects.get(node.id, self.instances.get(node.id, _UNKNOWN))
        if isinstance(node, ast.Attribute):
            owner = self._value(node.value)
            found = _UNKNOWN if owner is _UNKNOWN else inspect.getattr_static(owner, node.attr, _UNKNOWN)
            if found is _UNKNOWN and inspect.ismodule(owner):
                found = getattr(owner, node.attr, _UNKNOWN)
            if isinstance(found, staticmethod | classmethod):
                return found.__func__
            return found if inspect.isroutine(found) or isinstance(found, type) else _UNKNOWN
        if isinstance(node, ast.Call):
            made = self._made(node)
            return _UNKNOWN if made is None else made
        return _UNKNOWN


def _has(owner: Any, name: str) -> bool:
    if not isinstance(owner, type) or hasattr(owner, name):
        return hasattr(owner, name)
    bases = owner.__mro__[:-1]
    return any(name in getattr(base, "__annotations__", {}) or _sets(base, name) for base in bases)


def _sets(owner: type, name: str) -> bool:
    """Return whether a method of a class sets an attribute, or whether that cannot be known."""
    try:
        return re.search(rf"\bself\.{name}\b[^=\n]* = ", inspect.getsource(owner)) is not None
    except (OSError, TypeError):
        return True


def _is_foreign(found: Any) -> bool:
    return str(getattr(found, "__module__", "")).partition(".")[0] != PACKAGE


def _name(owner: Any) -> str:
    return str(getattr(owner, "__name__", owner))
