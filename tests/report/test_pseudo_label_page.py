"""The page of a pseudo-label table is one file that shows counts and windows."""

from __future__ import annotations

import base64
import io
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from dawnchorus.audio.decode import load_audio
from dawnchorus.features.logmel import FrontendSettings
from dawnchorus.models.card import ModelCard
from dawnchorus.predict.recording_files import RecordingFile
from dawnchorus.report.pseudo_label_page import MAX_CLASSES, clock, write_pseudo_label_page

LABELS = [f"s{number:02}" for number in range(15)]
CARD = ModelCard("tiny", "", {}, tuple(LABELS), vars(FrontendSettings()), 32_000, 5.0, True)


class Page(HTMLParser):
    """The rows of the first table, captions, pictures by their description, and all text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.captions: list[str] = []
        self.pictures: dict[str, bytes] = {}
        self.addresses: list[str] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))
        assert self.open == [], "every tag is closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        self.addresses += [str(named[name]) for name in ("src", "href", "srcset") if name in named]
        if tag == "img":
            content = str(named["src"]).partition(",")[2]
            self.pictures[str(named["alt"])] = base64.b64decode(content, validate=True)
        if tag not in ("meta", "img", "source", "br"):
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag == "figcaption":
            self.captions.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "td" in self.open or "th" in self.open:
            self.rows[-1][-1] += data
        if "figcaption" in self.open:
            self.captions[-1] += data
        if "style" not in self.open:
            self.text += data


@pytest.fixture
def soundscapes(data_factory: Any) -> dict[str, RecordingFile]:
    paths = [data_factory.tone(f"site/H{number}.wav", 17.5, 1000.0 + 3000 * number) for number in range(2)]
    return {path.stem: RecordingFile(path, f"site/{path.name}") for path in paths}


def table_of(rows: dict[str, dict[str, float]], path: Path) -> Path:
    frame = pd.DataFrame(list(rows.values()), columns=LABELS, dtype=np.float32).fillna(np.float32(0.01))
    frame.insert(0, "row_id", list(rows))
    frame["primary_label"], frame["primary_label_prob"] = (
        frame[LABELS].idxmax(axis=1),
        frame[LABELS].max(axis=1),
    )
    frame.to_parquet(path, index=False)
    return path


def test_classes_come_by_their_rows_and_those_without_last(
    soundscapes: dict[str, RecordingFile], tmp_path: Path
) -> None:
    rows = {
        "H0_5": {"s03": 0.95},
        "H0_10": {"s03": 0.6},
        "H0_15": {"s01": 0.4},
        "H0_20": {"s07": 0.8},
        "H1_5": {"s07": 0.8},
    }
    table = table_of(rows, tmp_path / "a.parquet")
    survey = write_pseudo_label_page(tmp_path / "a.html", table, soundscapes, CARD, facts={"models": "<run>"})
    page = Page(tmp_path / "a.html")
    assert page.rows[0] == ["class", "> 0.1", "> 0.3", "> 0.5", "> 0.7", "> 0.9"]
    assert page.rows[1:4] == [
        ["s07", "2", "2", "2", "2", "0"],
        ["s03", "2", "2", "2", "1", "1"],
        ["s01", "1", "1", "0", "0", "0"],
    ]
    assert [row[0] for row in page.rows[4:16]] == [
        label for label in LABELS if label not in {"s01", "s03", "s07"}
    ]
    assert all(row[1:] == ["0"] * 5 for row in page.rows[4:16])
    assert page.rows[16:] == [["models", "<run>"]]
    assert survey.n_labels_kept == 2
    assert "5 rows, 4 of them (80.0%) with a probability above 0.5" in page.text
    assert "2 of 15 classes have such a row" in page.text
    assert all(address.startswith("data:image/") for address in page.addresses), "nothing is fetched"


def test_windows_are_shown_with_file_and_time(soundscapes: dict[str, RecordingFile], tmp_path: Path) -> None:
    rows = {
        f"H{number % 2}_{5 * (number // 2 + 1)}": {LABELS[number]: 0.9 - 0.11 * number} for number in range(8)
    }
    write_pseudo_label_page(tmp_path / "a.html", table_of(rows, tmp_path / "a.parquet"), soundscapes, CARD)
    page = Page(tmp_path / "a.html")
    assert len(page.captions) == 8 + 8
    assert page.captions[0].split() == ["s00", "0.900", "site/H0.wav,", "0:00–0:05"]
    assert page.captions[6].split() == ["s06", "0.240", "site/H0.wav,", "0:15–0:17.5"], (
        "the end is the file's"
    )
    assert [caption.split()[0] for caption in page.captions[8:11]] == ["s04", "s03", "s05"]


def test_at_most_twelve_classes_have_a_picture(soundscapes: dict[str, RecordingFile], tmp_path: Path) -> None:
    rows = {f"H0_{5 + number / 100}": {label: 0.99 - number / 50} for number, label in enumerate(LABELS)}
    write_pseudo_label_page(tmp_path / "a.html", table_of(rows, tmp_path / "a.parquet"), soundscapes, CARD)
    captions = Page(tmp_path / "a.html").captions
    assert len(captions) == MAX_CLASSES + 12
    assert [caption.split()[0] for caption in captions[:MAX_CLASSES]] == LABELS[:MAX_CLASSES]


def brightest_height(picture: bytes) -> float:
    """Return where a picture is brightest, as a share of its height from below."""
    grey = np.asarray(Image.open(io.BytesIO(picture)).convert("L"), dtype=float)
    # the frequencies are written at the left
    return 1 - (grey[:, 60:].mean(axis=1).argmax() + 0.5) / len(grey)


def mel(hz: float) -> float:
    return 2595 * np.log10(1 + hz / 700)


@pytest.mark.parametrize("is_stored", [False, True])
def test_a_picture_shows_its_own_window(data_factory: Any, tmp_path: Path, is_stored: bool) -> None:
    seconds = np.arange(15 * 32_000) / 32_000
    hz = np.repeat([1000, 4000, 9000], 5 * 32_000)
    path = data_factory.write("H.wav", 0.5 * np.sin(2 * np.pi * hz * seconds))
    if is_stored:
        with h5py.File(tmp_path / "H.hdf5", "w") as file:
            file["au"], file["sr"], file["do_normalize"] = load_audio(path), 32_000, 0
        path = tmp_path / "H.hdf5"
    rows = {f"H_{end}": {label: 0.9} for end, label in zip((5, 10, 15), LABELS, strict=False)}
    write_pseudo_label_page(
        tmp_path / "a.html", table_of(rows, tmp_path / "a.parquet"), {"H": RecordingFile(path, "H")}, CARD
    )
    pictures = Page(tmp_path / "a.html").pictures
    for start, frequency in ((0, 1000), (5, 4000), (10, 9000)):
        shown = pictures[f"Spectrogram of H, 0:{start:02}–0:{start + 5:02}"]
        expected = (mel(frequency) - mel(20)) / (mel(16_000) - mel(20))
        assert brightest_height(shown) == pytest.approx(expected, abs=0.02)


def test_a_table_without_rows_still_has_a_page(tmp_path: Path) -> None:
    table = table_of({"H_5": {"s00": 0.5}}, tmp_path / "a.parquet")
    pd.read_parquet(table)[:0].to_parquet(table)
    write_pseudo_label_page(tmp_path / "a.html", table, {}, CARD)
    page = Page(tmp_path / "a.html")
    assert "The table has no rows." in page.text
    assert page.pictures == {}
    assert len(page.rows) == 16


def test_names_cannot_become_markup(data_factory: Any, tmp_path: Path) -> None:
    path = data_factory.tone("H<b>.wav", 5.0)
    table = table_of({"H<b>_5": {"s00": 0.9}}, tmp_path / "a.parquet")
    write_pseudo_label_page(tmp_path / "a.html", table, {"H<b>": RecordingFile(path, "H<b>.wav")}, CARD)
    assert "H<b>.wav" in Page(tmp_path / "a.html").captions[0]


def test_times_are_written_as_a_clock_shows_them() -> None:
    assert [clock(seconds) for seconds in (0, 59.96, 65, 3725.5, 2.5)] == [
        *("0:00", "1:00", "1:05", "1:02:05.5", "0:02.5")
    ]


def test_the_page_is_made_without_torch(soundscapes: dict[str, RecordingFile], tmp_path: Path) -> None:
    code = "import sys, dawnchorus.report.pseudo_label_page\nsys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_the_same_table_gives_the_same_page(soundscapes: dict[str, RecordingFile], tmp_path: Path) -> None:
    table = table_of({"H0_5": {"s00": 0.9}}, tmp_path / "a.parquet")
    pages = [tmp_path / "a.html", tmp_path / "b.html"]
    for page in pages:
        write_pseudo_label_page(page, table, soundscapes, CARD)
    assert pages[0].read_bytes() == pages[1].read_bytes()
    assert not re.search(r"https?://", pages[0].read_text())
