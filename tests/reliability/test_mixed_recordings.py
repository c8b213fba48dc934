"""Recordings of all kinds in one folder: each is predicted or listed with its reason."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import time
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile

from dawnchorus.files import from_legible, read_failures

_spec = importlib.util.spec_from_file_location("mutations", Path(__file__).parents[1] / "mutations.py")
mutations = importlib.util.module_from_spec(_spec)  # type: ignore[arg-type]
sys.modules["mutations"] = mutations
_spec.loader.exec_module(mutations)  # type: ignore[union-attr]

FORMS = {
    ".wav": ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW", "IMA_ADPCM"),
    ".aiff": ("PCM_S8", "PCM_16", "PCM_24", "FLOAT"),
    ".flac": ("PCM_S8", "PCM_16", "PCM_24"),
    ".ogg": ("VORBIS", "OPUS"),
    ".mp3": ("MPEG_LAYER_III",),
    ".caf": ("PCM_16", "ALAC_16"),
    ".w64": ("PCM_16",),
}
RATES = (8000, 16_000, 22_050, 24_000, 44_100, 48_000, 96_000, 192_000, 384_000)
NAMES = (
    *(
        "two words",
        " leading",
        "-dash",
        "=SUM(A1)",
        "'quoted'",
        '"quoted"',
        "a,b;c",
        "100%",
        "[1-3]*",
        "~",
        "#1",
    ),
    *(
        "dots..in",
        "new\nline",
        "tab\t",
        "Ä ö ü",
        "梟",
        "🦉",
        unicodedata.normalize("NFD", "é"),
        "x" * 200,
        "CON",
    ),
    os.fsdecode(b"latin\xe9"),
)
DAMAGED = {
    "empty.wav": lambda whole: b"",
    "text.wav": lambda whole: b"no sound at all\n" * 100,
    "header_only.wav": lambda whole: whole[:44],
    "half_header.wav": lambda whole: whole[:20],
    "zeros.flac": lambda whole: bytes(10_000),
    "cut.flac": lambda whole: whole[: len(whole) // 2],
    "wrong_suffix.mp3": lambda whole: whole,
    "noise.ogg": lambda whole: np.random.default_rng(0).bytes(20_000),
}


def _sound(rate: int, n_channels: int = 1) -> np.ndarray:
    time_s = np.arange(round(2.5 * rate)) / rate
    noise = 0.02 * np.random.default_rng(rate).standard_normal((len(time_s), n_channels))
    return 0.3 * np.sin(2 * np.pi * 1500 * time_s)[:, None] + noise


def write_recordings(folder: Path) -> dict[str, str]:
    """Write the recordings; return the kind of each by its name."""
    kinds = {}

    def write(name: str, kind: str, rate: int = 32_000, n_channels: int = 1, **options: Any) -> None:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            soundfile.write(path, _sound(rate, n_channels), rate, **options)
        except (soundfile.LibsndfileError, ValueError):  # this format has no such rate or depth
            path.unlink(missing_ok=True)
        else:
            kinds[name] = kind

    for suffix, subtypes in FORMS.items():
        for subtype in subtypes:
            write(f"depths/{subtype}{suffix}", "depths", 48_000, subtype=subtype)
        for rate in RATES[:-1] if suffix == ".ogg" else RATES:  # libsndfile crashes writing the highest
            write(f"rates/{rate}{suffix}", "rates", rate)
        for n_channels in (1, 2, 4, 6):
            write(f"channels/{n_channels}{suffix}", "channels", n_channels=n_channels)
    for name in NAMES:
        write(f"names/{name}.wav", "names")
    for name, damage in DAMAGED.items():
        whole = (
            folder / "names" / "two words.wav" if name.endswith("wav") else folder / "depths" / "PCM_16.flac"
        )
        (folder / "damaged").mkdir(exist_ok=True)
        (folder / "damaged" / name).write_bytes(damage(whole.read_bytes()))
        kinds[f"damaged/{name}"] = "damaged"
    (folder / "damaged" / "dangling.wav").symlink_to("nowhere.wav")
    kinds["damaged/dangling.wav"] = "damaged"
    (folder / "damaged" / "folder.wav").mkdir()
    return kinds


@pytest.mark.stress
@pytest.mark.skipif(sys.platform == "win32", reason="some of the names are not legal there")
def test_each_recording_of_a_mixed_folder_is_predicted_or_listed(exported: Any, tmp_path: Path) -> None:
    folder, out = tmp_path / "mixed", tmp_path / "out"
    kinds = write_recordings(folder)
    began = time.perf_counter()
    command = [sys.executable, "-m", "dawnchorus", "predict", exported.onnx, folder, "--out", out]
    done = subprocess.run([*map(str, command), "--threads", "1"], capture_output=True, text=True, timeout=900)
    seconds = time.perf_counter() - began
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    windows = pd.read_parquet(out / "windows.parquet", columns=["filename"])
    predicted = {from_legible(name) for name in windows["filename"].unique()}
    listed = {os.fspath(failure.path.relative_to(folder)) for failure in read_failures(out)}
    counts = {kind: mutations.Count(longest_s=seconds) for kind in kinds.values()}
    for name, kind in kinds.items():
        counts[kind].n_mutations += 1
        counts[kind].n_read += name in predicted
        counts[kind].n_refused += name in listed
        if (name in predicted) == (name in listed):
            counts[kind].badly[f"{name!r} is neither predicted nor listed, or both"] += 1
    mutations.write_counts((f"mixed folder: {kind}", counted) for kind, counted in counts.items())
    assert {kind: dict(counted.badly) for kind, counted in counts.items() if counted.badly} == {}
    others = {name for name in listed if kinds[name] != "damaged"}
    assert not others, "whole recordings are predicted"
