"""The page of a run is one file that says what there is, and what is not recorded."""

from __future__ import annotations

import base64
import io
import json
import os
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import soundfile

from dawnchorus.files import Failure, write_failures
from dawnchorus.report.run_page import duration_text, write_run_page
from dawnchorus.runs import Run

SECTIONS = ["Folds", "Curves", "Classes", "Out of fold", "Left out", "Config", "Starting weights"]
SECTIONS += ["Data and versions"]
VOID = {"meta", "img", "source"}


class Page(HTMLParser):
    """A page as a reader sees it: the text and the table rows below each heading.

    Attributes
    ----------
    title
        The first heading.
    text, rows
        By second heading, ``""`` for what stands before the first.
    addresses
        Every value of an attribute that a browser would fetch.
    tags
        Every tag that was opened.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.title, self.section, self.open = "", "", []
        self.text: dict[str, str] = {"": ""}
        self.rows: dict[str, list[list[str]]] = {}
        self.addresses: list[str] = []
        self.tags: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))
        assert self.open == [], "every tag is closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [str(value) for name, value in attrs if name in ("src", "href", "srcset", "action")]
        if tag not in VOID:
            self.open.append(tag)
        if tag == "h2":
            self.section = ""
        if tag == "tr":
            self.rows.setdefault(self.section, []).append([])
        if tag in ("td", "th"):
            self.rows[self.section][-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        if tag == "h2":
            self.text[self.section] = ""

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "h1":
            self.title += data
        elif self.open and self.open[-1] == "h2":
            self.section += data
        elif "td" in self.open or "th" in self.open:
            self.rows[self.section][-1][-1] += data
        elif not {"style", "script", "title"} & set(self.open):
            self.text[self.section] += data


def page_of(run: Run) -> Page:
    return Page(write_run_page(run))


@pytest.fixture
def whole(written: Any) -> Any:
    """Three folds, two finished and one not begun, and every other piece that a run may have."""
    written.card("crow", "<b>tit</b>", "rail")
    written.json("config.json", {"seed": 42, "nn_model_config": {"backbone": "<script>alert(1)</script>"}})
    written.json("environment.json", {"python": "3.11.9", "packages": {"torch": "2.6.0"}, "git": "abc-dirty"})
    written.text("labels.sha256", "0123abcd\n")
    written.folds([-1, 0, 1, 2, 2])
    written.trained_fold(
        0, [0.75, 0.875], val_macro_roc_auc=0.875, val_cmap=0.5, best_epoch=1, seconds=3725.4
    )
    written.trained_fold(1, [0.625], val_macro_roc_auc=0.625, best_epoch=0, seconds=59.6, clips_per_s=1234.56)
    scores = [("crow", 3, 0.75, 0.5), ("<b>tit</b>", 1200, 0.25, 0.125), ("rail", 0, "", "")]
    columns = ("label", "n_positive", "roc_auc", "average_precision")
    written.table("fold_0/per_class.csv", [dict(zip(columns, row, strict=True)) for row in scores])
    write_failures(written.path, [Failure(Path("<i>.ogg"), "<i>.ogg: empty (0 bytes)")])
    written.table("starting_weights.csv", [{"label": "crow", "<u>": "kept"}])
    of_folds = {
        "oof_macro_roc_auc_mean_of_folds": 0.65,
        "oof_macro_roc_auc_of_each_fold": {"0": 0.8, "1": 0.5, "2": "damaged"},
    }
    written.json("oof_score.json", {"oof_macro_roc_auc": 0.70001, "n_recordings": 4000, **of_folds})
    return written


def test_the_page_has_its_sections_in_order_and_nothing_unrecorded(whole: Any) -> None:
    page = page_of(whole.run)
    assert page.title == "an_experiment"
    assert list(page.text) == ["", *SECTIONS]
    assert not any("not recorded" in page.text[section] for section in SECTIONS[1:])


def test_the_summary_says_what_its_scores_are_of(whole: Any) -> None:
    summary = page_of(whole.run).text[""]
    assert "2 of 3 folds finished." in summary
    assert "Validation macro ROC-AUC 0.7500 ± 0.1768 (mean ± standard deviation over folds)" in summary
    assert "at its best epoch" in summary
    assert "favours itself slightly" in summary
    assert "Out-of-fold macro ROC-AUC 0.7000 over 4,000 recordings, all folds pooled, raw scores." in summary
    assert "Mean of the folds' out-of-fold macro ROC-AUC 0.6500: fold 0 0.8000, fold 1 0.5000." in summary


def test_one_fold_has_no_deviation_and_a_run_without_evaluation_no_out_of_fold_score(written: Any) -> None:
    written.trained_fold(0, [0.5], val_macro_roc_auc=0.5)
    summary = page_of(written.run).text[""]
    assert "1 of 1 fold finished." in summary
    assert "0.5000: the score" in summary
    assert "Out-of-fold" not in summary


def test_the_table_of_folds_is_written_for_people(whole: Any) -> None:
    head, *rows = page_of(whole.run).rows["Folds"]
    assert head == [
        "fold", "state", "best epoch", "macro ROC-AUC", "cmAP", "epochs", "time", "clips/s", "loader wait",
    ]  # fmt: skip
    assert rows == [
        ["0", "finished", "1", "0.8750", "0.5000", "2", "1:02:05", "100.5", "25.0%"],
        ["1", "finished", "0", "0.6250", "0.3125", "1", "0:01:00", "1,234.6", "25.0%"],
        ["2", "not begun", *"———————"],
    ]


def test_the_table_of_classes_has_all_of_them_and_can_be_sorted_by_its_numbers(whole: Any) -> None:
    page = page_of(whole.run)
    assert page.rows["Classes"][1:] == [
        ["<b>tit</b>", "1,200", "0.2500", "0.2500", "1", "0.1250"],
        ["crow", "3", "0.7500", "0.7500", "1", "0.5000"],
        ["rail", "0", "—", "—", "0", "—"],
    ]
    assert "2 of 3 classes scored, median ROC-AUC 0.5000" in page.text["Classes"]
    html = (whole.path / "report.html").read_text()
    assert 'data-value="1200.0">1,200<' in html
    assert 'data-value="">—<' in html
    assert page.tags.count("button") == 6


def test_what_the_run_was_made_of_is_told(whole: Any) -> None:
    page = page_of(whole.run)
    assert page.rows["Config"][1:] == [
        ["seed", "42"],
        ["nn_model_config.backbone", "<script>alert(1)</script>"],
    ]
    assert page.rows["Starting weights"] == [["label", "<u>"], ["crow", "kept"]]
    assert page.rows["Left out"][1:] == [["<i>.ogg", "<i>.ogg: empty (0 bytes)"]]
    assert "1 recording could not be used." in page.text["Left out"]
    assert page.rows["Data and versions"][1:] == [
        ["recordings", "5"],
        ["recordings that a fold validates", "4"],
        ["classes", "3"],
        ["hash of the recordings and their labels", "0123abcd"],
        ["git state of dawnchorus", "abc-dirty"],
        ["Python", "3.11.9"],
        ["torch", "2.6.0"],
    ]


def test_marks_in_labels_names_and_values_are_shown_and_never_obeyed(whole: Any) -> None:
    whole.card("crow", "<b>tit</b>", exp_name="</title><script>alert(2)</script>")
    page = page_of(whole.run)
    assert page.title == "</title><script>alert(2)</script>"
    assert not {"b", "i", "u"} & set(page.tags)
    assert page.tags.count("script") == 1


def test_the_page_fetches_nothing(whole: Any) -> None:
    page = page_of(whole.run)
    assert len(page.addresses) == 4, "two pictures, each for light and for dark pages"
    assert all(address.startswith("data:image/png;base64,") for address in page.addresses)
    html = (whole.path / "report.html").read_text()
    assert not any(word in html for word in ("http:", "https:", "url(", "@import", "fetch("))


def test_the_curves_are_the_same_in_the_page_and_beside_it(whole: Any) -> None:
    dark, light = page_of(whole.run).addresses[:2]
    pictures = [base64.b64decode(address.partition(",")[2]) for address in (dark, light)]
    assert (whole.path / "curves.png").read_bytes() == pictures[1] != pictures[0]


@pytest.mark.parametrize("has_card", [False, True])
def test_a_run_of_which_nothing_is_left_has_a_page_that_says_so(written: Any, has_card: bool) -> None:
    if has_card:
        written.card("a")
    page = page_of(written.run)
    assert page.title == ("an_experiment" if has_card else "some_run")
    assert "0 of 0 folds finished." in page.text[""]
    for section in ("Folds", "Curves", "Classes", "Config", "Starting weights"):
        assert page.text[section].split() == ["not", "recorded"]
    assert page.text["Left out"].strip() == "No recording was left out."
    assert page.text["Out of fold"].strip() == "not recorded; dawnchorus evaluate writes it"
    facts = dict(page.rows["Data and versions"][1:])
    assert facts.pop("classes") == ("1" if has_card else "not recorded")
    assert set(facts.values()) == {"not recorded"}
    assert (written.path / "curves.png").is_file()


@pytest.fixture
def evaluated(whole: Any, data_factory: Any, card: Any) -> Any:
    """The same run after ``evaluate`` and ``calibrate``; of two recordings that are wrong, one is there."""
    values = json.loads(card(labels=("crow", "rail")).to_json())
    whole.json("model_card.json", {**values, "exp_name": "an_experiment"})
    whole.json("config.json", {"data": [{"audio_dir": str(data_factory.root)}]})
    data_factory.tone("rail/1.wav", 12.0)
    data_factory.root.with_name("outside.wav").write_bytes((data_factory.root / "rail/1.wav").read_bytes())
    reliability = {"n_pairs": 4, "mean_score": 0.25, "observed_fraction": 0.5, "low": 0.1, "high": 0.9}
    whole.table("oof_reliability.csv", [{"from_score": 0.0, "to_score": 1.0, **reliability}])
    pair = {"label": "rail", "taken_for": "crow", "n_taken": 3, "n_recordings": 4, "fraction": 0.75}
    whole.table("oof_confusions.csv", [pair])
    wrong = {"primary_label": "rail", "fold": 0, "probability": 0.125}
    wrong |= {"taken_for": "crow", "its_probability": 0.875}
    names = ("rail/1.wav", "rail/gone.wav", "../outside.wav")
    whole.table("oof_most_wrong.csv", [{"filename": name, **wrong} for name in names])
    whole.json(
        "calibration.json",
        {"precision": 0.9, "n_classes_by_how": {"class": 1, "pooled": 1, "never": 0}},
    )
    return whole


def test_after_evaluate_the_page_shows_what_is_taken_for_what_and_the_worst_to_hear(evaluated: Any) -> None:
    page = page_of(evaluated.run)
    text = page.text["Out of fold"]
    assert "predicted by the fold that was not trained on it" in text
    assert (
        "Thresholds at a precision of 0.9: 1 class has its own, 1 has the pooled one, and 0 never reach it"
        in text
    )
    assert page.rows["Out of fold"][1:] == [["rail", "crow", "3", "4", "75.0%"]]
    assert "rail/1.wav: labelled rail, present at most 0.12; taken for crow, 0.88" in text
    assert "rail/gone.wav: labelled rail" in text
    sounds = [address for address in page.addresses if address.startswith("data:audio/ogg;base64,")]
    assert len(sounds) == 1, "neither the one that is gone, nor the one outside the dataset root"
    sound, rate = soundfile.read(io.BytesIO(base64.b64decode(sounds[0].partition(",")[2])))
    assert len(sound) == 10 * rate
    assert all(address.startswith("data:") for address in page.addresses)
    assert len(page.addresses) == 4 + 2 + 1 + 1, "curves, classes; reliability; a spectrogram; a sound"


def test_a_page_that_is_renewed_while_training_opens_no_recording(evaluated: Any) -> None:
    page = Page(write_run_page(evaluated.run, with_recordings=False))
    assert "rail/1.wav: labelled rail" in page.text["Out of fold"]
    assert "audio" not in page.tags


def test_a_run_without_a_finished_fold_has_curves_and_no_score(written: Any) -> None:
    written.folds([0, 1])
    written.trained_fold(1, [0.5, 0.75])
    page = page_of(written.run)
    assert page.text[""].strip() == "0 of 2 folds finished."
    assert [row[1] for row in page.rows["Folds"][1:]] == ["not begun", "unfinished"]
    assert len(page.addresses) == 2


def test_classes_that_no_fold_defines_are_listed_without_a_picture(written: Any) -> None:
    written.table("fold_0/per_class.csv", [{"label": "rail", "n_positive": 0, "roc_auc": ""}])
    page = page_of(written.run)
    assert page.rows["Classes"][1:] == [["rail", "0", "—", "—", "0", "—"]]
    assert "0 of 1 class scored: validation" in page.text["Classes"]
    assert page.addresses == []


@pytest.mark.skipif(os.name == "nt", reason="file names are text there")
def test_a_file_name_that_is_no_text_is_written_as_escapes(written: Any) -> None:
    write_failures(written.path, [Failure(Path(os.fsdecode(b"\xff.ogg")), "empty")])
    assert page_of(written.run).rows["Left out"][1] == ["\\udcff.ogg", "empty"]


def test_a_page_written_again_takes_the_place_of_the_old_one(whole: Any) -> None:
    before = set(whole.path.iterdir())
    assert write_run_page(whole.run) == whole.path / "report.html"
    (whole.path / "fold_0" / "finished.json").unlink()
    assert "1 of 3 folds finished." in page_of(whole.run).text[""]
    assert {path.name for path in set(whole.path.iterdir()) - before} == {"report.html", "curves.png"}


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00:00"), (59.6, "0:01:00"), (3725.4, "1:02:05"), (360_000, "100:00:00")]
)
def test_durations_are_hours_minutes_and_seconds(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


def test_every_metric_of_a_run_is_shown_as_it_says_the_main_one_in_the_summary(written: Any) -> None:
    written.json(
        "metrics.json",
        {"cmap": {"heading": "cmAP", "format": ".4f"}, "hits": {"heading": "hit rate", "format": ".1%"}},
    )
    written.json("config.json", {"train_function_args": {"main_metric": "val_hits"}})
    written.metrics(0, [{"epoch": 0, "val_hits": 0.5, "val_cmap": 0.25}])
    written.json("fold_0/finished.json", {"best_epoch": 0, "val_hits": 0.5})
    written.json("oof_score.json", {"oof_macro_roc_auc": 0.5, "oof_cmap": 0.125, "oof_hits": 0.375})
    page = page_of(written.run)
    head, row = page.rows["Folds"]
    assert head[3:5] == ["hit rate", "cmAP"]
    assert row[3:5] == ["50.0%", "0.2500"]
    assert "Validation hit rate 50.0%: the score" in page.text[""]
    assert "Out-of-fold hit rate 37.5%, cmAP 0.1250, all folds pooled, raw scores." in page.text[""]


def test_weights_that_are_newer_than_the_out_of_fold_predictions_are_told(written: Any) -> None:
    written.card("a", "b")
    written.json("oof_score.json", {"oof_macro_roc_auc": 0.9})
    for fold in (0, 1):
        written.trained_fold(fold, [0.8], best_checkpoint="best.ckpt")
        checkpoints = written.run.checkpoints_dir(fold)
        checkpoints.mkdir(parents=True, exist_ok=True)
        (checkpoints / "best.ckpt").touch()
        os.utime(checkpoints / "best.ckpt", (1000 + 1000 * fold, 1000 + 1000 * fold))
    written.run.oof_file.touch()
    told = "The weights of fold 1 are newer than the out-of-fold predictions; dawnchorus evaluate makes"
    for time_s, is_told in ((1500, True), (3000, False)):
        os.utime(written.run.oof_file, (time_s, time_s))
        assert (told in write_run_page(written.run).read_text(encoding="utf-8")) == is_told
