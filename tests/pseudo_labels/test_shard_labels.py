"""Pseudo-labels in shards: the table of one job, by all folds and out of fold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dawnchorus.errors import RunError
from dawnchorus.files import read_failures
from dawnchorus.files.checked_json import read_checked, write_checked
from dawnchorus.files.shards import SHARDS_NAME, Shard
from dawnchorus.predict.postprocess import NEIGHBOUR_KERNEL, PostprocessSettings
from dawnchorus.predict.recording_files import RecordingFiles, find_recordings
from dawnchorus.pseudo_labels.pseudo_label_settings import LabellingSettings
from dawnchorus.pseudo_labels.pseudo_labelling import LabelledPart, fold_parts, label_parts, whole_part
from dawnchorus.pseudo_labels.shard_labels import join_labels, label_shard


@pytest.fixture
def found(data_factory: Any) -> RecordingFiles:
    """Six soundscapes at three sites, and one that cannot be read."""
    for number in range(6):
        data_factory.tone(f"site_{number % 3}/{number}.flac", 2.0 + 3 * number, 700 + 90 * number, 16_000)
    (Path(data_factory.root) / "broken.wav").write_bytes(b"RIFF")
    return find_recordings([str(data_factory.root)])


def parts_of(found: RecordingFiles, card: Any, stub: Any, *, out_of_fold: bool) -> list[LabelledPart]:
    if out_of_fold:
        return fold_parts(lambda fold: stub(card(folds=(fold,)), 4, f"fold {fold}"), [0, 1, 2], found)
    return [whole_part(stub(card()), found)]


@pytest.mark.parametrize("out_of_fold", [False, True])
@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_joined_shards_are_the_table_of_one_job(
    found: RecordingFiles, tmp_path: Path, card: Any, stub: Any, out_of_fold: bool, suffix: str
) -> None:
    postprocess = PostprocessSettings(shift_s=0.5, smoothing=NEIGHBOUR_KERNEL, scale_exponent=0.5)
    tables = [tmp_path / f"{name}{suffix}" for name in ("whole", "joined")]
    whole, shards = (LabellingSettings(table, 0.01, postprocess) for table in tables)
    parts = parts_of(found, card, stub, out_of_fold=out_of_fold)
    made = label_parts(parts, found, tmp_path / "whole", whole)
    for number in (2, 1, 3):
        label_shard(parts, found, tmp_path / "out", shards, Shard(number, 3), facts={"models": "stub"})
    joined = join_labels(tmp_path / "out", tables[1])
    assert tables[0].read_bytes() == tables[1].read_bytes()
    assert made._replace(table=tables[1]) == joined.made
    assert joined.facts == {"models": "stub", "out_of_fold": False, "is_labelled": False}
    assert joined.made.n_rows > 0
    failures = [read_failures(tmp_path / name) for name in ("whole", "out")]
    assert failures[0] == failures[1]
    assert len(failures[0]) == 1


def test_missing_shards_and_shards_of_other_settings_are_refused(
    found: RecordingFiles, tmp_path: Path, card: Any, stub: Any
) -> None:
    table, parts = tmp_path / "round.csv", parts_of(found, card, stub, out_of_fold=False)
    label_shard(parts, found, tmp_path / "out", LabellingSettings(table), Shard(1, 2))
    with pytest.raises(RunError, match="1 of 2 shards is missing: 2/2"):
        join_labels(tmp_path / "out", table)
    label_shard(parts, found, tmp_path / "out", LabellingSettings(table, 0.5), Shard(2, 2))
    with pytest.raises(RunError, match="shards 1 and 2 were computed with another min-prob"):
        join_labels(tmp_path / "out", table)


@pytest.fixture
def predicted(found: RecordingFiles, tmp_path: Path, card: Any, stub: Any) -> Path:
    """A folder with one shard of one."""
    parts = parts_of(found, card, stub, out_of_fold=False)
    label_shard(parts, found, tmp_path / "deep/out", LabellingSettings(tmp_path / "round.csv"), Shard(1, 1))
    return tmp_path / "deep/out"


def changed_record(out: Path, change: Any) -> Path:
    """Change a record, with its digest that of what it becomes."""
    file = out / SHARDS_NAME / "1_of_1.json"
    record = read_checked(file, dict[str, Any])
    assert record is not None
    change(record)
    write_checked(file, record)
    return file


@pytest.mark.parametrize(
    "folder", ["../../escaped", "/escaped", "", ".", "fold_0/..", "fold_0", "all_folds/", "fold_\u0661"]
)
def test_a_folder_that_no_shard_writes_is_refused_and_nothing_is_written(
    predicted: Path, tmp_path: Path, folder: str
) -> None:
    def change(record: Any) -> None:
        record["content"][0]["folder"] = record["job"]["models"][0][0] = folder

    changed_record(predicted, change)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(
        RunError, match=r"1_of_1\.json is damaged.*the folder of a journal is .*, and not all_f"
    ):
        join_labels(predicted, tmp_path / "round.csv", force=True)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_record_cannot_force_what_the_user_does_not(
    found: RecordingFiles, predicted: Path, tmp_path: Path
) -> None:
    def change(record: Any) -> None:
        record["job"]["force"] = True
        record["job"]["shift"] = 0.25

    changed_record(predicted, change)
    (tmp_path / "round.csv").write_text("of a person")
    with pytest.raises(RunError, match="exists; choose another name"):
        join_labels(predicted, tmp_path / "round.csv")
    (tmp_path / "round.csv").unlink()
    entries = sorted((predicted / "all_folds").rglob("*.npz"))
    assert entries
    with pytest.raises(RunError, match="holds predictions made otherwise"):
        join_labels(predicted, tmp_path / "round.csv")
    assert sorted((predicted / "all_folds").rglob("*.npz")) == entries
    changed_record(predicted, lambda record: record["job"].update(shift=None))
    assert join_labels(predicted, tmp_path / "round.csv", force=True).made.n_rows > 0


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda record: record["job"].clear(), r"1_of_1\.json is damaged.*recordings is missing"),
        (lambda record: record["job"].update(command="predict"), "command is 'predict'"),
        (lambda record: record["job"].update({"min-prob": 2}), "min-prob is 2, which is not legal"),
        (lambda record: record["job"].update(smooth=[1.0, 2.0]), "smoothing is .*compute shard 1/1 again"),
        (lambda record: record["job"].update(facts={"models": 3}), "facts.models is 3"),
        (
            lambda record: record["job"].update(models=[["all_folds", "x"]]),
            "shard 1 has other models than its",
        ),
        (lambda record: record["content"].clear(), "shard 1 has other models than its job"),
        (lambda record: record["content"].append(record["content"][0]), "shard 1 has other models than its"),
        (lambda record: record["content"][0].update(fold=-1), "0.fold is -1, which is not legal"),
        (lambda record: record["content"][0].update(calibration={}), "0.calibration.classes is missing"),
        (lambda record: record["content"][0]["content"]["recordings"].clear(), "list none as recordings"),
    ],
)
def test_a_record_that_is_damaged_is_refused_in_a_sentence(
    predicted: Path, tmp_path: Path, change: Any, match: str
) -> None:
    changed_record(predicted, change)
    with pytest.raises(RunError, match=match):
        join_labels(predicted, tmp_path / "round.csv")
