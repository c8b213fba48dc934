"""What the names of ESC-50's clips say, against rows of its published table."""

from __future__ import annotations

import csv
from pathlib import Path

from dawnchorus.competition.kaggle.esc50 import CATEGORIES, write_esc50_table

PUBLISHED = {
    "1-100032-A-0.wav": "dog",
    "1-26806-A-1.wav": "rooster",
    "1-103298-A-9.wav": "crow",
    "1-17367-A-10.wav": "rain",
    "1-100038-A-14.wav": "chirping_birds",
    "1-101296-B-19.wav": "thunderstorm",
    "1-187207-A-20.wav": "crying_baby",
    "1-17295-A-29.wav": "drinking_sipping",
    "1-101336-A-30.wav": "door_wood_knock",
    "1-51805-H-33.wav": "door_wood_creaks",
    "1-20133-A-39.wav": "glass_breaking",
    "1-172649-A-40.wav": "helicopter",
    "1-119125-A-45.wav": "train",
    "1-115545-C-48.wav": "fireworks",
    "1-18810-A-49.wav": "hand_saw",
}
"""From ESC-50's meta/esc50.csv: the first and the last of each ten classes among them."""


def test_names_say_what_the_published_table_says(tmp_path: Path) -> None:
    clips = tmp_path / "audio"
    clips.mkdir()
    for name in [*PUBLISHED, "README.wav", "1-1.wav", "1-100-A-50.wav"]:
        (clips / name).touch()
    assert write_esc50_table(clips, tmp_path / "table.csv") == len(PUBLISHED)
    with (tmp_path / "table.csv").open(newline="") as file:
        assert {row["filename"]: row["category"] for row in csv.DictReader(file)} == PUBLISHED


def test_there_are_fifty_classes_once_each() -> None:
    assert len(set(CATEGORIES)) == len(CATEGORIES) == 50
