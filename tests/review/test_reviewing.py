"""Reviews in Python: queues, answers that are never lost or overwritten, and the tables that follow."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile

import dawnchorus as dc
from dawnchorus.cli import main
from dawnchorus.errors import AudioError, ConfigError, DataError, ModelError, UnsafePathError
from dawnchorus.formats.detection_tables import read_detections
from dawnchorus.models.reviewed_calibration import ReviewedCalibration
from dawnchorus.predict.thresholds import read_thresholds
from dawnchorus.review.answer_store import AnswerStore, Box
from dawnchorus.review.clip_order import Queue, ordered_clips
from dawnchorus.review.clip_spectrograms import clip_spectrogram
from dawnchorus.review.review_results import write_results
from dawnchorus.review.reviewing import Review, open_review
from dawnchorus.review.training_data import write_training_data

Truth = tuple[Path, pd.DataFrame]


@pytest.fixture
def review(predictions: Path, soundscapes: Truth) -> Review:
    return open_review(predictions, soundscapes[0])


def answer_all(review: Review, truth: pd.DataFrame, reviewer: str = "Ada") -> None:
    """Answer every clip with the truth."""
    sings = truth.set_index(["filename", "start_s"])["species"]
    for clip, row in review.queue("time").iterrows():
        species = sings[row["filename"], row["start_s"]]
        is_right = species == row["label"]
        review.answer(int(clip), reviewer, "yes" if is_right else "no", heard=() if is_right else (species,))


def test_three_lines_give_the_queue_the_answers_and_the_thresholds(
    predictions: Path, soundscapes: Truth
) -> None:
    with dc.open_review(predictions, soundscapes[0]) as review:
        assert list(review.queue("surest").columns[:4]) == ["filename", "start_s", "end_s", "label"]
        answer_all(review, soundscapes[1])
        assert len(review.answers()) == 40
        assert {line.label for line in review.thresholds(0.9)} == {"owl", "robin", "wren"}


@pytest.mark.parametrize(("order", "key"), [("surest", lambda p: -p), ("doubtful", lambda p: abs(p - 0.5))])
def test_surest_and_doubtful_are_in_order_within_each_species(review: Review, order, key) -> None:
    for _, clips in review.queue(order).groupby("label", sort=False):
        assert clips["probability"].map(key).is_monotonic_increasing
    assert review.queue(order, species="owl")["label"].unique().tolist() == ["owl"]
    assert {name.split("/")[0] for name in review.queue(order, site="wood")["filename"]} == {"wood"}


def test_strata_take_as_many_of_each_tenth_of_the_scale_as_there_are() -> None:
    rng = np.random.default_rng(0)
    pool = pd.DataFrame(
        {"filename": "a.wav", "start_s": np.arange(3000.0), "probability": rng.beta(1, 3, 3000)}
    )
    pool = pool.assign(end_s=pool["start_s"] + 1, label="owl", channel=0)
    chosen = pool.loc[ordered_clips(pool, Queue("strata", per_species=96))]
    counts = (chosen["probability"] * 10).astype(int).value_counts()
    assert len(chosen) == 96
    assert counts.drop(9, errors="ignore").between(9, 13).all()
    assert abs(np.corrcoef(np.arange(96), chosen["probability"])[0, 1]) < 0.35


def test_random_clips_have_the_pools_share_of_each_species() -> None:
    pool = pd.DataFrame(
        {"filename": "a.wav", "start_s": np.arange(5000.0), "label": ["owl"] * 4500 + ["wren"] * 500}
    )
    pool = pool.assign(end_s=pool["start_s"] + 1, channel=0, probability=0.7)
    first = pool.loc[ordered_clips(pool, Queue("random"))[:1000]]
    assert (first["label"] == "owl").mean() == pytest.approx(0.9, abs=0.03)


def test_similar_clips_come_by_the_embedding_of_their_windows(review: Review, soundscapes: Truth) -> None:
    like = int(review.queue("time").index[0])
    sings = soundscapes[1].set_index(["filename", "start_s"])["species"]
    same = sings[tuple(review.clip(like)[["filename", "start_s"]])]
    found = review.queue("similar", like=like)
    heard = [sings[name, start] for name, start in zip(found["filename"], found["start_s"], strict=True)]
    n_same = heard.count(same)
    assert heard[:n_same] == [same] * n_same
    assert like not in found.index


def test_a_table_of_clips_is_reviewed_in_its_order_and_changes_no_precision(
    predictions: Path, soundscapes: Truth, tmp_path: Path
) -> None:
    table = pd.DataFrame({"recording": ["wood/d.wav", "meadow/a.wav"], "start_s": [3.0, 1.0], "score": 0.9})
    table = table.assign(end_s=table["start_s"] + 2, species=["owl", ""])
    for name, write in (("found.csv", table.to_csv), ("found.parquet", table.to_parquet)):
        write(tmp_path / name, index=False)
        with open_review(predictions, soundscapes[0], table=tmp_path / name) as review:
            queue = review.queue("table")
            assert queue[["filename", "label"]].values.tolist() == [
                ["wood/d.wav", "owl"],
                ["meadow/a.wav", ""],
            ]
    with open_review(predictions, soundscapes[0], table=tmp_path / "found.csv") as review:
        for clip in review.queue("table").index:
            review.answer(clip, "Ada", "no", heard=("wren",), queue=Queue("table"))
        assert len(review.counted()) == 0
        assert len(write_training_data(review, tmp_path / "training").failures) == 0
        rows = pd.read_csv(tmp_path / "training" / "recordings.csv", keep_default_na=False)
        assert rows["known_labels"].tolist() == ['["wren"]', '["wren", "owl"]']


def test_windows_below_the_threshold_can_be_reviewed_too(predictions: Path, soundscapes: Truth) -> None:
    with open_review(predictions, soundscapes[0], min_probability=0.02) as review:
        assert len(review.pool) > 80
    with pytest.raises(ConfigError, match="min_probability is 2; legal: 0 to 1"):
        open_review(predictions, soundscapes[0], min_probability=2)


def test_answers_survive_a_process_that_is_killed(predictions: Path, soundscapes: Truth) -> None:
    code = (
        "import sys, os, dawnchorus as dc\n"
        "review = dc.open_review(sys.argv[1], sys.argv[2])\n"
        "for clip in review.queue('surest').index[:5]:\n"
        "    review.answer(clip, 'Ada', 'yes')\n"
        "os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", code, predictions, soundscapes[0]], check=False)
    with open_review(predictions, soundscapes[0]) as review:
        assert len(review.answers()) == 5
        assert len(review.queue("surest")) == 35


def test_an_answer_that_is_taken_back_leaves_the_clip_open_and_its_row_in_the_file(review: Review) -> None:
    clip = int(review.queue("surest").index[0])
    review.answer(clip, "Ada", "yes", session="one")
    assert review.store.withdraw_last("Ada", "one") == clip
    assert clip in review.queue("surest").index
    assert review.answers().empty
    assert review.store.n_rows() == 2
    assert review.store.withdraw_last("Ada", "one") is None


def test_two_sessions_are_given_different_clips_and_overwrite_nothing(review: Review) -> None:
    order = review.queue("surest").index.tolist()
    assert review.store.lease(order, "one", 3) == order[:3]
    assert review.store.lease(order, "two", 3) == order[3:6]
    review.store.release("one", but=order[:1])
    assert review.store.lease(order, "two", 9)[:2] == order[1:3]
    review.answer(order[0], "Ada", "yes")
    review.answer(order[0], "Bea", "no", heard=("wren",))
    assert review.answers().loc[order[0], "verdict"].tolist() == ["yes", "no"]


def test_many_threads_and_two_processes_files_lose_no_answer(review: Review, soundscapes: Truth) -> None:
    other = Review(review.pool.reset_index(drop=True), review.folder, soundscapes[0])
    clips = review.queue("time").index.tolist()

    def work(which: Review, reviewer: str) -> None:
        for clip in clips:
            which.answer(clip, reviewer, "yes")

    threads = [threading.Thread(target=work, args=(r, f"{n}")) for n, r in enumerate([review, other, review])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(review.answers()) == len(other.answers()) == 3 * len(clips)


def test_conflicts_are_shown_until_a_reviewer_gives_way(review: Review) -> None:
    clip = int(review.queue("surest").index[0])
    review.answer(clip, "Ada", "yes")
    assert review.queue("second", reviewer="Bea").index.tolist() == [clip]
    assert review.queue("second", reviewer="Ada").empty
    review.answer(clip, "Bea", "no")
    assert review.conflicts().index.tolist() == [clip]
    assert review.queue("conflicts", reviewer="Ada").index.tolist() == [clip]
    assert review.queue("conflicts", reviewer="Bea").empty
    assert len(review.counted()) == 0
    review.answer(clip, "Ada", "no")
    assert review.conflicts().empty
    assert review.counted()["is_right"].tolist() == [False]


def test_answers_to_clips_of_earlier_predictions_are_kept(predictions: Path, soundscapes: Truth) -> None:
    with open_review(predictions, soundscapes[0]) as review:
        answer_all(review, soundscapes[1])
    table = predictions / "detections.csv"
    pd.read_csv(table).iloc[:10].assign(probability=0.99).to_csv(table, index=False)
    with open_review(predictions, soundscapes[0]) as review:
        assert len(review.answers()) == 40
        assert len(review.counted()) == 10
        assert review.counted()["probability"].eq(0.99).all()


def test_results_are_read_back_as_tables_and_thresholds(review: Review, soundscapes: Truth) -> None:
    answer_all(review, soundscapes[1])
    written = write_results(review, precision=0.9, formats="csv,raven,audacity")
    truth = soundscapes[1].sort_values(["filename", "start_s"])
    for name in ("raven", "audacity"):
        found = read_detections(review.folder / "verified" / name, soundscapes[0])
        found = found.sort_values(["filename", "start_s"])
        assert found["label"].tolist() == truth["species"].tolist()
        assert found["filename"].tolist() == truth["filename"].tolist()
    assert written.n_confirmed == 40
    labels = ["owl", "robin", "wren", "cuckoo"]
    thresholds = read_thresholds(review.folder / "thresholds.csv", labels)
    assert thresholds[3] == 0.5
    own = {line.label: line.threshold for line in review.thresholds(0.9)}
    assert thresholds[:3].tolist() == [pytest.approx(own[label]) for label in labels[:3]]
    answers = pd.read_csv(review.folder / "answers.csv")
    assert [json.loads(cell) for cell in answers["heard"]] == [list(h) for h in review.answers()["heard"]]


def test_training_data_hold_the_truth_negatives_and_boxes(
    review: Review, soundscapes: Truth, tmp_path: Path
) -> None:
    answer_all(review, soundscapes[1])
    clips = review.queue("time", species="none").index  # nothing is left
    assert len(clips) == 0
    yes = review.answers().query("verdict == 'yes'").index[0]
    no = review.answers().query("verdict == 'no'").index[0]
    row = review.clip(yes)
    box = Box(row["start_s"] + 0.5, row["start_s"] + 1.5, 500.0, 900.0, row["label"])
    review.answer(yes, "Ada", "yes", boxes=[box])
    review.answer(no, "Ada", "no", heard=("nocall",))
    made = write_training_data(review, tmp_path / "training")
    assert (made.n_clips, made.n_negative) == (40, 1)
    loaded = dc.load_recordings(made.folder).table.set_index("source")
    assert loaded["boxes"].dropna().tolist() == [((0.5, 1.5, row["label"]),)]
    (silent,) = loaded.index[loaded["primary_label"] == "nocall"]
    assert silent == review.clip(no)["filename"]
    assert loaded.groupby(level=0)["site"].nunique().eq(1).all()
    assert set(loaded["site"]) == {"meadow", "wood"}
    wave, rate = soundfile.read(made.folder / loaded["filename"].iloc[0])
    whole, _ = soundfile.read(soundscapes[0] / loaded.index[0])
    first = round(float(loaded["source_start_s"].iloc[0]) * rate)
    assert np.array_equal(wave, whole[first : first + 2 * rate])


def test_species_nobody_asked_about_are_unknown_in_training(review: Review, tmp_path: Path) -> None:
    clip = int(review.queue("surest", species="owl").index[0])
    review.answer(clip, "Ada", "no", heard=("wren",))
    made = write_training_data(review, tmp_path / "training")
    table = dc.load_recordings(made.folder).table
    dataset = dc.WaveDataset(table, ["owl", "robin", "wren"], {"segment_len": 1.0, "sample_rate": 16_000})
    assert dataset[0].target.tolist() == [0, -1, 1]
    write_training_data(review, tmp_path / "absent", others="absent")
    table = dc.load_recordings(tmp_path / "absent").table
    dataset = dc.WaveDataset(table, ["owl", "robin", "wren"], {"segment_len": 1.0, "sample_rate": 16_000})
    assert dataset[0].target.tolist() == [0, 0, 1]


def test_an_excerpt_is_the_recordings_sound_with_context(review: Review, soundscapes: Truth) -> None:
    clip = int(review.queue("time").index[3])
    found = review.excerpt(clip)
    whole, rate = soundfile.read(soundscapes[0] / review.clip(clip)["filename"], dtype="float32")
    first, stop = round(found.start_s * rate), round(found.end_s * rate)
    assert (found.start_s, found.end_s) == (3.0, 11.0)
    assert np.array_equal(found.wave, whole[first:stop])
    levels, high_hz = clip_spectrogram(found.wave, rate)
    assert levels.shape[0] * levels.shape[1] > 10_000
    assert high_hz == rate / 2


def test_a_recording_that_is_gone_or_elsewhere_is_told_in_a_sentence(tmp_path: Path) -> None:
    rows = "gone.wav,0.0,5.0,owl,0.9\n../secret.wav,0.0,5.0,owl,0.9\n"
    (tmp_path / "detections.csv").write_text("filename,start_s,end_s,label,probability\n" + rows)
    with open_review(tmp_path, tmp_path) as review:
        gone, secret = review.queue("time").index[::-1]
        with pytest.raises(AudioError, match=r"gone\.wav"):
            review.excerpt(gone)
        with pytest.raises(UnsafePathError, match=r"names '\.\./secret\.wav', which does not lie below"):
            review.excerpt(secret)


def test_mistakes_are_told_in_a_sentence(review: Review, soundscapes: Truth, tmp_path: Path) -> None:
    clip = int(review.queue().index[0])
    for arguments, error, message in (
        ((clip, " ", "yes"), ConfigError, "needs the name of its reviewer"),
        ((clip, "Ada", "perhaps"), ConfigError, "verdict is 'perhaps'; legal: yes, no, unsure, withdrawn"),
        ((99_999, "Ada", "yes"), DataError, "there is no clip 99999"),
    ):
        with pytest.raises(error, match=message):
            review.answer(*arguments)
    with pytest.raises(ConfigError, match="a species that was heard is empty"):
        review.answer(clip, "Ada", "no", heard=(" ",))
    with pytest.raises(ConfigError, match="order='best' is not known; choose one of surest"):
        review.queue("best")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="the order similar needs a clip to be like"):
        review.queue("similar")
    with pytest.raises(DataError, match="opened without a table of clips"):
        review.queue("table")
    with pytest.raises(DataError, match="no answer yet to train on"):
        write_training_data(review, tmp_path / "training")
    with pytest.raises(DataError, match="precision is 2; legal: above 0"):
        review.thresholds(2)
    with pytest.raises(DataError, match="no such folder; name the folder of the recordings"):
        open_review(tmp_path, tmp_path / "nowhere")
    (tmp_path / "bad.csv").write_text("filename,start_s\na.wav,0\n")
    with pytest.raises(DataError, match=r"bad\.csv has no column end_s, label; a queue is a table"):
        open_review(review.folder.parent, soundscapes[0], table=tmp_path / "bad.csv")


def test_a_file_that_is_no_answers_and_one_of_a_later_version_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.sqlite").write_text("not a database, but long enough to be looked at " * 40)
    with pytest.raises(DataError, match="cannot be opened as the answers of a review"):
        AnswerStore(tmp_path / "text.sqlite")
    AnswerStore(tmp_path / "later.sqlite").close()
    with sqlite3.connect(tmp_path / "later.sqlite") as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(DataError, match="of a later version of dawnchorus"):
        AnswerStore(tmp_path / "later.sqlite")


def test_what_only_people_have_heard_has_the_models_score_or_none(review: Review, predictions: Path) -> None:
    row = review.clip(int(review.queue("surest", species="owl").index[0]))
    clip = int(row.name)  # type: ignore[arg-type]
    review.species.add("cuckoo")
    review.answer(clip, "Ada", "no", heard=("wren", "cuckoo"))
    found = pd.read_csv(write_results(review).folder / "verified" / "detections.csv").set_index("label")
    windows = pd.read_parquet(predictions / "windows.parquet").set_index(["filename", "start_s"])
    said = windows.loc[(row["filename"], row["start_s"]), "wren"]
    assert found.loc["wren", "probability"] == pytest.approx(said, abs=1e-4)
    assert np.isnan(found.loc["cuckoo", "probability"])
    assert "cuckoo" not in set(review.counted()["label"])


def test_a_clip_of_a_table_has_no_part_in_thresholds(
    predictions: Path, soundscapes: Truth, tmp_path: Path
) -> None:
    table = tmp_path / "queue.csv"
    table.write_text("filename,start_s,end_s,label\nmeadow/a.wav,1.0,3.0,wren\n")
    with open_review(predictions, soundscapes[0], table=table) as review:
        (clip,) = review.queue("table").index
        review.answer(int(clip), "Ada", "yes", queue=Queue("table"))
        found = pd.read_csv(write_results(review).folder / "verified" / "detections.csv")
        windows = review.scores_of(int(clip))
        assert found["probability"].tolist() == [pytest.approx(windows["wren"], abs=1e-4)]
        assert review.counted().empty


def test_a_selection_that_a_person_has_drawn_is_no_score_of_one(tmp_path: Path) -> None:
    (tmp_path / "detections.csv").write_text(
        "filename,start_s,end_s,label,probability\na.wav,0.0,5.0,owl,\na.wav,5.0,10.0,owl,0.7\n"
    )
    with open_review(tmp_path, tmp_path) as review:
        assert review.pool["probability"].isna().tolist() == [True, False]


@pytest.mark.parametrize("exact", np.float32([0.79996, 0.849953, 0.5000499]))
def test_the_clip_that_sets_a_threshold_is_detected_with_it(exact: np.float32, tmp_path: Path) -> None:
    scores = [round(float(exact), 4), *np.linspace(0.9, 0.99, 12).round(4)]
    rows = pd.DataFrame({"filename": "a.wav", "start_s": 5.0 * np.arange(13), "label": "owl"})
    rows = rows.assign(end_s=rows["start_s"] + 5, probability=scores)
    rows.to_csv(tmp_path / "detections.csv", index=False)
    with open_review(tmp_path, tmp_path) as review:
        for clip in review.queue("time").index:
            review.answer(int(clip), "Ada", "yes")
        write_results(review)
    (threshold,) = read_thresholds(tmp_path / "review" / "thresholds.csv", ["owl"])
    assert exact >= threshold
    assert float(exact) - threshold < 2e-4


def test_confirmed_detections_keep_time_site_and_names(predictions: Path, soundscapes: Truth) -> None:
    table = pd.read_csv(predictions / "detections.csv")
    began = pd.Timestamp("2024-05-04T22:00:00") + pd.to_timedelta(table["start_s"], unit="s")
    table = table.assign(time=began.dt.strftime("%Y-%m-%dT%H:%M:%S"), common_name=table["label"].str.upper())
    table.to_csv(predictions / "detections.csv", index=False)
    with open_review(predictions, soundscapes[0]) as review:
        row = review.queue("time").iloc[3]
        review.answer(int(row.name), "Ada", "yes")
        (found,) = pd.read_csv(write_results(review).folder / "verified" / "detections.csv").to_dict(
            "records"
        )
    assert found["time"] == f"2024-05-04T22:00:{int(row['start_s']):02}.000"
    assert (found["site"], found["common_name"]) == ("meadow", row["label"].upper())


def test_folder_of_recordings_and_plausible_species_are_those_of_predict(
    predictions: Path, soundscapes: Truth
) -> None:
    note = {"made": {"folder of recordings": str(soundscapes[0]), "plausible species": ["owl", "robin"]}}
    (predictions / "predictions.json").write_text(json.dumps(note))
    with open_review(predictions) as review:
        assert review.audio_dir == soundscapes[0]
        clip = int(review.queue("surest", species="owl").index[0])
        assert review.suggestions(clip) == ["robin"]
        assert set(review.labels) == {"owl", "robin", "wren"}


def test_the_answers_calibrate_the_model_that_was_reviewed(
    exported: Any, soundscapes: Truth, tmp_path: Path
) -> None:
    model = dc.load_model(exported.onnx, calibrated=False, n_threads=1)
    label = model.labels[0]
    rng = np.random.default_rng(0)
    scores = rng.uniform(0.05, 0.95, 60).round(4)
    rows = pd.DataFrame({"filename": "meadow/a.wav", "start_s": 0.1 * np.arange(60), "label": label})
    rows.assign(end_s=rows["start_s"] + 1, probability=scores).to_csv(
        tmp_path / "detections.csv", index=False
    )
    with open_review(tmp_path, soundscapes[0]) as review:
        for clip, row in review.pool.iterrows():
            review.answer(int(clip), "Ada", "yes" if rng.random() < row["probability"] ** 2 else "no")
        (curve,) = review.calibration()
        files = write_results(review).files
    (reviewed,) = [path for path in files if path.name == "reviewed_calibration.json"]
    corrected = dc.load_model(exported.onnx, calibrated=False, reviewed=reviewed, n_threads=1)
    before = model.predict(soundscapes[0] / "meadow" / "a.wav").probabilities
    after = corrected.predict(soundscapes[0] / "meadow" / "a.wav").probabilities
    expected = [curve.probability(float(score)) for score in before[:, 0]]
    np.testing.assert_allclose(after[:, 0], expected, atol=1e-3)
    np.testing.assert_allclose(after[:, 1:], before[:, 1:], atol=1e-6)


def test_a_named_model_may_show_its_frames_and_another_word_may_not(
    predictions: Path, soundscapes: Truth, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["review", str(predictions), "--audio", str(soundscapes[0]), "--write", "--model"]
    for model, code, text in (
        ("birdnet", 0, "0 clips with an answer"),
        ("nothing", 1, "nothing is no model"),
    ):
        with pytest.raises(SystemExit) as ended:
            main([*arguments, model])
        output = capsys.readouterr()
        assert (ended.value.code, text in output.out + output.err) == (code, True)


def test_a_handful_of_answers_is_said_to_be_one_and_leaves_the_calibration_out(
    predictions: Path, soundscapes: Truth, capsys: pytest.CaptureFixture[str]
) -> None:
    with open_review(predictions, soundscapes[0]) as review:
        for clip in review.queue("surest", species="owl").index[:5]:
            review.answer(int(clip), "Ada", "yes")
        pooled = review.thresholds(0.9)[0]
    with pytest.raises(SystemExit) as ended:
        main(["review", str(predictions), "--audio", str(soundscapes[0]), "--write"])
    said = " ".join(capsys.readouterr().out.split())
    assert ended.value.code == 0
    assert "5 clips with an answer, 5 detections confirmed. 3 of 3 species have one pooled threshold" in said
    assert "which rests on 5 answers to all species together" in said
    assert "reviewed_calibration.json was left out: no species has 10 answers with right and wrong" in said
    assert "(most has owl, 5 right and 0 wrong)" in said
    table = pd.read_csv(predictions / "review" / "thresholds.csv").set_index("label")
    assert table["n_answers"].tolist() == [5, 5, 5, 0]
    assert table.loc["wren", ["low", "high"]].tolist() == pytest.approx([pooled.low, pooled.high], abs=1e-4)
    assert 0.2 < pooled.low < pooled.high <= 1
    assert read_thresholds(predictions / "review" / "thresholds.csv", ["owl", "emu"])[1] == 0.5


def test_a_calibration_that_is_not_there_is_said_to_need_ten_answers(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"does not exist; write it anew .* leaves it out and says so until"):
        ReviewedCalibration.read(tmp_path / "reviewed_calibration.json")
