"""A job in shards → the tables of one job, bit for bit; shards killed, missing, doubled and of other jobs."""

from __future__ import annotations

import hashlib
import multiprocessing
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dawnchorus.batch import shard_join, shard_predictions
from dawnchorus.batch.bulk import BulkSettings, predict_bulk
from dawnchorus.batch.journal import JOURNAL_NAME
from dawnchorus.batch.shard_join import PredictedBefore, join_predictions
from dawnchorus.batch.shard_predictions import predict_shard
from dawnchorus.batch.shard_records import PredictJob
from dawnchorus.errors import ConfigError, DawnchorusError, RunError
from dawnchorus.files.checked_json import read_checked, write_checked
from dawnchorus.files.shards import SHARDS_NAME, Shard
from dawnchorus.formats import FORMATS
from dawnchorus.formats.single_tables import CsvWriter
from dawnchorus.models.score_calibration import HeldOut, LabelCalibration, ScoreCalibration
from dawnchorus.predict.detections import DetectionSettings
from dawnchorus.predict.postprocess import PostprocessSettings
from dawnchorus.predict.recording_files import find_recordings

RATE = 16_000
LENGTHS_S = {
    "a_20240501_033000.wav": 7.3,
    "deep/b.flac": 4.0,
    "deep/c.ogg": 0.5,
    "d.wav": 12.2,
    "e.flac": 2.0,
}


@pytest.fixture
def folder(data_factory: Any) -> Path:
    """Five recordings, and one that cannot be read."""
    for number, (name, length_s) in enumerate(LENGTHS_S.items()):
        data_factory.tone(name, length_s, 700 + 90 * number, sample_rate=RATE)
    root = Path(data_factory.root)
    (root / "broken.wav").write_bytes(b"RIFF")
    return root


def settings_of(threshold: float = 0.1, **changes: Any) -> BulkSettings:
    detection = DetectionSettings(np.float32([threshold, 0.3, np.inf]), top_k=2, merge=True)
    return BulkSettings(detection, **{"formats": tuple(FORMATS), "overlap_s": 0.5, **changes})


def shards_of(
    folder: Path, out: Path, engine: Any, n: int, settings: BulkSettings | None = None
) -> list[int]:
    found = find_recordings([str(folder)])
    done = [
        predict_shard(engine, found, out, settings or settings_of(), Shard(number, n))
        for number in range(1, n + 1)
    ]
    return [each.n_new for each in done]


def tables_in(out: Path) -> dict[str, str]:
    """Return a digest of every file below a folder but the journal's."""
    files = (path for path in sorted(out.rglob("*")) if path.is_file())
    digests = {
        path.relative_to(out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files
    }
    return {name: digest for name, digest in digests.items() if not name.startswith(JOURNAL_NAME)}


@pytest.mark.parametrize("n_shards", [1, 2, 9])
def test_joined_shards_are_one_job_bit_for_bit(
    folder: Path, tmp_path: Path, card: Any, stub: Any, n_shards: int
) -> None:
    settings = settings_of(
        postprocess=PostprocessSettings(
            smoothing=(0.25, 0.5, 0.25), overlap_average=False, scale_exponent=0.5
        ),
        with_embeddings=True,
    )
    whole = predict_bulk(stub(card()), find_recordings([str(folder)]), tmp_path / "whole", settings)
    assert sum(shards_of(folder, tmp_path / "out", stub(card()), n_shards, settings)) == len(LENGTHS_S)
    joined = join_predictions(tmp_path / "out")
    assert tables_in(tmp_path / "out") == tables_in(tmp_path / "whole")
    assert len(tables_in(tmp_path / "out")) > len(FORMATS)
    assert [each.path.name for each in joined.failures] == ["broken.wav"]
    assert joined.counts == whole.counts
    assert joined.n_detections > 0


def test_calibrated_scores_are_those_of_one_job(folder: Path, tmp_path: Path, card: Any, stub: Any) -> None:
    classes = [
        LabelCalibration(
            label=label, how="class", n_positive=9, slope=0.7 + number, offset=0.3, knots=((0, 1), (1, 3))
        )
        for number, label in enumerate(card().labels)
    ]
    counts = {"n_recordings": 9, "n_parts": 3, "n_positive": 9, "n_above": 9, "n_right": 9}
    engine = stub(card())
    engine.calibration = ScoreCalibration(
        classes=tuple(classes),
        threshold=1 / 3,
        aim="best F1",
        folds_together=False,
        weights={},
        held_out=HeldOut(by="fold", ece=0.02, raw_ece=0.1, **counts),
    )
    found = find_recordings([str(folder)])
    predict_bulk(engine, found, tmp_path / "whole", settings_of())
    predict_bulk(stub(card()), found, tmp_path / "raw", settings_of())
    shards_of(folder, tmp_path / "out", engine, 2)
    join_predictions(tmp_path / "out")
    assert tables_in(tmp_path / "out") == tables_in(tmp_path / "whole")
    assert tables_in(tmp_path / "out") != tables_in(tmp_path / "raw")


def test_a_region_is_joined_by_the_command_itself() -> None:
    with pytest.raises(RunError, match=r"predicted with a region, .* without --shard in place"):
        shard_join._own_parts(PredictJob.model_construct(region="3f9a"), [], None)


def test_join_needs_neither_model_nor_recordings_and_can_be_repeated(
    folder: Path, tmp_path: Path, card: Any, stub: Any
) -> None:
    shards_of(folder, tmp_path / "out", stub(card()), 2)
    predict_bulk(stub(card()), find_recordings([str(folder)]), tmp_path / "whole", settings_of())
    shutil.move(folder, tmp_path / "elsewhere")
    for _ in range(2):
        join_predictions(tmp_path / "out")
        assert tables_in(tmp_path / "out") == tables_in(tmp_path / "whole")


def test_the_whole_job_goes_on_from_what_shards_have_predicted(
    folder: Path, tmp_path: Path, card: Any, stub: Any
) -> None:
    found, engine = find_recordings([str(folder)]), stub(card())
    done = predict_shard(engine, found, tmp_path / "out", settings_of(), Shard(1, 2))
    made = predict_bulk(engine, found, tmp_path / "out", settings_of())
    assert made.n_new == len(LENGTHS_S) - done.n_new
    assert 0 < done.n_new < len(LENGTHS_S)


def test_shards_take_each_recording_once_and_about_as_many_bytes() -> None:
    rng = np.random.default_rng(0)
    sizes = {f"{number}.wav": int(size) for number, size in enumerate(rng.integers(1, 10**6, 1000))}
    parts = [Shard(number, 7).of(sizes) for number in range(1, 8)]
    assert sorted(name for part in parts for name in part) == sorted(sizes)
    loads = [sum(sizes[name] for name in part) for part in parts]
    assert max(loads) - min(loads) <= 10**6
    shuffled = dict(sorted(sizes.items(), key=lambda item: hash(item)))
    assert set(Shard(3, 7).of(shuffled)) == set(parts[2])


def test_missing_shards_are_named(folder: Path, tmp_path: Path, card: Any, stub: Any) -> None:
    found = find_recordings([str(folder)])
    with pytest.raises(RunError, match="holds no shards that have ended"):
        join_predictions(tmp_path / "out")
    for number in (1, 4):
        predict_shard(stub(card()), found, tmp_path / "out", settings_of(), Shard(number, 6))
    with pytest.raises(RunError, match="4 of 6 shards are missing: 2-3, 5-6; compute them, then join again"):
        join_predictions(tmp_path / "out")


def test_shards_of_another_listing_or_of_other_settings_are_refused(
    folder: Path, tmp_path: Path, card: Any, stub: Any, data_factory: Any
) -> None:
    found, out = find_recordings([str(folder)]), tmp_path / "out"
    predict_shard(stub(card()), found, out, settings_of(), Shard(1, 2))
    predict_shard(stub(card()), found, out, settings_of(0.7), Shard(2, 2))
    with pytest.raises(RunError, match="shards 1 and 2 were computed with another threshold;"):
        join_predictions(out)
    data_factory.tone("f.wav", 1.0, sample_rate=RATE)
    predict_shard(stub(card()), find_recordings([str(folder)]), out, settings_of(), Shard(2, 2))
    with pytest.raises(RunError, match="shards 2 list other recordings, or recordings of other sizes, than"):
        join_predictions(out)
    predict_shard(stub(card()), found, out, settings_of(), Shard(1, 3))
    with pytest.raises(RunError, match="holds shards of 2 and of 3; delete the outdated"):
        join_predictions(out)


def test_a_shard_of_another_model_is_refused(folder: Path, tmp_path: Path, card: Any, stub: Any) -> None:
    found = find_recordings([str(folder)])
    predict_shard(stub(card()), found, tmp_path / "out", settings_of(), Shard(1, 2))
    with pytest.raises(RunError, match="holds predictions made otherwise"):
        predict_shard(stub(card(), 4, "another"), found, tmp_path / "out", settings_of(), Shard(2, 2))


def test_lost_entries_are_named_with_their_shard(folder: Path, tmp_path: Path, card: Any, stub: Any) -> None:
    shards_of(folder, tmp_path / "out", stub(card()), 1)
    next((tmp_path / "out" / JOURNAL_NAME).glob("??/*.npz")).unlink()
    with pytest.raises(RunError, match=r"has lost 1 recording: .*; compute shard 1 again"):
        join_predictions(tmp_path / "out")


def test_a_shard_that_fails_midway_goes_on(
    folder: Path, tmp_path: Path, card: Any, stub: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, out = find_recordings([str(folder)]), tmp_path / "out"

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shard_predictions, "content_of", killed)
        with pytest.raises(KeyboardInterrupt):
            predict_shard(stub(card()), found, out, settings_of(), Shard(1, 1))
    with pytest.raises(RunError, match="holds no shards that have ended"):
        join_predictions(out)
    engine = stub(card())
    assert predict_shard(engine, found, out, settings_of(), Shard(1, 1)).n_new == 0
    predict_bulk(engine, found, tmp_path / "whole", settings_of())
    join_predictions(out)
    assert tables_in(out) == tables_in(tmp_path / "whole")


def test_one_shard_twice_at_once_and_the_whole_job_beside_a_shard_are_refused(
    folder: Path, tmp_path: Path, card: Any, stub: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, out = find_recordings([str(folder)]), tmp_path / "out"
    original, refused = shard_predictions.content_of, []

    def meanwhile(*given: Any) -> Any:
        for match, again in (
            ("shard 1/2 of .* is being computed by another process", lambda: at(1)),
            ("is being written by shard 1/2", lambda: predict_bulk(stub(card()), found, out, settings_of())),
        ):
            with pytest.raises(RunError, match=match):
                again()
            refused.append(match)
        monkeypatch.setattr(shard_predictions, "content_of", original)
        at(2)
        return original(*given)

    def at(number: int) -> None:
        predict_shard(stub(card()), found, out, settings_of(), Shard(number, 2))

    monkeypatch.setattr(shard_predictions, "content_of", meanwhile)
    at(1)
    assert len(refused) == 2
    assert join_predictions(out).n_recordings == len(LENGTHS_S)


def _predict(folder: Path, out: Path, engine: Any, number: int) -> None:
    predict_shard(engine, find_recordings([str(folder)]), out, settings_of(), Shard(number, 3))


def test_shards_of_several_processes_at_once_are_one_job(
    folder: Path, tmp_path: Path, card: Any, stub: Any
) -> None:
    at_once = multiprocessing.get_context("fork")
    works = [
        at_once.Process(target=_predict, args=(folder, tmp_path / "out", stub(card()), number))
        for number in (1, 2, 3)
    ]
    for work in works:
        work.start()
    for work in works:
        work.join()
    assert [work.exitcode for work in works] == [0, 0, 0]
    join_predictions(tmp_path / "out")
    predict_bulk(stub(card()), find_recordings([str(folder)]), tmp_path / "whole", settings_of())
    assert tables_in(tmp_path / "out") == tables_in(tmp_path / "whole")


def test_own_code_is_run_only_where_it_is_named(folder: Path, tmp_path: Path, card: Any, stub: Any) -> None:
    class OwnWriter(CsvWriter):
        """Writes what the CSV writer does."""

        goal = "own.csv"

    found, out = find_recordings([str(folder)]), tmp_path / "out"
    predict_shard(stub(card()), found, out, settings_of(formats=(OwnWriter,)), Shard(1, 1))
    with pytest.raises(ConfigError, match=r"with .*OwnWriter, code of your own, .* join with --format"):
        join_predictions(out)
    assert "own.csv" in {path.name for path in join_predictions(out, formats=[OwnWriter]).paths.values()}


@pytest.mark.parametrize("text", ["0/4", "5/4", "3", "-1/4", "a/b", "3/0"])
def test_a_shard_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"the shard is '.*'; legal: 1/"):
        Shard.parse(text)


def test_a_model_without_its_networks_predicts_nothing(card: Any) -> None:
    engine = PredictedBefore(card(), "stub")
    with pytest.raises(RunError, match="only what it has predicted is here"):
        engine.predict(np.zeros((1, engine.card.n_samples), np.float32))


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (
            lambda record: record["job"].clear(),
            r"1_of_1\.json is damaged.*recordings is missing; compute shard",
        ),
        (lambda record: record["job"].pop("region"), "region is missing"),
        (lambda record: record["job"].update(formats=[3]), "formats.0 is 3, which is not legal"),
        (
            lambda record: record["job"].update(formats=["x" * 10_000]),
            "formats.0 is 'xx.*, which is not legal",
        ),
        (
            lambda record: record["job"].update(formats=["owls"]),
            "not legal: .*owls.*compute all shards again",
        ),
        (lambda record: record["job"].update(command="precompute"), "command is 'precompute'"),
        (
            lambda record: record["job"].update(threshold=["nan"] * 3),
            "threshold.0 is 'nan'|a threshold is nan",
        ),
        (
            lambda record: record["job"].update(threshold=["1e308"] * 3),
            "a threshold is 1e\\+308; compute shard",
        ),
        (lambda record: record["job"].update(threshold=["0.5"]), "1 thresholds for 3 classes"),
        (lambda record: record["job"].update(overlap=float("inf")), "overlap is inf, which is not legal"),
        (lambda record: record["job"].update(overlap=1e9), "settings that are not legal: an overlap of"),
        (lambda record: record["job"].update({"top-k": 0}), "top_k is 0; it must be 1 or more"),
        (lambda record: record["job"].update(species=["emu"]), "does not know the species emu"),
        (lambda record: record["job"].update({"time zone": "Mars"}), "not legal: .*Mars"),
        (lambda record: record["job"].update(calibration={"a": 1}), "calibration.classes is missing"),
        (lambda record: record["job"].update(card="{}"), "the model card in"),
        (lambda record: record["content"].pop("index"), "index is missing"),
        (lambda record: record["content"]["recordings"].clear(), "list none as recordings"),
        (lambda record: record.clear(), "listing is missing; compute shard 1/1 again"),
        (lambda record: record.update(job=[]), r"job is \[\], which is not legal"),
    ],
)
def test_a_record_that_is_damaged_is_refused_in_a_sentence(
    folder: Path, tmp_path: Path, card: Any, stub: Any, change: Any, match: str
) -> None:
    shards_of(folder, tmp_path / "out", stub(card()), 1)
    file = tmp_path / "out" / JOURNAL_NAME / SHARDS_NAME / "1_of_1.json"
    record = read_checked(file, dict[str, Any])
    assert record is not None
    change(record)
    write_checked(file, record)
    with pytest.raises(DawnchorusError, match=match):
        join_predictions(tmp_path / "out")


def test_a_record_cannot_force_what_the_user_does_not(
    folder: Path, tmp_path: Path, card: Any, stub: Any
) -> None:
    out = tmp_path / "out"
    shards_of(folder, out, stub(card()), 1)
    file = out / JOURNAL_NAME / SHARDS_NAME / "1_of_1.json"
    record = read_checked(file, dict[str, Any])
    assert record is not None
    assert "force" not in record["job"]
    write_checked(file, record | {"job": record["job"] | {"force": True}})
    (out / "detections.csv").write_text("of a person")
    with pytest.raises(RunError, match=r"detections\.csv exists; choose another name"):
        join_predictions(out)
    assert (out / "detections.csv").read_text() == "of a person"
    join_predictions(out, force=True)


def test_files_that_no_shard_writes_are_passed_over(
    folder: Path, tmp_path: Path, card: Any, stub: Any
) -> None:
    out = tmp_path / "out"
    shards_of(folder, out, stub(card()), 1)
    shards = out / JOURNAL_NAME / SHARDS_NAME
    for name in ("0_of_0", "0_of_1", "2_of_1", "1_of_999999999", "01_of_1", "1_of_\u0661"):
        shutil.copy(shards / "1_of_1.json", shards / f"{name}.json")
    assert join_predictions(out).n_recordings == len(LENGTHS_S)
    (shards / "1_of_1.json").rename(shards / "1_of_999999.json")
    with pytest.raises(RunError, match="999998 of 999,999 shards are missing"):
        join_predictions(out)
    (shards / "1_of_999999.json").unlink()
    with pytest.raises(RunError, match="holds no shards that have ended"):
        join_predictions(out)
