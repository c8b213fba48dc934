"""The documented scripts, one after the other, on real files: audio in, detections out."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnxruntime
import pandas as pd
import pytest

from dawnchorus.audio.decode import load_audio
from dawnchorus.cli import main
from dawnchorus.config import InferenceConfig, load_inference_config
from dawnchorus.engines import Engine, Outputs, open_engine
from dawnchorus.errors import ConfigError, DataError, ExportError, ModelError, RunError
from dawnchorus.export.ensemble_export import export_ensemble
from dawnchorus.export.parity import ParityClips, check_parity
from dawnchorus.features.frontend import MatrixLogMelFrontend
from dawnchorus.pipelines.run_compilation import compile_run
from dawnchorus.predict.birds_inference import BirdsInference
from dawnchorus.runs import Run

REPOSITORY = Path(__file__).resolve().parents[1]

TRAIN_CONFIG = """
CONFIG = {{
    "base": {smoke!r},
    "exp_name": "tiny",
    "data": {{"audio_dir": {audio!r}, "features_dir": {features!r}}},
    "taxonomy": "names.csv",
    "nn_model_config": {{"backbone": "test_resnet.r160_in1k"}},
    "train_function_args": {{"clips_per_epoch": 48, "n_epochs": 2}},
}}
"""
INFERENCE_CONFIG = """
CONFIG = {{"train_config": "train.py", "exp_name": "tiny", "soundscapes": {soundscapes!r}}}
"""


class Workplace(NamedTuple):
    """A folder in which the whole line has been run."""

    root: Path
    soundscape: Path
    printed: str

    @property
    def run(self) -> Run:
        return Run.open(self.root / "logdirs" / "tiny")


def script(name: str, *arguments: str | Path, cwd: Path, code: int = 0) -> str:
    command = [sys.executable, str(REPOSITORY / "scripts" / name), *map(str, arguments)]
    result = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    assert result.returncode == code, result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory, data_factory_in: Any) -> Workplace:
    root = tmp_path_factory.mktemp("workplace")
    audio = data_factory_in(root / "audio").recordings(n_species=2, n_per_species=6, duration_s=(4.0, 7.0))
    soundscape = data_factory_in(root / "soundscapes").tone("site/night.flac", 12.5, 2000)
    data_factory_in(root / "soundscapes").tone("short.ogg", 2.0, 1500, sample_rate=48_000, n_channels=2)
    features = root / "features"
    smoke = str(REPOSITORY / "train_configs" / "smoke.py")
    (root / "train.py").write_text(TRAIN_CONFIG.format(smoke=smoke, audio=str(audio), features=str(features)))
    (root / "inference.py").write_text(INFERENCE_CONFIG.format(soundscapes=str(root / "soundscapes")))
    names = "primary_label,scientific_name,common_name\nspecies_0,Strix aluco,Tawny Owl\n"
    (root / "names.csv").write_text(names)
    script("precompute_features.py", audio, features, "--n_cores", "2", cwd=root)
    script("main_train.py", "train.py", cwd=root)
    printed = script("main_inference_and_compile.py", "inference.py", cwd=root)
    return Workplace(root, soundscape, printed)


def test_the_score_is_out_of_fold_and_saved_as_a_table(workplace: Workplace) -> None:
    assert "out-of-fold macro ROC-AUC" in workplace.printed
    assert "recordings of all folds pooled" in workplace.printed
    assert "mean of the folds' macro ROC-AUC" in workplace.printed
    table = pd.read_parquet(workplace.run.oof_file)
    assert len(table) == 12
    assert list(table.columns) == ["filename", "primary_label", "fold", "species_0", "species_1"]
    summary = json.loads((workplace.run.path / "oof_score.json").read_text())
    assert 0 <= summary["oof_macro_roc_auc"] <= 1
    folds = workplace.run.folds().set_index("filename")["fold"]
    assert (table.set_index("filename")["fold"] == folds.reindex(table["filename"])).all()


def test_out_of_fold_predictions_come_from_the_model_that_never_heard_the_recording(
    workplace: Workplace,
) -> None:
    row = pd.read_parquet(workplace.run.oof_file).iloc[0]
    engine = open_engine(workplace.run.path, "torch", folds=[int(row["fold"])])
    windows = BirdsInference(engine).predict_recording(workplace.root / "audio" / row["filename"])
    np.testing.assert_allclose(
        windows.probabilities.max(axis=0), row[["species_0", "species_1"]].astype(float), atol=2e-3
    )


def test_the_three_engines_agree_at_any_batch_size(workplace: Workplace) -> None:
    path = workplace.run.path
    expected = BirdsInference(open_engine(path, "torch")).predict_recording(workplace.soundscape)
    assert len(expected.starts) == 3
    assert expected.stops[-1] == len(load_audio(workplace.soundscape))
    for engine, tolerance in (("torch", 1e-5), ("onnx", 1e-4), ("openvino", 1e-3)):
        for batch_size in (1, 2, 7):
            opened = open_engine(path, engine, clips_per_request=batch_size)  # type: ignore[arg-type]
            found = BirdsInference(opened).predict_recording(workplace.soundscape)
            np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=tolerance)


def test_the_graph_has_the_agreed_names_and_carries_its_card(workplace: Workplace) -> None:
    session = onnxruntime.InferenceSession(workplace.run.onnx_file, providers=["CPUExecutionProvider"])
    assert [i.name for i in session.get_inputs()] == ["input"]
    assert session.get_inputs()[0].shape[1] == 160_000
    assert [o.name for o in session.get_outputs()] == ["output", "embedding"]
    for file, engine in ((workplace.run.onnx_file, "onnx"), (workplace.run.openvino_file, "openvino")):
        card = open_engine(file, engine).card  # type: ignore[arg-type]
        assert card.labels == ("species_0", "species_1")
        assert card.folds == (0, 1)
        assert card.frontend["hop_length"] == 512
        assert card.versions["torch"]


def test_openvino_keeps_its_weights_in_sixteen_bits(workplace: Workplace) -> None:
    # The front-end's constants stay in float32 on purpose; the rest is weights.
    frontend_bytes = sum(4 * buffer.numel() for buffer in MatrixLogMelFrontend().buffers())
    onnx_bytes = workplace.run.onnx_file.with_name("weights.bin").stat().st_size - frontend_bytes
    openvino_bytes = workplace.run.openvino_file.with_suffix(".bin").stat().st_size - frontend_bytes
    assert openvino_bytes < 0.6 * onnx_bytes


def test_detections_lie_where_they_are_said_to(workplace: Workplace) -> None:
    out = workplace.run.path / "soundscapes"
    windows = pd.read_parquet(out / "windows.parquet")
    assert windows.groupby("filename").size().to_dict() == {"short.ogg": 1, "site/night.flac": 3}
    night = windows[windows["filename"] == "site/night.flac"]
    assert night["start_s"].tolist() == [0.0, 5.0, 10.0]
    assert night["end_s"].tolist() == [5.0, 10.0, 12.5]
    assert (out / "detections.csv").is_file()
    assert (out / "raven" / "site" / "night.flac.selections.txt").is_file()


def test_an_export_that_differs_is_refused_with_the_clip(workplace: Workplace) -> None:
    reference = open_engine(workplace.run.path, "torch")
    clips = ParityClips(
        np.random.default_rng(0).uniform(-1, 1, (3, 160_000)).astype(np.float32), ("a", "b", "c")
    )

    class Wrong:
        def __init__(self, engine: Engine, error: float) -> None:
            self.card, self.engine, self.error = engine.card, engine, error

        def outputs(self, waves: np.ndarray) -> Outputs:
            found = self.engine.outputs(waves)
            found.probabilities[1] += self.error
            return found

    for error in (0.01, np.nan):
        with pytest.raises(ExportError, match="the ONNX export is refused: on b it differs"):
            check_parity("ONNX", Wrong(reference, error), reference, clips)
    assert check_parity("ONNX", Wrong(reference, 0.0), reference, clips).largest_difference < 1e-5


def test_a_model_without_a_card_is_refused(workplace: Workplace, tmp_path: Path) -> None:
    graph = onnx.load(workplace.run.onnx_file)
    del graph.metadata_props[:]
    onnx.save(graph, tmp_path / "bare.onnx")
    with pytest.raises(ModelError, match="holds no dawnchorus model card"):
        open_engine(tmp_path / "bare.onnx", "onnx")


def test_a_model_file_for_another_engine_is_refused(workplace: Workplace) -> None:
    with pytest.raises(RunError, match="is a model for the engine onnx, not openvino"):
        open_engine(workplace.run.onnx_file, "openvino")


def test_an_inference_config_cannot_drift_from_its_run(workplace: Workplace, monkeypatch: Any) -> None:
    monkeypatch.chdir(workplace.root)
    config = load_inference_config(workplace.root / "inference.py")
    with pytest.raises(ConfigError, match="exp_name is 'other' in the inference config and 'tiny'"):
        compile_run(config.model_copy(update={"exp_name": "other"}))
    text = (workplace.root / "train.py").read_text()
    drifted = workplace.root / "drifted.py"
    drifted.write_text(text.replace("test_resnet.r160_in1k", "test_efficientnet.r160_in1k"))
    with pytest.raises(RunError, match=r"nn_model_config\.backbone: 'test_resnet\.r160_in1k' →"):
        compile_run(InferenceConfig(train_config=drifted))


def test_a_run_without_an_export_names_the_command(workplace: Workplace, tmp_path: Path) -> None:
    (tmp_path / "model_card.json").write_text(workplace.run.card_file.read_text())
    with pytest.raises(RunError, match="make it with: dawnchorus export"):
        open_engine(tmp_path, "onnx")
    with pytest.raises(RunError, match="has no finished fold"):
        open_engine(tmp_path, "torch")


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"holds no model: no model_card\.json of a run"):
        open_engine(tmp_path, "torch")


def test_a_corrupt_soundscape_is_listed_and_the_others_go_on(workplace: Workplace, tmp_path: Path) -> None:
    folder = tmp_path / "soundscapes"
    folder.mkdir()
    (folder / "good.flac").write_bytes(workplace.soundscape.read_bytes())
    (folder / "bad.wav").write_bytes(b"not audio")
    command = [sys.executable, "-m", "dawnchorus", "predict", str(workplace.run.path), str(folder)]
    result = subprocess.run([*command, "--out", str(tmp_path / "p")], capture_output=True, text=True)
    assert result.returncode == 2, result.stderr
    assert pd.read_csv(tmp_path / "p" / "failures.csv")["path"].str.endswith("bad.wav").all()
    assert len(pd.read_parquet(tmp_path / "p" / "windows.parquet")) == 3
    other = [*command, "--out", str(tmp_path / "p"), "--threshold", "0.1"]
    again = subprocess.run(other, capture_output=True, text=True)
    assert again.returncode == 1
    assert "holds tables made with another threshold; choose another --out" in again.stderr


def test_exports_carry_the_names_of_the_configs_taxonomy(workplace: Workplace) -> None:
    owl = {"species_0": {"scientific_name": "Strix aluco", "common_name": "Tawny Owl"}}
    assert workplace.run.card().species == owl
    for engine in ("onnx", "openvino"):
        assert open_engine(workplace.run.path, engine).card.species == owl
    detections = pd.read_csv(workplace.run.path / "soundscapes" / "detections.csv")
    assert set(detections["model"]) <= {"tiny"}
    assert set(detections.loc[detections["label"] == "species_0", "common_name"]) <= {"Tawny Owl"}


def test_a_taxonomy_that_is_missing_is_told_before_the_export(workplace: Workplace, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"names\.csv does not exist; give a CSV file"):
        export_ensemble(workplace.run, workplace.run.config(), taxonomy=tmp_path / "names.csv")


@pytest.mark.stress
def test_an_export_carries_the_names_of_a_taxonomy_in_all_its_forms(
    workplace: Workplace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Run.open(shutil.copytree(workplace.run.path, tmp_path / "run"))
    names = tmp_path / "names.csv"
    names.write_text("primary_label,SCI_NAME,PRIMARY_COM_NAME\nspecies_1,Strix aluco,Tawny Owl\n")
    owl = {"species_1": {"scientific_name": "Strix aluco", "common_name": "Tawny Owl"}}
    owl |= workplace.run.card().species
    options = ("--folds", "0", "--taxonomy", str(names), "--one-file", "--onnx-fp16", "--frames")
    with pytest.raises(SystemExit, match="0"):
        main(["export", str(run.path), *options])
    printed = capsys.readouterr().out
    for file in (run.onnx_file, run.openvino_file, run.one_file, run.onnx_fp16_file):
        assert str(file.parent) in printed
        engine = open_engine(file)
        assert engine.card.species == owl
        assert engine.outputs(np.zeros((1, engine.card.n_samples))).frame_logits.shape[::2] == (1, 2)


def test_an_export_of_earlier_checkpoints_is_told(
    workplace: Workplace, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = Run.open(shutil.copytree(workplace.run.path, tmp_path / "run"))
    open_engine(run.path)
    assert "earlier checkpoints" not in caplog.text
    shutil.copy(run.best_checkpoint(1), run.best_checkpoint(0))
    open_engine(run.path)
    assert f"is of earlier checkpoints than the run has now: dawnchorus export {run.path}" in caplog.text
