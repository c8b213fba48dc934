"""Graphs that others have trained: their cards, and their numbers against the same arithmetic in NumPy."""

from __future__ import annotations

import json
import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
from scipy.special import softmax

import dawnchorus as dc
from dawnchorus.cli import main
from dawnchorus.engines import graph_engine
from dawnchorus.engines.graph_engine import at_level, read_classes
from dawnchorus.engines.named_models import list_models
from dawnchorus.errors import ConfigError, DataError, DawnchorusError, ModelError
from dawnchorus.models.graph_card import GraphCard, GraphInput

RATE = 32_000


@pytest.fixture
def waves() -> np.ndarray:
    rng = np.random.default_rng(1)
    levels = np.array([0.5, 0.1, 0.01, 0.0, 0.3])[:, None]
    envelopes = np.repeat(rng.uniform(0, 1, (5, 50)) ** 4, 5 * RATE // 50, axis=1)
    return (levels * (envelopes * rng.uniform(-1, 1, (5, 5 * RATE)) + 1 / 3)).astype(np.float32)


def as_perch_takes_them(clips: np.ndarray) -> np.ndarray:
    """What perch-hoplite does before the graph, written plainly, clip by clip."""
    levelled = []
    for clip in clips.astype(np.float64):
        centred = clip - clip.mean()
        loudest = np.abs(centred).max()
        levelled.append(centred / loudest * 0.25 if loudest > 0 else centred)
    return np.array(levelled)


def test_the_layout_of_perch_2_gives_its_probabilities_and_embeddings(
    tmp_path: Path, perch_in: Any, waves: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in = perch_in(tmp_path / "perch-2")
    monkeypatch.chdir(tmp_path)
    model = dc.load_model("perch-2", n_threads=1)
    assert (model.sample_rate, model.window_s, model.labels[:2]) == (
        RATE,
        5,
        ("Strix aluco", "Turdus merula"),
    )
    assert repr(model) == "Model(Perch 2: 3 classes, 5 s at 32000 Hz, OnnxGraph)"
    outputs = model.engine.outputs(waves)
    embeddings, logits = stand_in.outputs(as_perch_takes_them(waves))
    np.testing.assert_allclose(outputs.embeddings, embeddings, atol=1e-4)
    np.testing.assert_allclose(outputs.probabilities, softmax(logits, axis=1), atol=1e-5)
    assert len(np.unique(outputs.probabilities.round(3), axis=0)) > 2  # it tells clips apart


def test_predict_takes_the_folder_of_a_graph_as_it_takes_a_model_of_ours(
    tmp_path: Path, perch_in: Any, card_values: Any, write_card: Any, waves: np.ndarray
) -> None:
    stand_in = perch_in(tmp_path / "mine")
    write_card(stand_in.file, card_values)
    soundfile.write(tmp_path / "night.wav", waves.ravel(), RATE, subtype="FLOAT")
    out = tmp_path / "out"
    arguments = [str(tmp_path / "night.wav"), "--out", str(out), "--threshold", "0.2", "--embeddings"]
    main_ended_well(["predict", str(tmp_path / "mine"), *arguments])
    windows = pd.read_parquet(out / "windows.parquet")
    embeddings, logits = stand_in.outputs(as_perch_takes_them(waves))
    expected = softmax(logits, axis=1)
    np.testing.assert_allclose(windows[["Strix aluco", "Turdus merula", "Engine"]], expected, atol=1e-5)
    found = np.stack(list(pd.read_parquet(out / "embeddings.parquet")["embedding"]))
    np.testing.assert_allclose(found, embeddings, atol=1e-4)
    detections = pd.read_csv(out / "detections.csv")
    assert len(detections) == (expected >= 0.2).sum()
    assert set(detections["model"]) == {"Perch 2, Apache-2.0"}
    made = json.loads((out / "predictions.json").read_text(encoding="utf-8"))["made"]
    assert made["licence of the weights"] == "Apache-2.0"
    main_ended_well(["predict", str(stand_in.file), *arguments])  # the same model by another path


def main_ended_well(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert not ended.value.code


@pytest.mark.parametrize(("rank", "axes"), [(3, ["batch", "channel", "samples"]), (1, ["samples"])])
def test_the_axes_of_the_input_are_those_of_the_card(
    tmp_path: Path, perch_in: Any, card_values: Any, write_card: Any, waves: np.ndarray, rank: int, axes: Any
) -> None:
    usual, other = perch_in(tmp_path / "usual"), perch_in(tmp_path / "other", rank=rank)
    write_card(usual.file, card_values)
    write_card(other.file, {**card_values, "input": {**card_values["input"], "axes": axes}})
    expected = dc.open_engine(usual.file, n_threads=1).outputs(waves)
    found = dc.open_engine(other.file, n_threads=1).outputs(waves)
    np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=1e-6)
    np.testing.assert_allclose(found.embeddings, expected.embeddings, atol=1e-5)


@pytest.mark.parametrize("batch", [1, 2])
def test_a_graph_of_a_fixed_batch_takes_any_number_of_clips(
    tmp_path: Path, perch_in: Any, card_values: Any, write_card: Any, waves: np.ndarray, batch: int
) -> None:
    fixed, free = perch_in(tmp_path / "fixed", batch=batch), perch_in(tmp_path / "free")
    for stand_in in (fixed, free):
        write_card(stand_in.file, card_values)
    expected = dc.open_engine(free.file, n_threads=1).outputs(waves).probabilities
    for size in (1, 3, 4):
        found = dc.open_engine(fixed.file, n_threads=1, clips_per_request=size).outputs(waves)
        np.testing.assert_allclose(found.probabilities, expected, atol=1e-6)


def test_sizes_of_requests_and_callers_at_once_change_nothing(
    tmp_path: Path, perch_in: Any, card_values: Any, write_card: Any, waves: np.ndarray
) -> None:
    write_card(perch_in(tmp_path).file, card_values)
    engine = dc.open_engine(tmp_path, n_threads=2, clips_per_request=2)
    expected = engine.outputs(waves)
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(engine.outputs, [waves] * 8):
            np.testing.assert_array_equal(found.probabilities, expected.probabilities)
            np.testing.assert_array_equal(found.embeddings, expected.embeddings)
    engine.resize(5)
    np.testing.assert_allclose(engine.outputs(waves).probabilities, expected.probabilities, atol=1e-6)


def test_axes_between_clips_and_features_are_averaged(
    tmp_path: Path, perch_in: Any, card_values: Any, write_card: Any, waves: np.ndarray
) -> None:
    stand_in = perch_in(tmp_path)
    write_card(stand_in.file, {**card_values, "embeddings": "spatial_embedding"})
    expected, _ = stand_in.outputs(as_perch_takes_them(waves))
    np.testing.assert_allclose(dc.open_engine(tmp_path).outputs(waves).embeddings, expected, atol=1e-4)


def test_a_graph_without_scores_embeds_and_names_nothing(
    tmp_path: Path, perch_in: Any, card_values: Any, write_card: Any, waves: np.ndarray
) -> None:
    stand_in = perch_in(tmp_path)
    del card_values["scores"]
    write_card(stand_in.file, card_values)
    model = dc.load_model(tmp_path, n_threads=1)
    expected, _ = stand_in.outputs(as_perch_takes_them(waves))
    np.testing.assert_allclose(model.embed(waves.ravel()), expected, atol=1e-4)
    with pytest.raises(ModelError, match=r"Perch 2 gives embeddings and names no species; ask for its emb"):
        model.predict(waves.ravel(), sample_rate=RATE)


def test_a_card_may_be_toml(tmp_path: Path, perch_in: Any) -> None:
    perch_in(tmp_path)
    (tmp_path / "perch_v2.card.toml").write_text(
        'name = "Owls"\nlicence = "CC0-1.0"\nsample_rate = 32000\nwindow_s = 5\nembeddings = "embedding"\n'
        '[scores]\noutput = "label"\nactivation = "sigmoid"\nlabels = "labels.csv"\n',
        encoding="utf-8",
    )
    assert dc.load_model(tmp_path).name == "Owls"
    (tmp_path / "perch_v2.card.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ModelError, match=r"has the cards perch_v2\.card\.json and perch_v2\.card\.toml"):
        dc.load_model(tmp_path)
    with pytest.raises(ModelError, match=r"perch_v2\.onnx has two cards beside it"):
        dc.load_model(tmp_path / "perch_v2.onnx")


WRONG_CARDS: list[tuple[dict[str, Any], str]] = [
    ({"licence": None}, r"licence is None; legal: text"),
    ({"window": 5}, r"window is not known; did you mean window_s\?"),
    ({"window_s": 0}, r"window_s is 0; legal: more than 0"),
    ({"window_s": 3}, r"takes the shape \['batch', 160000\], and its card says batch, samples, with 96000"),
    (
        {"window_s": 3600, "sample_rate": 1_000_000},
        r"window_s 3600 at sample_rate 1000000 is a clip of 3,600,000,000 samples; legal: 1 to 67,108,864",
    ),
    ({"window_s": 1e-9}, r"is a clip of 0 samples; legal: 1 to"),
    ({"window_s": float("nan")}, r"window_s is nan; legal: "),
    ({"input": {"gain": 1e308}}, r"input\.gain is 1e\+308; legal: more than 0 and 4294967296"),
    ({"input": {"gain": float("inf")}}, r"input\.gain is inf; legal: "),
    ({"input": {"peak": float("nan")}}, r"input\.peak is nan; legal: "),
    ({"input": {"peak": 1e39}}, r"input\.peak is 1e\+39; legal: 4294967296"),
    ({"sample_rate": 48_000}, r"240000 samples \(5 s at 48000 Hz\)"),
    ({"input": {"axes": ["batch", "channel", "samples"]}}, r"correct input\.axes, window_s or sample_rate"),
    ({"input": {"axes": ["batch"]}}, r"input\.axes is \['batch'\]; legal: samples, and with it batch"),
    ({"input": {"axes": ["time"]}}, r"input\.axes\.0 is 'time'; legal: 'batch', 'channel' or 'samples'"),
    ({"input": {"peak": -1}}, r"input\.peak is -1; legal: more than 0"),
    ({"input": {"name": "wave"}}, r"has no input wave, which its card names; it has inputs"),
    ({"embeddings": "features"}, r"has no output features, which its card names; it has embedding, spatial"),
    ({"embeddings": None, "scores": None}, r"scores and embeddings are both missing; name an output"),
    (
        {"scores": {"output": "label", "activation": "tanh", "labels": "labels.csv"}},
        r"scores\.activation is 'tanh'; legal: 'sigmoid', 'softmax' or 'none'",
    ),
    (
        {"scores": {"output": "label", "activation": "sigmoid", "labels": "../labels.csv"}},
        r"names '\.\./labels\.csv', which does not lie below",
    ),
    (
        {"scores": {"output": "label", "activation": "sigmoid", "labels": "names.txt"}},
        r"names\.txt cannot be read",
    ),
    (
        {"scores": {"output": "embedding", "activation": "sigmoid", "labels": "labels.csv"}},
        r"gives 1,536 scores a clip in embedding, and labels\.csv has 3 labels; give a label a score",
    ),
]


@pytest.mark.parametrize(("change", "message"), WRONG_CARDS)
def test_a_card_that_does_not_fit_is_one_sentence(
    tmp_path: Path, perch_in: Any, card_values: Any, write_card: Any, change: dict[str, Any], message: str
) -> None:
    stand_in = perch_in(tmp_path)
    values = {**card_values, **change}
    if change.get("licence", "") is None:
        del values["licence"]
        message = r"licence is missing"
    write_card(stand_in.file, {key: value for key, value in values.items() if value is not None})
    with pytest.raises(DawnchorusError, match=message):
        dc.load_model(tmp_path)


def test_scores_that_are_no_probabilities_are_refused(
    tmp_path: Path, perch_in: Any, card_values: Any, write_card: Any, waves: np.ndarray
) -> None:
    card_values["scores"]["activation"] = "none"
    write_card(perch_in(tmp_path).file, card_values)
    with pytest.raises(
        ModelError, match=r"which are no probabilities; the card's activation is none, and si"
    ):
        dc.open_engine(tmp_path).predict(waves)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid", "none"])
@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_scores_that_are_not_finite_are_refused(
    tmp_path: Path,
    perch_in: Any,
    card_values: Any,
    write_card: Any,
    waves: np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
    activation: str,
    wrong: float,
) -> None:
    card_values["scores"]["activation"] = activation
    write_card(perch_in(tmp_path).file, card_values)
    engine = dc.open_engine(tmp_path, n_threads=1)
    compute = type(engine).compute

    def compute_wrong(self: Any, inputs: np.ndarray) -> dict[str, np.ndarray]:
        outputs = {name: values.copy() for name, values in compute(self, inputs).items()}
        outputs["label"] = np.zeros_like(outputs["label"])
        outputs["label"][0, 1] = wrong
        return outputs

    monkeypatch.setattr(type(engine), "compute", compute_wrong)
    with pytest.raises(
        ModelError,
        match=r"perch_v2\.onnx gives scores that are no finite numbers in label; compare input",
    ):
        engine.predict(waves)


def test_predict_ends_in_a_sentence_where_a_graph_gives_no_numbers(
    tmp_path: Path, perch_in: Any, card_values: Any, write_card: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    stand_in = perch_in(tmp_path / "mine")
    _overflow_weights(stand_in.file)
    write_card(stand_in.file, card_values)
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 5 * RATE)
    soundfile.write(tmp_path / "night.wav", noise, RATE, subtype="FLOAT")
    with pytest.raises(SystemExit) as ended:
        main(["predict", str(tmp_path / "mine"), str(tmp_path / "night.wav"), "--out", str(tmp_path / "out")])
    assert ended.value.code == 1
    said = capsys.readouterr().err
    assert "gives scores that are no finite numbers in label" in said
    assert "Traceback" not in said
    assert not list((tmp_path / "out").glob("*.parquet"))
    assert not list((tmp_path / "out").glob("*.csv"))


def _overflow_weights(file: Path) -> None:
    """Write weights into a graph whose products overflow float32."""
    onnx = pytest.importorskip("onnx")
    graph = onnx.load(file)
    for weights in graph.graph.initializer:
        values = onnx.numpy_helper.to_array(weights)
        if values.dtype == np.float32:
            weights.CopyFrom(onnx.numpy_helper.from_array(np.full_like(values, 3e38), weights.name))
    onnx.save(graph, file)


def test_the_quietest_clips_are_scaled_without_overflow() -> None:
    clips = np.float32([[1e-42, -1e-42]])
    np.testing.assert_array_equal(at_level(clips, GraphInput(peak=0.25)), [[0.25, -0.25]])


def test_what_is_no_graph_or_has_no_card_is_said(tmp_path: Path, card_values: Any, write_card: Any) -> None:
    graph = tmp_path / "damaged.onnx"
    card = write_card(graph, card_values)
    with pytest.raises(
        ModelError, match=r"damaged\.card\.json has no graph beside it; put damaged\.onnx or d"
    ):
        dc.load_model(tmp_path)
    graph.write_bytes(b"no graph")
    (tmp_path / "labels.csv").write_text("name\nwren\n", encoding="utf-8")
    with pytest.raises(ModelError, match=r"damaged\.onnx cannot be opened as a model"):
        dc.load_model(graph)
    card.unlink()
    (tmp_path / "bare.tflite").write_bytes(b"")
    with pytest.raises(ModelError, match=r"bare\.tflite has no card beside it; write bare\.card\.json"):
        dc.load_model(tmp_path / "bare.tflite")
    (tmp_path / "bare.card.toml").write_text("name =", encoding="utf-8")
    with pytest.raises(ModelError, match=r"bare\.card\.toml is not TOML"):
        GraphCard.read(tmp_path / "bare.card.toml")


def test_the_fingerprint_is_of_the_graph_the_card_and_the_labels(
    tmp_path: Path, perch_in: Any, card_values: Any, write_card: Any
) -> None:
    stand_in = perch_in(tmp_path)
    fingerprints = set()
    for activation in ("softmax", "sigmoid"):
        card_values["scores"]["activation"] = activation
        write_card(stand_in.file, card_values)
        fingerprints.add(dc.open_engine(tmp_path).fingerprint)
    (tmp_path / "labels.csv").write_text("name\nwren\nowl\nEngine\n", encoding="utf-8")
    fingerprints.add(dc.open_engine(tmp_path).fingerprint)
    assert len(fingerprints) == 3


def test_the_licence_is_said_once(
    tmp_path: Path,
    perch_in: Any,
    card_values: Any,
    write_card: Any,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_card(perch_in(tmp_path).file, {**card_values, "terms": "name its authors", "source": "https://a.b"})
    monkeypatch.setattr(graph_engine, "_said", set())
    with caplog.at_level(logging.INFO, logger="dawnchorus"):
        dc.open_engine(tmp_path)
        dc.open_engine(tmp_path)
    said = [record.getMessage() for record in caplog.records]
    assert said == ["Perch 2: licence Apache-2.0 (name its authors, https://a.b)"]


def test_a_graph_joins_an_ensemble_and_keeps_its_licence(
    tmp_path: Path, perch_in: Any, card_values: Any, write_card: Any, waves: np.ndarray
) -> None:
    for name in ("one", "two"):
        card = {**card_values, "input": {"name": "inputs", "peak": 1.0 if name == "one" else 0.25}}
        write_card(perch_in(tmp_path / name).file, card)
    one, two = (dc.open_engine(tmp_path / name).predict(waves) for name in ("one", "two"))
    both = dc.load_model([tmp_path / "one", tmp_path / "two"], weights=[3, 1])
    np.testing.assert_allclose(both.engine.predict(waves), (3 * one + two) / 4, atol=1e-6)
    assert np.abs(one - two).max() > 1e-3  # each at its own level
    assert both.card.credit == "Perch 2+Perch 2, Apache-2.0"


def test_an_engine_that_does_not_fit_the_graph_is_refused(
    tmp_path: Path, perch_in: Any, card_values: Any, write_card: Any
) -> None:
    write_card(perch_in(tmp_path).file, card_values)
    with pytest.raises(ConfigError, match=r"the engine is 'openvino', and .*perch_v2\.onnx is for onnx; lea"):
        dc.load_model(tmp_path, "openvino")
    assert dc.load_model(tmp_path, "onnx").name == "Perch 2"


def test_tune_measures_a_graph_and_keeps_what_it_found(
    tmp_path: Path, perch_in: Any, card_values: Any, write_card: Any
) -> None:
    stand_in = perch_in(tmp_path)
    write_card(stand_in.file, card_values)
    main_ended_well(["tune", str(tmp_path), "--threads", "1"])
    assert (tmp_path / "tuned.json").is_file()
    assert dc.open_engine(tmp_path, n_threads=1).clips_per_request in (1, 2, 4, 8)


def test_silence_stays_silence_at_any_level() -> None:
    silence = np.zeros((1, 8), np.float32)
    np.testing.assert_array_equal(at_level(silence, GraphInput(remove_mean=True, peak=0.5)), silence)
    sixteen_bits = at_level(np.float32([[0.5, -1.0]]), GraphInput(gain=32_768))
    np.testing.assert_array_equal(sixteen_bits, [[16_384, -32_768]])


def test_labels_may_hold_two_names_or_a_table_of_them(tmp_path: Path) -> None:
    lines = tmp_path / "labels.txt"
    lines.write_text("Strix aluco_Tawny Owl\nDog_Dog\nrobin_song\n", encoding="utf-8")
    classes = read_classes(lines)
    assert classes.labels == ("Strix aluco", "Dog", "robin_song")
    assert classes.species["Strix aluco"] == {"scientific_name": "Strix aluco", "common_name": "Tawny Owl"}
    table = tmp_path / "taxonomy.csv"
    table.write_text("primary_label,common_name\ntawowl1,Tawny Owl\n", encoding="utf-8")
    assert read_classes(table).species == {"tawowl1": {"common_name": "Tawny Owl"}}
    lines.write_text("Strix aluco_Tawny Owl\nStrix aluco_Brown Owl\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"labels\.txt: labels stand twice in the label map: Strix aluco"):
        read_classes(lines)


def test_models_lists_what_is_here_and_how_to_get_the_rest(
    tmp_path: Path,
    perch_in: Any,
    card_values: Any,
    write_card: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert next(model for model in list_models() if model.name == "perch-2").path is None
    perch_in(tmp_path / "perch-2")
    write_card(perch_in(tmp_path / "mine").file, {**card_values, "name": "Mine"})
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "a.card.json").write_text("{}", encoding="utf-8")
    main_ended_well(["models"])
    shown = capsys.readouterr().out
    assert "birdnet: BirdNET v2.4, 6,522 classes and embeddings" in shown
    assert "imagenet: EfficientNet-Lite0 of ImageNet, no classes and embeddings" in shown
    assert "licence: CC BY-NC-SA 4.0 (not for commercial use" in shown
    assert f"installed: {Path('perch-2/perch_v2.onnx')}" in shown
    assert "not installed: dawnchorus download birdclef-2025" in shown
    assert f"{Path('mine/perch_v2.onnx')}: Mine, 3 classes and embeddings" in shown
    main_ended_well(["models", "--json"])
    listed = json.loads(capsys.readouterr().out)
    names = ["birdnet", "perch-2", "imagenet", "birdclef-2025"]
    assert [model["name"] for model in listed[:4]] == names
    assert listed[-1]["n_classes"] == 3


def test_a_model_that_is_not_installed_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        ModelError, match=r"Perch 2 is not installed: put perch_v2\.onnx and labels\.csv into"
    ):
        dc.load_model("perch-2")
    with pytest.raises(ModelError, match=r"second place is not installed: dawnchorus download birdclef-2025"):
        dc.load_model("birdclef-2025")


def test_an_export_in_a_folder_of_the_name_is_opened(
    tmp_path: Path, exported: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "birdclef-2025").symlink_to(exported.onnx.parent)
    monkeypatch.chdir(tmp_path)
    assert dc.load_model("birdclef-2025").labels == exported.card.labels


def test_a_name_of_ones_own_opens_a_model(
    tmp_path: Path, perch_in: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dawnchorus.engines.named_models import PERCH, NamedModel

    stand_in = perch_in(tmp_path / "somewhere")
    dc.register("model", "ours")(NamedModel(PERCH.card, 3, lambda: stand_in.file, "ask us"))
    monkeypatch.chdir(tmp_path)
    assert dc.load_model("ours").card.labels[0] == "Strix aluco"
