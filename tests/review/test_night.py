"""The page on a night from start to finish, executed: its five commands, and a hundred clips in a browser."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile

import dawnchorus as dc
from dawnchorus.metrics import macro_roc_auc
from dawnchorus.review.reviewing import Review, open_review

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how_to" / "night.md"
SPECIES = ("owl", "robin", "wren")
RATE = 16_000
N_CLIPS = 100

Song = Callable[[str, float, np.random.Generator], np.ndarray]
Answer = Callable[[pd.Series], set[str]]


def commands_of_the_page() -> list[list[str]]:
    """Return the commands in the blocks of the page, as lists of arguments."""
    blocks = re.findall(r"```bash[^\n]*\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    return [shlex.split(line) for block in blocks for line in block.splitlines()]


def run(folder: Path, arguments: list[str]) -> None:
    """Run a command in a folder, as a user would."""
    command = [sys.executable, "-m", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def answered(page: Any, review: Review, sings: Answer) -> int:
    """Answer clips in the page by what sings in them, and return how many."""
    n_clips = 0
    while n_clips < N_CLIPS and not page.is_done():
        row = review.clip(page.clip())
        heard = sings(row)
        labels = review.suggestions(int(row.name))  # type: ignore[arg-type]
        keys = [str(labels.index(label) + 1) for label in heard - {row["label"]} if label in labels]
        page.press(*keys, "y" if row["label"] in heard else "n" if heard else "u")
        n_clips += 1
    return n_clips


def walked(
    folder: Path, sings: Answer, serve: Callable[..., Any], open_page: Callable[..., Any]
) -> pd.DataFrame:
    """Follow the page in a folder, and return the answers."""
    predict, report, review, convert, retrain = commands_of_the_page()
    run(folder, predict)
    run(folder, report)
    assert (folder / "predictions" / "report" / "report.html").stat().st_size > 100_000
    assert review[:2] == ["dawnchorus", "review"]
    server = serve(*review[2:], cwd=folder)
    page = open_page(server.url)
    with open_review(folder / "predictions", folder / "night") as opened:
        n_clips = answered(page, opened, sings)
        page.page.click("#write")
        page.expect(page.page.locator("#written")).to_contain_text("clips with an answer", timeout=90_000)
        answers = opened.answers()
    server.kill()
    assert len(answers) == n_clips
    written = {path.name for path in (folder / "predictions" / "review").iterdir()}
    assert {"thresholds.csv", "verified.csv", "verified", "precision.csv"} <= written
    run(folder, convert)
    assert (folder / "handed_on" / "darwin_core" / "occurrence.csv").is_file()
    assert (folder / "handed_on" / "detection_history" / "effort_hours.csv").is_file()
    run(folder, retrain)
    return answers


@pytest.fixture
def misled(tmp_path: Path, sing: Song) -> Path:
    """A folder with a night, and a run whose recordings of owl and robin bear each other's name."""
    recordings = tmp_path / "recordings"
    recordings.mkdir()
    rng = np.random.default_rng(7)
    taught = {"owl": "robin", "robin": "owl", "wren": "wren"}
    rows = []
    for species in SPECIES:
        for number in range(4):
            name = f"{species}{number}.wav"
            soundfile.write(recordings / name, sing(species, 2, rng), RATE)
            rows.append((name, taught[species], f"recordist {number}"))
    columns = ["filename", "primary_label", "author"]
    pd.DataFrame(rows, columns=columns).to_csv(recordings / "recordings.csv", index=False)
    frontend = {"sample_rate": RATE, "n_fft": 512, "hop_length": 256, "n_mels": 32, "f_max_hz": 8000.0}
    dc.train(
        recordings,
        base="smoke",
        exp_name="birds",
        logdir=tmp_path / "logdirs",
        nn_model_config={"backbone": "test_resnet.r160_in1k", "frontend": frontend},
        n_folds=2,
        n_epochs=4,
        clips_per_epoch=64,
        segment_len=1.0,
        sample_rate=RATE,
        batch_size=16,
        lr=5e-3,
        accelerator="cpu",
    )
    return tmp_path


def score(run_dir: Path, sing: Song) -> float:
    """Return the macro ROC-AUC of a run on other recordings."""
    rng = np.random.default_rng(99)
    waves = [sing(species, 1, rng) for species in SPECIES for _ in range(6)]
    model = dc.load_model(run_dir, "torch", n_threads=1)
    scores = model.predict([wave.astype(np.float32) for wave in waves], sample_rate=RATE).probabilities
    truth = np.repeat(np.eye(3), 6, axis=0)
    return macro_roc_auc(truth, scores[:, [model.labels.index(species) for species in SPECIES]])


@pytest.mark.stress
def test_five_commands_and_a_hundred_clips_make_a_better_model(
    misled: Path, sing: Song, served: Callable[..., Any], open_page: Callable[..., Any]
) -> None:
    rng = np.random.default_rng(3)
    truth = {}
    for site, hour in (("meadow", 4), ("meadow", 5), ("wood", 4), ("wood", 5), ("wood", 6)):
        name = f"{site}/20240504_{hour:02}0000.wav"
        truth[name] = rng.permutation([SPECIES[k % 3] for k in range(24)])
        (misled / "night" / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(misled / "night" / name, np.concatenate([sing(s, 1, rng) for s in truth[name]]), RATE)
    before = score(misled / "logdirs" / "birds", sing)
    answers = walked(misled, lambda row: {truth[row["filename"]][int(row["start_s"])]}, served, open_page)
    assert len(answers) == N_CLIPS
    assert {"yes", "no"} == set(answers["verdict"])
    occurrences = pd.read_csv(misled / "handed_on" / "darwin_core" / "occurrence.csv")
    checked = occurrences[occurrences["identificationVerificationStatus"] == "verified"]
    seconds = checked["identificationRemarks"].str.extract(r"^([\d.]+) to")[0].astype(float)
    sang = [truth[name][int(at)] for name, at in zip(checked["eventID"], seconds, strict=True)]
    assert checked["scientificName"].tolist() == sang
    assert checked["identifiedBy"].eq("Ada").all()
    after = score(misled / "logdirs" / "birds-round2", sing)
    assert before < 0.75
    assert after > before + 0.15


@pytest.mark.stress
@pytest.mark.timeout(3600)  # a busy machine takes seconds a clip
def test_a_night_of_real_soundscapes_goes_the_same_way(
    tmp_path: Path, shared_data: Path, served: Callable[..., Any], open_page: Callable[..., Any]
) -> None:
    birdeep = shared_data / "birdeep"
    if not birdeep.is_dir():
        pytest.skip("there are no soundscapes of BIRDeep beside the repository")
    boxes = pd.read_csv(birdeep / "annotations.csv")
    is_species = boxes["label"].str.fullmatch(r"[A-Z][a-z]+ [a-z]+")
    boxes = boxes[is_species & (boxes["label"] != "No audio")]
    (tmp_path / "night").symlink_to(birdeep, target_is_directory=True)
    taught = tmp_path / "taught"
    taught.mkdir()
    for path in birdeep.glob("*.ogg"):
        (taught / path.name).symlink_to(path)
    boxes.to_csv(taught / "annotations.csv", index=False)
    dc.train(
        taught,
        base="smoke",
        exp_name="birds",
        logdir=tmp_path / "logdirs",
        n_folds=2,
        n_epochs=2,
        clips_per_epoch=96,
        accelerator="cpu",
    )

    def sings(row: pd.Series) -> set[str]:
        is_here = (boxes["start_s"] < row["end_s"]) & (boxes["end_s"] > row["start_s"])
        return set(boxes.loc[is_here & (boxes["filename"] == row["filename"]), "label"])

    answers = walked(tmp_path, sings, served, open_page)
    assert len(answers) == N_CLIPS
    assert (tmp_path / "logdirs" / "birds-round2" / "model_card.json").is_file()
