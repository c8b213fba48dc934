"""Archives of arrays: read as written, or refused before memory is taken."""

from __future__ import annotations

import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from dawnchorus.errors import DataError
from dawnchorus.formats.array_archives import read_arrays


def test_arrays_come_back_bit_for_bit_in_any_order_and_type(tmp_path: Path) -> None:
    path = tmp_path / "arrays.npz"
    arrays = {
        "rows": np.random.default_rng(0).random((5, 3)),
        "columns": np.asfortranarray(np.arange(6).reshape(2, 3)),
        "text": np.array("Nachtigall"),
        "nothing": np.zeros((0, 3), np.float32),
        "number": np.int64(7),
    }
    np.savez(path, **arrays)
    found = read_arrays(path)
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize("shape", [b"(99999999999,)", b"(4,)", b"(-8,)", b"()"])
def test_a_header_that_claims_another_shape_is_refused_before_memory_is_taken(
    tmp_path: Path, shape: bytes
) -> None:
    path = tmp_path / "arrays.npz"
    np.savez(path, starts=np.arange(8))
    with zipfile.ZipFile(path) as archive:
        content = archive.read("starts.npy")
    header = content[:128].replace(b"(8,)", shape)
    header = header.rstrip(b" \n").ljust(127) + b"\n"
    with zipfile.ZipFile(path, "w") as archive:  # with checksums that are right
        archive.writestr("starts.npy", header + content[128:])
    tracemalloc.start()
    with pytest.raises(DataError, match=r"starts\.npy claims"):
        read_arrays(path)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def test_a_compressed_archive_and_a_later_version_of_headers_are_read(tmp_path: Path) -> None:
    path = tmp_path / "arrays.npz"
    np.savez_compressed(path, starts=np.zeros(1 << 20))
    assert read_arrays(path)["starts"].shape == (1 << 20,)
    with zipfile.ZipFile(path, "w") as archive, archive.open("starts.npy", "w") as member:
        np.lib.format.write_array(member, np.arange(3), version=(2, 0))
    assert read_arrays(path)["starts"].tolist() == [0, 1, 2]
