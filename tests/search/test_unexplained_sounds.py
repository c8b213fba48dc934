"""Clusters of windows that no class explains: planted ones are found, and their middles are listed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dawnchorus.errors import ConfigError, DataError
from dawnchorus.predict.predictions import PredictedRecording, Predictions
from dawnchorus.predict.window_predictions import WindowPredictions
from dawnchorus.predict.window_tables import EMBEDDINGS_NAME, WINDOWS_NAME, embedding_table, window_table
from dawnchorus.search.unexplained_sounds import ClusterSettings, find_clusters

KINDS = {"frog": 60, "saw": 30, "owl": 40}
"""Windows of two sounds that no class explains, and of one that is an owl."""


def planted() -> Predictions:
    rng = np.random.default_rng(0)
    middles = {kind: rng.normal(size=16) for kind in KINDS}
    recordings = []
    for kind, n in KINDS.items():
        embeddings = (middles[kind] + 0.05 * rng.normal(size=(n, 16))).astype(np.float32)
        scores = np.full((n, 2), 0.9 if kind == "owl" else 0.1, np.float32)
        starts = np.arange(n)
        windows = WindowPredictions(starts, starts + 1, scores, 1, embeddings)
        recordings.append(PredictedRecording(f"{kind}.wav", None, None, windows))
    return Predictions(("owl", "wren"), recordings)


@pytest.mark.parametrize("n_clusters", [None, 2])
def test_planted_sounds_are_the_clusters_and_what_a_class_explains_is_none(n_clusters: int | None) -> None:
    found = find_clusters(planted(), ClusterSettings(n_clusters=n_clusters, per_cluster=3))
    assert found["filename"].tolist() == ["frog.wav"] * 3 + ["saw.wav"] * 3
    assert found["cluster"].tolist() == [1, 1, 1, 2, 2, 2]
    assert found["n_windows"].max() <= 60
    assert (found["similarity"] > 0.9).all()
    assert list(found)[:5] == ["filename", "start_s", "end_s", "label", "similarity"]


def test_a_folder_gives_what_predictions_give(tmp_path: Path) -> None:
    predictions = planted()
    first = predictions.recordings[0].windows
    with (
        embedding_table(tmp_path / EMBEDDINGS_NAME, first) as embeddings,
        window_table(tmp_path / WINDOWS_NAME, predictions.labels) as windows,
    ):
        for recording in predictions:
            embeddings.add(recording.name, recording.windows)
            windows.add(recording.name, recording.windows)
    settings = ClusterSettings()
    assert find_clusters(tmp_path, settings).equals(find_clusters(predictions, settings))
    (tmp_path / WINDOWS_NAME).unlink()
    with pytest.raises(DataError, match=r"holds no windows.parquet, .*; predict without --no-windows"):
        find_clusters(tmp_path)
    with window_table(tmp_path / WINDOWS_NAME, predictions.labels) as windows:
        windows.add("frog.wav", first)
    with pytest.raises(DataError, match="has 60 windows, and the embeddings are of 130; predict both anew"):
        find_clusters(tmp_path)
    (tmp_path / WINDOWS_NAME).write_bytes(b"damaged")
    with pytest.raises(DataError, match=r"windows.parquet cannot be read"):
        find_clusters(tmp_path)


def test_where_nothing_is_unexplained_the_table_is_empty() -> None:
    found = find_clusters(planted(), ClusterSettings(below=0.05))
    assert found.empty
    assert {"filename", "cluster", "n_windows"} <= set(found)


def test_a_sample_is_clustered_where_there_are_too_many() -> None:
    found = find_clusters(planted(), ClusterSettings(n_clusters=1, at_most=20))
    assert set(found["n_windows"]) == {20}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"below": 0.0}, "below is 0; it must be above 0"),
        ({"n_clusters": 0}, "n_clusters is 0; it must be 1 or more"),
        ({"smallest": 1}, "smallest is 1; it must be 2 or more"),
    ],
)
def test_settings_out_of_range_are_refused(change: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ClusterSettings(**change)
