"""The ``CONFIG`` dict of a Python file as data: its syntax is read, and nothing in it is run or imported.

Names of modules, classes and functions become :class:`Part`, a ``lambda`` a :class:`Function`, and what
cannot be known without running the file :class:`Unread`.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from dawnchorus.errors import ConfigError
from dawnchorus.wording import in_line, shown

_LONGEST_JOINED = 100_000  # letters or items
_DEEPEST = 50
_LARGEST_NUMBER = 1e18
_LARGEST_FILE = 1_000_000  # bytes; a config has about 10,000
_OPERATORS: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


@dataclass(frozen=True)
class Unread:
    """A value that only running the file would give.

    Examples
    --------
    >>> str(Unread("os.getcwd()[1:]"))
    'os.getcwd()[1:]'
    """

    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class LiteralPart:
    """A class or function by its name, or a call of it.

    Attributes
    ----------
    name
        As the file has it, such as ``torch.optim.AdamW``.
    arguments, keywords
        Of the call; None where it is not called.

    Examples
    --------
    >>> part = LiteralPart("torch.optim.AdamW", (), {"lr": 0.1})
    >>> part.last_name, str(part)
    ('AdamW', 'torch.optim.AdamW(lr=0.1)')
    """

    name: str
    arguments: tuple[Any, ...] | None = None
    keywords: dict[str, Any] = field(default_factory=dict)

    @property
    def last_name(self) -> str:
        """The name without its modules."""
        return self.name.rpartition(".")[2]

    def __str__(self) -> str:
        return self.name if self.arguments is None else text_of(self)


@dataclass(frozen=True)
class Function:
    """A ``lambda``, whose body can be read with values for its parameters.

    Examples
    --------
    >>> twice = read_expression("lambda n: [n, 2 * n]")
    >>> twice.result(3)
    [3, 6]
    """

    node: ast.Lambda
    names: Mapping[str, Any]

    def result(self, *arguments: Any) -> Any:
        """Return the body's value for arguments; parameters without one stay unread."""
        parameters = [parameter.arg for parameter in self.node.args.args]
        unread = {name: Unread(name) for name in parameters}
        return _value(
            self.node.body, {**self.names, **unread, **dict(zip(parameters, arguments, strict=False))}
        )

    def __str__(self) -> str:
        return ast.unparse(self.node)


def text_of(value: Any) -> str:
    """Return a value as Python text, cut off where it is long; what is deep or holds itself is ``...``.

    Examples
    --------
    >>> text_of({"lr": 0.1, "of": LiteralPart("AdamW")})
    "{'lr': 0.1, 'of': AdamW}"
    """
    pieces, length = [], 0
    for piece in _pieces(value, 0):
        pieces.append(piece)
        length += len(piece)
        if length > _LONGEST_JOINED:
            return f"{''.join(pieces)[:_LONGEST_JOINED]}..."
    return "".join(pieces)


def _pieces(value: Any, depth: int) -> Iterator[str]:
    """Yield the text of a value piece by piece."""
    items: Iterable[tuple[str, Any]]
    if isinstance(value, Mapping):
        start, end, items = "{", "}", ((f"{key!r}: ", item) for key, item in value.items())
    elif isinstance(value, list | tuple):
        start, end, items = "[", "]", (("", item) for item in value)
    elif isinstance(value, LiteralPart) and value.arguments is not None:
        keywords = ((f"{key}=", item) for key, item in value.keywords.items())
        start, end = f"{value.name}(", ")"
        items = chain((("", item) for item in value.arguments), keywords)
    else:
        yield str(value) if isinstance(value, Unread | LiteralPart | Function) else repr(value)
        return
    yield start
    if depth == _DEEPEST:
        yield "..."
    else:
        for number, (name, item) in enumerate(items):
            yield f"{', ' if number else ''}{name}"
            yield from _pieces(item, depth + 1)
    yield end


def read_expression(text: str) -> Any:
    """Return the value of a Python expression, without running it.

    Raises
    ------
    SyntaxError
        The text is no expression.

    Examples
    --------
    >>> read_expression("dict(lr=2.5 * 0.1, of=my_package.Net)")
    {'lr': 0.25, 'of': LiteralPart(name='my_package.Net', arguments=None, keywords={})}
    """
    return _value(ast.parse(text, mode="eval").body, {})


def read_config_literal(path: Path) -> dict[str, Any]:
    """Return the ``CONFIG`` dict of a Python file, without running the file.

    Names that are assigned above it are filled in.

    Raises
    ------
    ConfigError
        The file cannot be read, is no Python, or has no ``CONFIG`` dict.

    Examples
    --------
    >>> from pathlib import Path
    >>> _ = Path("published.py").write_text("import torch\\nN = 5\\nCONFIG = {'n': N, 'of': torch.Tensor}")
    >>> read_config_literal(Path("published.py"))["n"]
    5
    """
    try:
        content = path.read_bytes()
        if len(content) > _LARGEST_FILE:
            raise ConfigError(f"{path} has {len(content):,} bytes; a config has at most {_LARGEST_FILE:,}")
        names: dict[str, Any] = {}
        for statement in ast.parse(content).body:
            _assign(statement, names)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    except (SyntaxError, ValueError, OverflowError, RecursionError, MemoryError) as error:
        reason = in_line(str(error)) or type(error).__name__
        raise ConfigError(f"{path} is no Python file: {reason}; give the file of a config") from None
    config = names.get("CONFIG")
    if not isinstance(config, dict) or not all(isinstance(key, str) for key in config):
        found = "it has none" if config is None else f"it is {shown(text_of(config))}"
        raise ConfigError(
            f"{path}: CONFIG must be a dict of keys and values that stands in the file; {found}"
        )
    return config


def _assign(statement: ast.stmt, names: dict[str, Any]) -> None:
    """Keep what a statement assigns: ``NAME = …``, ``NAME: type = …`` and ``NAME["key"] = …``."""
    if isinstance(statement, ast.Assign):
        value, targets = _value(statement.value, names), statement.targets
    elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
        value, targets = _value(statement.value, names), [statement.target]
    else:
        return
    for target in targets:
        if isinstance(target, ast.Name):
            names[target.id] = value
        elif isinstance(target, ast.Subscript):
            owner, key = _value(target.value, names), _value(target.slice, names)
            if isinstance(owner, dict) and isinstance(key, str):
                owner[key] = value


def _value(node: ast.expr, names: Mapping[str, Any]) -> Any:
    """Return the value of an expression."""
    match node:
        case ast.Constant():
            return node.value
        case ast.Name():
            return names.get(node.id, LiteralPart(node.id))
        case ast.Attribute():
            owner = _value(node.value, names)
            is_name = isinstance(owner, LiteralPart) and owner.arguments is None
            return LiteralPart(f"{owner.name}.{node.attr}") if is_name else Unread(ast.unparse(node))
        case ast.List() | ast.Tuple() | ast.Set():
            return [_value(item, names) for item in node.elts]
        case ast.Dict():
            return _dict_value(node, names)
        case ast.Call():
            return _call_value(node, names)
        case ast.Lambda():
            return Function(node, dict(names))
        case ast.UnaryOp(op=ast.USub()) | ast.BinOp() | ast.IfExp() | ast.Subscript() | ast.JoinedStr():
            return _computed(node, names)
    return Unread(ast.unparse(node))


def _dict_value(node: ast.Dict, names: Mapping[str, Any]) -> Any:
    found: dict[Any, Any] = {}
    for key_node, value_node in zip(node.keys, node.values, strict=True):
        value = _value(value_node, names)
        if key_node is None and isinstance(value, dict):  # **others
            found.update(value)
            continue
        key = None if key_node is None else _value(key_node, names)
        if not isinstance(key, str | int):
            return Unread(ast.unparse(node))
        found[key] = value
    return found


def _call_value(node: ast.Call, names: Mapping[str, Any]) -> Any:
    called = _value(node.func, names)
    keywords = {word.arg: _value(word.value, names) for word in node.keywords if word.arg is not None}
    arguments = tuple(_value(argument, names) for argument in node.args)
    is_plain = len(keywords) == len(node.keywords) and not any(isinstance(a, ast.Starred) for a in node.args)
    if not isinstance(called, LiteralPart) or called.arguments is not None or not is_plain:
        return Unread(ast.unparse(node))
    if called.name == "dict" and all(isinstance(argument, dict) for argument in arguments):
        return {key: value for one in (*arguments, keywords) for key, value in one.items()}
    if called.last_name == "partial" and arguments and isinstance(arguments[0], LiteralPart):
        return LiteralPart(arguments[0].name, arguments[1:], keywords)
    return LiteralPart(called.name, arguments, keywords)


def _computed(node: ast.expr, names: Mapping[str, Any]) -> Any:
    """Return the value of arithmetic, choices, subscripts and f-strings of plain values."""
    match node:
        case ast.UnaryOp():
            operand = _value(node.operand, names)
            if _is_number(operand):
                return -operand
        case ast.BinOp():
            left, right = _value(node.left, names), _value(node.right, names)
            calculate = _OPERATORS.get(type(node.op))
            numbers = (
                _is_number(left) and _is_number(right) and not (calculate is operator.truediv and not right)
            )
            # Texts and lists are only joined, up to a length: more could be larger than any memory.
            alike = (
                isinstance(node.op, ast.Add)
                and type(left) is type(right)
                and isinstance(left, str | list)
                and len(left) + len(right) <= _LONGEST_JOINED
            )
            numbers = numbers and max(abs(left), abs(right)) < _LARGEST_NUMBER
            if calculate is not None and (numbers or alike):
                return calculate(left, right)
        case ast.IfExp():
            chosen = _value(node.test, names)
            if isinstance(chosen, bool):
                return _value(node.body if chosen else node.orelse, names)
        case ast.Subscript():
            owner, key = _value(node.value, names), _value(node.slice, names)
            if isinstance(owner, dict) and isinstance(key, str | int) and key in owner:
                return owner[key]
            if isinstance(owner, list) and type(key) is int and -len(owner) <= key < len(owner):
                return owner[key]
        case ast.JoinedStr():
            pieces = [
                _value(p.value, names) if isinstance(p, ast.FormattedValue) else _value(p, names)
                for p in node.values
            ]
            plain = all(not isinstance(p, ast.FormattedValue) or p.format_spec is None for p in node.values)
            if plain and all(isinstance(piece, str | int | float) for piece in pieces):
                return "".join(map(str, pieces))
    return Unread(ast.unparse(node))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float)
