"""Conversion in shards: the stores and lists of one run, whatever was killed or came twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dawnchorus.audio.precompute import PrecomputeSettings, precompute_recordings, verify_stores
from dawnchorus.audio.shard_stores import join_stores, precompute_shard
from dawnchorus.audio.store_layout import StoreSettings
from dawnchorus.errors import RunError
from dawnchorus.files.checked_json import read_checked, write_checked
from dawnchorus.files.shards import SHARDS_NAME, Shard, alone_in

SETTINGS = PrecomputeSettings()


@pytest.fixture
def folder(data_factory: Any) -> Path:
    """Five recordings, one that is nearly silent as a mean, and one that cannot be read."""
    for number in range(5):
        data_factory.tone(f"site_{number % 2}/{number}.flac", 1.0 + number, 700 + 90 * number)
    root = Path(data_factory.root)
    (root / "broken.wav").write_bytes(b"RIFF")
    return root


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


@pytest.mark.parametrize("n_shards", [1, 3, 11])
def test_shards_make_the_stores_and_lists_of_one_run(folder: Path, tmp_path: Path, n_shards: int) -> None:
    whole = precompute_recordings(folder, tmp_path / "whole")
    done = [
        precompute_shard(folder, tmp_path / "out", SETTINGS, Shard(number, n_shards)).n_done
        for number in range(1, n_shards + 1)
    ]
    assert sum(done) == 5
    joined = join_stores(tmp_path / "out")
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    assert (joined.n_done, joined.failures) == (whole.n_done, whole.failures)
    assert joined.hours_done == pytest.approx(whole.hours_done)


def test_a_shard_that_is_done_again_skips_what_it_has(folder: Path, tmp_path: Path) -> None:
    first = precompute_shard(folder, tmp_path / "out", SETTINGS, Shard(1, 2))
    again = precompute_shard(folder, tmp_path / "out", SETTINGS, Shard(1, 2))
    assert (again.n_done, again.n_skipped) == (0, first.n_done)
    with pytest.raises(RunError, match="1 of 2 shards is missing: 2/2; compute it, then join again"):
        join_stores(tmp_path / "out")
    precompute_shard(folder, tmp_path / "out", SETTINGS, Shard(2, 2))
    assert join_stores(tmp_path / "out").n_done == 5
    assert verify_stores(tmp_path / "out").n_whole == 5


def test_other_settings_and_a_shard_at_work_are_refused(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    precompute_shard(folder, out, SETTINGS, Shard(1, 2))
    precompute_shard(folder, out, PrecomputeSettings(StoreSettings(lossless=True)), Shard(2, 2))
    with pytest.raises(RunError, match=r"shards 1 and 2 were computed with another lossless;"):
        join_stores(out)
    with alone_in(out, lock=out / SHARDS_NAME / "lock", shard=Shard(2, 2)):
        with pytest.raises(RunError, match=r"shard 2/2 of .* is being computed by another process"):
            precompute_shard(folder, out, SETTINGS, Shard(2, 2))
        with pytest.raises(RunError, match="is being written by shard 2/2"):
            join_stores(out)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda record: record.clear(), "listing is missing; compute shard 1/1 again"),
        (lambda record: record["job"].clear(), r"1_of_1\.json is damaged.*command is missing"),
        (lambda record: record["job"].update(command="predict"), "command is 'predict', which is not legal"),
        (lambda record: record["content"][2].append(""), "'' names no recording; compute shard 1/1 again"),
        (lambda record: record["content"].pop(), "hours_done is missing|7 is missing|not legal"),
        (lambda record: record["content"].__setitem__(6, -1), "is -1, which is not legal"),
        (lambda record: record["content"].__setitem__(7, float("inf")), "is inf, which is not legal"),
    ],
)
def test_a_record_that_is_damaged_is_refused_in_a_sentence_and_made_anew(
    folder: Path, tmp_path: Path, change: Any, match: str
) -> None:
    out = tmp_path / "out"
    precompute_shard(folder, out, SETTINGS, Shard(1, 1))
    file = out / SHARDS_NAME / "1_of_1.json"
    record = read_checked(file, dict[str, Any])
    assert record is not None
    change(record)
    write_checked(file, record)
    with pytest.raises(RunError, match=match):
        join_stores(out)
    precompute_shard(folder, out, SETTINGS, Shard(1, 1))
    assert len(join_stores(out).failures) == 1
