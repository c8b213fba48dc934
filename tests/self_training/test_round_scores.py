"""The score that rounds are compared by."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import spearmanr

from dawnchorus.errors import DataError
from dawnchorus.predict.recording_files import RecordingFile
from dawnchorus.self_training.round_scores import (
    N_COMPARED,
    LabelledSoundscapes,
    RoundScore,
    compared_soundscapes,
    fold_agreement,
)


def test_agreement_is_the_mean_of_spearman_correlations() -> None:
    probabilities = np.random.default_rng(0).random((3, 40, 2)).astype(np.float32)
    pairs = [(0, 1), (0, 2), (1, 2)]
    expected = np.mean(
        [
            spearmanr(probabilities[one, :, label], probabilities[other, :, label]).statistic
            for one, other in pairs
            for label in (0, 1)
        ]
    )
    assert fold_agreement(probabilities) == pytest.approx(expected, abs=1e-12)


def test_a_class_that_never_varies_is_left_out_of_the_agreement() -> None:
    probabilities = np.random.default_rng(0).random((2, 40, 2)).astype(np.float32)
    probabilities[0, :, 1] = 0.5
    assert fold_agreement(probabilities) == pytest.approx(fold_agreement(probabilities[:, :, :1]))
    assert fold_agreement(probabilities[:, :, 1:]) == 0.0
    assert fold_agreement(probabilities[:1]) == 0.0


def test_labelled_soundscapes_come_before_the_rest() -> None:
    assert RoundScore.of(out_of_fold=0.9, soundscapes=0.6, agreement=0.1).value == 0.6
    assert RoundScore.of(out_of_fold=0.9, agreement=0.1).value == 0.5


def test_the_compared_soundscapes_are_the_same_for_any_order() -> None:
    names = [f"N{number}.wav" for number in range(N_COMPARED + 50)]
    recordings = [RecordingFile(Path(name), name) for name in names]
    chosen = compared_soundscapes(recordings)
    assert len(chosen) == N_COMPARED
    assert set(compared_soundscapes(recordings[::-1])) == set(chosen)


def test_labelled_soundscapes_need_a_table_of_theirs(data_factory: Any) -> None:
    data_factory.tone("N0.wav", 2.0)
    data_factory.tone("N1.wav", 2.0)
    (data_factory.root / "annotations.csv").write_text("filename,start_s,end_s,label\nN1.wav,0,1,owl\n")
    known = LabelledSoundscapes(data_factory.root)
    assert [recording.name for recording in known.found.recordings] == ["N1.wav"]
    known.check_known(["owl", "wren"])
    with pytest.raises(DataError, match="none of the species owl is among the classes"):
        known.check_known(["wren"])
    (data_factory.root / "annotations.csv").write_text("filename,start_s,end_s,label\nN1.wav,1,0,owl\n")
    with pytest.raises(DataError, match="rows of the labelled soundscapes are faulty"):
        LabelledSoundscapes(data_factory.root)
    (data_factory.root / "annotations.csv").write_text("filename,start_s,end_s,label\n")
    with pytest.raises(DataError, match="no table names one of its 2 recordings"):
        LabelledSoundscapes(data_factory.root)
