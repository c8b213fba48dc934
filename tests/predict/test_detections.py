"""Lists of species, and detections against the same thing written as plain loops."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dawnchorus.errors import ConfigError, DataError
from dawnchorus.predict.detections import DetectionSettings, detect, read_species
from dawnchorus.predict.window_predictions import WindowPredictions

LABELS = ("wren", "robin", "Turdus merula", "owl")
COLUMNS = ["start_s", "end_s", "label", "probability"]
RATE = 32_000


def predicted(rows: list[list[float]], *, step: int = 160_000, window: int = 160_000) -> WindowPredictions:
    """Return windows with these probabilities; the recording ends a quarter into the last one."""
    starts = np.arange(len(rows), dtype=np.int64) * step
    stops = np.minimum(starts + window, starts[-1] + window // 4) if rows else starts
    return WindowPredictions(starts, stops, np.array(rows, np.float32).reshape(len(rows), -1), RATE)


def chosen(
    *thresholds: float, species: tuple[str, ...] | None = None, top_k: int | None = None, merge: bool = False
) -> DetectionSettings:
    return DetectionSettings(np.array(thresholds, np.float32), species, top_k, merge)


def rows_of(table: pd.DataFrame) -> list[tuple[float, float, str, float]]:
    return list(table.itertuples(index=False, name=None))


def looped_detections(
    predictions: WindowPredictions, labels: tuple[str, ...], wanted: DetectionSettings
) -> list[tuple[float, float, str, float]]:
    """Return the detections one window and class at a time, in whole samples until the end."""
    found: list[tuple[int, int, str, float]] = []
    for start, stop, row in zip(*predictions[:3], strict=True):
        of_window = [
            (int(start), int(stop), label, float(p))
            for label, p, threshold in zip(labels, row, wanted.thresholds, strict=True)
            if p >= threshold and (wanted.species is None or label in wanted.species)
        ]
        of_window.sort(key=lambda entry: (-entry[3], entry[2]))
        found += of_window if wanted.top_k is None else of_window[: wanted.top_k]
    if wanted.merge:
        joined: list[tuple[int, int, str, float]] = []
        for label in labels:
            of_label = [entry for entry in found if entry[2] == label]
            while of_label:
                start, stop, _, p = of_label.pop(0)
                while of_label and of_label[0][0] <= stop:
                    _, next_stop, _, next_p = of_label.pop(0)
                    stop, p = max(stop, next_stop), max(p, next_p)
                joined.append((start, stop, label, p))
        found = joined
    found.sort(key=lambda entry: (entry[0], -entry[3], entry[2]))
    rate = predictions.sample_rate
    return [(start / rate, stop / rate, label, p) for start, stop, label, p in found]


# Detections ---------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=200)
@given(
    n_windows=st.integers(1, 12),
    steps=st.sampled_from([(160_000, 160_000), (80_000, 160_000), (60_000, 160_000), (200_000, 160_000)]),
    thresholds=st.lists(st.sampled_from([0, 0.25, 0.5, 0.75, 1, np.inf]), min_size=4, max_size=4),
    species=st.none() | st.lists(st.sampled_from(LABELS), unique=True).map(tuple),
    top_k=st.none() | st.integers(1, 4),
    merge=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_detections_are_those_of_a_loop(
    n_windows: int,
    steps: tuple[int, int],
    thresholds: list[float],
    species: tuple[str, ...] | None,
    top_k: int | None,
    merge: bool,
    seed: int,
) -> None:
    # Quarters, so that there are many ties and many values at a threshold.
    rows = np.random.default_rng(seed).integers(0, 5, (n_windows, 4)) / 4
    predictions = predicted(rows.tolist(), step=steps[0], window=steps[1])
    wanted = chosen(*thresholds, species=species, top_k=top_k, merge=merge)
    assert rows_of(detect(predictions, LABELS, wanted)) == looped_detections(predictions, LABELS, wanted)


def test_detections_reach_the_threshold_of_their_class_and_are_sorted() -> None:
    predictions = predicted([[0.9, 0.9, 0.2, 0.1], [0.3, 0.95, 0.2, 0.1]])
    table = detect(predictions, LABELS, chosen(0.9, 0.5, 0.2, np.inf))
    assert list(table.columns) == COLUMNS
    assert table["label"].tolist() == ["robin", "wren", "Turdus merula", "robin", "Turdus merula"]
    assert table["start_s"].tolist() == [0, 0, 0, 5, 5]
    assert table["end_s"].tolist() == [5, 5, 5, 6.25, 6.25]


def test_a_class_with_an_infinite_threshold_is_never_detected() -> None:
    predictions = predicted([[1.0, np.inf]])
    assert detect(predictions, ("wren", "robin"), chosen(1.0, np.inf))["label"].tolist() == ["wren"]


def test_top_k_counts_what_thresholds_and_species_leave() -> None:
    predictions = predicted([[0.9, 0.8, 0.7, 0.6]])
    wanted = chosen(np.inf, 0.5, 0.5, 0.5, species=("wren", "owl", "Turdus merula"), top_k=1)
    assert detect(predictions, LABELS, wanted)["label"].tolist() == ["Turdus merula"]


def test_merged_windows_reach_from_the_first_start_to_the_last_end() -> None:
    # Windows of 5 s every 2.5 s: those at 0 and 5 s touch, that at 12.5 s is apart.
    p = [[0.6], [0.1], [0.9], [0.1], [0.1], [0.7]]
    table = detect(predicted(p, step=80_000), ("wren",), chosen(0.5, merge=True))
    assert rows_of(table.drop(columns="probability")) == [(0, 10, "wren"), (12.5, 13.75, "wren")]
    assert table["probability"].tolist() == pytest.approx([0.9, 0.7])


def test_merging_spans_gaps_and_ends_at_the_longest_length() -> None:
    starts = np.arange(0, 100, 5)
    scores = np.zeros((20, 1), np.float32)
    scores[[0, 1, 3, 6, 7, 8, 9, 10, 19], 0] = 0.5, 0.9, 0.6, 0.5, 0.5, 0.8, 0.5, 0.5, 0.7
    windows = WindowPredictions(starts, starts + 5, scores, sample_rate=1)

    def merged(**more: Any) -> list[tuple[float, float, float]]:
        settings = DetectionSettings(np.float32([0.5]), merge=True, **more)
        found = detect(windows, ["owl"], settings)
        return list(zip(found["start_s"], found["end_s"], found["probability"].round(2), strict=True))

    assert merged() == [(0, 10, 0.9), (15, 20, 0.6), (30, 55, 0.8), (95, 100, 0.7)]
    assert merged(gap_s=4) == merged()
    assert merged(gap_s=5) == [(0, 20, 0.9), (30, 55, 0.8), (95, 100, 0.7)]
    assert merged(gap_s=5, longest_s=12) == [
        *[(0, 10, 0.9), (15, 20, 0.6)],
        *[(30, 40, 0.5), (40, 50, 0.8), (50, 55, 0.5), (95, 100, 0.7)],
    ]
    assert [row[:2] for row in merged(gap_s=100, longest_s=1)] == [
        (start, start + 5) for start in starts[scores[:, 0] > 0].tolist()
    ]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"merge": True, "gap_s": -1.0}, r"gap_s is -1; it must be 0 s or more"),
        ({"merge": True, "longest_s": 0.0}, r"longest_s is 0; it must be above 0 s"),
        ({"gap_s": 3.0}, r"gap_s and longest_s are for joined windows; set merge too"),
        ({"longest_s": 3.0}, r"gap_s and longest_s are for joined windows; set merge too"),
    ],
)
def test_limits_of_merging_out_of_range_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        DetectionSettings(np.float32([0.5]), **settings)


def test_times_at_the_end_of_a_day_are_whole_samples_over_the_rate() -> None:
    start = 24 * 3600 * RATE - 1
    last = WindowPredictions(np.array([start]), np.array([start + 1]), np.ones((1, 1), np.float32), RATE)
    table = detect(last, ("wren",), chosen(0.5))
    assert table["start_s"][0] * RATE == start
    assert table["end_s"][0] == 86_400


@pytest.mark.parametrize("merge", [False, True])
def test_an_empty_table_has_the_columns_and_dtypes_of_a_full_one(merge: bool) -> None:
    predictions = predicted([[0.9, 0.1, 0.1, 0.1]])
    full = detect(predictions, LABELS, chosen(0.5, 0.5, 0.5, 0.5, merge=merge))
    empty = detect(predictions, LABELS, chosen(1, 1, 1, 1, top_k=2, merge=merge))
    nobody = detect(predictions, LABELS, chosen(0, 0, 0, 0, species=(), merge=merge))
    assert (len(full), len(empty), len(nobody)) == (1, 0, 0)
    pd.testing.assert_series_equal(full.dtypes, empty.dtypes)
    pd.testing.assert_frame_equal(empty, full.iloc[:0])
    pd.testing.assert_frame_equal(nobody, empty)
    assert full.dtypes[["start_s", "end_s", "probability"]].tolist() == [np.float64] * 3


@pytest.mark.parametrize("merge", [False, True])
def test_a_day_with_few_detections_takes_no_time(merge: bool) -> None:
    labels = tuple(f"species{position:03}" for position in range(206))
    p = np.random.default_rng(0).random((17_280, 206), dtype=np.float32)
    starts = np.arange(17_280, dtype=np.int64) * 5 * RATE
    day = WindowPredictions(starts, starts + 5 * RATE, p, RATE)
    thresholds = np.full(206, 0.999, np.float32)
    began = time.process_time()
    table = detect(day, labels, DetectionSettings(thresholds, labels[:103], 3, merge))
    assert (
        time.process_time() - began < 0.3
    )  # About 0.02 s; comparing them one by one takes longer than that.
    assert 1000 < len(table) <= (p[:, :103] >= np.float32(0.999)).sum()


@pytest.mark.parametrize("value", [-0.1, 1.01, float("nan"), -float("inf")])
def test_a_threshold_out_of_range_is_refused(value: float) -> None:
    with pytest.raises(ConfigError, match=r"a threshold is -?[0-9ni].*; legal are 0 to 1, and infinity"):
        chosen(0.5, value)


def test_top_k_must_be_one_or_more() -> None:
    with pytest.raises(ConfigError, match="top_k is 0; it must be 1 or more"):
        chosen(0.5, top_k=0)


def test_a_species_that_the_model_does_not_know_is_refused() -> None:
    with pytest.raises(DataError, match=r"the model has no label robbin \(nearest: robin\); ask for"):
        detect(predicted([[0.9, 0.1, 0.1, 0.1]]), LABELS, chosen(0, 0, 0, 0, species=("robbin",)))


@pytest.mark.parametrize(("n_labels", "n_thresholds"), [(3, 4), (4, 3)])
def test_labels_and_thresholds_must_be_as_many_as_classes(n_labels: int, n_thresholds: int) -> None:
    what = f"probabilities of 4 classes, {n_labels} labels and {n_thresholds} thresholds"
    with pytest.raises(ValueError, match=what):
        detect(predicted([[0.9, 0.1, 0.1, 0.1]]), LABELS[:n_labels], chosen(*[0.5] * n_thresholds))


def test_detecting_needs_no_torch() -> None:
    code = "import sys, dawnchorus.predict.detections as _; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


# Lists of species ---------------------------------------------------------------------------------


def species_in(tmp_path: Path, text: str, name: str = "species.txt") -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_species_come_in_the_models_order_each_once(tmp_path: Path) -> None:
    path = species_in(tmp_path, "# of the garden\n\nowl  # at night\nrobin\n  owl\n")
    assert read_species(path, LABELS) == ("robin", "owl")


def test_a_byte_order_mark_is_no_part_of_a_label(tmp_path: Path) -> None:
    assert read_species(species_in(tmp_path, "\ufeffowl\r\nwren\r\n"), LABELS) == ("wren", "owl")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("species.csv", 'label,note\nowl,"big, brown"\nTurdus merula,\n'),
        ("species.csv", "Scientific Name;note\nowl;big, brown\nTurdus merula;\n"),
        ("species.csv", "Turdus merula\nowl\n"),
        ("species.CSV", 'owl,1\n# no more\n"Turdus merula",2\n,3\n'),
        ("species.tsv", "species_code\tnote\nTurdus merula\t1\nowl\t\n"),
    ],
)
def test_the_first_column_of_a_table_is_a_list_of_species(tmp_path: Path, name: str, text: str) -> None:
    assert read_species(species_in(tmp_path, text, name), LABELS) == ("Turdus merula", "owl")


def test_a_line_of_birdnets_stands_for_its_scientific_name(tmp_path: Path) -> None:
    path = species_in(tmp_path, "Turdus merula_Eurasian Blackbird\n")
    assert read_species(path, LABELS) == ("Turdus merula",)


def test_the_whole_of_a_birdnet_line_goes_before_its_scientific_name(tmp_path: Path) -> None:
    path = species_in(tmp_path, "Turdus merula_Eurasian Blackbird\n")
    labels = ("Turdus merula", "Turdus merula_Eurasian Blackbird")
    assert read_species(path, labels) == ("Turdus merula_Eurasian Blackbird",)


@pytest.mark.parametrize("line", ["owl_2", "Turdus philomelos_Song Thrush", "robin, wren"])
def test_a_line_that_only_resembles_a_label_is_left_out_with_a_warning(
    tmp_path: Path, line: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert read_species(species_in(tmp_path, f"wren\n{line}\n"), LABELS) == ("wren",)
    assert f"no label of this model, and left out: {line}" in caplog.text


def test_unknown_species_are_named_with_at_most_three_near_labels(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    labels = ("finch1", "finch2", "finch3", "finch4", "owl")
    path = species_in(tmp_path, "owl\nFINCH\nqqq\nOwlet\nzzz\nyyy\n")
    assert read_species(path, labels) == ("owl",)
    shown = caplog.messages[0].removeprefix(f"{path}: no label of this model, and left out: ")
    first, _, rest = shown.partition("), ")
    assert first.startswith("FINCH (nearest: finch")
    assert first.count(", ") == 2
    assert rest == "qqq, Owlet (nearest: owl) and 2 more"


def test_a_list_of_which_the_model_knows_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"the model has no label Parus major; write labels as the model has"):
        read_species(species_in(tmp_path, "Parus major\n"), LABELS)


@pytest.mark.parametrize(
    "line",
    [
        "Junco hyemalis_Dark-eyed Junco",
        "junco hyemalis",
        "JUNCO_HYEMALIS",
        "Dark-eyed Junco",
        "dark-eyed_junco",
        "Junco phaeonotus_Dark-eyed Junco",  # under an earlier scientific name
        "daejun",
    ],
)
def test_a_species_goes_by_any_of_its_names(tmp_path: Path, line: str) -> None:
    names = {"scientific_name": "Junco hyemalis", "common_name": "Dark-eyed Junco", "species_code": "daejun"}
    labels = ("Turdus_merula", "Junco_hyemalis")
    assert read_species(species_in(tmp_path, line), labels, {"Junco_hyemalis": names}) == ("Junco_hyemalis",)


def test_labels_of_birdnets_form_go_by_each_of_their_two_names(tmp_path: Path) -> None:
    labels = ("Turdus merula_Eurasian Blackbird", "Engine_Engine")
    for line in ("turdus_merula", "Eurasian blackbird"):
        assert read_species(species_in(tmp_path, line), labels) == labels[:1]


@pytest.mark.parametrize(("name", "text"), [("a.txt", "# nothing\n\n"), ("a.csv", "label\n"), ("b.csv", "")])
def test_a_list_without_species_is_refused(tmp_path: Path, name: str, text: str) -> None:
    with pytest.raises(DataError, match="names no species; write one label a line"):
        read_species(species_in(tmp_path, text, name), LABELS)


def test_a_list_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"missing.txt cannot be read; No such file"):
        read_species(tmp_path / "missing.txt", LABELS)
    (tmp_path / "latin.txt").write_bytes("Grünspecht\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"latin.txt is no text in UTF-8; save it as UTF-8"):
        read_species(tmp_path / "latin.txt", LABELS)
