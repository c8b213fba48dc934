"""Annotations against windows."""

from __future__ import annotations

import numpy as np
import pandas as pd

from dawnchorus.evaluate.soundscape_truth import soundscape_macro_roc_auc, window_truth


def windows(**scores: list[float]) -> pd.DataFrame:
    keys = {"filename": "a.wav", "start_s": [0.0, 5.0, 10.0], "end_s": [5.0, 10.0, 12.0]}
    return pd.DataFrame({**keys, **scores})


def boxes(*rows: tuple[str, float, float, str]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["filename", "start_s", "end_s", "label"])


def test_a_song_counts_for_every_window_it_is_heard_in() -> None:
    truth = window_truth(windows(), boxes(("a.wav", 4.0, 5.5, "robin"), ("b.wav", 0, 12, "robin")), ["robin"])
    np.testing.assert_array_equal(truth[:, 0], [1, 1, 0])


def test_less_than_a_quarter_second_is_not_heard_but_a_short_call_is() -> None:
    truth = window_truth(
        windows(), boxes(("a.wav", 4.8, 6.0, "robin"), ("a.wav", 11.0, 11.1, "wren")), ["robin", "wren"]
    )
    np.testing.assert_array_equal(truth, [[0, 0], [1, 0], [0, 1]])


def test_the_score_is_over_the_species_that_are_annotated() -> None:
    table = windows(robin=[0.9, 0.1, 0.2], wren=[0.3, 0.3, 0.3])
    assert soundscape_macro_roc_auc(table, boxes(("a.wav", 1, 2, "robin"))) == 1.0
    assert soundscape_macro_roc_auc(table, boxes(("a.wav", 6, 7, "robin"))) == 0.0
    assert soundscape_macro_roc_auc(table, boxes(("a.wav", 1, 2, "Unk"))) is None
