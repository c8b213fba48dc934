"""The log-mel picture, against the published system, librosa, and engines without an FFT."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import librosa
import numpy as np
import onnxruntime
import openvino
import pytest
import torch

from dawnchorus.errors import ConfigError, ModelError
from dawnchorus.features.frontend import LogMelFrontend, MatrixLogMelFrontend
from dawnchorus.features.logmel import FrontendSettings, mel_filters

# On the sweep below, whose picture is nearly empty, the FFT is 1.4e-5 and the products are 2.6e-5 away from
# float64; on the published birds the two differ by 6e-6.
FLOAT32_ATOL = 5e-5
FRONTENDS = (LogMelFrontend, MatrixLogMelFrontend)
UNUSUAL = FrontendSettings(
    sample_rate=22_050, n_fft=1024, hop_length=300, n_mels=40, f_min_hz=0.0, f_max_hz=9000.0, top_db=60.0
)
SETTINGS = {
    "default": FrontendSettings(),
    "unusual": UNUSUAL,
    "slaney": FrontendSettings(mel_scale="slaney", mel_norm="slaney", win_length=1200),
    "windows": FrontendSettings(n_fft=1024, hop_length=300, n_mels=64, win_length=(255, 1024)),
}


@pytest.fixture(scope="module")
def wave() -> torch.Tensor:
    """A sweep with a whisper of noise, noise, silence; shape (3, 40_001)."""
    rng = np.random.default_rng(0)
    sweep = librosa.chirp(fmin=500, fmax=12_000, sr=32_000, length=40_001) * 0.7
    noise = rng.normal(size=(2, 40_001))
    return torch.from_numpy(np.stack([sweep + noise[0] * 1e-3, noise[1] * 0.2, sweep * 0])).float()


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The matrix front-end as ONNX, for clips of 40,001 samples and any batch."""
    path = tmp_path_factory.mktemp("graph") / "frontend.onnx"
    torch.onnx.export(
        MatrixLogMelFrontend().eval(),
        (torch.zeros(2, 40_001),),
        path,
        dynamo=True,
        input_names=["input"],
        output_names=["output"],
        dynamic_shapes=[{0: torch.export.Dim("batch")}],
        verbose=False,
    )
    return path


def librosa_picture(wave: np.ndarray, settings: FrontendSettings, length: int) -> np.ndarray:
    """Return RECIPE's picture of one waveform, step by step, standardisation included."""
    window = librosa.filters.get_window("hann", length)
    mel = librosa.feature.melspectrogram(
        y=wave.astype(np.float64),
        sr=settings.sample_rate,
        n_fft=settings.n_fft,
        hop_length=settings.hop_length,
        pad_mode="reflect",
        n_mels=settings.n_mels,
        fmin=settings.f_min_hz,
        fmax=settings.f_max_hz,
        win_length=length,
        htk=settings.mel_scale == "htk",
        norm=settings.mel_norm,
    )
    level_db = librosa.power_to_db(mel / np.sum(window**2), amin=1e-10, top_db=settings.top_db)
    standard = (level_db - level_db.mean()) / (level_db.std(ddof=1) + 1e-6)
    return (standard - standard.min()) / (standard.max() - standard.min() + 1e-6)


@pytest.mark.parametrize("frontend", FRONTENDS)
def test_the_published_pictures_are_reproduced(frontend, golden):
    expected = np.load(golden / "frontend.npz")
    actual = frontend()(torch.from_numpy(expected["wave"]))
    assert actual.shape == (4, 1, 128, 313)
    assert actual.dtype == torch.float32
    np.testing.assert_allclose(actual.numpy(), expected["logmel"], atol=2e-4, rtol=0)
    assert (actual[3] == 0).all(), "silence is exactly 0"


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("frontend", FRONTENDS)
def test_librosa_draws_the_same_picture(frontend, settings, wave):
    actual = frontend(settings)(wave)
    assert actual.shape[1] == len(settings.win_lengths)
    for pictures, clip in zip(actual[:2].numpy(), wave[:2].numpy(), strict=True):
        for picture, length in zip(pictures, settings.win_lengths, strict=True):
            expected = librosa_picture(clip, settings, length)
            np.testing.assert_allclose(picture, expected, atol=2e-4, rtol=0)


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_matrix_products_agree_with_the_fft(settings, wave):
    by_fft, by_products = LogMelFrontend(settings)(wave), MatrixLogMelFrontend(settings)(wave)
    torch.testing.assert_close(by_products, by_fft, atol=FLOAT32_ATOL, rtol=0)
    assert (by_products[2] == 0).all()


def test_onnx_runtime_draws_the_same_picture_for_any_batch(graph, wave):
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    expected = LogMelFrontend()(wave).numpy()
    for batch in (1, 3):
        (actual,) = session.run(None, {"input": wave[:batch].numpy()})
        np.testing.assert_allclose(actual, expected[:batch], atol=FLOAT32_ATOL, rtol=0)
    assert (actual[2] == 0).all()


def test_openvino_draws_the_same_picture_for_any_batch(graph, wave):
    compiled = openvino.Core().compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    expected = LogMelFrontend()(wave).numpy()
    for batch in (1, 3):
        actual = compiled([wave[:batch].numpy()])[0]
        np.testing.assert_allclose(actual, expected[:batch], atol=FLOAT32_ATOL, rtol=0)
    assert (actual[2] == 0).all()


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_the_mel_filters_are_those_of_librosa(settings):
    expected = librosa.filters.mel(
        sr=settings.sample_rate,
        n_fft=settings.n_fft,
        n_mels=settings.n_mels,
        fmin=settings.f_min_hz,
        fmax=settings.f_max_hz,
        htk=settings.mel_scale == "htk",
        norm=settings.mel_norm,
    )
    np.testing.assert_allclose(mel_filters(settings).T, expected, atol=1e-6)


@pytest.mark.parametrize("frontend", FRONTENDS)
def test_a_picture_spans_0_to_1_whatever_the_loudness(frontend, wave):
    loud = frontend()(wave[:2])
    assert loud.amin() == 0
    assert loud.amax() == pytest.approx(1, abs=1e-6)
    torch.testing.assert_close(frontend()(wave[:2] / 2), loud, atol=1e-4, rtol=0)


@pytest.mark.parametrize("frontend", FRONTENDS)
def test_a_clip_does_not_change_its_neighbours(frontend, wave):
    torch.testing.assert_close(frontend()(wave)[1:2], frontend()(wave[1:2]), atol=1e-6, rtol=0)


@pytest.mark.parametrize("frontend", FRONTENDS)
def test_autocast_changes_nothing(frontend, wave):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        actual = frontend()(wave)
    assert actual.dtype == torch.float32
    torch.testing.assert_close(actual, frontend()(wave), atol=0, rtol=0)


@pytest.mark.parametrize("frontend", FRONTENDS)
def test_a_front_end_puts_nothing_into_a_checkpoint(frontend):
    assert frontend().state_dict() == {}
    assert list(frontend().buffers()), "but its constants move with it"


@pytest.mark.parametrize(("n_samples", "n_frames"), [(160_000, 313), (40_001, 79), (1025, 3)])
def test_the_number_of_frames_is_known_beforehand(n_samples, n_frames):
    settings = FrontendSettings()
    assert settings.n_frames(n_samples) == n_frames
    assert LogMelFrontend(settings)(torch.ones(1, n_samples)).shape == (1, 1, 128, n_frames)


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_settings_survive_json(settings):
    text = json.dumps(dataclasses.asdict(settings))
    assert FrontendSettings.from_mapping(json.loads(text)) == settings


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"n_mel": 64}, "n_mel is not known; did you mean n_mels"),
        ({"colour": 1}, "colour is not known; legal: sample_rate, n_fft"),
        ({"sample_rate": 0}, "sample_rate is 0; legal: a whole number of Hz"),
        ({"n_fft": 1022}, "n_fft is 1022; legal: a multiple of 4"),
        ({"hop_length": 4096}, r"hop_length is 4096; legal: 1 to n_fft \(2048\)"),
        ({"n_mels": 0}, "n_mels is 0; legal: 1 or more"),
        ({"n_mels": "many"}, "n_mels is 'many'; legal: a whole number"),
        ({"top_db": True}, "top_db is True; legal: a number"),
        ({"f_max_hz": 16_001}, r"f_max_hz is 16001; legal: above 0, up to sample_rate / 2 \(16000\)"),
        ({"f_min_hz": 16_000}, r"f_min_hz is 16000; legal: 0 to below f_max_hz \(16000\)"),
        ({"top_db": float("nan")}, "top_db is nan; legal: above 0"),
        ({"win_length": 4096}, r"win_length is 4096; legal: None, a whole number from 2 to n_fft \(2048\)"),
        ({"win_length": [512, 1.5]}, r"win_length is \(512, 1.5\); legal: None, a whole number"),
        ({"win_length": []}, r"win_length is \(\); legal: None, a whole number"),
        ({"mel_scale": "bark"}, "mel_scale is bark; legal: 'htk', 'slaney'"),
        ({"mel_norm": 1}, "mel_norm is 1; legal: None, 'slaney'"),
    ],
)
def test_an_illegal_setting_is_named(values, message):
    with pytest.raises(ConfigError, match=message):
        FrontendSettings.from_mapping(values)


@pytest.mark.parametrize("frontend", FRONTENDS)
def test_a_waveform_that_cannot_be_framed_is_refused(frontend):
    with pytest.raises(ModelError, match=r"shape \(4,\); it must be \(batch, n_samples\)"):
        frontend()(torch.zeros(4))
    with pytest.raises(ModelError, match="has 1024 samples; with n_fft 2048 it needs more than 1024"):
        frontend()(torch.zeros(1, 1024))
