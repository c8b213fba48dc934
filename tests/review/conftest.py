"""Fixtures of the review: a minute of sound, its detections and windows, and a page in a real browser."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile

from dawnchorus.review.reviewing import Review

RATE = 16_000
SPECIES = ("owl", "robin", "wren")
PITCH_HZ = {"owl": 700.0, "robin": 2500.0, "wren": 5000.0}
WINDOW_S = 2.0
TIMEOUT_MS = 90_000


def song(species: str, duration_s: float, rng: np.random.Generator) -> np.ndarray:
    """Return notes of one species in faint noise, shape (n_samples,)."""
    time_s = np.arange(round(duration_s * RATE)) / RATE
    note = np.sin(2 * np.pi * 3 * time_s) ** 2 * np.sin(2 * np.pi * PITCH_HZ[species] * time_s)
    return 0.3 * note + 0.01 * rng.standard_normal(len(time_s))


@pytest.fixture(scope="session")
def sing() -> Callable[[str, float, np.random.Generator], np.ndarray]:
    """A function (species, duration_s, rng) → its song at 16 kHz."""
    return song


@pytest.fixture(scope="session")
def soundscapes(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pd.DataFrame]:
    """Four recordings of 20 s at two sites, one species in each window of 2 s; and the truth."""
    root = tmp_path_factory.mktemp("soundscapes")
    rng = np.random.default_rng(0)
    rows = []
    for name in ("meadow/a.wav", "meadow/b.wav", "wood/c.wav", "wood/d.wav"):
        chosen = rng.permutation([SPECIES[k % 3] for k in range(10)])
        (root / name).parent.mkdir(exist_ok=True)
        soundfile.write(root / name, np.concatenate([song(s, WINDOW_S, rng) for s in chosen]), RATE)
        rows += [(name, k * WINDOW_S, (k + 1) * WINDOW_S, species) for k, species in enumerate(chosen)]
    return root, pd.DataFrame(rows, columns=["filename", "start_s", "end_s", "species"])


@pytest.fixture
def predictions(soundscapes: tuple[Path, pd.DataFrame], tmp_path: Path) -> Path:
    """Detections of each window, a third of them of the wrong species, and the scores of all windows."""
    _, truth = soundscapes
    folder = tmp_path / "predictions"
    folder.mkdir()
    rng = np.random.default_rng(1)
    scores = rng.uniform(0.01, 0.3, (len(truth), 3))
    place = truth["species"].map({s: k for k, s in enumerate(SPECIES)}).to_numpy()
    wrong = np.arange(len(truth)) % 3 == 0
    scores[np.arange(len(truth)), np.where(wrong, (place + 1) % 3, place)] = rng.uniform(0.5, 1, len(truth))
    keys = truth.drop(columns="species")
    keys.assign(**dict(zip(SPECIES, scores.astype(np.float32).T, strict=True))).to_parquet(
        folder / "windows.parquet"
    )
    said = keys.assign(
        label=np.array(SPECIES)[scores.argmax(axis=1)], probability=scores.max(axis=1).round(4)
    )
    said.to_csv(folder / "detections.csv", index=False)
    vectors = [[float(s == name) for name in SPECIES] for s in truth["species"]]
    keys.assign(embedding=vectors).to_parquet(folder / "embeddings.parquet")
    return folder


class Served:
    """A review that a process of its own serves."""

    def __init__(self, *arguments: Any, cwd: Path | None = None) -> None:
        command = [sys.executable, "-m", "dawnchorus", "review", *map(str, arguments), "--port", "0"]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, cwd=cwd, stdout=pipe, stderr=pipe, text=True)
        assert self.process.stdout is not None
        self.url = ""
        for line in self.process.stdout:
            if found := re.match(r"open (\S+)", line):
                self.url = found[1]
                break
        else:
            assert self.process.stderr is not None
            raise AssertionError(self.process.stderr.read())

    def kill(self) -> None:
        """End it at once, as a power cut would."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()


@pytest.fixture
def served() -> Iterator[Callable[..., Served]]:
    """A function (arguments of ``dawnchorus review``, its directory) → the running review."""
    running: list[Served] = []

    def start(*arguments: Any, cwd: Path | None = None) -> Served:
        running.append(Served(*arguments, cwd=cwd))
        return running[-1]

    yield start
    for each in running:
        each.kill()


@pytest.fixture
def served_here() -> Iterator[Callable[[Review], str]]:
    """A function (review) → the address of its page, served by a thread of this process."""
    uvicorn = pytest.importorskip("uvicorn", reason="the extra review is not installed")
    from dawnchorus.review.web_app import AppSettings, review_app
    from dawnchorus.review.web_server import listen

    running = []

    def start(review: Review, **settings: Any) -> str:
        address, chosen = listen(port=0), AppSettings(**settings)
        config = uvicorn.Config(review_app(review, chosen), log_level="warning", lifespan="off")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [address.socket]}, daemon=True)
        thread.start()
        running.append((server, thread, review))
        return address.url(chosen.token)

    yield start
    for server, thread, review in running:
        server.should_exit = True
        thread.join(30)
        review.store.close()


@pytest.fixture(scope="module")  # until Playwright is stopped, its event loop has the thread
def browser() -> Iterator[Any]:
    """Chromium, as the system has it."""
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no Chromium here; apt-get install chromium, or name one in CHROMIUM")
    with playwright.sync_playwright() as running:
        started = running.chromium.launch(executable_path=path, args=["--no-sandbox"], timeout=TIMEOUT_MS)
        yield started
        started.close()


class Page:
    """A page of a review, worked with keys alone."""

    def __init__(self, browser: Any, url: str, reviewer: str) -> None:
        from playwright.sync_api import expect

        self.expect = expect
        self.context = browser.new_context()
        self.context.set_default_timeout(TIMEOUT_MS)
        self.page = self.context.new_page()
        self.faults: list[str] = []
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("dialog", lambda dialog: self.faults.append(dialog.message))
        self.page.goto(url)
        expect(self.page.locator("#welcome")).to_be_visible(timeout=TIMEOUT_MS)
        self.page.keyboard.type(reviewer)
        self.page.keyboard.press("Enter")

    def clip(self) -> int:
        """Return the number of the clip that is shown, as soon as one is."""
        self.expect(self.page.locator("#clip")).to_have_attribute(
            "data-clip", re.compile(r"\d+"), timeout=TIMEOUT_MS
        )
        return int(self.page.get_attribute("#clip", "data-clip"))

    def press(self, *keys: str) -> None:
        """Press keys, the last of which answers, and wait for the next clip or the end."""
        before = str(self.clip())
        for key in keys:
            self.page.keyboard.press(key)
        clip = self.page.locator("#clip")
        self.expect(clip).not_to_have_attribute("data-clip", before, timeout=TIMEOUT_MS)

    def choose(self, name: str, value: str) -> None:
        """Choose an order, a species or a site."""
        self.page.select_option(f"#{name}", value)

    def is_done(self) -> bool:
        """Return whether nothing is left in the queue."""
        return self.page.get_attribute("#clip", "data-clip") == ""

    def text(self, place: str) -> str:
        """Return the text of an element."""
        return self.page.text_content(place) or ""


@pytest.fixture
def open_page(browser: Any) -> Iterator[Callable[[str, str], Page]]:
    """A function (address, reviewer) → a page in a context of its own."""
    pages: list[Page] = []

    def start(url: str, reviewer: str = "Ada") -> Page:
        pages.append(Page(browser, url, reviewer))
        return pages[-1]

    yield start
    for page in pages:
        page.context.close()
        assert page.faults == []
