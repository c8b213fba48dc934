"""Our checkpoints: all that goes in comes out, anyone can read the weights, and a damaged one is named."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
import safetensors.torch
import torch

from dawnchorus.errors import WeightsError
from dawnchorus.models.checkpoint_file import read_checkpoint, read_metadata, write_checkpoint

WEIGHTS = {"backbone.stem.weight": torch.arange(6.0).reshape(2, 3), "head.pooling.p": torch.tensor([3.0])}
DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool)


def same(first: Any, second: Any) -> bool:
    """Tell whether two nested values are alike to the last bit, the types included."""
    if type(first) is not type(second):
        return False
    if isinstance(first, torch.Tensor):
        alike = (first.shape, first.dtype) == (second.shape, second.dtype)
        return alike and first.tolist() == second.tolist()
    if isinstance(first, dict):
        return list(first) == list(second) and all(same(first[key], second[key]) for key in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(same, first, second))
    return first == second or (isinstance(first, float) and math.isnan(first) and math.isnan(second))


def round_trip(path: Path, state: Any) -> Any:
    write_checkpoint(path, WEIGHTS, state=state)
    return read_checkpoint(path).state


@pytest.mark.parametrize(
    "state",
    [
        {"nested": {"again": {"empty": {}, "list": [], "tuple": ()}}},
        {0: "int key", "1": "text key", 1: {"$tensor": "looks like ours"}},
        {"$pairs": [1], "$tuple": (2,), "$": 3},
        {"a": (1, [2, (3,)], "four", None, True, False)},
        {(1, "two"): {None: 1, False: 2}},
        {"tiny": 5e-324, "third": 1 / 3, "zero": -0.0, "large": 2**80, "text": 'ü\n"\\\u0000'},
        {"nan": math.nan, "inf": math.inf, "minus": -math.inf},
        ["a list", 1.5],
        (torch.tensor([1.0]), {"b": torch.tensor([2])}),
        torch.tensor([1.0, math.inf]),
        {},
        False,
        "",
    ],
)
def test_any_plain_state_comes_back_as_it_was(tmp_path: Path, state: Any) -> None:
    found = round_trip(tmp_path / "last.safetensors", state)
    assert same(found, state), found


def test_the_comparison_of_these_tests_tells_values_apart() -> None:
    one = torch.tensor([1.0])
    pairs = [
        (1, True),
        ((1,), [1]),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        (one, one.double()),
        (0.0, math.nan),
    ]
    assert not any(same(*pair) for pair in pairs)


@pytest.mark.parametrize("dtype", DTYPES)
def test_tensors_of_every_kind_come_back_to_the_bit(tmp_path: Path, dtype: torch.dtype) -> None:
    base = torch.arange(24).reshape(4, 6) % 3
    tensors = {
        "plain": base.to(dtype),
        "0-d": base[1, 2].to(dtype),
        "empty": base[:0].to(dtype),
        "transposed": base.to(dtype).T,
        "stride": base.to(dtype)[::2, 1::3],
        "expanded": base.to(dtype)[:1].expand(3, 6),
        "channels last": base.to(dtype).reshape(1, 2, 3, 4).to(memory_format=torch.channels_last),
    }
    path = tmp_path / "all.safetensors"
    write_checkpoint(path, tensors, state=tensors)
    found = read_checkpoint(path)
    assert same(dict(sorted(found.weights.items())), dict(sorted(tensors.items())))
    assert same(found.state, tensors)


def test_tensors_that_share_memory_are_written_each_for_itself(tmp_path: Path) -> None:
    whole = torch.arange(10.0)
    tied = {"whole": whole, "same": whole, "part": whole[2:5], "trained": torch.nn.Parameter(whole)}
    path = tmp_path / "tied.safetensors"
    write_checkpoint(path, tied, state=[whole, whole, whole[3:]])
    found = read_checkpoint(path)
    assert found.weights["part"].tolist() == [2, 3, 4]
    assert all(found.weights[name].tolist() == whole.tolist() for name in ("whole", "same", "trained"))
    assert same(found.state, [whole, whole, whole[3:]])


def test_keys_with_slashes_do_not_take_each_others_tensors(tmp_path: Path) -> None:
    numbers = [torch.tensor([float(k)]) for k in range(5)]
    state = {
        "a/b": numbers[0],
        "a": {"b": numbers[1], "$": numbers[2]},
        "a/0": numbers[3],
        "a/b_": numbers[4],
    }
    assert same(round_trip(tmp_path / "last.safetensors", state), state)


def test_any_reader_of_safetensors_gets_the_weights_by_name(tmp_path: Path) -> None:
    path = tmp_path / "best.safetensors"
    write_checkpoint(path, WEIGHTS, metadata={"model_card": "{}", "ü": "ö"})
    loaded = safetensors.torch.load_file(path)
    assert same(dict(sorted(loaded.items())), dict(sorted(WEIGHTS.items())))
    assert read_checkpoint(path).state is None
    with safetensors.safe_open(path, framework="np") as file:
        assert file.metadata() == {"format": "pt", "model_card": "{}", "ü": "ö"}
    assert (
        read_metadata(path)
        == read_checkpoint(path).metadata
        == {"format": "pt", "model_card": "{}", "ü": "ö"}
    )


def test_the_state_of_training_is_no_part_of_the_weights(tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"
    write_checkpoint(path, WEIGHTS, state={"momentum": torch.ones(3)}, metadata={"epoch": "4"})
    found = read_checkpoint(path)
    assert set(found.weights) == set(WEIGHTS)
    assert found.metadata == {"format": "pt", "epoch": "4"}
    others = set(safetensors.torch.load_file(path)) - set(WEIGHTS)
    assert others == {"training_state/momentum"}


def test_the_state_of_a_real_optimiser_comes_back(tmp_path: Path) -> None:
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    state = optimizer.state_dict()
    assert same(round_trip(tmp_path / "last.safetensors", state), state)


@pytest.mark.parametrize("state", [{"a": {"b": object()}}, [{1, 2}], {"a": np.float32(1)}, {frozenset(): 1}])
def test_an_object_in_the_state_is_refused_by_its_place(tmp_path: Path, state: Any) -> None:
    path = tmp_path / "last.safetensors"
    with pytest.raises(
        TypeError, match=r"training_state.* is \w+; a checkpoint holds tensors and plain values"
    ):
        write_checkpoint(path, WEIGHTS, state=state)
    assert list(tmp_path.iterdir()) == []


def test_a_file_cut_off_anywhere_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"
    write_checkpoint(path, WEIGHTS, state={"epoch": 3, "momentum": torch.rand(20)})
    content = path.read_bytes()
    for n_bytes in [*range(0, len(content) - 1, 7), len(content) - 1]:
        path.write_bytes(content[:n_bytes])
        with pytest.raises(WeightsError, match=r"last\.safetensors: the file is damaged or no safetensors"):
            read_checkpoint(path)


def test_a_flipped_byte_in_the_header_never_ends_in_another_error(tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"
    write_checkpoint(path, WEIGHTS, state={0: torch.rand(2), "b": (1,)})
    content = path.read_bytes()
    n_header = 8 + int.from_bytes(content[:8], "little")
    n_refused = 0
    for place in range(n_header):
        flipped = bytearray(content)
        flipped[place] ^= 0x15
        path.write_bytes(flipped)
        try:
            read_checkpoint(path)
        except WeightsError as error:
            assert "last.safetensors" in str(error)  # noqa: PT017
            n_refused += 1
    assert n_refused > n_header / 2  # the others are letters of a name, of which any will do


@pytest.mark.parametrize(
    "text", ["{", '{"$tensor": "training_state/gone"}', '{"$pairs": 3}', '{"$tuple": null}']
)
def test_a_damaged_training_state_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "last.safetensors"
    safetensors.torch.save_file(WEIGHTS, path, {"training_state": text})
    with pytest.raises(WeightsError, match=r"last\.safetensors: its training state is (damaged|not JSON)"):
        read_checkpoint(path)


@pytest.mark.parametrize(
    "content", [b"", b"hello, this is a text file that is somewhat longer", b"\xff" * 100]
)
def test_what_is_no_checkpoint_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "text.safetensors"
    path.write_bytes(content)
    for read in (read_checkpoint, read_metadata):
        with pytest.raises(WeightsError, match=r"text\.safetensors: the file is damaged or no safetensors"):
            read(path)
        with pytest.raises(WeightsError, match=r"gone\.safetensors: the file is damaged"):
            read(tmp_path / "gone.safetensors")


FILL = """
import resource, signal, sys, torch
from pathlib import Path
from dawnchorus.models.checkpoint_file import write_checkpoint
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    write_checkpoint(Path(sys.argv[1]), {"a": torch.zeros(100_000)})
except OSError as error:
    print(error.strerror)
"""


def test_a_full_disk_leaves_the_old_file_whole_and_nothing_beside_it(tmp_path: Path) -> None:
    pytest.importorskip("resource")
    path = tmp_path / "last.safetensors"
    write_checkpoint(path, WEIGHTS, state={"epoch": 3})
    before = path.read_bytes()
    ended = subprocess.run(
        [sys.executable, "-c", FILL, str(path)], capture_output=True, text=True, check=True
    )
    assert ended.stdout == "File too large\n"
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
