"""The engines against each other, against the graphs themselves, and against a mean written plainly."""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import openvino
import pytest
import torch
from scipy.stats import pmean
from timm.layers import EcaModule

from dawnchorus.engines import open_engine, opening
from dawnchorus.engines.combined import CombinedEngine, lowered, raised
from dawnchorus.engines.engine import Engine, Outputs, filled_up, fingerprint_of
from dawnchorus.engines.engine_settings import (
    EngineSettings,
    default_settings,
    engine_settings,
    machine_name,
    read_tuned,
    with_tuned,
)
from dawnchorus.engines.onnx_engine import OnnxEngine
from dawnchorus.engines.openvino_engine import OpenVinoEngine, openvino_core
from dawnchorus.engines.torch_engine import TorchEngine
from dawnchorus.errors import ModelError, RunError
from dawnchorus.export.onnx import write_onnx
from dawnchorus.export.openvino import read_onnx, write_ir
from dawnchorus.machine import usable_cores
from dawnchorus.models.card import ModelCard
from dawnchorus.models.wave_cnn import WaveCNNAttenClassifier

SIZES = (1, 7, 64)
N_CALLERS = 8
WIDE = 1e-4
NARROW = 1e-3


def settings_of(n_threads: int = 1, n_streams: int = 1, clips_per_request: int = 7) -> EngineSettings:
    return EngineSettings(n_threads, n_streams, clips_per_request)


@pytest.fixture(scope="module")
def reference(exported: Any, clips: np.ndarray) -> Outputs:
    """What PyTorch says of the clips, one by one."""
    return TorchEngine(exported.models, exported.card, device="cpu", clips_per_request=1).outputs(clips)


def opened(exported: Any, kind: str, settings: EngineSettings) -> Engine:
    if kind == "torch":
        return TorchEngine(
            exported.models, exported.card, device="cpu", clips_per_request=settings.clips_per_request
        )
    if kind == "onnx":
        return OnnxEngine(exported.onnx, settings)
    return OpenVinoEngine(exported.fp16 if kind == "fp16" else exported.float32, settings)


# Threads ------------------------------------------------------------------------------------------


def combined(exported: Any, settings: EngineSettings) -> Engine:
    """Return one engine twice, and ONNX Runtime beside it."""
    fp16 = opened(exported, "fp16", settings)
    return CombinedEngine([fp16, opened(exported, "onnx", settings), fp16], [1.0, 2.0, 0.5])


@pytest.mark.parametrize(
    ("kind", "n_streams"),
    [("torch", 1), ("onnx", 1), ("float32", 1), ("float32", 2), ("fp16", 1), ("fp16", 2), ("combined", 2)],
)
@pytest.mark.parametrize("n_calls", [96, pytest.param(4000, marks=pytest.mark.stress)])
def test_one_engine_gives_every_thread_the_bits_that_it_gives_one(
    exported: Any, clips: np.ndarray, kind: str, n_streams: int, n_calls: int
) -> None:
    settings = settings_of(n_streams, n_streams, 1)
    engine = combined(exported, settings) if kind == "combined" else opened(exported, kind, settings)
    asked = [clips[first : first + 1 + first % 2] for first in range(0, 60, 5)]
    alone = [engine.outputs(waves) for waves in asked]

    def differing(seed: int) -> int:
        order = np.random.default_rng(seed).integers(len(asked), size=n_calls // N_CALLERS)
        n_differing = 0
        for number in order:
            found = engine.outputs(asked[number])
            n_differing += not all(map(np.array_equal, found, alone[number]))
        return n_differing

    with ThreadPoolExecutor(N_CALLERS) as pool:
        assert list(pool.map(differing, range(N_CALLERS))) == [0] * N_CALLERS


@pytest.mark.parametrize("n_streams", [1, 2])
def test_a_stream_that_is_left_half_read_holds_up_no_other(
    exported: Any, clips: np.ndarray, n_streams: int
) -> None:
    engine = opened(exported, "fp16", settings_of(n_streams, n_streams, 2))
    expected = engine.outputs(clips[:6])
    requests = ((first, engine.prepare(clips[first : first + 2])) for first in (0, 2, 4))
    half_read = engine.stream(requests)
    first = next(half_read)
    np.testing.assert_array_equal(engine.outputs(clips[:6]).probabilities, expected.probabilities)
    rest = [outputs.probabilities for _, outputs in (first, *half_read)]
    np.testing.assert_array_equal(np.concatenate(rest), expected.probabilities)


def test_threads_that_open_their_first_model_at_once_share_one_core(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[object] = []

    def slow_core() -> object:
        time.sleep(0.05)
        made.append(object())
        return made[-1]

    monkeypatch.setattr("dawnchorus.engines.openvino_engine._core", None)
    monkeypatch.setattr(openvino, "Core", slow_core)
    with ThreadPoolExecutor(N_CALLERS) as pool:
        cores = list(pool.map(lambda _: openvino_core(), range(N_CALLERS)))
    assert len(made) == 1
    assert cores == made * N_CALLERS


# Engines ------------------------------------------------------------------------------------------


def test_the_reference_tells_clips_apart(reference: Outputs) -> None:
    assert reference.probabilities.std(axis=0).min() > 0.02
    assert reference.embeddings.std(axis=0).max() > 0.1


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", ["torch", "onnx", "float32", "fp16"])
def test_engines_agree_whatever_the_threads_streams_and_clips(
    exported: Any, clips: np.ndarray, reference: Outputs, kind: str, size: int
) -> None:
    streams = [(1, 1), (2, 1), (2, 2), (1, 2)] if kind == "float32" else [(1, 1), (2, 2)]
    for n_threads, n_streams in streams if kind != "torch" else [(1, 1)]:
        engine = opened(exported, kind, settings_of(n_threads, n_streams, size))
        found = engine.outputs(clips)
        assert found.probabilities.shape == (70, 3)
        assert found.probabilities.dtype == found.embeddings.dtype == np.float32
        tolerance = NARROW if kind == "fp16" else WIDE
        np.testing.assert_allclose(found.probabilities, reference.probabilities, atol=tolerance, rtol=0)
        np.testing.assert_allclose(
            found.embeddings, reference.embeddings, atol=20 * tolerance, rtol=20 * tolerance
        )
        assert ((found.probabilities >= 0) & (found.probabilities <= 1)).all()


@pytest.mark.parametrize(
    ("kind", "size"),
    [(kind, size) for kind in ("onnx", "float32", "fp16") for size in (1, 4, 5, 7)],
)
def test_the_bits_of_a_clip_do_not_depend_on_its_companions(
    exported: Any, clips: np.ndarray, kind: str, size: int
) -> None:
    engine = opened(exported, kind, settings_of(2, 2, size))
    among = engine.outputs(clips[:30])
    order = np.random.default_rng(1).permutation(30)
    shuffled = engine.outputs(clips[:30][order])
    np.testing.assert_array_equal(shuffled.probabilities, among.probabilities[order])
    np.testing.assert_array_equal(shuffled.embeddings, among.embeddings[order])
    for number in (0, 3, 12, 29):
        alone = engine.outputs(clips[number : number + 1])
        np.testing.assert_array_equal(alone.probabilities[0], among.probabilities[number])
        np.testing.assert_array_equal(alone.embeddings[0], among.embeddings[number])


@pytest.mark.parametrize("size", [4, 7])
def test_in_pytorch_companions_change_no_more_than_the_last_digit(
    exported: Any, clips: np.ndarray, size: int
) -> None:
    engine = opened(exported, "torch", settings_of(1, 1, size))
    among, alone = engine.outputs(clips[:30]), engine.outputs(clips[3:4])
    np.testing.assert_allclose(alone.probabilities[0], among.probabilities[3], atol=1e-6, rtol=0)


@pytest.mark.parametrize("size", SIZES)
def test_the_whole_graph_run_directly_says_what_the_cut_one_does(
    exported: Any, clips: np.ndarray, reference: Outputs, size: int
) -> None:
    session = onnxruntime.InferenceSession(exported.onnx, providers=["CPUExecutionProvider"])
    assert [value.name for value in session.get_inputs()] == ["input"]
    assert [value.name for value in session.get_outputs()] == ["output", "embedding"]
    compiled = openvino.Core().compile_model(exported.onnx, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    part = clips[:size]
    by_onnx = session.run(None, {"input": part})
    by_openvino = [compiled([part])[name] for name in ("output", "embedding")]
    for found in (by_onnx, by_openvino):
        np.testing.assert_allclose(found[0], reference.probabilities[:size], atol=WIDE, rtol=0)
        np.testing.assert_allclose(found[1], reference.embeddings[:size], atol=10 * WIDE, rtol=0)


def test_the_engines_run_the_networks_and_the_picture_is_made_beside_them(exported: Any) -> None:
    for kind in ("onnx", "float32", "fp16"):
        engine = opened(exported, kind, settings_of())
        assert engine.input_kind == "logmel"
        assert engine.prepare(np.zeros((7, 32_000), np.float32)).shape == (7, 1, 64, 126)
        assert engine.card == exported.card


def test_both_graphs_read_the_same_weights_from_one_file(exported: Any) -> None:
    folder = exported.onnx.parent
    assert sorted(path.name for path in folder.iterdir()) == ["model.onnx", "networks.onnx", "weights.bin"]
    n_weights = sum(value.numel() for model in exported.models for value in model.state_dict().values())
    assert folder.joinpath("networks.onnx").stat().st_size < n_weights
    for name in ("model.onnx", "networks.onnx"):
        onnx.checker.check_model(folder / name)


def test_a_model_without_its_networks_beside_it_is_run_whole(
    exported: Any, clips: np.ndarray, reference: Outputs, tmp_path: Path
) -> None:
    for name in ("model.onnx", "weights.bin"):
        shutil.copy(exported.onnx.parent / name, tmp_path)
    engine = OnnxEngine(tmp_path / "model.onnx", settings_of())
    assert engine.input_kind == "wave"
    np.testing.assert_allclose(engine.predict(clips[:20]), reference.probabilities[:20], atol=WIDE, rtol=0)


def test_openvino_hears_a_plain_onnx_file_too(exported: Any, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="holds no dawnchorus model card; export the model again"):
        OpenVinoEngine(exported.onnx, settings_of())  # it knows nothing of ONNX's metadata


@pytest.mark.parametrize("n_streams", [1, 2, 3])
def test_openvinos_stream_keeps_keys_and_order(
    exported: Any, clips: np.ndarray, reference: Outputs, n_streams: int
) -> None:
    engine = OpenVinoEngine(exported.float32, settings_of(2, n_streams, 4))
    requests = [((k, "key"), engine.prepare(clips[4 * k : 4 * k + 4])) for k in range(8)]
    found = list(engine.stream(iter(requests)))
    assert [key for key, _ in found] == [(k, "key") for k in range(8)]
    probabilities = np.concatenate([outputs.probabilities for _, outputs in found])
    np.testing.assert_allclose(probabilities, reference.probabilities[:32], atol=WIDE, rtol=0)


def test_openvinos_stream_survives_a_caller_that_stops_early(exported: Any, clips: np.ndarray) -> None:
    engine = OpenVinoEngine(exported.float32, settings_of(2, 2, 4))
    expected = engine.predict(clips[:8])
    for _ in range(3):
        stream = engine.stream((k, engine.prepare(clips[8:12])) for k in range(20))
        assert next(stream)[0] == 0
        stream.close()
    np.testing.assert_array_equal(engine.predict(clips[:8]), expected)


def test_openvinos_stream_survives_requests_that_fail(exported: Any, clips: np.ndarray) -> None:
    engine = OpenVinoEngine(exported.float32, settings_of(2, 2, 4))

    def failing() -> Any:
        yield 0, engine.prepare(clips[:4])
        raise OSError("the disk")

    with pytest.raises(OSError, match="the disk"):
        list(engine.stream(failing()))
    assert engine.predict(clips[:4]).shape == (4, 3)


def test_an_engine_can_be_resized(exported: Any, clips: np.ndarray, reference: Outputs) -> None:
    for kind in ("torch", "onnx", "float32"):
        engine = opened(exported, kind, settings_of(clips_per_request=2))
        for size in (5, 1):
            engine.resize(size)
            assert engine.clips_per_request == size
            np.testing.assert_allclose(
                engine.predict(clips[:9]), reference.probabilities[:9], atol=WIDE, rtol=0
            )


def test_requests_are_filled_up_with_silence() -> None:
    waves = np.ones((2, 5), np.float32)
    np.testing.assert_array_equal(filled_up(waves, 3), [[1] * 5, [1] * 5, [0] * 5])
    assert filled_up(waves, 2) is waves


def test_a_fingerprint_tells_contents_and_not_places(tmp_path: Path, exported: Any) -> None:
    for name, content in (("a", b"1"), ("b", b"1"), ("c", b"2")):
        (tmp_path / name).write_bytes(content)
    a, b, c = (fingerprint_of("x", [tmp_path / name]) for name in "abc")
    assert a == b != c
    assert a.startswith("x ")
    kinds = {opened(exported, kind, settings_of()).fingerprint for kind in ("onnx", "float32", "fp16")}
    assert len(kinds) == 3
    shutil.copytree(exported.onnx.parent, tmp_path / "elsewhere")
    moved = OnnxEngine(tmp_path / "elsewhere" / "model.onnx", settings_of(2, 2, 3))
    assert moved.fingerprint == opened(exported, "onnx", settings_of()).fingerprint


# Several models as one ----------------------------------------------------------------------------


def test_models_are_joined_by_label_with_their_weights(card: Any, stub: Any) -> None:
    cards = [card(labels=("wren", "robin", "owl")), card(labels=("owl", "crow")), card(labels=("crow",))]
    engines = [stub(one, 4) for one in cards]
    weights = [1.0, 2.5, 0.25]
    combined = CombinedEngine(engines, weights)
    assert combined.card.labels == ("wren", "robin", "owl", "crow")
    assert combined.card.exp_name == "tiny+tiny+tiny"
    waves = np.random.default_rng(0).uniform(-1, 1, (10, 32_000)).astype(np.float32)
    found = combined.outputs(waves)
    said = [stub(one, 10).predict(waves).astype(np.float64) for one in cards]
    expected = np.zeros((10, 4))
    for place, label in enumerate(combined.card.labels):
        knowing = [k for k, one in enumerate(cards) if label in one.labels]
        columns = [said[k][:, cards[k].labels.index(label)] for k in knowing]
        expected[:, place] = np.average(columns, axis=0, weights=[weights[k] for k in knowing])
    np.testing.assert_allclose(found.probabilities, expected, atol=1e-6, rtol=0)
    np.testing.assert_array_equal(found.embeddings, stub(cards[0], 10).outputs(waves).embeddings)


@pytest.mark.parametrize("exponent", [0, 0.5, 1, 2, 30])
def test_models_are_joined_by_the_power_mean_of_scipy(card: Any, stub: Any, exponent: float) -> None:
    engines, weights = [stub(card(exp_name=name), 4) for name in ("a", "b", "c")], np.array([1.0, 2.5, 0.25])
    waves = np.random.default_rng(0).uniform(-1, 1, (10, 32_000)).astype(np.float32)
    said = np.stack([engine.predict(waves).astype(np.float64) for engine in engines])
    combined = CombinedEngine(engines, weights, exponent=exponent)
    expected = pmean(said, exponent, weights=np.broadcast_to(weights[:, None, None], said.shape))
    found = combined.predict(waves)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert ("exponent" in combined.fingerprint) == (exponent != 1)


def test_one_model_that_says_0_does_not_make_a_geometric_mean_0() -> None:
    said = np.array([[0.0], [0.25]])
    assert lowered(raised(said, 0).mean(axis=0), 0)[0] == pytest.approx(0.5 * np.sqrt(1.1754944e-38))
    assert raised(said, 0)[0, 0] == pytest.approx(np.log(1.1754944e-38))


@pytest.mark.parametrize("exponent", [-1, float("inf"), float("nan")])
def test_an_exponent_below_0_is_refused(card: Any, stub: Any, exponent: float) -> None:
    with pytest.raises(
        ModelError, match=r"exponent of the models' mean is .*; legal: 0 or above, 1 is the arith"
    ):
        CombinedEngine([stub(card()), stub(card())], [1, 1], exponent=exponent)


def test_exported_engines_are_combined(exported: Any, clips: np.ndarray, reference: Outputs) -> None:
    engines = [
        opened(exported, "onnx", settings_of(1, 1, 3)),
        opened(exported, "fp16", settings_of(2, 2, 5)),
    ]
    combined = CombinedEngine(engines, [1, 3])
    assert [engine.clips_per_request for engine in (combined, *engines)] == [5, 5, 5]
    found = combined.predict(clips[:20])
    np.testing.assert_allclose(found, reference.probabilities[:20], atol=NARROW, rtol=0)
    combined.resize(2)
    assert [engine.clips_per_request for engine in (combined, *engines)] == [2, 2, 2]
    np.testing.assert_allclose(combined.predict(clips[:20]), found, atol=WIDE, rtol=0)


def test_engines_that_both_hear_waves_are_combined(
    exported: Any, clips: np.ndarray, reference: Outputs, tmp_path: Path
) -> None:
    for name in ("model.onnx", "weights.bin"):
        shutil.copy(exported.onnx.parent / name, tmp_path)
    engines = [opened(exported, "torch", settings_of()), OnnxEngine(tmp_path / "model.onnx", settings_of())]
    found = CombinedEngine(engines, [1, 1]).predict(clips[:5])
    np.testing.assert_allclose(found, reference.probabilities[:5], atol=WIDE, rtol=0)


def test_a_shared_front_end_is_computed_once(exported: Any) -> None:
    engines = [opened(exported, "onnx", settings_of()), opened(exported, "float32", settings_of())]
    combined = CombinedEngine(engines, [1, 1])
    first, second = combined.prepare(np.zeros((7, 32_000), np.float32))
    assert first is second


def test_the_fingerprint_of_an_ensemble_has_all_models_and_weights(card: Any, stub: Any) -> None:
    def fingerprint(*parts: tuple[str, float]) -> str:
        return CombinedEngine([stub(card(), 4, name) for name, _ in parts], [w for _, w in parts]).fingerprint

    several = [
        fingerprint(("a", 1), ("b", 1)),
        fingerprint(("a", 1), ("b", 2)),
        fingerprint(("b", 1), ("a", 1)),
        fingerprint(("a", 1), ("c", 1)),
        fingerprint(("a", 1), ("b", 1.000001)),
    ]
    assert len(set(several)) == len(several)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"sample_rate": 8000},
            "tiny has sample_rate 16000 and other 8000; models of one ensemble must hear",
        ),
        ({"segment_len": 3.0}, "has segment_len 2.0 and other 3.0"),
        ({"look_back_s": 1.0}, "has look_back_s 0.0 and other 1.0"),
        ({"look_ahead_s": 1.0}, "has look_ahead_s 0.0 and other 1.0"),
        ({"late_normalize": False}, "has late_normalize True and other False"),
        ({"channel": 2}, "has channel mean and other 2"),
    ],
)
def test_models_that_hear_other_clips_are_refused(
    card: Any, stub: Any, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        CombinedEngine([stub(card()), stub(card(exp_name="other", **changes))], [1, 1])


@pytest.mark.parametrize("weight", [0, -1, float("nan"), float("inf")])
def test_a_weight_must_be_above_zero(card: Any, stub: Any, weight: float) -> None:
    with pytest.raises(ModelError, match=f"the weight of tiny is {weight:g}; legal: above 0"):
        CombinedEngine([stub(card()), stub(card())], [1, weight])


# Settings -----------------------------------------------------------------------------------------

TUNED = EngineSettings(n_threads=2, n_streams=2, clips_per_request=16, precision="bf16")


def write_tuned(folder: Path, content: Any) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "tuned.json").write_text(content if isinstance(content, str) else json.dumps(content))


def test_settings_by_default_are_a_stream_a_core_and_float32() -> None:
    assert default_settings(3) == EngineSettings(3, 3, 4, "f32")
    assert default_settings(40) == EngineSettings(40, 8, 4, "f32")
    assert default_settings() == default_settings(usable_cores())


def test_what_was_measured_counts_on_this_machine_and_for_this_engine(tmp_path: Path) -> None:
    write_tuned(tmp_path, with_tuned({}, "openvino", TUNED, 12.3456))
    assert (
        json.loads((tmp_path / "tuned.json").read_text())[machine_name()]["openvino"]["ms_per_clip"] == 12.346
    )
    assert read_tuned(tmp_path, "openvino").settings == engine_settings(tmp_path, "openvino") == TUNED
    assert read_tuned(tmp_path, "onnx") is None
    assert engine_settings(tmp_path, "onnx") == default_settings()


def test_what_was_measured_elsewhere_does_not_count_and_is_kept(tmp_path: Path) -> None:
    elsewhere = {"another machine, 96 cores": {"onnx": {"settings": dataclasses.asdict(TUNED)}}}
    write_tuned(tmp_path, elsewhere)
    assert engine_settings(tmp_path, "onnx") == default_settings()
    both = with_tuned(elsewhere, "onnx", TUNED, 1)
    assert both["another machine, 96 cores"] == elsewhere["another machine, 96 cores"]
    two = with_tuned(both, "openvino", TUNED, 2)
    assert set(two[machine_name()]) == {"onnx", "openvino"}


def test_other_threads_than_the_measured_ones_keep_the_precision_alone(tmp_path: Path) -> None:
    write_tuned(tmp_path, with_tuned({}, "openvino", TUNED, 1))
    assert engine_settings(tmp_path, "openvino", n_threads=2) == TUNED
    assert engine_settings(tmp_path, "openvino", n_threads=5) == EngineSettings(5, 5, 4, "bf16")
    insisted = engine_settings(tmp_path, "openvino", clips_per_request=3)
    assert insisted == dataclasses.replace(TUNED, clips_per_request=3)


GOOD = {"n_threads": 2, "n_streams": 2, "clips_per_request": 16, "precision": "f32"}


@pytest.mark.parametrize(
    "values",
    [
        {**GOOD, "precision": "f8"},
        {**GOOD, "colour": 1},
        {**GOOD, "clips_per_request": 0},
        {**GOOD, "clips_per_request": "16"},
        {**GOOD, "n_streams": 0},
        {**GOOD, "n_threads": "two"},
        {**GOOD, "n_threads": -1},
        {"n_threads": 2},
        None,
    ],
    ids=str,
)
def test_measured_settings_that_make_no_sense_do_not_count(tmp_path: Path, values: Any) -> None:
    write_tuned(tmp_path, {machine_name(): {"openvino": {"settings": values}}})
    assert engine_settings(tmp_path, "openvino") == default_settings()


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "3", "null", '{"a": 1}', json.dumps({machine_name(): 3}), "\0"]
)
def test_a_damaged_file_of_measured_settings_does_not_count(tmp_path: Path, text: str) -> None:
    write_tuned(tmp_path, text)
    assert engine_settings(tmp_path, "openvino") == default_settings()


# Opening ------------------------------------------------------------------------------------------


def copied_run(exported: Any, tmp_path: Path) -> Path:
    return Path(shutil.copytree(exported.run, tmp_path / "run"))


def test_a_run_opens_the_export_that_was_measured_to_be_faster(exported: Any, tmp_path: Path) -> None:
    run = copied_run(exported, tmp_path)
    onnx_folder, openvino_folder = (run / opening.EXPORTS[name] for name in ("onnx", "openvino"))
    assert isinstance(open_engine(run), OpenVinoEngine)
    for onnx_ms, openvino_ms, kind in ((5, 9, OnnxEngine), (9, 5, OpenVinoEngine)):
        write_tuned(onnx_folder.parent, with_tuned({}, "onnx", TUNED, onnx_ms))
        write_tuned(openvino_folder.parent, with_tuned({}, "openvino", settings_of(2, 2, 3), openvino_ms))
        assert type(open_engine(run)) is kind
    assert open_engine(run).clips_per_request == 3
    assert open_engine(run, clips_per_request=6).clips_per_request == 6
    assert isinstance(open_engine(str(run), "onnx"), OnnxEngine)
    shutil.rmtree(openvino_folder.parent)
    assert isinstance(open_engine(run, n_threads=1), OnnxEngine)


def test_a_bundle_and_its_file_open_alike(exported: Any) -> None:
    for file, kind in ((exported.onnx, OnnxEngine), (exported.fp16, OpenVinoEngine)):
        for path in (file, file.parent, str(file)):
            assert type(open_engine(path, n_threads=1)) is kind
    assert isinstance(open_engine(exported.fp16, "openvino"), OpenVinoEngine)
    assert opening.exported_files(exported.run) == [exported.fp16, exported.onnx]
    assert opening.exported_files(exported.onnx.parent) == [exported.onnx]


def test_a_model_for_another_engine_is_refused(exported: Any) -> None:
    with pytest.raises(RunError, match="is a model for the engine onnx, not openvino; leave --engine out"):
        open_engine(exported.onnx, "openvino")
    with pytest.raises(RunError, match="is a model for the engine openvino, not onnx"):
        open_engine(exported.fp16.parent, "onnx")
    with pytest.raises(RunError, match="is a model for the engine onnx, not torch"):
        open_engine(exported.onnx, "torch")


def test_what_is_no_model_is_refused(exported: Any, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"holds no model: no model_card\.json of a run, no model\.xml and no"):
        open_engine(tmp_path)
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(RunError, match=r"notes\.txt is no model; give a run directory, an \.onnx file, an"):
        open_engine(tmp_path / "notes.txt")
    with pytest.raises(RunError, match=r"gone\.onnx does not exist; give a run directory"):
        open_engine(tmp_path / "gone.onnx")
    for name in ("bad.onnx", "bad.xml"):
        (tmp_path / name).write_text("no model")
        with pytest.raises(ModelError, match=f"{name} cannot be opened as a model: "):
            open_engine(tmp_path / name)


def test_a_model_of_somebody_else_is_refused(exported: Any, tmp_path: Path) -> None:
    graph = onnx.load(exported.onnx)
    del graph.metadata_props[:]
    onnx.save(graph, tmp_path / "bare.onnx")
    with pytest.raises(ModelError, match=r"bare\.onnx holds no dawnchorus model card"):
        open_engine(tmp_path / "bare.onnx")
    openvino.save_model(openvino.convert_model(tmp_path / "bare.onnx"), tmp_path / "bare.xml")
    with pytest.raises(ModelError, match=r"bare\.xml holds no dawnchorus model card"):
        open_engine(tmp_path / "bare.xml")


def test_a_run_without_an_export_names_the_command(
    exported: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copy(exported.run / "model_card.json", tmp_path)
    with pytest.raises(RunError, match=r"model\.onnx does not exist; make it with: dawnchorus export \S+$"):
        open_engine(tmp_path, "onnx")
    with pytest.raises(RunError, match=r"make it with: dawnchorus export \S+ --int8"):
        open_engine(tmp_path, "int8")
    with pytest.raises(RunError, match="has no export yet; make it with: dawnchorus export"):
        opening.exported_files(tmp_path)
    with caplog.at_level("INFO"), pytest.raises(RunError, match="has no finished fold"):
        open_engine(tmp_path)
    assert "has no export yet, so PyTorch is used" in caplog.text


def test_an_engine_that_is_not_installed_is_named(exported: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(
        ModelError, match=r"needs onnxruntime, which is not installed: pip install onnxruntime"
    ):
        open_engine(exported.onnx)


def test_an_engines_error_without_words_is_still_told(exported: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(OnnxEngine, "__init__", fail)
    with pytest.raises(ModelError, match="cannot be opened as a model: MemoryError"):
        open_engine(exported.onnx)


def test_a_backbone_that_asks_for_the_size_of_the_batch_can_be_cut_off_the_front_end(tmp_path: Path) -> None:
    torch.manual_seed(0)
    frontend = {"n_mels": 32, "hop_length": 2000}
    backbone = torch.nn.Sequential(torch.nn.Conv2d(1, 8, 4, stride=4), EcaModule(8))
    model = WaveCNNAttenClassifier(n_classes=3, backbone=backbone, frontend=frontend).eval()
    settings = vars(model.frontend.settings)
    card = ModelCard("eca", "", {}, ("a", "b", "c"), settings, 32_000, 5.0, True, (0,))
    write_onnx([model], card, tmp_path / "model.onnx")
    write_ir(read_onnx(tmp_path / "model.onnx", card), tmp_path / "model.xml")
    waves = np.random.default_rng(0).uniform(-1, 1, (3, 160_000)).astype(np.float32)
    expected = TorchEngine([model], card, device="cpu").predict(waves)
    for engine in (
        OnnxEngine(tmp_path / "model.onnx", settings_of(1, 1, 2)),
        OpenVinoEngine(tmp_path / "model.xml", settings_of(1, 1, 2)),
    ):
        assert engine.input_kind == "logmel"
        np.testing.assert_allclose(engine.predict(waves), expected, atol=1e-4)


# Folds that an export lacks --------------------------------------------------------------------------


def test_an_export_of_fewer_folds_than_its_run_has_says_so(
    exported: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = Path(shutil.copytree(exported.run, tmp_path / "run"))
    export = run / Path(opening.EXPORTS["onnx"]).parent
    (run / "folds.csv").write_text("filename,primary_label,fold\na.wav,x,0\nb.wav,x,1\nc.wav,x,2\n")
    for folds, told in (([0], "is of fold 0; the run has 3 folds."), ([0, 2], "is of folds 0, 2; the")):
        (export / "bundle.json").write_text(json.dumps({"folds": folds, "checkpoints": "onnx 1234"}))
        open_engine(run, "onnx", n_threads=1)
        assert f"The export in {export} {told}" in caplog.text
    caplog.clear()
    (export / "bundle.json").write_text(json.dumps({"folds": [0, 1, 2], "checkpoints": "onnx 1234"}))
    open_engine(run, "onnx", n_threads=1)
    assert "the run has" not in caplog.text


# Networks left out ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["torch", "float32", "fp16"])
def test_the_first_networks_alone_are_what_they_are_by_themselves(
    exported: Any, clips: np.ndarray, kind: str
) -> None:
    engine = opened(exported, kind, settings_of())
    whole = engine.predict(clips)
    assert engine.n_networks == 2
    engine.keep_networks(1)
    alone = TorchEngine(exported.models[:1], exported.card, device="cpu").predict(clips)
    np.testing.assert_allclose(engine.predict(clips), alone, atol=NARROW if kind == "fp16" else WIDE)
    assert np.abs(whole - alone).max() > 0.01
    engine.keep_networks(1)
    assert engine.n_networks == 1


@pytest.mark.parametrize(("kind", "legal"), [("torch", "1 to 2"), ("float32", "1 to 2")])
def test_more_networks_than_there_are_cannot_be_kept(exported: Any, kind: str, legal: str) -> None:
    engine = opened(exported, kind, settings_of())
    for n_networks in (0, 3):
        with pytest.raises(ValueError, match=f"n_networks={n_networks}; legal: {legal}"):
            engine.keep_networks(n_networks)


def test_an_engine_that_cannot_leave_networks_out_says_so(exported: Any) -> None:
    engine = opened(exported, "onnx", settings_of())
    engine.keep_networks(1)
    with pytest.raises(ValueError, match="this engine cannot leave networks out"):
        engine.keep_networks(2)
