"""``dawnchorus rounds`` and ``dawnchorus.rounds``: train, label, train again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import typer
from click.testing import Result
from safetensors.numpy import load_file
from typer.testing import CliRunner

import dawnchorus as dc
from dawnchorus.cli.rounds_command import rounds as command
from dawnchorus.datasets.wave_dataset import WaveDataset
from dawnchorus.errors import ConfigError, DataError, RunError
from dawnchorus.pipelines import run_evaluation, run_score_calibration
from dawnchorus.pipelines.experiment import whole_config
from dawnchorus.pseudo_labels import pseudo_labelling
from dawnchorus.self_training import rounds as module
from dawnchorus.self_training.round_plan import RoundPlan, RoundRecord, plan_rounds
from dawnchorus.self_training.round_scores import RoundScore
from dawnchorus.training import lightning_training, trainer

FRONTEND = {"sample_rate": 16_000, "n_fft": 512, "hop_length": 256, "n_mels": 32, "f_max_hz": 8000.0}
SONG_HZ = {"owl": 700.0, "wren": 4000.0}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, data_factory_in: Any) -> Path:
    """recordings/, nights/ without labels, and known/ with some."""
    root = tmp_path_factory.mktemp("rounds")
    recordings = data_factory_in(root / "recordings")
    lines = ["filename,primary_label,author"]
    for label, pitch_hz in SONG_HZ.items():
        for number in range(4):
            recordings.tone(f"{label}/XC{len(lines)}.wav", 1.0, pitch_hz + number, 16_000)
            lines.append(f"{label}/XC{len(lines)}.wav,{label},recordist {number}")
    (recordings.root / "recordings.csv").write_text("\n".join(lines) + "\n")
    nights, known = data_factory_in(root / "nights"), data_factory_in(root / "known")
    for number, pitch_hz in enumerate(SONG_HZ.values()):
        nights.tone(f"site_{number}/N{number}.wav", 4.0, pitch_hz, 16_000, noise=0.1)
        nights.tone(f"site_{number}/M{number}.wav", 3.0, pitch_hz + 50, 16_000, noise=0.2)
        known.tone(f"K{number}.wav", 2.0, pitch_hz + 20, 16_000, noise=0.1)
    (known.root / "annotations.csv").write_text(
        "filename,start_s,end_s,label\nK0.wav,0,2,owl\nK1.wav,0,2,wren\n"
    )
    return root


def experiment(place: Path, logdir: Path, **changes: Any) -> Any:
    tiny = {
        "n_folds": 2,
        "segment_len": 1.0,
        "sample_rate": 16_000,
        "use_h5py": False,
        "clips_per_epoch": 8,
        "n_epochs": 1,
        "batch_size": 4,
        "frontend": FRONTEND,
        "logdir": logdir,
        "soundscape_pseudo_config": {"primary_label_min_prob": 0.0, "powers": (1.0, 2.0), "n_epochs": 2},
        "class_balance": "none",
    }
    config = {
        "base": "smoke",
        "exp_name": "owls",
        "data": {"audio_dir": place / "recordings", "features_dir": None},
    }
    return whole_config(config, {**tiny, **changes})


@pytest.fixture(autouse=True)
def _without_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the pages on each run, which take longer than such networks."""
    for module_with_page in (lightning_training, trainer, run_score_calibration, run_evaluation):
        monkeypatch.setattr(module_with_page, "write_run_page", lambda run, **_: None)


def scored(monkeypatch: pytest.MonkeyPatch, *values: float) -> None:
    """Give the rounds these scores in place of training them."""
    found = iter(values)

    def one_round(plan: RoundPlan, number: int, parent: int | None) -> RoundRecord:
        name = None if parent is None else plan.run_dir(parent).name
        return RoundRecord(number=number, parent=name, score=RoundScore.of(soundscapes=next(found)))

    monkeypatch.setattr(module, "_one_round", one_round)
    monkeypatch.setattr(module, "_write_page", lambda *_: None)


def test_rounds_name_their_parents_and_tables_and_the_best_is_kept(place: Path, tmp_path: Path) -> None:
    found = dc.rounds(
        experiment(place, tmp_path), place / "nights", n_rounds=2, labelled=place / "known", patience=2
    )
    assert [record.number for record in found.records] == [0, 1, 2]
    first, second, _ = (
        json.loads((tmp_path / f"owls_round_{number}" / "round.json").read_text()) for number in range(3)
    )
    assert first["parent"] is None
    assert second["parent"] == "owls_round_0"
    assert second["table"] == "owls_rounds/round_1.parquet"
    assert second["soundscapes"]["n_soundscapes"] == 4
    assert second["exponent"] == 1.0
    score = found.records[0].score
    assert score.kind == "labelled soundscapes"
    assert score.value == score.soundscapes
    assert score.out_of_fold is not None
    assert score.agreement is None
    values = [record.score.value for record in found.records]
    assert found.best == int(np.argmax(values))
    assert found.run.path == tmp_path / f"owls_round_{found.best}"
    assert "Rounds are compared by: labelled soundscapes." in (found.folder / "rounds.html").read_text()
    summary = pd.read_csv(found.folder / "rounds.csv")
    assert summary["best"].tolist() == [number == found.best for number in range(3)]
    config = dc.open_run(tmp_path / "owls_round_2").config().train_function_args
    assert config.n_epochs == 2
    pseudo = config.train_dataset_config["soundscape_pseudo_config"]
    assert (pseudo["exponent"], pseudo["row_s"]) == (2.0, 1.0)
    assert "soundscape_pseudo_config" not in (
        dc.open_run(tmp_path / "owls_round_0").config().train_function_args.train_dataset_config
    )
    before = (tmp_path / "owls_round_1" / "round.json").stat().st_mtime_ns
    again = dc.rounds(
        experiment(place, tmp_path), place / "nights", n_rounds=2, labelled=place / "known", patience=2
    )
    assert again.records == found.records
    assert (tmp_path / "owls_round_1" / "round.json").stat().st_mtime_ns == before
    with pytest.raises(RunError, match=r"holds a run of another config .*lr"):
        dc.rounds(experiment(place, tmp_path, lr=0.1), place / "nights", labelled=place / "known")


def test_it_stops_when_the_score_stops_rising(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored(monkeypatch, 0.5, 0.6, 0.55, 0.9)
    found = dc.rounds(experiment(place, tmp_path, n_folds=2), place / "nights", n_rounds=4)
    assert len(found.records) == 3
    assert found.best == 1
    assert found.stopped == "round 2 did not raise the score of round 1"
    assert [record.parent for record in found.records] == [None, "owls_round_0", "owls_round_1"]


def test_with_patience_the_best_round_labels_again(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored(monkeypatch, 0.5, 0.4, 0.6)
    found = dc.rounds(experiment(place, tmp_path), place / "nights", n_rounds=2, patience=2)
    assert [record.parent for record in found.records] == [None, "owls_round_0", "owls_round_0"]
    assert found.best == 2


@pytest.mark.stress
def test_a_killed_job_goes_on_and_ends_the_same(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        """As SIGKILL: nobody catches it."""

    def kill_in(target: Any, name: str, n_calls: int) -> None:
        """Kill the process, as it were, in the n-th call of a function."""
        function, count = getattr(target, name), iter(range(n_calls + 1))

        def killed(*args: Any, **keywords: Any) -> Any:
            if next(count) == n_calls - 1:
                raise Killed
            return function(*args, **keywords)

        monkeypatch.setattr(target, name, killed)

    def call(logdir: Path) -> Any:
        return dc.rounds(experiment(place, logdir), place / "nights", n_rounds=1)

    undisturbed = call(tmp_path / "a")
    for record in undisturbed.records:
        score = record.score
        assert score.kind == "out of fold and agreement"
        assert score.soundscapes is None
        assert score.out_of_fold is not None
        assert score.agreement is not None
        assert score.value == pytest.approx((score.out_of_fold + score.agreement) / 2)
    moments = [
        (module, "train", 1),  # before anything
        (module, "score_round", 1),  # round 0 is trained
        (pseudo_labelling, "_add_rows", 1),  # in the middle of the table
        (module, "_check_table", 1),  # the table is whole
        (module, "score_round", 1),  # round 1 is trained
        (module, "write_failures", 1),  # all is done but the end
    ]
    for target, name, n_calls in moments:
        with monkeypatch.context() as patch:
            monkeypatch = patch
            kill_in(target, name, n_calls)
            with pytest.raises(Killed):
                call(tmp_path / "b")
    again = call(tmp_path / "b")
    assert again.records == undisturbed.records
    for name in ("owls_rounds/round_1.parquet", "owls_rounds/rounds.csv", "owls_round_1/round.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    for fold in (0, 1):
        first, second = (
            load_file(dc.open_run(tmp_path / each / "owls_round_1").best_checkpoint(fold)) for each in "ab"
        )
        assert first.keys() == second.keys()
        assert all(np.array_equal(first[name], second[name]) for name in first)


def test_out_of_fold_no_fold_trains_on_rows_that_it_made(place: Path, tmp_path: Path) -> None:
    dc.rounds(
        experiment(place, tmp_path), place / "nights", n_rounds=1, labelled=place / "known", out_of_fold=True
    )
    rows = pd.read_parquet(tmp_path / "owls_rounds" / "round_1.parquet")
    fold_of = dict(zip(rows["row_id"].str.rpartition("_")[0], rows["fold"], strict=True))
    assert set(fold_of.values()) == {0, 1}
    config = dc.open_run(tmp_path / "owls_round_1").config()
    table = dc.load_recordings(config.data).table
    for fold in (0, 1):
        dataset = WaveDataset(table, settings=config.train_function_args.train_dataset_config, fold=fold)
        assert dataset.pseudo is not None
        names = {Path(path).stem for path in dataset.pseudo.audio_paths}
        assert names == {name for name, other in fold_of.items() if other != fold}


def dawnchorus(*arguments: str | Path) -> Result:
    app = typer.Typer()
    app.command()(command)
    return CliRunner().invoke(app, list(map(str, arguments)))


def config_file(place: Path, folder: Path) -> Path:
    file = folder / "owls.py"
    frontend = f"'frontend': {FRONTEND}"
    clip = "{'segment_len': 1.0, 'sample_rate': 16_000, 'use_h5py': False}"
    file.write_text(
        f"CONFIG = {{'base': 'smoke', 'exp_name': 'owls', 'logdir': {str(folder / 'logs')!r}, "
        f"'data': {{'audio_dir': {str(place / 'recordings')!r}, 'features_dir': None}}, "
        f"'nn_model_config': {{{frontend}}}, "
        f"'train_function_args': {{'n_epochs': 1, 'clips_per_epoch': 8, 'train_loader': {{'batch_size': 4}}, "
        f"'train_dataset_config': {clip}, 'val_dataset_config': {clip}}}}}"
    )
    return file


def test_the_command_says_what_it_would_do_then_does_it_and_lists_what_failed(
    place: Path, tmp_path: Path, data_factory_in: Any
) -> None:
    nights = data_factory_in(tmp_path / "nights")
    nights.tone("N0.wav", 2.0, 700.0, 16_000)
    (nights.root / "bad.wav").write_bytes(b"not audio")
    options = [
        config_file(place, tmp_path), "--soundscapes", nights.root, "--rounds", "1", "--labelled",
        place / "known", "--set", "soundscape_pseudo_config={'primary_label_min_prob': 0.0}",
    ]  # fmt: skip
    planned = dawnchorus(*options, "--dry-run")
    assert planned.exit_code == 0, planned.output
    assert "rounds are compared on 2 labelled soundscapes" in planned.output
    assert f"round 1: {tmp_path / 'logs' / 'owls_round_1'}, to do" in planned.output
    assert not (tmp_path / "logs").exists()
    result = dawnchorus(*options)
    assert result.exit_code == 2, result.output
    failed = tmp_path / "logs" / "owls_rounds" / "failures.csv"
    assert f"1 soundscapes failed; the reasons are in {failed}" in result.output
    assert pd.read_csv(failed)["path"].tolist() == [str(nights.root / "bad.wav")]
    assert "scores: labelled soundscapes" in result.output
    assert "round 1: " in result.output
    assert "owls_round_1, done" in dawnchorus(*options, "--dry-run").output.replace("\n", "")


def test_what_cannot_work_is_said_before_anything_is_trained(place: Path, tmp_path: Path) -> None:
    config = experiment(place, tmp_path)
    with pytest.raises(ConfigError, match="n_rounds is 0; it must be 1 or more"):
        plan_rounds(config, place / "nights", n_rounds=0)
    with pytest.raises(ConfigError, match="rounds train on one device, and 2 are asked for"):
        plan_rounds(experiment(place, tmp_path, devices=2), place / "nights")
    with pytest.raises(ConfigError, match=r"soundscape_pseudo_config: power is not known; did you mean p"):
        plan_rounds(experiment(place, tmp_path, soundscape_pseudo_config={"power": 1}), place / "nights")
    with pytest.raises(DataError, match="has 1 fold, so that rounds cannot be scored out of fold"):
        plan_rounds(experiment(place, tmp_path, n_folds=1), place / "nights")
    plan_rounds(experiment(place, tmp_path, n_folds=1), place / "nights", labelled=place / "known")
    with pytest.raises(DataError, match="out of fold needs two soundscapes or more, and there is one"):
        plan_rounds(config, place / "nights" / "site_0" / "N0.wav", out_of_fold=True)
    assert not list(tmp_path.iterdir())


def test_tables_of_others_are_checked_for_leaks_too(place: Path, tmp_path: Path) -> None:
    table = tmp_path / "teacher.csv"
    given = {"table": table, "audio_dir": place / "known"}
    for pseudo in ({"tables": [given]}, {"known": {"tables": [given]}}):
        config = experiment(place, tmp_path / "logs", soundscape_pseudo_config=pseudo)
        table.write_text("row_id,owl\nK0_1,1\n")
        with pytest.raises(DataError, match="of the soundscapes are labelled ones that rounds are scored on"):
            plan_rounds(config, place / "nights", labelled=place / "known")
        table.write_text("row_id,owl\nelsewhere_1,1\n")
        plan_rounds(config, place / "nights", labelled=place / "known")


def test_rows_of_other_teachers_keep_their_length(place: Path, tmp_path: Path) -> None:
    table = tmp_path / "teacher.csv"
    table.write_text("row_id,owl\nelsewhere_3,1\n")
    given = {"table": table, "audio_dir": place / "known"}
    longer = {**given, "row_s": 7.0}
    pseudo = {"row_s": 3.0, "tables": [given, longer], "known": {"tables": [given]}}
    config = experiment(place, tmp_path / "logs", soundscape_pseudo_config=pseudo)
    plan = plan_rounds(config, place / "nights")
    for number in (0, 1):
        made = plan.config_of(number).train_function_args.train_dataset_config["soundscape_pseudo_config"]
        assert [each["row_s"] for each in made["tables"][-2:]] == [3.0, 7.0]
        assert [each["row_s"] for each in made["known"]["tables"]] == [3.0]
    with pytest.raises(DataError, match="has no column fold"):
        plan_rounds(config, place / "nights", out_of_fold=True)


def test_another_job_of_the_same_name_is_refused(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored(monkeypatch, 0.5, 0.6, 0.7)
    dc.rounds(experiment(place, tmp_path), place / "nights", n_rounds=1)
    with pytest.raises(RunError, match="was begun with other soundscapes; restore them, or choose another"):
        dc.rounds(experiment(place, tmp_path), place / "nights" / "site_0", n_rounds=1)
