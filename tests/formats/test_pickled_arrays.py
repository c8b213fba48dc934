"""Pickled arrays are read without running anything of the pickle."""

from __future__ import annotations

import io
import os
import pickle
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dawnchorus.errors import DataError
from dawnchorus.formats.array_archives import read_array
from dawnchorus.formats.pickled_arrays import unpickled_array

ITEMS = [
    np.arange(3),
    np.array([2**63 - 1, -(2**63)]),
    [4, 5],
    "owl",
    None,
    True,
    2**70,
    (1, [2]),
    np.int32(7),
]


class Calls:
    """An object that, unpickled, calls a function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.function, self.arguments


def saved(path: Path, pickled: bytes) -> Path:
    """Write a pickle behind the header of an array of one object."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "|O", "fortran_order": False, "shape": (1,)})
    path.write_bytes(buffer.getvalue() + pickled)
    return path


@pytest.mark.parametrize("protocol", [3, 4])
@pytest.mark.parametrize("shape", [(9,), (3, 3)])
def test_arrays_are_what_unpickling_gives(protocol: int, shape: tuple[int, ...]) -> None:
    array = np.empty(9, dtype=object)
    for number, item in enumerate(ITEMS):
        array[number] = item
    pickled = pickle.dumps(array.reshape(shape), protocol=protocol)
    found, expected = unpickled_array(pickled), pickle.loads(pickled)
    assert found.shape == shape
    assert [repr(one) for one in found.flat][:-1] == [repr(one) for one in expected.flat][:-1]
    assert found.flat[8] == 7


def test_numpy_saves_and_it_is_read(tmp_path: Path) -> None:
    array = np.array([[np.arange(5), np.arange(2)], [np.arange(1), np.arange(6)]], dtype=object)
    np.save(tmp_path / "split.npy", array)
    found = read_array(tmp_path / "split.npy", remedy="")
    assert found.shape == (2, 2)
    assert found[1, 1].tolist() == list(range(6))


@pytest.mark.parametrize(
    ("harm", "named"),
    [
        (Calls(os.system, "touch {}"), "without running code in it: it names posix.system"),
        (Calls(eval, "open({!r}, 'w')"), "it names builtins.eval"),
        (Calls(np.load, "{}"), r"it names numpy\.load"),
        (Calls(np.save, "{}", 1), r"it names numpy\.save"),
        (Calls(np.ndarray, (10**9,)), "it holds no array"),
        (Calls(getattr, np, "save"), "it names builtins.getattr"),
    ],
)
@pytest.mark.parametrize("protocol", [0, 2, 3, 4, 5])
def test_nothing_that_a_pickle_names_is_called(
    tmp_path: Path, harm: Calls, named: str, protocol: int
) -> None:
    target = tmp_path / "harmed.npy"
    harm.arguments = tuple(a.format(str(target)) if isinstance(a, str) else a for a in harm.arguments)
    try:
        pickled = pickle.dumps(harm, protocol=protocol)
    except (TypeError, AttributeError, pickle.PicklingError):
        pytest.skip("not pickled")  # a module
    path = saved(tmp_path / "split.npy", pickled)
    with pytest.raises(DataError, match=named if protocol >= 3 else "is damaged, or no array of NumPy"):
        read_array(path, remedy="save it again")
    assert not target.exists()


@pytest.mark.parametrize(
    "pickled",
    [
        b"\x80\x04X\xff\xff\xff\x7fowl.",  # text that claims 2 GiB
        b"\x80\x04Nr\xff\xff\xff\x7f.",  # place 2^31 of the memo
        b"\x80\x04]\x94h\x00ah\x00a.",  # a list in itself
        b"\x80\x04" + b"(" * 1_000_000,
        b"\x80\x04t.",
        b"\x80\x04b.",
        b"\x80\x04h\x07.",
        b"\x80\x04]",
        b"",
        b"\x80\x04\xff",
        pickle.dumps(np.arange(3), protocol=4)[:-9],
        pickle.dumps(np.array(["a", 1], dtype=object), protocol=4).replace(b"K\x02\x85", b"K\x03\x85"),
        pickle.dumps(np.array([np.arange(3)]), protocol=4).replace(b"i8", b"f8"),
    ],
)
def test_damaged_and_absurd_pickles_are_refused_in_little_memory(tmp_path: Path, pickled: bytes) -> None:
    path = saved(tmp_path / "split.npy", pickled)
    tracemalloc.start()
    with pytest.raises(DataError, match=r"split\.npy is damaged, or no array of NumPy"):
        read_array(path, remedy="save it again")
    assert tracemalloc.get_traced_memory()[1] < 64 << 20
    tracemalloc.stop()
