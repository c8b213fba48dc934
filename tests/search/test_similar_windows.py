"""Search by embeddings: the windows found are those of a plain computation, and of the same model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.neighbors import NearestNeighbors

from dawnchorus.cli import main
from dawnchorus.errors import ConfigError, DataError, MissingExtraError, ModelError
from dawnchorus.predict.model import load_model
from dawnchorus.predict.window_predictions import WindowPredictions
from dawnchorus.predict.window_tables import EMBEDDINGS_NAME, embedding_table
from dawnchorus.search import nearest_vectors, similar_windows
from dawnchorus.search.nearest_vectors import nearest_approximately, nearest_exactly
from dawnchorus.search.similar_windows import QueryTime, SearchSettings, find_similar, query_time
from dawnchorus.search.window_vectors import CACHE_NAME, WindowVectors, unit_vectors

N_FEATURES = 24


def embedded(n_windows: int, seed: int) -> WindowPredictions:
    """Windows of 5 s at 10 Hz with random embeddings."""
    starts = 50 * np.arange(n_windows)
    embeddings = np.random.default_rng(seed).normal(size=(n_windows, N_FEATURES)).astype(np.float32)
    return WindowPredictions(starts, starts + 50, np.zeros((n_windows, 1), np.float32), 10, embeddings)


def write_folder(folder: Path, counts: dict[str, int], model: str | None = "onnx 01") -> np.ndarray:
    """Write embeddings as predict does; return them all."""
    recordings = {name: embedded(n, seed) for seed, (name, n) in enumerate(counts.items())}
    folder.mkdir(exist_ok=True)
    with embedding_table(folder / EMBEDDINGS_NAME, next(iter(recordings.values()))) as table:
        for name, windows in recordings.items():
            table.add(name, windows)
    if model is not None:
        (folder / "predictions.json").write_text(json.dumps({"made": {"model": model}, "goals": {}}))
    return np.concatenate([windows.embeddings for windows in recordings.values()])


COUNTS = {"a.wav": 3000, "deep/süd.wav": 2500, "z.wav": 4000}
"""More windows than a row group has, so that recordings lie in several."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_folder(tmp_path / "tables", COUNTS)
    return tmp_path / "tables"


def test_the_windows_found_are_those_of_scikit_learn(folder: Path) -> None:
    embeddings = write_folder(folder, COUNTS)
    row = COUNTS["a.wav"] + 7
    found = find_similar(folder, QueryTime("deep/süd.wav", 37.4), SearchSettings(k=20, species="owl"))
    neighbours = NearestNeighbors(n_neighbors=21, metric="cosine", algorithm="brute").fit(embeddings)
    distances, rows = neighbours.kneighbors(embeddings[[row]])
    assert rows[0][0] == row
    names = np.repeat(list(COUNTS), list(COUNTS.values()))
    firsts = np.repeat(np.cumsum([0, *COUNTS.values()])[:-1], list(COUNTS.values()))
    assert found["filename"].tolist() == names[rows[0][1:]].tolist()
    np.testing.assert_array_equal(found["start_s"], 5.0 * (rows[0][1:] - firsts[rows[0][1:]]))
    np.testing.assert_allclose(found["similarity"], 1 - distances[0][1:], atol=1e-5)
    assert list(found) == ["filename", "start_s", "end_s", "label", "similarity"]
    assert set(found["label"]) == {"owl"}


def test_several_windows_of_a_query_count_by_the_nearest(folder: Path) -> None:
    windows = WindowVectors.of(folder)
    queries = np.asarray(windows.vectors[[5, 3100, 9000]]) * 3  # any length
    found = find_similar(windows, queries, SearchSettings(k=3))
    np.testing.assert_allclose(found["similarity"], 1, atol=1e-5)
    assert sorted(zip(found["filename"], found["start_s"], strict=True)) == [
        ("a.wav", 25.0),
        ("deep/süd.wav", 500.0),
        ("z.wav", 5.0 * (9000 - 5500)),
    ]


@pytest.mark.parametrize("k", [1, 3, 1000, 200_000])
def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch, k: int) -> None:
    rng = np.random.default_rng(0)
    vectors = unit_vectors(rng.integers(-1, 2, size=(5000, 3)).astype(np.float32))  # with many ties, and 0
    queries = unit_vectors(rng.normal(size=(2, 3)))
    whole = nearest_exactly(vectors, queries, k)
    monkeypatch.setattr(nearest_vectors, "_BLOCK", 64)
    parts = nearest_exactly(vectors, queries, k)
    np.testing.assert_array_equal(whole.rows, parts.rows)
    order = np.lexsort((np.arange(5000), -(vectors @ queries.T).max(axis=1)))[:k]
    np.testing.assert_array_equal(whole.rows, order)


def test_what_is_kept_is_mapped_and_made_anew_when_the_table_is_another(folder: Path) -> None:
    first = WindowVectors.of(folder)
    assert isinstance(first.vectors, np.memmap)
    kept = (folder / CACHE_NAME / "vectors.npy").stat().st_mtime_ns
    assert len(WindowVectors.of(folder / EMBEDDINGS_NAME)) == 9500
    assert (folder / CACHE_NAME / "vectors.npy").stat().st_mtime_ns == kept
    embeddings = write_folder(folder, {**COUNTS, "zz.wav": 10})
    grown = WindowVectors.of(folder)
    assert len(grown) == 9510
    expected = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    np.testing.assert_allclose(grown.vectors, expected, atol=1e-6)
    (folder / CACHE_NAME / "vectors.npy").write_bytes(b"damaged")
    assert len(WindowVectors.of(folder)) == 9510


def test_embeddings_that_are_0_or_not_finite_are_similar_to_nothing() -> None:
    vectors = unit_vectors(np.float32([[0, 0], [np.nan, 1], [np.inf, 1], [2, 0]]))
    np.testing.assert_array_equal(vectors, np.float32([[0, 0], [0, 0], [0, 0], [1, 0]]))


def test_an_index_finds_nearly_all_and_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    faiss = pytest.importorskip("faiss", reason="the extra search is not installed")
    counts = {f"{number}.wav": 1000 for number in range(20)}
    write_folder(tmp_path, counts)
    windows, query = WindowVectors.of(tmp_path), QueryTime("7.wav", 100.0)
    monkeypatch.setattr(nearest_vectors, "_CELLS_ENTERED", 1 / 2)  # random vectors lie in no cells
    exact = find_similar(windows, query, SearchSettings(k=10, exact=True))
    near = find_similar(windows, query, SearchSettings(k=10, exact=False))
    index = tmp_path / CACHE_NAME / similar_windows.INDEX_NAME
    written = index.stat().st_mtime_ns
    again = find_similar(windows, query, SearchSettings(k=10, exact=False))
    assert index.stat().st_mtime_ns == written
    pd.testing.assert_frame_equal(near, again)
    both = exact.merge(near, on=["filename", "start_s", "end_s"])
    assert len(both) >= 8
    np.testing.assert_array_equal(both["similarity_x"], both["similarity_y"], "scores are exact")
    assert faiss.read_index(str(index)).ntotal == 20_000
    index.write_bytes(b"damaged")
    pd.testing.assert_frame_equal(find_similar(windows, query, SearchSettings(k=10, exact=False)), near)
    write_folder(tmp_path, {**counts, "new.wav": 5})
    find_similar(WindowVectors.of(tmp_path), query, SearchSettings(exact=False))
    assert faiss.read_index(str(index)).ntotal == 20_005


def test_many_windows_take_an_index_only_where_there_is_one(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(similar_windows, "EXACT_WINDOWS", 100)
    monkeypatch.setitem(__import__("sys").modules, "faiss", None)
    assert len(find_similar(folder, QueryTime("a.wav", 1.0), SearchSettings(k=5))) == 5
    with pytest.raises(
        MissingExtraError, match=r"needs faiss, .*search.*; or compare them all, with --exact"
    ):
        nearest_approximately(np.eye(2, dtype=np.float32), np.eye(2, dtype=np.float32), 1, folder / "x")


def test_channels_are_told_apart(tmp_path: Path) -> None:
    windows = embedded(6, 0)._replace(channels=np.array([1, 1, 1, 2, 2, 2]))
    with embedding_table(tmp_path / EMBEDDINGS_NAME, windows) as table:
        table.add("a.wav", windows)
    found = find_similar(tmp_path, QueryTime("a.wav", 2.5), SearchSettings(k=9))
    assert len(found) == 5
    assert set(found["channel"]) == {1, 2}


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (QueryTime("b.wav", 1.0), r"no embeddings of b.wav; name one .* such as a.wav"),
        (QueryTime("a.wav", 1e6), r"a.wav has windows from 0 to 15000 s, and none at 1e\+06 s"),
        (np.zeros((1, 3), np.float32), r"shape \(1, 3\), and the embeddings have 24 features"),
    ],
)
def test_a_query_that_is_not_there_is_refused(folder: Path, query: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        find_similar(folder, query)


def test_what_holds_no_embeddings_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no embeddings.parquet; predict with --embeddings"):
        WindowVectors.of(tmp_path)
    (tmp_path / EMBEDDINGS_NAME).write_bytes(b"not a table")
    with pytest.raises(DataError, match="is no table of embeddings"):
        WindowVectors.of(tmp_path)
    pq.write_table(pa.table({"embedding": [1.0]}), tmp_path / EMBEDDINGS_NAME)
    with pytest.raises(DataError, match="embedding is of the type double"):
        WindowVectors.of(tmp_path)
    write_folder(tmp_path, {"a.wav": 3})
    (tmp_path / "predictions.json").write_text("[")
    with pytest.raises(DataError, match=r"predictions.json is damaged"):
        WindowVectors.of(tmp_path)
    with pytest.raises(ConfigError, match="k is 0; it must be 1 or more"):
        SearchSettings(k=0)


def test_a_time_in_a_recording_is_read_from_the_end() -> None:
    assert query_time("a@b@3") == QueryTime("a@b", 3.0)
    assert query_time("a@b") is None


def test_a_clip_finds_itself_by_the_command_and_another_model_is_refused(
    data_factory: Any, exported: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, pitch in (("low.wav", 700), ("high.wav", 5000)):
        data_factory.tone(name, 6.0, pitch, 16_000)
    out, table = tmp_path / "tables", tmp_path / "queue.csv"
    model, clip = str(exported.onnx.parent), str(data_factory.root / "high.wav")
    main_ok("predict", model, str(data_factory.root), "--out", str(out), "--embeddings", "--threads", "1")
    main_ok("search", str(out), clip, "--model", model, "-n", "3", "--species", "wren", "--out", str(table))
    found = pd.read_csv(table)
    assert set(found["filename"]) == {"high.wav"}
    np.testing.assert_allclose(found["similarity"], 1, atol=1e-4)
    assert set(found["label"]) == {"wren"}
    capsys.readouterr()
    main_ok("search", str(out), "high.wav@3", "-n", "2")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("\t")[:3] for line in lines] == [["high.wav", "0", "2"], ["high.wav", "4", "6"]] or [
        line.split("\t")[0] for line in lines
    ] == ["high.wav", "high.wav"]
    shutil.copytree(out, tmp_path / "others")
    note = tmp_path / "others" / "predictions.json"
    note.write_text(note.read_text().replace("onnx ", "torch "))
    with pytest.raises(ModelError, match=r"embeddings in .*others were made with another model \('torch "):
        similar_windows.check_same_model(
            WindowVectors.of(tmp_path / "others"), load_model(model), where=tmp_path / "others"
        )
    with pytest.raises(SystemExit) as ended:
        main(["search", str(out), clip])
    assert ended.value.code == 1
    assert "name the model that made the embeddings, with --model" in capsys.readouterr().err


def main_ok(*arguments: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 0


def test_a_species_is_given_by_any_name_and_a_new_one_only_where_that_is_said(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = folder / "queue.csv"
    asked = ["search", str(folder), "a.wav@7", "-n", "2", "--out", str(table), "--force", "--species"]
    main_ok(*asked, "owl")
    assert "no classes, so that 'owl' is not checked" in " ".join(capsys.readouterr().err.split())
    rows = "filename,start_s,end_s,label,probability,common_name\na.wav,0,5,Strix aluco,0.9,Tawny Owl\n"
    (folder / "detections.csv").write_text(rows)
    for given, label in ((["tawny owl"], "Strix aluco"), (["cuckoo", "--new-species"], "cuckoo")):
        main_ok(*asked, *given)
        assert pd.read_csv(table)["label"].tolist() == [label] * 2
    with pytest.raises(SystemExit) as ended:
        main([*asked, "Tawny Owll"])
    assert ended.value.code == 1
    said = " ".join(capsys.readouterr().err.split())
    assert "no species here is named Tawny Owll; did you mean Tawny Owl (Strix aluco)?" in said
