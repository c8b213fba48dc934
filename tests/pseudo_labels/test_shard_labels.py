"""Pseudo-labels in shards: the table of one job, by all folds and out of fold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dawnchorus.errors import RunError
from dawnchorus.files import read_failures
from dawnchorus.files.shards import Shard
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
    assert joined.facts == {"models": "stub"}
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
