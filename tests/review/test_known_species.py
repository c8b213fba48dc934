"""Species in a review are those of the model by any of their names; another is added by a step of its own."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from dawnchorus.errors import ConfigError, DataError
from dawnchorus.review.answer_store import Box
from dawnchorus.review.review_results import write_results
from dawnchorus.review.reviewing import Review, open_review

Truth = tuple[Path, pd.DataFrame]
NAMES = {"owl": {"scientific_name": "Strix aluco", "common_name": "Tawny Owl"}}


@pytest.fixture
def review(predictions: Path, soundscapes: Truth) -> Review:
    return open_review(predictions, soundscapes[0], taxonomy=NAMES)


@pytest.mark.parametrize("name", ["owl", "strix aluco", "Tawny  Owl", "Strix aluco_Tawny Owl"])
def test_each_name_of_a_species_is_written_as_its_label(review: Review, name: str) -> None:
    clip = int(review.queue("surest", species="wren").index[0])
    box = Box(0.1, 0.2, 100.0, 200.0, name)
    review.answer(clip, "Ada", "no", heard=(name, "owl"), boxes=[box])
    (answer,) = review.store.current()
    assert (answer.heard, answer.boxes[0].label) == (("owl",), "owl")
    found = pd.read_csv(write_results(review).folder / "verified" / "detections.csv")
    assert found["label"].tolist() == ["owl"]


def test_a_misspelt_name_is_refused_with_the_nearest_and_writes_no_answer(review: Review) -> None:
    clip = int(review.queue("surest").index[0])
    message = r"no species here is named Tawny Owll; did you mean Tawny Owl \(Strix aluco\)\?"
    with pytest.raises(DataError, match=message):
        review.answer(clip, "Ada", "no", heard=("Tawny Owll",))
    assert review.answers().empty


def test_a_species_that_is_added_is_known_from_then_on(
    review: Review, predictions: Path, soundscapes: Truth
) -> None:
    clip = int(review.queue("surest").index[0])
    with pytest.raises(ConfigError, match="the species to add has no name; give one"):
        review.species.add(" ")
    assert [review.species.add(name) for name in ("Cuckoo", "cuckoo", "tawny owl")] == [
        *("Cuckoo", "Cuckoo", "owl")
    ]
    review.answer(clip, "Ada", "no", heard=("cuckoo",))
    with open_review(predictions, soundscapes[0]) as again:
        again.answer(clip, "Bea", "no", heard=("Cuckoo",))
        assert again.answers()["heard"].tolist() == [("Cuckoo",), ("Cuckoo",)]


def test_a_name_of_two_labels_is_asked_for_more_exactly(predictions: Path, soundscapes: Truth) -> None:
    names = {label: {"common_name": "Brown Bird"} for label in ("owl", "wren")}
    with open_review(predictions, soundscapes[0], taxonomy=names) as review:
        clip = int(review.queue("surest").index[0])
        with pytest.raises(DataError, match="brown bird is a name of owl and of wren; write one of these"):
            review.answer(clip, "Ada", "no", heard=("brown bird",))


def test_a_queue_of_a_species_that_is_not_known_is_refused(
    predictions: Path, soundscapes: Truth, tmp_path: Path
) -> None:
    table = pd.DataFrame({"filename": "wood/d.wav", "start_s": [3.0, 5.0, 7.0], "end_s": [4.0, 6.0, 8.0]})
    table = table.assign(label=["Tawny Owl", "cuckoo", ""])
    file = tmp_path / "queue.csv"
    table.to_csv(file, index=False)
    with pytest.raises(DataError, match="names 1 species that the model does not know: cuckoo"):
        open_review(predictions, soundscapes[0], table=file, taxonomy=NAMES)
    with open_review(predictions, soundscapes[0], table=file, taxonomy=NAMES, new_species=True) as review:
        assert review.queue("table")["label"].tolist() == ["owl", "cuckoo", ""]
        assert review.species.label_of("Cuckoo") == "cuckoo"
