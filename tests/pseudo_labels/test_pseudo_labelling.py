"""Soundscapes become the table of pseudo-labels that training reads."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
import torch

from dawnchorus.audio.decode import load_audio
from dawnchorus.config import DataSettings, validate
from dawnchorus.datasets.clip_settings import ClipSettings
from dawnchorus.datasets.pseudo_clips import PseudoClips
from dawnchorus.datasets.sampling import Draw
from dawnchorus.datasets.self_training_settings import PseudoLabelSettings
from dawnchorus.datasets.wave_dataset import WaveDataset
from dawnchorus.engines import Engine, Outputs, open_engine
from dawnchorus.errors import ConfigError, DataError, RunError
from dawnchorus.features.logmel import FrontendSettings
from dawnchorus.files import locked
from dawnchorus.models.card import ModelCard
from dawnchorus.models.checkpoint_file import write_checkpoint
from dawnchorus.predict.birds_inference import BirdsInference
from dawnchorus.predict.postprocess import NEIGHBOUR_KERNEL, PostprocessSettings
from dawnchorus.predict.recording_files import RecordingFile, RecordingFiles, find_recordings
from dawnchorus.pseudo_labels.pseudo_label_settings import LabellingSettings
from dawnchorus.pseudo_labels.pseudo_label_table import end_text
from dawnchorus.pseudo_labels.pseudo_labelling import make_out_of_fold_pseudo_labels, make_pseudo_labels
from dawnchorus.recordings.labels import LabelMap
from dawnchorus.recordings.recordings_table import load_recordings
from dawnchorus.runs import Run, build_model

LABELS = ("robin", "wren", "owl")
RATE = 32_000


def card_with(**changes: Any) -> ModelCard:
    values: dict[str, Any] = {
        "exp_name": "tiny",
        "model_class": "dawnchorus.models.wave_cnn:WaveCNNAttenClassifier",
        "model_config": {"backbone": "test_resnet.r160_in1k"},
        "labels": LABELS,
        "frontend": vars(FrontendSettings()),
        "sample_rate": RATE,
        "segment_len": 5.0,
        "late_normalize": True,
    }
    return ModelCard(**(values | changes))


class LoudnessEngine(Engine):
    """Tells classes by the share of a clip that is loud: exact, quick, and different for every clip."""

    def __init__(
        self, card: ModelCard | None = None, fingerprint: str = "loudness", gain: float = 1.0
    ) -> None:
        self.card = card or card_with()
        self.clips_per_request = 3
        self.fingerprint = fingerprint
        self.gain = np.float32(gain)

    def prepare(self, waves: Any) -> Any:
        return waves

    def stream(self, requests: Iterable[Any]) -> Iterator[Any]:
        for key, waves in requests:
            shares = np.stack([(np.abs(waves) > level).mean(axis=1) for level in (0.2, 0.5, 0.8)], axis=1)
            probabilities = shares.astype(np.float32)[:, : len(self.card.labels)] * self.gain
            yield key, Outputs(probabilities, np.zeros((len(waves), 2), np.float32))


@pytest.fixture
def soundscapes(data_factory_in: Any, tmp_path: Path) -> Path:
    factory = data_factory_in(tmp_path / "soundscapes")
    for number, name in enumerate(("20230510_080000", "site/H.2", "site/deep/H3")):
        factory.tone(f"{name}.wav", 15.0 + number, 1000.0 + 100 * number, noise=0.3)
    return factory.root


def labelled(engine: Engine, soundscapes: Path, table: Path, **settings: Any) -> pd.DataFrame:
    made = make_pseudo_labels(
        engine,
        find_recordings([str(soundscapes)]),
        table.parent / "work",
        LabellingSettings(table, **settings),
    )
    frame = pd.read_parquet(table) if table.suffix == ".parquet" else pd.read_csv(table)
    assert len(frame) == made.n_rows
    return frame


def read_by_training(
    table: Path, soundscapes: Path, labels: tuple[str, ...] = LABELS, **settings: Any
) -> PseudoClips:
    values = {"tables": [{"table": table, "audio_dir": soundscapes}], "primary_label_min_prob": 0, **settings}
    config = validate(PseudoLabelSettings, {"trim_min_prob": 0, **values}, where="test")
    clip = ClipSettings(segment_len=config.row_s, late_normalize=False)
    return PseudoClips(config, LabelMap(labels), clip, use_h5py=True, fold=0)


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_training_reads_the_table_as_it_stands(soundscapes: Path, tmp_path: Path, suffix: str) -> None:
    table = tmp_path / f"pseudo{suffix}"
    frame = labelled(LoudnessEngine(), soundscapes, table)
    assert list(frame) == ["row_id", *LABELS, "primary_label", "primary_label_prob"]
    assert frame["row_id"].tolist() == [
        *("20230510_080000_5", "20230510_080000_10", "20230510_080000_15"),
        *("H.2_5", "H.2_10", "H.2_15", "H3_5", "H3_10", "H3_15"),
    ]
    pseudo = read_by_training(table, soundscapes)
    np.testing.assert_allclose(pseudo.targets, frame[list(LABELS)], rtol=1e-6)
    for row, place in enumerate(frame["row_id"]):
        name, _, end = place.rpartition("_")
        whole = load_audio(next(soundscapes.rglob(f"{name}.wav")))
        heard = whole[(int(end) - 5) * RATE : int(end) * RATE]
        start = pseudo.draw_start(row, np.random.default_rng(0))
        np.testing.assert_allclose(pseudo.clip(row, start), heard, atol=1e-5)
        shares = [(np.abs(heard / np.abs(heard).max()) > level).mean() for level in (0.2, 0.5, 0.8)]
        np.testing.assert_allclose(pseudo.targets[row], shares, atol=1e-4)


def test_the_primary_label_is_the_most_probable_class(soundscapes: Path, tmp_path: Path) -> None:
    frame = labelled(LoudnessEngine(), soundscapes, tmp_path / "pseudo.parquet")
    values = frame[list(LABELS)].to_numpy()
    assert frame["primary_label"].tolist() == [LABELS[column] for column in values.argmax(axis=1)]
    np.testing.assert_array_equal(frame["primary_label_prob"], values.max(axis=1))


def test_values_are_those_of_plain_predictions(soundscapes: Path, tmp_path: Path) -> None:
    frame = labelled(LoudnessEngine(), soundscapes, tmp_path / "pseudo.parquet")
    for recording in find_recordings([str(soundscapes)]).recordings:
        expected = BirdsInference(LoudnessEngine()).predict_recording(recording.path).probabilities
        rows = frame["row_id"].str.startswith(recording.path.stem)
        # the 1 and the 2 seconds behind the third segment make no row
        np.testing.assert_array_equal(frame.loc[rows, list(LABELS)], expected[:3])


def test_post_processing_comes_before_the_rows(soundscapes: Path, tmp_path: Path) -> None:
    done = PostprocessSettings(smoothing=NEIGHBOUR_KERNEL, scale_exponent=1.0)
    frame = labelled(LoudnessEngine(), soundscapes, tmp_path / "pseudo.parquet", postprocess=done)
    plain = BirdsInference(LoudnessEngine()).predict_recording(soundscapes / "20230510_080000.wav")
    weights = np.array([[0.4, 0.2, 0.1], [0.2, 0.4, 0.2], [0.1, 0.2, 0.4]])
    smooth = weights @ plain.probabilities / weights.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(frame[list(LABELS)][:3], smooth * smooth.max(axis=0), rtol=1e-5)


def test_rows_below_the_smallest_probability_are_left_out(soundscapes: Path, tmp_path: Path) -> None:
    whole = labelled(LoudnessEngine(), soundscapes, tmp_path / "a" / "pseudo.parquet")
    middle = float(whole["primary_label_prob"].sort_values().iloc[4])
    frame = labelled(LoudnessEngine(), soundscapes, tmp_path / "b" / "pseudo.parquet", min_prob=middle)
    assert frame["row_id"].tolist() == whole["row_id"][whole["primary_label_prob"] >= middle].tolist()
    assert len(frame) == 5


@pytest.mark.parametrize(
    ("duration_s", "ends"),
    [(12.4, [5, 10]), (12.5, [5, 10, 15]), (14.9, [5, 10, 15]), (10.0, [5, 10]), (5.01, [5]), (0.3, [5])],
)
def test_the_last_row_needs_half_a_segment_unless_it_is_the_only_one(
    data_factory_in: Any, tmp_path: Path, duration_s: float, ends: list[int]
) -> None:
    data_factory_in(tmp_path / "audio").tone("H.wav", duration_s, noise=0.3)
    frame = labelled(LoudnessEngine(), tmp_path / "audio", tmp_path / "pseudo.parquet")
    assert frame["row_id"].tolist() == [f"H_{end}" for end in ends]
    pseudo = read_by_training(tmp_path / "pseudo.parquet", tmp_path / "audio")
    start = pseudo.draw_start(len(ends) - 1, np.random.default_rng(0))
    assert start == max(0, min(ends[-1] * RATE, round(duration_s * RATE)) - 5 * RATE)
    assert pseudo.clip(len(ends) - 1, start).shape == (5 * RATE,)


def test_segments_of_any_length_end_at_readable_seconds(data_factory_in: Any, tmp_path: Path) -> None:
    data_factory_in(tmp_path / "audio").tone("H.wav", 6.0, noise=0.3)
    engine = LoudnessEngine(card_with(segment_len=1.25))
    frame = labelled(engine, tmp_path / "audio", tmp_path / "pseudo.parquet")
    assert frame["row_id"].tolist() == ["H_1.25", "H_2.5", "H_3.75", "H_5", "H_6.25"]
    pseudo = read_by_training(tmp_path / "pseudo.parquet", tmp_path / "audio", row_s=1.25)
    assert pseudo.end_s.tolist() == [1.25, 2.5, 3.75, 5.0, 6.25]
    assert end_text(1_234_567.5) == "1234567.5"


def test_probabilities_that_rounding_carried_past_one_are_readable(
    data_factory_in: Any, tmp_path: Path
) -> None:
    data_factory_in(tmp_path / "audio").write("H.wav", np.ones(5 * RATE))
    frame = labelled(LoudnessEngine(gain=1.0000001), tmp_path / "audio", tmp_path / "pseudo.parquet")
    assert frame["primary_label_prob"].tolist() == [1.0]
    assert len(read_by_training(tmp_path / "pseudo.parquet", tmp_path / "audio")) == 1


def test_stores_are_called_by_their_audio(soundscapes: Path, tmp_path: Path) -> None:
    (tmp_path / "features" / "site").mkdir(parents=True)
    with h5py.File(tmp_path / "features" / "site" / "H.2.hdf5", "w") as file:
        file["au"], file["sr"], file["do_normalize"] = load_audio(soundscapes / "site" / "H.2.wav"), RATE, 0
    frame = labelled(LoudnessEngine(), tmp_path / "features", tmp_path / "a" / "pseudo.parquet")
    assert frame["row_id"].tolist() == ["H.2_5", "H.2_10", "H.2_15"]


def test_two_soundscapes_of_one_name_are_refused_before_anything_is_predicted(
    soundscapes: Path, tmp_path: Path, data_factory_in: Any
) -> None:
    data_factory_in(soundscapes).tone("other/H3.flac", 5.0)
    with pytest.raises(DataError, match=r"other/H3\.flac and site/deep/H3\.wav are both named H3"):
        labelled(LoudnessEngine(), soundscapes, tmp_path / "pseudo.parquet")
    assert not (tmp_path / "work").exists()


def test_a_class_called_like_another_column_is_refused(soundscapes: Path, tmp_path: Path) -> None:
    engine = LoudnessEngine(card_with(labels=("robin", "fold")))
    with pytest.raises(DataError, match="the class fold has the name of another column of the table"):
        labelled(engine, soundscapes, tmp_path / "pseudo.parquet")


def test_soundscapes_that_cannot_be_read_are_listed_and_the_others_go_on(
    soundscapes: Path, tmp_path: Path
) -> None:
    (soundscapes / "bad.wav").write_bytes(b"not audio")
    assert len(labelled(LoudnessEngine(), soundscapes, tmp_path / "pseudo.parquet")) == 9
    failures = pd.read_csv(tmp_path / "work" / "failures.csv")
    assert [Path(path).name for path in failures["path"]] == ["bad.wav"]
    bad = RecordingFiles(soundscapes, [RecordingFile(soundscapes / "bad.wav", "bad.wav")])
    with pytest.raises(DataError, match="none of the 1 soundscapes could be decoded; the first: "):
        make_pseudo_labels(LoudnessEngine(), bad, tmp_path / "w", LabellingSettings(tmp_path / "x.csv"))
    assert not (tmp_path / "x.csv").exists()
    assert not list((tmp_path / "w").glob("unfinished*"))


def test_a_table_made_otherwise_is_not_overwritten(soundscapes: Path, tmp_path: Path) -> None:
    table, found = tmp_path / "pseudo.csv", find_recordings([str(soundscapes)])
    table.write_text("mine")
    with pytest.raises(RunError, match=r"pseudo\.csv exists; choose another name, or overwrite it"):
        labelled(LoudnessEngine(), soundscapes, table)
    table.unlink()
    first = labelled(LoudnessEngine(), soundscapes, table)
    with pytest.raises(RunError, match=r"pseudo\.csv was made with another min-prob and smooth; choose"):
        labelled(
            LoudnessEngine(),
            soundscapes,
            table,
            min_prob=0.5,
            postprocess=PostprocessSettings(None, False, (1.0,)),
        )
    with pytest.raises(RunError, match="holds predictions made otherwise"):
        labelled(LoudnessEngine(fingerprint="another"), soundscapes, table)
    assert pd.read_csv(table).equals(first)
    again = make_pseudo_labels(
        LoudnessEngine(), found, tmp_path / "work", LabellingSettings(table, min_prob=1), force=True
    )
    assert (again.n_rows, again.n_new, again.n_soundscapes) == (0, 0, 3)
    assert list(pd.read_csv(table)) == list(first)


def test_two_processes_do_not_write_one_table(soundscapes: Path, tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    with (
        locked(tmp_path / "work" / "lock"),
        pytest.raises(RunError, match="work is being written by another process"),
    ):
        labelled(LoudnessEngine(), soundscapes, tmp_path / "pseudo.csv")


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("pseudo.xlsx", {}, r"pseudo\.xlsx: pseudo-labels cannot be written as \.xlsx; legal: \.parquet and"),
        ("pseudo", {}, "cannot be written without a suffix"),
        ("pseudo.csv", {"min_prob": 1.5}, r"min_prob is 1\.5; it must lie in 0 to 1"),
    ],
)
def test_settings_out_of_range_are_refused(name: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        LabellingSettings(Path(name), **settings)


def test_out_of_fold_needs_two_folds_and_two_soundscapes(soundscapes: Path, tmp_path: Path) -> None:
    found, settings = find_recordings([str(soundscapes)]), LabellingSettings(tmp_path / "pseudo.csv")
    with pytest.raises(
        RunError, match="out of fold needs the models of two folds or more, and 1 is finished"
    ):
        make_out_of_fold_pseudo_labels(lambda fold: LoudnessEngine(), [2], found, tmp_path, settings)
    one = RecordingFiles(found.root, found.recordings[:1])
    with pytest.raises(DataError, match="give two soundscapes or more"):
        make_out_of_fold_pseudo_labels(lambda fold: LoudnessEngine(), [0, 1], one, tmp_path, settings)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Three folds that were never trained: each its own random weights."""
    card, run = card_with(), Run(tmp_path_factory.mktemp("logdirs") / "tiny")
    run.path.mkdir()
    run.card_file.write_text(card.to_json())
    for fold in range(3):
        torch.manual_seed(fold)
        model = build_model(card)
        weights = model.state_dict()
        weights["head.fix_scale.weight"] *= 30  # so that probabilities differ
        run.checkpoints_dir(fold).mkdir(parents=True)
        write_checkpoint(run.checkpoints_dir(fold) / "best.safetensors", weights)
        run.finished_file(fold).write_text(json.dumps({"best_checkpoint": "best.safetensors"}))
    return run


@pytest.fixture(scope="module")
def nights(tmp_path_factory: pytest.TempPathFactory, data_factory_in: Any) -> Path:
    factory = data_factory_in(tmp_path_factory.mktemp("nights"))
    for number in range(6):
        factory.tone(f"N{number}.wav", 10.0, 800.0 + 300 * number, noise=0.05 * number)
    return factory.root


def labelled_out_of_fold(run: Run, nights: Path, table: Path, out_dir: Path) -> pd.DataFrame:
    make_out_of_fold_pseudo_labels(
        lambda fold: open_engine(run.path, "torch", folds=[fold], clips_per_request=4),
        run.finished_folds(),
        find_recordings([str(nights)]),
        out_dir,
        LabellingSettings(table),
    )
    return pd.read_parquet(table)


@pytest.fixture(scope="module")
def out_of_fold_table(run: Run, nights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    table = tmp_path_factory.mktemp("out_of_fold") / "pseudo.parquet"
    labelled_out_of_fold(run, nights, table, table.parent / "work")
    return table


def test_out_of_fold_each_row_is_of_its_folds_model_alone(
    run: Run, nights: Path, out_of_fold_table: Path
) -> None:
    frame = pd.read_parquet(out_of_fold_table)
    assert list(frame)[-1] == "fold"
    assert frame.groupby("fold").size().to_dict() == {0: 4, 1: 4, 2: 4}
    assert (
        sorted(path.name for path in (out_of_fold_table.parent / "work").glob("fold_*/journal"))
        == ["journal"] * 3
    )
    plain = {
        (fold, path.stem): BirdsInference(
            open_engine(run.path, "torch", folds=[fold], clips_per_request=4)
        ).predict_recording(path)
        for fold in range(3)
        for path in nights.glob("*.wav")
    }
    for place, fold, *values in frame[["row_id", "fold", *LABELS]].itertuples(index=False):
        name, _, end = place.rpartition("_")
        by_fold = [plain[each, name].probabilities[int(end) // 5 - 1] for each in range(3)]
        np.testing.assert_array_equal(values, by_fold[fold])
        assert all(np.abs(by_fold[fold] - by_fold[other]).max() > 1e-3 for other in {0, 1, 2} - {fold})


def test_no_fold_can_draw_a_row_that_its_own_model_made(
    nights: Path, out_of_fold_table: Path, data_factory: Any
) -> None:
    for label in LABELS:
        for number in range(2):
            data_factory.tone(f"{label}/{number}.wav", 6.0)
    birds = load_recordings(DataSettings(audio_dir=data_factory.root)).table
    pseudo = {
        "tables": [{"table": out_of_fold_table, "audio_dir": nights}],
        "primary_label_min_prob": 0,
        "out_of_fold": True,
        "sampling_prob": 0.9,
        "how": "mixup",
    }
    frame = pd.read_parquet(out_of_fold_table).set_index("row_id")
    for fold in range(3):
        config = {"soundscape_pseudo_config": pseudo}
        dataset = WaveDataset(birds, LabelMap(LABELS), config, seed=0, fold=fold)
        drawn: set[str] = set()
        for position in range(300):
            second = dataset.draw(Draw(0, position, 0)).second
            if second is not None:
                audio = dataset.pseudo.audio_paths[dataset.pseudo.source_of_row[second.row]]
                drawn.add(f"{Path(audio).stem}_{dataset.pseudo.end_s[second.row]:g}")
        assert drawn == set(frame.index[frame["fold"] != fold])


KILLED = """
import os, signal, sys
from pathlib import Path
import numpy as np
from dawnchorus.batch import journal
from dawnchorus.pseudo_labels import pseudo_label_table
from dawnchorus.pseudo_labels.pseudo_label_settings import LabellingSettings
from dawnchorus.pseudo_labels.pseudo_labelling import make_out_of_fold_pseudo_labels
from dawnchorus.engines import Outputs, Engine
from dawnchorus.predict.recording_files import find_recordings
from dawnchorus.models.card import ModelCard

nights, table, out_dir, card, where, n_calls = sys.argv[1:]

class Loudness(Engine):
    def __init__(self, fold):
        self.card, self.clips_per_request = ModelCard.from_json(card, where="test"), 3
        self.fingerprint, self.gain = f"loudness {fold}", np.float32(1 / (fold + 1))

    def prepare(self, waves):
        return waves

    def stream(self, requests):
        for key, waves in requests:
            shares = np.stack([(np.abs(waves) > level).mean(axis=1) for level in (0.2, 0.5, 0.8)], axis=1)
            yield key, Outputs(shares.astype(np.float32) * self.gain, np.zeros((len(waves), 2), np.float32))

kind = journal.Journal if where == "write" else pseudo_label_table.PseudoLabelTable
original, calls = getattr(kind, where), []

def killing(*arguments, **options):
    calls.append(1)
    if len(calls) > int(n_calls):
        os.kill(os.getpid(), signal.SIGKILL)
    return original(*arguments, **options)

setattr(kind, where, killing)
make_out_of_fold_pseudo_labels(
    Loudness, range(3), find_recordings([nights]), Path(out_dir), LabellingSettings(Path(table))
)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
@pytest.mark.parametrize(("where", "n_calls"), [("write", 3), ("add", 1)])
def test_a_killed_job_goes_on_and_ends_with_the_same_bytes(
    nights: Path, tmp_path: Path, where: str, n_calls: int
) -> None:
    def label(table: Path, out_dir: Path) -> bytes:
        make_out_of_fold_pseudo_labels(
            lambda fold: LoudnessEngine(fingerprint=f"loudness {fold}", gain=1 / (fold + 1)),
            range(3),
            find_recordings([str(nights)]),
            out_dir,
            LabellingSettings(table),
        )
        return table.read_bytes()

    table, out_dir = tmp_path / "tables" / "pseudo.parquet", tmp_path / "work"
    arguments = [str(nights), str(table), str(out_dir), card_with().to_json(), where, str(n_calls)]
    killed = subprocess.run([sys.executable, "-c", KILLED, *arguments], capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not table.exists()
    kept = {path: path.stat().st_mtime_ns for path in out_dir.rglob("*.npz")}
    assert len(kept) == {"write": 3, "add": 2}[where]
    assert label(table, out_dir) == label(tmp_path / "undisturbed.parquet", tmp_path / "undisturbed")
    assert {path: path.stat().st_mtime_ns for path in kept} == kept, "nothing is predicted twice"
    assert list(table.parent.iterdir()) == [table]
    assert not list(out_dir.glob("unfinished*"))
    assert not list(out_dir.rglob(".*"))
