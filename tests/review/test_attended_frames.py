"""The frames in which a model hears a species, over the clip that is shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
from scipy.special import expit

import dawnchorus as dc
from dawnchorus.export.onnx import write_onnx
from dawnchorus.review.attended_frames import AttendedFrames
from dawnchorus.review.reviewing import open_review

RATE = 16_000


@pytest.fixture(scope="module")
def framed(exported: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export that has frames."""
    folder = tmp_path_factory.mktemp("framed")
    write_onnx(exported.models, exported.card, folder / "model.onnx", frames=True)
    return folder / "model.onnx"


@pytest.fixture
def wave() -> np.ndarray:
    rng = np.random.default_rng(0)
    time_s = np.arange(3 * RATE) / RATE
    return (0.3 * np.sin(2 * np.pi * 1500 * time_s * time_s) + 0.01 * rng.normal(size=len(time_s))).astype(
        np.float32
    )


def test_frames_are_those_of_the_model_as_far_as_the_sound_goes(framed: Path, wave: np.ndarray) -> None:
    model = dc.load_model(framed, n_threads=1)
    frames, window = AttendedFrames(framed), round(model.window_s * RATE)
    for n_windows in (0.5, 1, 1.25):
        sound = wave[: round(n_windows * window)]
        whole = expit(model.frame_logits(sound, sample_rate=RATE)[:, :, 1]).ravel()
        per_window = len(whole) / np.ceil(n_windows)
        found = frames.of(sound, RATE, model.labels[1])
        assert len(found) == round(n_windows * per_window)
        np.testing.assert_allclose(found, whole[: len(found)], atol=1e-3)
    assert frames.of(wave, RATE, "no class of it") == []


def test_the_page_is_given_the_frames_of_its_clip(framed: Path, wave: np.ndarray, tmp_path: Path) -> None:
    pytest.importorskip("fastapi", reason="the extra review is not installed")
    from fastapi.testclient import TestClient

    from dawnchorus.review.web_app import AppSettings, review_app

    model = dc.load_model(framed, n_threads=1)
    soundfile.write(tmp_path / "a.wav", wave, RATE)
    rows = f"a.wav,0.5,2.5,{model.labels[0]},0.9\n"
    (tmp_path / "detections.csv").write_text(f"filename,start_s,end_s,label,probability\n{rows}")
    with open_review(tmp_path, tmp_path) as review:
        app = review_app(review, AppSettings(token=None, frames=AttendedFrames(framed)))
        client = TestClient(app, base_url="http://127.0.0.1")
        (clip,) = review.pool.index
        found = client.get(f"/api/clips/{clip}/frames").json()
        assert client.get("/api/state").json()["has_frames"]
    sound = pd.Series(soundfile.read(tmp_path / "a.wav", dtype="float32")[0][RATE // 2 : 5 * RATE // 2])
    expected = AttendedFrames(framed).of(sound.to_numpy(), RATE, model.labels[0])
    assert (found["start_s"], found["end_s"]) == (0.5, 2.5)
    assert found["levels"] == expected
    assert expected
