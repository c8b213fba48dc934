"""Results of benchmarks: written with what they hold for, read, and shown on their page."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from dawnchorus.report.measurements import Measurement, machine_description

pytest.importorskip("tabulate", reason="the extra docs is not installed")
results = importlib.import_module("results")
reliability = importlib.import_module("reliability")
REPOSITORY = Path(__file__).resolve().parents[2]
PROGRAMS = sorted(path.stem for path in (REPOSITORY / "benchmarks").glob("bench_*.py"))
ROWS = [
    Measurement("small: ours", 0.5, "s", rival="theirs", ratio=2.0, target=1.5),
    Measurement("small: theirs", 1.0, "s"),
    Measurement("large: ours", 2.0, "s"),
    Measurement("memory", 3.0, "MB"),
]


@pytest.fixture
def result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> results.Result:
    """A result that was written and read."""
    monkeypatch.setattr(results, "FOLDER", tmp_path)
    results.write_result(tmp_path / "bench_x.json", "Two sizes", ROWS, quick=True, seeds=(0, 1))
    return results.read_result("bench_x")


def test_a_result_carries_machine_versions_seeds_and_commit(result: results.Result) -> None:
    assert result.rows == ROWS
    assert (result.title, result.quick, result.seeds) == ("Two sizes", True, [0, 1])
    assert result.machine == machine_description()
    assert result.commit
    assert {"numpy", "torch"} <= set(result.versions)
    assert "a short run" in result.description


def test_a_result_is_shown_whole_by_its_targets_and_as_a_grid(result: results.Result) -> None:
    assert len(result.table().splitlines()) == 2 + len(ROWS)
    assert "≥ 1.5 met" in result.table(wanted_only=True).splitlines()[2]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in result.grid("s").splitlines()]
    assert cells[0] == ["s", "small", "large"]
    assert cells[2:] == [["ours", "0.5", "2"], ["theirs", "1", ""]]


def test_every_program_has_a_result_and_a_section_on_the_page() -> None:
    page = (REPOSITORY / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    filled = results.filled_in(page)
    for name in PROGRAMS:
        assert f"| `benchmarks/{name}.py` |" in page
        assert results.read_result(name).description in filled


def test_counts_of_one_kind_are_added_up_and_shown_as_a_table(tmp_path: Path) -> None:
    lines = [
        '{"kind": "kill -9: train", "tried": 2, "well": 2, "sentence": 0, "badly": 0, "longest_s": 1.5}',
        '{"kind": "damaged: folds.csv", "tried": 9, "well": 3, "sentence": 5, "badly": 1, "longest_s": 0.1,'
        ' "how": {"KeyError": 1}}',
        '{"kind": "kill -9: train", "tried": 1, "well": 1, "sentence": 0, "badly": 0, "longest_s": 2.5}',
    ]
    (tmp_path / "counts.jsonl").write_text("\n".join(lines))
    counted = reliability.counted(tmp_path / "counts.jsonl")
    assert [(row.kind, row.tried) for row in counted.rows] == [
        ("damaged: folds.csv", 9),
        ("kill -9: train", 3),
    ]
    assert "12 tried, 1 ended badly" in counted.description
    assert "| kill -9: train " in counted.table()


def test_the_page_of_reliability_shows_the_committed_table() -> None:
    page = (REPOSITORY / "docs" / "development" / "reliability.md").read_text(encoding="utf-8")
    assert reliability.read_reliability().table() in reliability.filled_in(page)
