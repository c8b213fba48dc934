"""A model takes any sound, and says the same of it however it comes in."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile

import dawnchorus as dc
from dawnchorus.datasets.wave_all_file_dataset import WaveAllFileDataset
from dawnchorus.engines import open_engine
from dawnchorus.errors import AudioError, ConfigError, DataError, ModelError
from dawnchorus.features.logmel import FrontendSettings
from dawnchorus.models.card import ModelCard
from dawnchorus.predict.birds_inference import BirdsInference
from dawnchorus.predict.model import Model, load_model
from dawnchorus.predict.postprocess import PostprocessSettings, postprocess
from dawnchorus.recordings.recordings_table import load_recordings

RATE = 16_000
ENGINES = ("onnx", "fp16")


@pytest.fixture(scope="module", params=ENGINES)
def model(request: pytest.FixtureRequest, exported: Any) -> Model:
    return load_model(getattr(exported, request.param), n_threads=1)


@pytest.fixture
def night(data_factory: Any) -> Path:
    return data_factory.tone("SITE_20230510_053000.wav", 9.3, 1500, sample_rate=48_000, n_channels=2)


def blocks_of(path: Path, n_frames: int) -> Iterator[np.ndarray]:
    yield from soundfile.blocks(path, n_frames, dtype="float32")


def test_tables_tell_the_model_and_what_is_known_of_the_recorder(
    model: Model, data_factory: Any, tmp_path: Path
) -> None:
    file = data_factory.tone("pond/20230510T080000+1000_REC [-27.4 152.9].wav", 2.0, 1500, sample_rate=RATE)
    detections = model.predict([file, np.zeros(RATE)], sample_rate=RATE).detections(threshold={"*": 0.0})
    detections.write("csv", tmp_path / "tables")
    table = pd.read_csv(tmp_path / "tables" / "detections.csv").set_index("filename")
    assert set(table["model"]) == {model.name}
    assert set(table["threshold"]) == {0.0}
    assert set(table.loc[file.name, "latitude"]) == {-27.4}
    assert table.drop(index=file.name)["longitude"].isna().all()


# One sound, however it comes in -------------------------------------------------------------------


def test_a_file_an_array_and_a_stream_give_the_same_bits(model: Model, night: Path) -> None:
    expected = model.predict(night).probabilities
    assert expected.shape == (5, 3)
    wave, rate = soundfile.read(night, dtype="float32")
    ways = {
        "name": model.predict(str(night)),
        "frames first": model.predict(wave, sample_rate=rate),
        "channels first": model.predict(wave.T, sample_rate=rate),
        "blocks": model.predict(blocks_of(night, 1000), sample_rate=rate),
        "sound": model.predict(dc.Sound.of(night)),
        "list": model.predict([night]),
        "folder": model.predict(night.parent),
        "pattern": model.predict(str(night.parent / "*.wav")),
    }
    for way, scores in ways.items():
        np.testing.assert_array_equal(scores.probabilities, expected, err_msg=way)


@pytest.mark.parametrize("n_frames", [480, 48_000, 1_000_000])
@pytest.mark.parametrize("overlap_s", [0.0, 1.5])
def test_a_stream_gives_the_numbers_of_the_file(
    model: Model, night: Path, n_frames: int, overlap_s: float
) -> None:
    expected = model.predict(night, overlap_s=overlap_s).to_frame()
    parts = [
        part.to_frame()
        for part in model.stream(blocks_of(night, n_frames), sample_rate=48_000, overlap_s=overlap_s)
    ]
    assert all(len(part) == 1 for part in parts)
    found = pd.concat(parts)
    assert found.index.get_level_values("file").unique().tolist() == ["stream"]
    np.testing.assert_array_equal(found.to_numpy(), expected.to_numpy())
    assert found.droplevel("file").index.equals(expected.droplevel("file").index)


@pytest.mark.parametrize(("n_more", "n_windows"), [(0, 2), (1, 2), (159, 2), (160, 3)])
@pytest.mark.parametrize("shift_s", [None, 0.5])
def test_less_than_ten_milliseconds_at_the_end_are_no_window(
    model: Model, data_factory: Any, n_more: int, n_windows: int, shift_s: float | None
) -> None:
    wave = np.random.default_rng(0).uniform(-0.1, 0.1, 4 * RATE + n_more).astype(np.float32)
    path = data_factory.write("wren/a.wav", wave, RATE, subtype="FLOAT")
    settings = PostprocessSettings(shift_s=shift_s)
    expected = model.predict(wave[: 4 * RATE], sample_rate=RATE, postprocessing=settings).to_frame()
    for source in (path, wave, iter(np.array_split(wave, 9))):
        rate = None if source is path else RATE
        found = model.predict(source, sample_rate=rate, postprocessing=settings).to_frame()
        assert len(found) == n_windows
        if n_windows == 2:
            np.testing.assert_array_equal(found.to_numpy(), expected.to_numpy())
    if shift_s is None:
        parts = list(model.stream(iter(np.array_split(wave, 9)), sample_rate=RATE))
        assert len(parts) == n_windows
        recordings = load_recordings(data_factory.root).table
        dataset = WaveAllFileDataset(recordings, settings={"segment_len": 2.0, "sample_rate": RATE})
        assert len(dataset) == n_windows


@pytest.fixture
def stereo(data_factory: Any) -> tuple[Path, np.ndarray]:
    """A song, and the same in opposite phase with noise in it, at the model's rate."""
    rng = np.random.default_rng(0)
    wave = 0.5 * np.sin(np.arange(5 * RATE) ** 1.2 / 40)
    frames = np.stack([wave, -wave + 0.01 * rng.standard_normal(5 * RATE)], axis=1).astype(np.float32)
    return data_factory.write("stereo.wav", frames, RATE, subtype="FLOAT"), frames


def test_each_channel_has_its_windows_however_the_sound_comes_in(
    model: Model, stereo: tuple[Path, np.ndarray]
) -> None:
    path, frames = stereo
    smoothing = PostprocessSettings(smoothing=(0.2, 0.6, 0.2))
    alone = [
        model.predict(frames[:, column], sample_rate=RATE, postprocessing=smoothing) for column in (0, 1)
    ]
    expected = np.concatenate([scores.probabilities for scores in alone])
    for source in (path, frames, iter(np.array_split(frames, 7)), dc.Sound.of(path, channel="each")):
        rate = None if isinstance(source, Path | dc.Sound) else RATE
        scores = model.predict(source, sample_rate=rate, channel="each", postprocessing=smoothing)
        np.testing.assert_array_equal(scores.probabilities, expected)
        assert scores.to_frame().index.names == ["file", "channel", "start_time", "end_time"]
        assert scores.to_frame().index.get_level_values("channel").tolist() == [1, 1, 1, 2, 2, 2]
        assert scores.notes == []
    found = scores.detections(threshold=0.0, merge=True).to_frame()
    assert found["channel"].tolist() == [1, 1, 1, 2, 2, 2]
    assert set(zip(found["start_s"], found["end_s"], strict=True)) == {(0.0, 5.0)}
    second = model.predict(path, channel=2, postprocessing=smoothing)
    np.testing.assert_array_equal(second.probabilities, alone[1].probabilities)
    assert second.to_frame().index.get_level_values("channel").tolist() == [2, 2, 2]


def test_a_stream_of_each_channel_comes_window_by_window(
    model: Model, stereo: tuple[Path, np.ndarray]
) -> None:
    path, frames = stereo
    expected = model.predict(path, channel="each").to_frame()
    parts = [
        part.to_frame()
        for part in model.stream(
            iter(np.array_split(frames, 11)), sample_rate=RATE, channel="each", name=str(path)
        )
    ]
    keys = [part.index[0][1:3] for part in parts]
    assert keys == [(1, 0.0), (2, 0.0), (1, 2.0), (2, 2.0), (1, 4.0), (2, 4.0)]
    pd.testing.assert_frame_equal(pd.concat(parts).sort_index(), expected)


def test_a_mean_that_is_silence_is_noted_and_warned_of(
    model: Model, stereo: tuple[Path, np.ndarray], caplog: pytest.LogCaptureFixture
) -> None:
    path, frames = stereo
    scores = model.predict([path, frames, frames[:, 0]], sample_rate=RATE)
    assert [note.path.name for note in scores.notes] == ["stereo.wav", "array 1"]
    assert len(scores) == 3
    assert caplog.text.count("the mean of its 2 channels keeps 0.0 % of the energy of channel") == 2


def test_a_model_predicts_the_channel_that_it_was_trained_with(
    exported: Any, stereo: tuple[Path, np.ndarray]
) -> None:
    path, frames = stereo
    model = load_model(exported.onnx, n_threads=1)
    expected = model.predict(frames[:, 1], sample_rate=RATE).probabilities
    model.engine.card = dataclasses.replace(model.card, channel=2)
    assert ModelCard.from_json(model.card.to_json(), where="here").channel == 2
    np.testing.assert_array_equal(model.predict(path).probabilities, expected)
    np.testing.assert_array_equal(
        BirdsInference(model.engine).predict_recording(path).probabilities, expected
    )
    assert model.predict(path, channel="mean").notes


def test_a_window_of_a_stream_comes_before_the_next_block_is_asked_for(model: Model) -> None:
    taken = []

    def microphone() -> Iterator[np.ndarray]:
        for second in range(100):
            taken.append(second)
            yield np.random.default_rng(second).uniform(-1, 1, RATE).astype(np.float32)

    stream = model.stream(microphone(), sample_rate=RATE)
    assert next(stream).to_frame().index[0] == ("stream", 0.0, 2.0)
    assert len(taken) == 2
    next(stream)
    assert len(taken) == 4


def test_a_stream_tells_at_once_what_is_wrong(model: Model) -> None:
    with pytest.raises(AudioError, match="stream: its sample rate is not known"):
        model.stream(iter([np.zeros(10, np.float32)]))
    parts = model.stream(iter([np.zeros(2 * RATE, np.float32), np.zeros(10, np.int16)]), sample_rate=RATE)
    next(parts)
    with pytest.raises(AudioError, match="stream, block 1: holds whole numbers"):
        next(parts)


def test_postprocessing_is_that_of_the_command(model: Model, night: Path) -> None:
    settings = PostprocessSettings(shift_s=0.5, smoothing=(0.2, 0.6, 0.2), scale_exponent=1.0)
    inference = BirdsInference(model.engine, shift_s=0.5)
    windows = inference.predict_recording(night)
    expected = postprocess(windows, settings, window=2 * RATE, step=2 * RATE)
    found = model.predict(night, postprocessing=settings)
    np.testing.assert_array_equal(found.probabilities, expected.probabilities)


# Several ------------------------------------------------------------------------------------------


def test_one_bad_file_does_not_stop_the_others(model: Model, night: Path, data_factory: Any) -> None:
    bad = night.with_name("bad.wav")
    bad.write_bytes(b"no sound at all")
    other = data_factory.tone("other.flac", 2.5, 900)
    gone = night.with_name("gone.wav")
    assert [failure.path for failure in model.predict([gone, night]).failures] == [gone]
    scores = model.predict([night, bad, other])
    assert [recording.name for recording in scores] == [str(night), str(other)]
    assert [failure.path for failure in scores.failures] == [bad]
    assert repr(scores) == "Predictions(7 windows of 2 recordings, 3 classes, 1 failed)"
    np.testing.assert_array_equal(scores[str(other)].probabilities, model.predict(other).probabilities)


def test_what_cannot_be_read_at_all_is_an_error(model: Model, tmp_path: Path) -> None:
    bad = tmp_path / "bad.wav"
    bad.write_bytes(b"no sound at all")
    with pytest.raises(AudioError, match=r"bad\.wav"):
        model.predict(bad)
    with pytest.raises(DataError, match=r"none of the 2 sounds could be read; the first: .*bad\.wav"):
        model.predict([bad, dc.Sound.of(tmp_path / "gone.wav")])
    with pytest.raises(DataError, match="no such file or folder"):
        model.predict(tmp_path / "gone.wav")
    with pytest.raises(DataError, match="the list is empty"):
        model.predict([])
    with pytest.raises(AudioError, match="a list of numbers is no sound"):
        model.predict([0.1, 0.2], sample_rate=RATE)


def test_arrays_of_a_list_are_numbered(model: Model) -> None:
    waves = [np.ones(RATE, np.float32), np.zeros((RATE, 2), np.float32)]
    found = model.predict(waves, sample_rate=RATE).to_frame()
    assert found.index.get_level_values("file").tolist() == ["array 0", "array 1"]


# Embeddings and spectrograms ----------------------------------------------------------------------


def test_embeddings_follow_the_protocol_of_model_zoos(model: Model, night: Path) -> None:
    wave = np.random.default_rng(0).uniform(-1, 1, 5 * RATE).astype(np.float32)
    found = model.embed(wave)
    assert found.shape == (3, 96)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, model.embed(wave, sample_rate=RATE))
    batch = model.batch_embed(np.stack([wave, -wave]))
    assert batch.shape == (2, 3, 96)
    np.testing.assert_array_equal(batch[0], found)
    assert model.embed(night, overlap_s=1.0).shape[0] == 9
    scores = model.predict(night, embeddings=True)
    assert scores.embeddings_frame().shape == (5, 96)
    with pytest.raises(DataError, match="no embeddings; predict with embeddings=True"):
        _ = model.predict(night).embeddings
    with pytest.raises(AudioError, match=r"with as many windows each; these have \[1, 3\]"):
        model.batch_embed([wave, wave[:RATE]])


def test_the_spectrogram_shows_what_the_model_hears_around_a_window(
    card: Any, stub: Any, night: Path
) -> None:
    model = Model(stub(card(look_back_s=1.0, look_ahead_s=0.5)))
    wave = dc.Sound.of(night).load(RATE)
    for start_s in (0.0, 0.5, 4.0, 8.0):
        first = round((start_s - 1.0) * RATE)
        clip = np.pad(wave, (RATE, 4 * RATE))[first + RATE : first + RATE + model.card.n_samples]
        expected = dc.Spectrogram.of_wave(clip / np.abs(clip).max(), FrontendSettings(**model.card.frontend))
        found = model.spectrogram(night, start_s=start_s)
        np.testing.assert_allclose(found.values, expected.values, atol=1e-5)
        assert found.start_s == start_s - 1.0


def test_the_spectrogram_is_what_the_networks_take(exported: Any, night: Path) -> None:
    model = load_model(exported.onnx)
    for start_s in (0.0, 4.0, 8.0):
        found = model.spectrogram(night, start_s=start_s)
        row = int(start_s / 2)
        clip = found.values[None, None]
        outputs = next(iter(model.engine.stream([(0, np.repeat(clip, 4, axis=0))])))[1]
        np.testing.assert_allclose(
            outputs.probabilities[0], model.predict(night).probabilities[row], atol=1e-6
        )
        assert (found.start_s, found.duration_s) == (start_s, 2.0)
    with pytest.raises(AudioError, match=r"has no sound at 9\.5 s"):
        model.spectrogram(night, start_s=9.5)


# Opening ------------------------------------------------------------------------------------------


def test_a_model_says_what_it_is(exported: Any) -> None:
    model = load_model(exported.fp16)
    assert repr(model) == "Model(tiny: 3 classes, 2 s at 16000 Hz, OpenVino)"
    assert (model.labels, model.sample_rate, model.window_s) == (("wren", "robin", "owl"), RATE, 2.0)
    assert model.name == "tiny"
    assert model.path == exported.fp16


def test_folds_are_chosen_of_a_run_and_not_of_an_export(exported: Any) -> None:
    for path, engine in ((exported.onnx, None), (exported.run, "onnx")):
        with pytest.raises(ConfigError, match=r"folds is \[0\], but .* is the mean of those"):
            load_model(path, engine, folds=[0])


def test_several_models_predict_as_one(exported: Any, night: Path) -> None:
    one, two = (load_model(path).predict(night).probabilities for path in (exported.onnx, exported.fp16))
    both = load_model([exported.onnx, exported.fp16], weights=[3, 1]).predict(night).probabilities
    np.testing.assert_allclose(both, 0.75 * one + 0.25 * two, atol=1e-6)
    with pytest.raises(ConfigError, match="1 weights for 2 models"):
        load_model([exported.onnx, exported.fp16], weights=[1])


@pytest.mark.parametrize(
    ("clips", "sentence"),
    [
        (
            np.zeros((2, 31_999), np.float32),
            r"the shape \(2, 31999\); this model takes \(batch, 32000\)",
        ),
        (np.zeros(32_000, np.float32), r"have the shape \(32000,\)"),
        (np.zeros((0, 32_000), np.float32), r"have the shape \(0, 32000\)"),
        (np.zeros((1, 32_000), np.int16), "hold int16; samples are float32"),
        (np.full((1, 32_000), np.nan, np.float32), "hold NaN or infinite samples"),
    ],
)
def test_clips_of_a_wrong_shape_or_type_are_refused(exported: Any, clips: np.ndarray, sentence: str) -> None:
    engine = open_engine(exported.onnx)
    with pytest.raises(ModelError, match=sentence):
        engine.predict(clips)


# Predictions and detections -----------------------------------------------------------------------


def test_a_frame_has_a_row_a_window_and_a_column_a_class(model: Model, night: Path) -> None:
    found = model.predict(night).to_frame()
    assert found.index.names == ["file", "start_time", "end_time"]
    assert found.columns.tolist() == ["wren", "robin", "owl"]
    assert found.index[-1] == (str(night), 8.0, 9.3)
    assert "9.3" in model.predict(night)._repr_html_()


def test_detections_are_those_of_the_command(exported: Any, night: Path, tmp_path: Path) -> None:
    import subprocess
    import sys

    command = [sys.executable, "-m", "dawnchorus", "predict", exported.onnx, night, "--out", tmp_path / "cli"]
    options = ["--threshold", "0.2", "--merge", "--format", "csv", "--format", "raven", "--threads", "1"]
    subprocess.run([*map(str, command), *options], check=True, capture_output=True)
    found = load_model(exported.onnx, n_threads=1).predict(night).detections(threshold=0.2, merge=True)
    paths = found.write(["csv", "raven"], tmp_path / "python")
    assert paths["csv"].read_text() == (tmp_path / "cli" / "detections.csv").read_text()
    table = f"{night.name}.selections.txt"
    assert (paths["raven"] / table).read_text() == (tmp_path / "cli" / "raven" / table).read_text()
    with pytest.raises(dc.DawnchorusError, match="exists; choose another name, or set overwrite=True"):
        found.write("csv", tmp_path / "python")
    found.write("csv", tmp_path / "python", overwrite=True)
    frame = found.to_frame()
    assert frame["time"].iloc[0] == pd.Timestamp("2023-05-10 05:30:00").to_pydatetime()
    assert len(frame) == len(found)


def test_thresholds_are_a_number_or_one_a_label(model: Model, night: Path, tmp_path: Path) -> None:
    scores = model.predict(night)
    everything = scores.detections(threshold=0.0)
    assert len(everything) == 15
    assert set(scores.detections({"owl": 0.0, "*": 1.0}).to_frame()["label"]) == {"owl"}
    assert set(scores.detections(0.0, species=["wren"]).to_frame()["label"]) == {"wren"}
    assert len(scores.detections(0.0, top_k=1)) == 5
    table = tmp_path / "thresholds.csv"
    table.write_text("label,threshold\n*,0\nowl,inf\n")
    assert set(scores.detections(table).to_frame()["label"]) == {"wren", "robin"}
    with pytest.raises(ConfigError, match="names 'owll', which is no class of this model; did you mean owl"):
        scores.detections({"owll": 0.5, "*": 0.5})
    with pytest.raises(ConfigError, match="names 1 labels and not 'wren'"):
        scores.detections({"owl": 0.5})
    with pytest.raises(ConfigError, match=r"a threshold is 1\.5"):
        scores.detections(1.5)
    with pytest.raises(DataError, match="dawnchorus calibrate"):
        scores.detections("calibrated")
    assert repr(everything).startswith("Detections(15 of 3 species in 1 recording")


def test_detections_in_arrays_are_written_under_their_names(
    model: Model, night: Path, tmp_path: Path
) -> None:
    sounds = [
        dc.Sound.of(np.ones(RATE, np.float32), sample_rate=RATE, name="../a/b"),
        dc.Sound.of(np.ones(RATE, np.float32), sample_rate=RATE, name="c"),
    ]
    found = model.predict([*sounds, night])
    paths = found.detections(0.0).write(["raven", "csv"], tmp_path / "out")
    assert set(pd.read_csv(paths["csv"])["filename"]) == {"a/b", "c", night.name}
    written = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.txt"))
    assert all(name.startswith("out/raven/") for name in written)
    assert len(written) == 3
    assert paths["csv"].is_file()


def test_windows_are_written_as_the_command_writes_them(model: Model, night: Path, tmp_path: Path) -> None:
    scores = model.predict(night)
    table = pd.read_parquet(scores.to_parquet(tmp_path / "windows.parquet"))
    assert table.columns.tolist() == ["filename", "start_s", "end_s", "wren", "robin", "owl"]
    np.testing.assert_array_equal(table[["wren", "robin", "owl"]].to_numpy(), scores.probabilities)


def test_an_exported_model_predicts_arrays_without_pytorch(exported: Any) -> None:
    import subprocess
    import sys

    program = """
import sys
import numpy
import dawnchorus as dc
model = dc.load_model(sys.argv[1])
scores = model.predict(numpy.ones(50_000), sample_rate=16_000)
print(scores.to_frame().shape, "torch" in sys.modules, "lightning" in sys.modules)
"""
    command = [sys.executable, "-c", program, str(exported.onnx)]
    assert (
        subprocess.run(command, check=True, capture_output=True, text=True).stdout == "(2, 3) False False\n"
    )
