"""Reader of pickled arrays of whole numbers, text and lists, which calls nothing that a pickle names."""

from __future__ import annotations

import math
import pickletools
import re
from typing import Any

import numpy as np
import numpy.typing as npt

from dawnchorus.wording import in_line

_MODULES = ("numpy", "numpy.core.multiarray", "numpy._core.multiarray")
_NAMES = ("_reconstruct", "dtype", "ndarray", "scalar")
_TYPES = re.compile(r"[iu][1248]|O8?")
_AS_THEY_ARE = re.compile(r"(SHORT_)?BIN(UNICODE|BYTES|INT)[128]?|LONG1")
_MOST_AXES = 32
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}


class _Call:
    """A name of NumPy with arguments, which a pickle would call."""

    def __init__(self, name: str, arguments: Any) -> None:
        self.name, self.arguments = name, arguments
        self.memo_key: int | None = None


def unpickled_array(pickle: bytes) -> npt.NDArray[Any]:
    """Return the array that is pickled, of whole numbers, text, or lists and arrays of them.

    A pickle is a program that names functions and calls them. Here the few names that NumPy writes for arrays
    are recognised, and the arrays made from their bytes; nothing is imported and nothing called.

    Parameters
    ----------
    pickle
        As ``numpy.save`` writes behind its header.

    Raises
    ------
    ValueError
        It holds anything else.

    Examples
    --------
    >>> import pickle
    >>> import numpy as np
    >>> unpickled_array(pickle.dumps(np.array([[0, 1], [2]], dtype=object), protocol=4))
    array([list([0, 1]), list([2])], dtype=object)
    """
    stack: list[Any] = []
    marks: list[int] = []
    memo: dict[Any, Any] = {}
    for opcode, value, _ in pickletools.genops(pickle):
        name = opcode.name
        if name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif _AS_THEY_ARE.fullmatch(name):
            stack.append(value)
        elif name == "EMPTY_LIST":
            stack.append([])
        elif name == "MARK":
            marks.append(len(stack))
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(memo[value])
        elif name in ("MEMOIZE", "BINPUT", "LONG_BINPUT"):
            key = len(memo) if value is None else value
            memo[key] = stack[-1]
            if isinstance(stack[-1], _Call):
                stack[-1].memo_key = key
        elif name in ("TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"):
            start = marks.pop() if name == "TUPLE" else len(stack) - int(name[-1])
            stack[start:] = [tuple(stack[start:])]
        elif name in ("APPEND", "APPENDS"):
            start = marks.pop() if name == "APPENDS" else len(stack) - 1
            items, stack[start:] = stack[start:], []
            stack[-1].extend(items)
        elif name in ("GLOBAL", "STACK_GLOBAL"):
            module, function = value.split(" ", 1) if value else (stack.pop(-2), stack.pop())
            if not type(module) is type(function) is str:
                raise ValueError(f"it names a {type(module).__name__} and a {type(function).__name__}")
            if module not in _MODULES or function not in _NAMES:
                raise ValueError(f"it names {in_line(module)}.{in_line(function)}")
            stack.append(_Call(function, None))
        elif name == "REDUCE":
            arguments, function = stack.pop(), stack.pop()
            stack.append(_called(function, arguments))
        elif name == "BUILD":
            state, call = stack.pop(), stack.pop()
            is_array = call.name == "_reconstruct"
            stack.append(_array(state, len(pickle)) if is_array else _dtype(call, state))
            if call.memo_key is not None:
                memo[call.memo_key] = stack[-1]
        elif name == "STOP":
            if isinstance(stack[-1], np.ndarray):
                return stack[-1]
            raise ValueError("it holds no array")
        elif name not in ("PROTO", "FRAME"):
            raise ValueError(f"it has the step {name}")
    raise ValueError("it has no end")


def _called(function: _Call, arguments: Any) -> Any:
    if function.name == "scalar":
        dtype, content = arguments
        if not isinstance(dtype, np.dtype) or not isinstance(content, bytes):
            raise ValueError(f"it holds a number of {type(dtype).__name__} and {type(content).__name__}")
        return np.frombuffer(content, dtype)[0].item()
    return _Call(function.name, arguments)


def _dtype(call: _Call, state: Any) -> np.dtype[Any]:
    """Return a type of whole numbers or objects, in the byte order of its state."""
    kind, order = call.arguments[0], state[1]
    if not type(kind) is type(order) is str:
        raise ValueError(f"it holds a type of {type(kind).__name__} and {type(order).__name__}")
    if call.name != "dtype" or not _TYPES.fullmatch(kind) or order not in ("<", ">", "|", "="):
        raise ValueError(f"it holds the type {in_line(kind)}")
    return np.dtype(kind[:1] if kind.startswith("O") else order + kind)


def _array(state: Any, n_bytes: int) -> npt.NDArray[Any]:
    """Return an array of a pickle of so many bytes, each of which is at most one number or object."""
    _, shape, dtype, is_fortran, content = state
    _check_shape(shape, n_bytes)
    if not dtype.hasobject:
        return np.frombuffer(content, dtype).reshape(shape, order="F" if is_fortran else "C")
    if not isinstance(content, list) or len(content) != math.prod(shape) or is_fortran:
        raise ValueError(f"{shape} are not its objects")
    array = np.empty(len(content), dtype)
    for number, item in enumerate(content):
        array[number] = item
    return array.reshape(shape)


def _check_shape(shape: Any, largest: int) -> None:
    """Raise where a shape is none of an array of so many items; the sizes beside an axis of 0 count too."""
    if type(shape) is not tuple or len(shape) > _MOST_AXES or any(type(size) is not int for size in shape):
        raise ValueError(f"a shape is no tuple of at most {_MOST_AXES} whole numbers")
    if any(size < 0 or size > largest for size in shape) or math.prod(size or 1 for size in shape) > largest:
        raise ValueError(f"an array claims more items than {largest} bytes hold")
