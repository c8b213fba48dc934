"""Pickled arrays are read without running anything of the pickle."""

from __future__ import annotations

import io
import os
import pickle
import subprocess
import sys
import textwrap
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


def _memo_bomb(depth: int = 60) -> bytes:
    """Return the steps of a tuple of two of the same tuple, and so on: 2**depth items where it is printed."""
    return b")\x94" + b"".join(b"h" + bytes([n, ord("h"), n]) + b"\x86\x94" for n in range(depth))


BOMB = _memo_bomb()
ARRAY = b"cnumpy._core.multiarray\n_reconstruct\n)R"
NUMBERS = b"cnumpy\ndtype\nX\x02\x00\x00\x00i8\x85R(K\x03X\x01\x00\x00\x00<tb"
OBJECTS = b"cnumpy\ndtype\nX\x01\x00\x00\x00O\x85R(K\x03X\x01\x00\x00\x00|tb"


def _state(shape: bytes, dtype: bytes, content: bytes) -> bytes:
    return ARRAY + b"(K\x01" + shape + dtype + b"\x89" + content + b"tb."


@pytest.mark.parametrize(
    ("pickled", "reason"),
    [
        pytest.param(BOMB + b"h\x3ch\x3c\x93.", "it names a tuple and a tuple", id="a module"),
        pytest.param(
            BOMB + b"X\x05\x00\x00\x00numpyh\x3c\x93.", "it names a str and a tuple", id="a function"
        ),
        pytest.param(
            BOMB + b"cnumpy\ndtype\nh\x3c\x85R(K\x03X\x01\x00\x00\x00<tb.",
            "a type of tuple and str",
            id="a kind",
        ),
        pytest.param(
            BOMB + b"cnumpy\ndtype\nX\x02\x00\x00\x00i8\x85R(K\x03h\x3ctb.",
            "a type of str and tuple",
            id="a byte order",
        ),
        pytest.param(
            BOMB + b"cnumpy\nscalar\nh\x3cC\x01a\x86R.", "a number of tuple and bytes", id="a scalar"
        ),
        pytest.param(BOMB + _state(b"h\x3c", OBJECTS, b"]"), "a shape is no tuple", id="a shape"),
        pytest.param(
            _state(b"X\x01\x00\x00\x00x\x8a\x05\x00\x00\x00\x00\x02\x86", OBJECTS, b"]"),
            "a shape is no tuple of at most 32 whole numbers",
            id="a text 2**33 times",
        ),
        pytest.param(_state(b"\x88\x85", OBJECTS, b"]Na"), "a shape is no tuple", id="True"),
        pytest.param(_state(b"]", OBJECTS, b"]Na"), "a shape is no tuple", id="a list"),
        pytest.param(_state(b"(" + b"K\x01" * 33 + b"t", OBJECTS, b"]Na"), "at most 32", id="33 axes"),
        pytest.param(
            _state(b"(" + (b"\x8a\xff" + b"\x7f" * 255) * 32 + b"t", OBJECTS, b"]"), "claims more", id="huge"
        ),
        pytest.param(_state(b"J\xff\xff\xff\xff\x85", NUMBERS, b"C\x08" + bytes(8)), "claims more", id="-1"),
        *(
            pytest.param(_state(shape, dtype, content), "an array claims more items than", id=name)
            for name, dtype, content in (("no numbers", NUMBERS, b"C\x00"), ("no objects", OBJECTS, b"]"))
            for shape in (b"\x8a\x05\x00\xe8vH\x17K\x00\x86", b"K\x00\x8a\x05\x00\xe8vH\x17\x86")
        ),
    ],
)
def test_what_a_pickle_holds_is_neither_printed_nor_multiplied(
    tmp_path: Path, pickled: bytes, reason: str
) -> None:
    assert "in one sentence" in _read_in_little_memory(saved(tmp_path / "split.npy", pickled), reason)


def test_a_reason_names_long_texts_in_short(tmp_path: Path) -> None:
    names = [b"X" + len(text).to_bytes(4, "little") + text for text in (b"m" * 10**6, b"f" * 10**6)]
    with pytest.raises(DataError, match=r"it names m+…f+; save") as caught:
        read_array(saved(tmp_path / "split.npy", b"".join(names) + b"\x93."), remedy="save it again")
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("shape", "descr"), [((10**11, 0), "<i8"), ((10**11,), "|S0"), ((10**4, 10**7, 0), "<f4")]
)
def test_items_without_a_byte_are_refused_in_little_memory(
    tmp_path: Path, shape: tuple[int, ...], descr: str
) -> None:
    path = tmp_path / "folds.npy"
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": descr, "fortran_order": False, "shape": shape})
    assert path.stat().st_size == 128
    assert "in one sentence" in _read_in_little_memory(path, "items without a byte")


def test_small_arrays_without_items_are_read(tmp_path: Path) -> None:
    for shape in ((0,), (0, 1536), (206, 0), (0, 10**6, 10**6)):
        np.save(tmp_path / "none.npy", np.zeros(shape, np.float32))
        assert read_array(tmp_path / "none.npy", remedy="").shape == shape


def _read_in_little_memory(path: Path, reason: str) -> str:
    """Return what a process of little memory prints that reads folds, and expects one sentence."""
    program = f"""
        import resource
        from pathlib import Path
        from dawnchorus.errors import DataError
        from dawnchorus.recordings.fold_arrays import read_folds
        taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        resource.setrlimit(resource.RLIMIT_AS, (taken + (256 << 20), hard))
        try:
            read_folds(Path({str(path)!r}), 7, Path("train.csv"))
        except DataError as error:
            assert {reason!r} in str(error), str(error)[:500]
            assert len(str(error)) < 500 and "\\n" not in str(error)
            print("in one sentence")
    """
    if not Path("/proc/self/statm").is_file():
        pytest.skip("memory is limited on Linux only")
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=100
    )
    return done.stdout + done.stderr
