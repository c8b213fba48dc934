"""Typical mistakes of users: each ends in one sentence that says what is wrong, and in its exit code."""

from __future__ import annotations

import json
import os
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from dawnchorus.cli import main
from dawnchorus.config import load_train_config, to_jsonable
from dawnchorus.inference import __main__ as inference
from dawnchorus.wording import USED_WRONGLY

FAILED = 1
CONFIGS = {
    "unclosed": '{"base": "smoke"',
    "no_base": '{"base": "nowhere.py"}',
    "no_base_name": '{"base": "smok"}',
    "round": '{"base": "round.py"}',
    "key": '{"base": "smoke", "fold": {"n_folds": 3}}',
    "wrong_type": '{"base": "smoke", "train_function_args": {"n_epochs": "many"}}',
    "incomplete": '{"exp_name": "incomplete"}',
    "raises": "1 / 0",
    "a_list": "[1, 2]",
    "inference": '{"run": "model"}',
    "mine": '{"base": "smoke", "exp_name": "mine", "data": {"audio_dir": "songs", "features_dir": None}}',
}

MISTAKES = [
    # what is not there, is something else, or is empty
    ("train nowhere.py", FAILED, "nowhere.py is not a file; give the path of a Python config file"),
    ("train smok", FAILED, "smok is neither a config file nor the name of one", "did you mean smoke?"),
    ("train notes.txt", FAILED, "notes.txt is not a Python file"),
    ("train mine.py --audio nowhere", FAILED, "the audio folder nowhere does not exist"),
    ("train mine.py --audio empty", FAILED, "empty: no recordings here or below", ".wav"),
    ("predict nowhere songs", FAILED, "nowhere is no model; give a run directory"),
    (
        "predict perch-2 songs",
        FAILED,
        "Perch 2 is not installed: put perch_v2.onnx and labels.csv into a folder",
    ),
    ("calibrate birdnet", FAILED, "birdnet is a model that others have trained, without the folds"),
    ("tune birdnet", FAILED, "birdnet is a model by its name, beside which nothing is written"),
    ("predict empty songs", FAILED, "empty holds no model", "one that dawnchorus export has made"),
    ("predict notes.txt songs", FAILED, "notes.txt is no model"),
    ("predict model nowhere.wav", FAILED, "nowhere.wav: no such file or folder; name recordings"),
    ("predict model empty", FAILED, "empty: no recordings here or below"),
    ("predict model notes.txt", FAILED, "notes.txt: not a recording by its name"),
    ("predict model songs --out notes.txt", FAILED, "notes.txt: File exists; a folder is needed"),
    ("predict model songs --species nowhere.txt", FAILED, "the list of species nowhere.txt cannot be read"),
    ("predict model songs --threshold nowhere.csv", FAILED, "'nowhere.csv', which is no file"),
    (
        "join empty",
        FAILED,
        "empty holds no shards that have ended; name the output of a command with --shard",
    ),
    ("predict model https://a:b@c.org/d.wav", FAILED, "the address holds a password or a signature"),
    ("precompute nowhere out", FAILED, "nowhere: no such folder"),
    ("precompute notes.txt out", FAILED, "notes.txt: neither a folder nor a .json list of recordings"),
    ("precompute songs notes.txt", FAILED, "notes.txt: cannot be made a folder"),
    ("precompute --verify nowhere", FAILED, "nowhere: no such folder; name the folder of the store"),
    ("folds nowhere", FAILED, "the audio folder nowhere does not exist"),
    ("recordings empty", FAILED, "empty: no recordings here or below"),
    ("segments empty songs", FAILED, "empty holds no detections", "dawnchorus predict wrote"),
    ("segments found nowhere", FAILED, "nowhere: no such folder; name the folder of the recordings"),
    ("review empty --audio songs", FAILED, "empty holds no detections", "dawnchorus predict wrote"),
    ("review found --audio nowhere", FAILED, "nowhere: no such folder; name the folder of the recordings"),
    ("review found --audio songs --queue notes.txt", FAILED, "notes.txt"),
    ("retrain nowhere found", FAILED, "nowhere holds no run", "train it first with dawnchorus train"),
    ("evaluate nowhere", FAILED, "nowhere holds no run", "train it first with dawnchorus train"),
    ("export empty", FAILED, "empty holds no run"),
    ("calibrate notes.txt", FAILED, "notes.txt holds no run"),
    ("compile nowhere.py", FAILED, "nowhere.py is not a file"),
    ("tune empty", FAILED, "empty holds no model"),
    ("runs nowhere", FAILED, "nowhere: no runs here"),
    ("ensemble half half", FAILED, "half has no finished fold"),
    ("bundle empty", FAILED, "empty is no run"),
    ("score nowhere.csv truth.csv", FAILED, "nowhere.csv: No such file or directory"),
    ("configs nowhere", FAILED, "nowhere: no config files here"),
    ("demo --audio nowhere", FAILED, "nowhere is not a folder"),
    ("miniature notes.txt", FAILED, "notes.txt: is a file; name a folder for the miniature"),
    ("extract-backbone nowhere.pth out.pth", FAILED, "nowhere.pth: there is no such weights file"),
    # configs
    ("train empty", FAILED, "empty is a folder; give the path of a Python config file"),
    ("predict model songs --weight -1", FAILED, "the weight of model is -1; legal: above 0"),
    ("train unclosed.py", FAILED, "unclosed.py cannot be run: SyntaxError", "line 1"),
    ("train raises.py", FAILED, "raises.py cannot be run: ZeroDivisionError"),
    ("train a_list.py", FAILED, "a_list.py defines no dict named CONFIG"),
    ("train no_base.py", FAILED, "no_base.py: base is 'nowhere.py', and nowhere.py is not a file"),
    ("train no_base_name.py", FAILED, "no_base_name.py: base: smok is neither", "did you mean smoke?"),
    ("train round.py", FAILED, "round.py: its base leads back to itself"),
    ("train key.py", FAILED, "key.py: fold is not known; did you mean folds?"),
    ("train wrong_type.py", FAILED, "wrong_type.py: train_function_args.n_epochs is 'many'"),
    ("train incomplete.py", FAILED, "incomplete.py: data is missing"),
    ("train inference.py", FAILED, "inference.py is an inference config; give it to dawnchorus compile"),
    ("compile mine.py", FAILED, "mine.py is a training config; write an inference config"),
    ("train mine.py --set n_epochs", FAILED, "--set n_epochs sets nothing; write KEY=VALUE"),
    ("train mine.py --set n_epoch=3", FAILED, "n_epoch is no key of a training config", "n_epochs?"),
    ("train mine.py --set n_epochs=0", FAILED, "mine.py --set n_epochs=0: train_function_args.n_epochs is 0"),
    ("train mine.py --set loss=bce_focl", FAILED, "loss is 'bce_focl'", "did you mean bce_focal?"),
    ("train mine.py --set accelerator=gpu", FAILED, "accelerator is 'gpu', and PyTorch sees none"),
    ("train mine.py --set main_metric=acc", FAILED, "main_metric is 'val_acc'; legal are macro_roc_auc"),
    ("train mine.py --set loss=nowhere:loss", FAILED, "'nowhere:loss', which cannot be imported"),
    ("evaluate model --set seed=1", FAILED, "model is a run, which --set does not change"),
    ("recordings songs --set seed=1", FAILED, "songs is no training config"),
    # the wrong way round
    ("predict songs model", FAILED, "songs is no model, and model is one; the model comes first"),
    ("predict songs/a.wav model", FAILED, "songs/a.wav is no model, and model is one"),
    ("pseudo-label songs model", FAILED, "the model comes first"),
    ("submit-kaggle songs model", FAILED, "the model comes first"),
    ("segments songs found", FAILED, "songs holds no detections, and found does; the predictions come first"),
    ("extract-backbone out.pth model", FAILED, "out.pth: there is no such weights file"),
    # values that are not legal
    ("predict model songs --threshold 1.5", FAILED, "the threshold is 1.5; legal: a number from 0 to 1"),
    ("predict model songs --threshold -0.5", FAILED, "the threshold is -0.5; legal"),
    ("predict model songs --threshold high", FAILED, "the threshold is 'high'", "a CSV file"),
    ("predict model songs --threshold few.csv", FAILED, "few.csv has no threshold for", "the label *"),
    ("predict model songs --species species.txt", FAILED, "species.txt: the model has no label Owlus owlus"),
    ("predict model songs --shift 99", FAILED, "a shift of 99 s is not possible; legal: above 0 and below"),
    ("predict model songs --add model=heavy", FAILED, "'heavy' is no weight; write MODEL=WEIGHT"),
    (
        "predict model songs --time-zone Paris",
        FAILED,
        "the time zone 'Paris' is not known; write an offset from UTC as +02:00",
    ),
    ("calibrate model --precision 0", FAILED, "precision is 0; legal: above 0, at most 1"),
    ("folds songs --n-folds 900", FAILED, "fewer than the 900 folds", "fewer_if_needed"),
    ("folds songs --group-column site", FAILED, "has no column site", "its columns are"),
    ("train mine.py --folds 7", FAILED, "fold 7 does not exist; the run has the folds 0 to"),
    ("pseudo-label model songs --out t.txt", FAILED, "cannot be written as .txt; legal: .parquet and .csv"),
    ("extract-backbone model out.doc --force", FAILED, "no finished fold"),
    ("submit-kaggle model songs --out t.txt", FAILED, "t.txt does not end with .csv"),
    ("download recordings --source nosuch", FAILED, "'nosuch', which is not known; legal names are"),
    ("download xeno-canto --quality Z --dry-run", FAILED, "quality 'Z' is not known; A, B, C, D, E are"),
    ("download birdclef-2025 --only owls", FAILED, "birdclef-2025 has no part 'owls'; legal: competition"),
    # tables of another kind, damaged files, unfinished runs, missing exports, what is there already
    ("folds songs --table other.csv", FAILED, "other.csv has no column filename, primary_label"),
    ("folds songs --table gone.csv", FAILED, "gone.csv, line 2: gone.wav not found in songs"),
    ("recordings songs --annotations other.csv", FAILED, "other.csv has no column filename, start_s"),
    ("segments other.csv songs", FAILED, "other.csv has no column filename, start_s, end_s, label"),
    ("score other.csv truth.csv", FAILED, "other.csv: its first line begins with 'a'"),
    ("score truth.csv truth_of_wrens.csv", FAILED, "lacks classes of truth_of_wrens.csv: wren"),
    ("precompute --verify damaged", 2, "makes them again"),
    ("evaluate half", FAILED, "half has no finished fold; run the training command again to go on"),
    ("predict half songs", FAILED, "half has no finished fold"),
    (
        "predict model songs --engine int8",
        FAILED,
        "model.xml does not exist; make it with: dawnchorus export",
    ),
    ("tune half", FAILED, "half has no export yet; make it with: dawnchorus export half"),
    ("bundle half --out bundled", FAILED, "half has no export for openvino; make it with"),
    ("folds songs --out notes.txt", FAILED, "notes.txt exists; choose another name, or overwrite it"),
    ("extract-backbone model notes.txt", FAILED, "notes.txt exists; choose another name"),
    ("recordings songs --out notes.txt", FAILED, "notes.txt exists; choose another name, or overwrite it"),
    # used wrongly
    ("evaluat model", USED_WRONGLY, "evaluat", "evaluate"),
    ("train", USED_WRONGLY, "Missing argument", "CONFIG"),
    ("predict model", USED_WRONGLY, "Missing argument", "RECORDINGS"),
    ("train mine.py --epochs 3", USED_WRONGLY, "No such option", "--epochs"),
    ("train mine.py --folds x", USED_WRONGLY, "'x' is no fold; give numbers such as --folds 0 2, or all"),
    ("train mine.py --folds", USED_WRONGLY, "--folds"),
    ("predict model songs --overlap -1", USED_WRONGLY, "--overlap", "0"),
    ("predict model songs --top-k 0", USED_WRONGLY, "--top-k", "1"),
    ("predict model songs --engine cuda", USED_WRONGLY, "--engine", "cuda"),
    ("predict model songs --format csv,xml", USED_WRONGLY, "the format is 'xml'", "legal names are"),
    ("precompute songs", USED_WRONGLY, "name the folder for the HDF5 files"),
    ("precompute songs out --n_cores 0", USED_WRONGLY, "--n-cores"),
    ("calibrate model --precision 90", USED_WRONGLY, "--precision"),
    ("rock-that-bird gpu0", USED_WRONGLY, "'gpu0' names no GPU; give numbers such as 0"),
    ("download birdclef-1999", USED_WRONGLY, "birdclef-1999"),
]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory, exported: Any) -> Path:
    """A folder as users have them: recordings, an exported model, a run without a fold, tables, configs."""
    folder = tmp_path_factory.mktemp("workplace")
    for name in ("empty", "songs", "found", "damaged", "half"):
        (folder / name).mkdir()
    shutil.copytree(exported.run, folder / "model")
    shutil.copy(exported.run / "model_card.json", folder / "half")
    rng = np.random.default_rng(0)
    for name in "abcd":
        soundfile.write(folder / "songs" / f"{name}.wav", 0.1 * rng.standard_normal(8000), 16_000)
    tables = {
        "songs/recordings.csv": "filename,primary_label,author\na.wav,x,1\nb.wav,x,2\nc.wav,y,1\nd.wav,y,2\n",
        "found/detections.csv": "filename,start_s,end_s,label,probability\na.wav,0,5,x,0.9\n",
        "gone.csv": "filename,primary_label\ngone.wav,x\n",
        "other.csv": "a,b\n1,2\n",
        "few.csv": "label,threshold\nnobody,0.5\n",
        "truth.csv": "row_id,owl\na_5,1\n",
        "truth_of_wrens.csv": "row_id,wren\na_5,1\n",
        "species.txt": "Owlus owlus\n",
        "notes.txt": "a note\n",
        "damaged/a.wav.hdf5": "not HDF5",
    }
    for name, text in tables.items():
        (folder / name).write_text(text)
    for name, values in CONFIGS.items():
        (folder / f"{name}.py").write_text(f"CONFIG = {values}\n")
    saved = json.dumps(to_jsonable(load_train_config(folder / "mine.py")))
    for name in ("half", "model"):
        (folder / name / "config.json").write_text(saved)
    return folder


@pytest.mark.parametrize(("line", "code", "parts"), [(line, code, parts) for line, code, *parts in MISTAKES])
def test_a_mistake_ends_in_a_sentence_and_its_exit_code(
    workplace: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    line: str,
    code: int,
    parts: list[str],
) -> None:
    monkeypatch.chdir(workplace)
    monkeypatch.setenv("COLUMNS", "200")  # no line of the usage is broken in two
    with pytest.raises(SystemExit) as stopped:
        main(shlex.split(line))
    told = capsys.readouterr().err
    assert [part for part in parts if part not in told] == [], told
    assert stopped.value.code == code
    assert "Traceback" not in told
    if code == FAILED:
        assert "error: " in told.splitlines()[0] or "━" in told.splitlines()[0]


def test_there_are_as_many_mistakes_as_users_made() -> None:
    assert len({line for line, *_ in MISTAKES}) == len(MISTAKES) >= 65


def test_the_inference_module_has_the_same_exit_code_for_a_wrong_command_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["inference", "model", "songs", "--threshold", "2"])
    with pytest.raises(SystemExit) as stopped:
        inference.main()
    assert stopped.value.code == USED_WRONGLY
    assert "2 is no probability; legal: 0 to 1" in capsys.readouterr().err


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_is_named(
    workplace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(SystemExit) as stopped:
        main(["folds", str(workplace / "songs"), "--n-folds", "2", "--out", str(tmp_path / "locked/f.csv")])
    assert stopped.value.code == FAILED
    assert "change the permissions, or choose another folder" in capsys.readouterr().err
