"""Tables of windows, read back by pandas and pyarrow."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from dawnchorus.predict.window_predictions import WindowPredictions
from dawnchorus.predict.window_tables import embedding_table, window_table

LABELS = ("wren", "Turdus merula", "filename 2")
RATE = 32_000


def predicted(n_windows: int, seed: int = 0) -> WindowPredictions:
    rng = np.random.default_rng(seed)
    starts = np.arange(n_windows, dtype=np.int64) * 53_333
    stops = starts + 160_000
    probabilities = rng.random((n_windows, 3)).astype(np.float32)
    return WindowPredictions(
        starts, stops, probabilities, RATE, rng.normal(size=(n_windows, 5)).astype(np.float32)
    )


def test_probabilities_are_read_back_bit_for_bit(tmp_path: Path) -> None:
    said = {"a.wav": predicted(4, 1), "site/b.wav": predicted(1, 2), "ü/c.wav": predicted(7, 3)}
    with window_table(tmp_path / "windows.parquet", LABELS) as table:
        for name, predictions in said.items():
            table.add(name, predictions)
    read = pd.read_parquet(tmp_path / "windows.parquet")
    assert list(read.columns) == ["filename", "start_s", "end_s", *LABELS]
    assert read["filename"].tolist() == ["a.wav"] * 4 + ["site/b.wav"] + ["ü/c.wav"] * 7
    assert read.dtypes["start_s"] == read.dtypes["end_s"] == np.float64
    assert (read.dtypes[list(LABELS)] == np.float32).all()
    np.testing.assert_array_equal(
        read[list(LABELS)].to_numpy(), np.concatenate([p.probabilities for p in said.values()])
    )
    starts = np.concatenate([p.starts for p in said.values()])
    np.testing.assert_array_equal(read["start_s"], [int(start) / RATE for start in starts])
    np.testing.assert_array_equal(read["end_s"], [(int(start) + 160_000) / RATE for start in starts])


def test_embeddings_are_read_back_bit_for_bit(tmp_path: Path) -> None:
    said = [predicted(4, 1), predicted(3, 2)]
    with embedding_table(tmp_path / "embeddings.parquet", said[0]) as table:
        for number, predictions in enumerate(said):
            table.add(f"{number}.wav", predictions)
    read = pq.read_table(tmp_path / "embeddings.parquet")
    assert read.column_names == ["filename", "start_s", "end_s", "embedding"]
    assert str(read.schema.field("embedding").type) == "fixed_size_list<element: float>[5]"
    found = np.array(read["embedding"].to_pylist(), np.float32)
    np.testing.assert_array_equal(found, np.concatenate([p.embeddings for p in said]))
    assert read["filename"].to_pylist() == ["0.wav"] * 4 + ["1.wav"] * 3
    by_pandas = np.stack(pd.read_parquet(tmp_path / "embeddings.parquet")["embedding"].to_list())
    np.testing.assert_array_equal(by_pandas, found)


def test_many_small_recordings_make_few_row_groups(tmp_path: Path) -> None:
    one = predicted(3)
    with window_table(tmp_path / "windows.parquet", LABELS) as table:
        for number in range(3000):
            table.add(f"{number:04d}.wav", one)
    file = pq.ParquetFile(tmp_path / "windows.parquet")
    assert file.metadata.num_rows == 9000
    assert file.num_row_groups == 3
    names = file.read(["filename"])["filename"].to_pylist()
    assert names == [f"{number:04d}.wav" for number in range(3000) for _ in range(3)]


def test_a_long_recording_is_written_at_once(tmp_path: Path) -> None:
    with window_table(tmp_path / "windows.parquet", LABELS) as table:
        table.add("day.wav", predicted(17_280))
        assert not table.table._waiting
    assert pq.read_metadata(tmp_path / "windows.parquet").num_rows == 17_280


def fill_and_fail(table: Any) -> None:
    with table as opened:
        opened.add("a.wav", predicted(5000))
        raise KeyError("the disk")


def test_nothing_is_written_when_the_block_fails(tmp_path: Path) -> None:
    path = tmp_path / "windows.parquet"
    with pytest.raises(KeyError, match="the disk"):
        fill_and_fail(window_table(path, LABELS))
    assert list(tmp_path.iterdir()) == []
    path.write_bytes(b"what was there")
    with pytest.raises(KeyError, match="the disk"):
        fill_and_fail(embedding_table(path, predicted(1)))
    assert path.read_bytes() == b"what was there"
    assert list(tmp_path.iterdir()) == [path]


def test_the_same_windows_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.parquet", "b.parquet"):
        with window_table(tmp_path / name, LABELS) as table:
            for number in range(3):
                table.add(f"{number}.wav", predicted(4, number))
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


def test_a_table_of_no_recordings_has_its_columns(tmp_path: Path) -> None:
    with window_table(tmp_path / "windows.parquet", LABELS):
        pass
    assert list(pd.read_parquet(tmp_path / "windows.parquet").columns) == [
        "filename",
        "start_s",
        "end_s",
        *LABELS,
    ]


def test_a_name_that_is_no_unicode_is_written_legibly(tmp_path: Path) -> None:
    with window_table(tmp_path / "windows.parquet", LABELS) as table:
        table.add(os.fsdecode(b"bird\xe9.wav"), predicted(2))
    (name,) = pd.read_parquet(tmp_path / "windows.parquet")["filename"].unique()
    assert name.startswith("bird")
    assert name.endswith(".wav")


def test_a_class_that_is_called_as_a_key_is_told_apart(tmp_path: Path) -> None:
    with window_table(tmp_path / "windows.parquet", ("wren", "start", "embedding")) as table:
        table.add("a.wav", predicted(2))
    assert pd.read_parquet(tmp_path / "windows.parquet").shape == (2, 6)
