"""The page on rounds side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dawnchorus.predict.recording_files import RecordingFile
from dawnchorus.pseudo_labels.pseudo_label_table import pseudo_label_table
from dawnchorus.report.rounds_page import label_moves, write_rounds_page

LABELS = ["wren", "robin", "owl"]


def tables(folder: Path) -> dict[int, Path]:
    made = {}
    for number, rows in ((1, [[0.9, 0, 0], [0, 0.6, 0.1]]), (2, [[0.8, 0, 0], [0, 0.1, 0.7]])):
        made[number] = folder / f"round_{number}.parquet"
        with pseudo_label_table(made[number], LABELS, has_folds=False) as table:
            table.add("N", np.array([2.0, 4.0]), np.float32(rows))
    return made


def rounds() -> pd.DataFrame:
    scores = {"out_of_fold": [0.5, 0.6, 0.7], "soundscapes": [None] * 3, "agreement": [0.1, 0.2, 0.3]}
    return pd.DataFrame(
        {
            "round": [0, 1, 2],
            "run": [f"owls_round_{number}" for number in range(3)],
            "parent": [None, "owls_round_0", "owls_round_1"],
            "exponent": [None, 1.0, 1.54],
            "value": [0.3, 0.4, 0.5],
            **scores,
            "best": [False, False, True],
        }
    )


def test_labels_that_moved_are_counted(tmp_path: Path) -> None:
    moves = label_moves(tables(tmp_path))
    assert moves.to_dict("records") == [{"round": 2, "before": "robin", "after": "owl", "n_rows": 1}]
    assert label_moves({1: tables(tmp_path)[1]}).empty


def test_the_page_shows_rounds_rows_moves_and_windows_to_hear(
    tmp_path: Path, data_factory: Any, card: Any
) -> None:
    night = data_factory.tone("N.wav", 4.0, sample_rate=16_000)
    page, made = tmp_path / "rounds.html", tables(tmp_path)
    soundscapes = {"N": RecordingFile(night, "N.wav")}
    write_rounds_page(page, rounds(), made, soundscapes, card(), summary=["It stopped."])
    text = page.read_text()
    assert "It stopped." in text
    assert "nobody: labels alone" in text
    for shown in ("owls_round_2", "0.5000", "1.54", "—", "round 2"):
        assert shown in text
    assert text.count("data:audio/ogg;base64,") == 2 + 2  # the surest of two classes, and both as doubtful
    assert text.count("data:image/jpeg;base64,") == 4
    assert "N.wav, 0:02–0:04" in text
    assert "http" not in text.replace("http-equiv", "")


def test_a_page_without_tables_has_the_scores(tmp_path: Path, card: Any) -> None:
    write_rounds_page(tmp_path / "rounds.html", rounds().iloc[:1], {}, {}, card())
    assert "Rows of each class" not in (tmp_path / "rounds.html").read_text()
