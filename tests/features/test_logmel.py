"""The log-mel picture in NumPy, against the published system, PyTorch and librosa."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import librosa
import numpy as np
import pytest
import scipy.signal
import torch

from dawnchorus.errors import ModelError
from dawnchorus.features.frontend import LogMelFrontend
from dawnchorus.features.logmel import FrontendSettings, NumpyLogMel, unit_energy_window

SETTINGS = {
    "default": FrontendSettings(),
    "unusual": FrontendSettings(
        sample_rate=22_050, n_fft=1024, hop_length=300, n_mels=40, f_min_hz=0.0, f_max_hz=9000.0, top_db=60.0
    ),
    "narrow": FrontendSettings(n_fft=512, hop_length=512, n_mels=17, f_min_hz=2000.0, f_max_hz=2500.0),
    "slaney": FrontendSettings(mel_scale="slaney", mel_norm="slaney", win_length=1200),
    "windows": FrontendSettings(n_fft=1024, hop_length=300, n_mels=64, win_length=(255, 1024)),
    "many": FrontendSettings(n_fft=1024, hop_length=37, n_mels=200, f_max_hz=15_000.0, top_db=70.0),
}
# On a sweep in a whisper of noise float32 is 1.4e-5 away from float64, and the two transforms are others.
FLOAT32_ATOL = 5e-5


@pytest.fixture(scope="module")
def waves() -> np.ndarray:
    """A sweep with a whisper of noise, noise, silence, one click; shape (4, 8001), float32."""
    rng = np.random.default_rng(0)
    sweep = 0.7 * scipy.signal.chirp(np.arange(8001) / 32_000, 500, 0.25, 12_000)
    click = np.zeros(8001)
    click[4000] = 1
    return np.stack(
        [sweep + 1e-3 * rng.normal(size=8001), 0.2 * rng.normal(size=8001), 0 * sweep, click]
    ).astype(np.float32)


def librosa_picture(wave: np.ndarray, settings: FrontendSettings, length: int) -> np.ndarray:
    """Return the picture of one waveform in float64, shape (n_mels, n_frames)."""
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
    energy = np.sum(librosa.filters.get_window("hann", length) ** 2)
    level_db = librosa.power_to_db(mel / energy, amin=1e-10, top_db=settings.top_db)
    return (level_db - level_db.min()) / (level_db.max() - level_db.min() + 1e-6)


def test_the_published_pictures_are_reproduced(golden: Path) -> None:
    expected = np.load(golden / "frontend.npz")
    actual = NumpyLogMel(FrontendSettings())(expected["wave"])
    assert actual.shape == (4, 1, 128, 313)
    assert actual.dtype == np.float32
    np.testing.assert_allclose(actual, expected["logmel"], atol=2e-4, rtol=0)
    assert (actual[3] == 0).all(), "silence is exactly 0"


@pytest.mark.filterwarnings("ignore:Empty filters detected:UserWarning")
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_librosa_draws_the_same_picture(settings: FrontendSettings, waves: np.ndarray) -> None:
    pictures = NumpyLogMel(settings)(waves)
    assert pictures.shape[1] == len(settings.win_lengths)
    for channels, wave in zip(pictures[[0, 1, 3]], waves[[0, 1, 3]], strict=True):
        for picture, length in zip(channels, settings.win_lengths, strict=True):
            np.testing.assert_allclose(picture, librosa_picture(wave, settings, length), atol=2e-4, rtol=0)


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_pytorch_draws_the_same_picture(settings: FrontendSettings, waves: np.ndarray) -> None:
    expected = LogMelFrontend(settings)(torch.from_numpy(waves)).numpy()
    actual = NumpyLogMel(settings)(waves)
    assert actual.shape == expected.shape
    np.testing.assert_allclose(actual, expected, atol=FLOAT32_ATOL, rtol=0)


def test_silence_is_black_and_all_else_spans_0_to_1(waves: np.ndarray) -> None:
    pictures = NumpyLogMel(FrontendSettings())(waves)
    assert (pictures[2] == 0).all()
    for picture in pictures[[0, 1, 3]]:
        assert picture.min() == 0
        assert picture.max() == pytest.approx(1, abs=1e-6)


def test_loudness_does_not_matter(waves: np.ndarray) -> None:
    frontend = NumpyLogMel(FrontendSettings())
    np.testing.assert_allclose(frontend(waves[:2] / 2), frontend(waves[:2]), atol=1e-4, rtol=0)


def test_a_clip_has_the_same_bits_alone_and_among_others(waves: np.ndarray) -> None:
    frontend = NumpyLogMel(FrontendSettings())
    together = frontend(waves)
    for number in range(4):
        np.testing.assert_array_equal(frontend(waves[number : number + 1])[0], together[number])
    assert frontend(waves[:0]).shape == (0, 1, 128, 16)


@pytest.mark.parametrize(("n_samples", "n_frames"), [(160_000, 313), (40_001, 79), (1025, 3)])
def test_the_number_of_frames_is_known_beforehand(n_samples: int, n_frames: int) -> None:
    settings = FrontendSettings()
    pictures = NumpyLogMel(settings)(np.ones((1, n_samples), np.float32))
    assert pictures.shape == (1, 1, 128, settings.n_frames(n_samples)) == (1, 1, 128, n_frames)


def test_a_band_that_no_bin_reaches_is_silent() -> None:
    settings = FrontendSettings(n_fft=64, hop_length=64, n_mels=200)
    picture = NumpyLogMel(settings)(np.random.default_rng(0).normal(size=(1, 4000)).astype(np.float32))
    expected = LogMelFrontend(settings)(
        torch.from_numpy(np.random.default_rng(0).normal(size=(1, 4000))).float()
    )
    np.testing.assert_allclose(picture, expected.numpy(), atol=FLOAT32_ATOL, rtol=0)
    assert (picture[0, 0] == 0).all(axis=1).any()


def test_the_window_has_unit_energy_and_is_librosas() -> None:
    window = unit_energy_window(256)
    assert np.square(window).sum() == pytest.approx(1)
    hann = librosa.filters.get_window("hann", 256)
    np.testing.assert_allclose(window, hann / np.linalg.norm(hann), atol=1e-12)


def test_waves_that_cannot_be_framed_are_refused() -> None:
    frontend = NumpyLogMel(FrontendSettings())
    with pytest.raises(ModelError, match=r"has shape \(4000,\); it must be \(batch, n_samples\)"):
        frontend(np.zeros(4000, np.float32))
    with pytest.raises(ModelError, match="has 1024 samples; with n_fft 2048 it needs more than 1024"):
        frontend(np.zeros((2, 1024), np.float32))


WITHOUT_SCIPY = """
import sys
sys.modules["scipy"] = sys.modules["scipy.fft"] = None
import numpy as np
from dawnchorus.features.logmel import FrontendSettings, NumpyLogMel, rfft
assert rfft.__module__.startswith("numpy"), rfft.__module__
assert "torch" not in sys.modules
np.save(sys.argv[2], NumpyLogMel(FrontendSettings())(np.load(sys.argv[1])))
"""


def test_the_numbers_are_the_same_where_scipy_is_not_installed(waves: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "waves.npy", waves)
    paths = [str(tmp_path / name) for name in ("waves.npy", "pictures.npy")]
    subprocess.run([sys.executable, "-W", "error", "-c", WITHOUT_SCIPY, *paths], check=True)
    pictures = np.load(tmp_path / "pictures.npy")
    assert pictures.dtype == np.float32
    np.testing.assert_allclose(pictures, NumpyLogMel(FrontendSettings())(waves), atol=1e-5, rtol=0)
