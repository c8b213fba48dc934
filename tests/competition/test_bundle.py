"""Several runs' exports in one folder."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dawnchorus.competition.bundle import bundle_runs
from dawnchorus.engines import open_engine
from dawnchorus.engines.ensembles import Ensemble, WeightedModel, models_in
from dawnchorus.engines.opening import EXPORTS
from dawnchorus.errors import RunError, WriteError


@pytest.fixture
def runs(exported: Any, tmp_path: Path) -> list[Path]:
    """Two runs with the same exports."""
    copies = [Path(shutil.copytree(exported.run, tmp_path / "logdirs" / name)) for name in ("ebs", "eca")]
    for copy in copies:
        (copy / "model_card.json").touch()
    return copies


def test_a_bundle_predicts_like_its_runs_wherever_it_is_copied_to(
    runs: list[Path], tmp_path: Path, clips: np.ndarray
) -> None:
    assert bundle_runs(runs, tmp_path / "bundle") == ["ebs", "eca"]
    moved = shutil.move(tmp_path / "bundle", tmp_path / "elsewhere")
    expected = Ensemble([WeightedModel(run) for run in runs]).open().predict(clips)
    shutil.rmtree(tmp_path / "logdirs")
    models = models_in(Path(moved))
    assert [model.name for model in models] == ["ebs", "eca"]
    found = Ensemble([WeightedModel(model) for model in models]).open().predict(clips)
    np.testing.assert_array_equal(found, expected)


def test_a_single_model_is_itself(runs: list[Path]) -> None:
    assert models_in(runs[0]) == [runs[0]]
    assert models_in(runs[0] / "nothing.xml") == [runs[0] / "nothing.xml"]


def test_a_run_without_the_export_is_named(runs: list[Path], tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"ebs has no export for int8; make it with: .* --int8"):
        bundle_runs(runs, tmp_path / "bundle", "int8")
    assert not (tmp_path / "bundle").exists()


def test_what_is_no_run_is_told(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="nowhere is no run; give folders below logdirs"):
        bundle_runs([tmp_path / "nowhere"], tmp_path / "bundle")


def test_an_engine_without_exports_is_refused(runs: list[Path], tmp_path: Path) -> None:
    with pytest.raises(RunError, match="torch is no export; legal: openvino, onnx, int8"):
        bundle_runs(runs, tmp_path / "bundle", "torch")


def test_a_full_disk_is_told_with_the_name_of_the_bundle(
    runs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def copy(source: Path, target: Path) -> None:  # as shutil raises it
        raise OSError(errno.ENOSPC, "No space left on device", str(source), None, str(target))

    monkeypatch.setattr(shutil, "copy2", copy)
    with pytest.raises(WriteError, match=r"bundle: cannot be written: No space left .*make room"):
        bundle_runs(runs, tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_two_runs_of_one_name_are_refused(runs: list[Path], tmp_path: Path) -> None:
    other = shutil.copytree(runs[0], tmp_path / "other" / "ebs")
    with pytest.raises(RunError, match="has the name of another run, ebs"):
        bundle_runs([runs[0], Path(other)], tmp_path / "bundle")


def test_what_is_there_is_replaced_only_by_force_and_only_if_it_is_a_bundle(
    runs: list[Path], tmp_path: Path
) -> None:
    out = tmp_path / "bundle"
    bundle_runs(runs, out)
    with pytest.raises(RunError, match="exists; choose another name, or replace it"):
        bundle_runs(runs[:1], out)
    assert bundle_runs(runs[:1], out, force=True) == ["ebs"]
    assert [path.name for path in out.iterdir()] == ["ebs"]
    before = sorted(path for path in runs[0].rglob("*"))
    for keeps in (runs[0].parent, runs[0]):  # the folder of all runs, and a run
        with pytest.raises(RunError, match="holds something else than exported models, and is not replaced"):
            bundle_runs(runs, keeps, force=True)
    (out / "notes.txt").touch()
    with pytest.raises(RunError, match="holds something else than exported models"):
        bundle_runs(runs, out, force=True)
    assert sorted(path for path in runs[0].rglob("*")) == before


def test_a_bundle_that_lacks_a_model_does_not_go_unnoticed(runs: list[Path], tmp_path: Path) -> None:
    bundle_runs(runs, tmp_path / "bundle")
    (tmp_path / "bundle" / "eca" / "model.xml").unlink()
    with pytest.raises(RunError, match=r"eca holds no model, and .*ebs beside it does; bundle"):
        models_in(tmp_path / "bundle")


def test_an_empty_folder_is_taken(runs: list[Path], tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    assert bundle_runs(runs[:1], tmp_path / "bundle") == ["ebs"]


def test_a_bundle_whose_last_rename_failed_is_whole_when_it_is_used_next(
    runs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "bundle"
    bundle_runs(runs, out)
    replace = Path.replace

    def failing(path: Path, target: Path) -> Path:
        if target == out:
            raise OSError(errno.EBUSY, "Device or resource busy")
        return replace(path, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", failing)
        with pytest.raises(OSError, match="busy"):
            bundle_runs(runs[:1], out, force=True)
    assert not out.exists()
    assert [model.name for model in models_in(out)] == ["ebs"]
    assert [path.name for path in tmp_path.glob("*bundle*")] == ["bundle"]


def test_an_export_that_was_killed_between_its_renames_is_completed_when_it_is_opened(
    runs: list[Path], clips: np.ndarray
) -> None:
    run, whole = runs[0], runs[0] / ".dawnchorus-0123abcd.whole"
    expected = open_engine(run, "openvino", n_threads=1).predict(clips)
    whole.mkdir()
    folder = (run / EXPORTS["openvino"]).parent
    folder.rename(whole / folder.name)
    assert np.array_equal(open_engine(run, "openvino", n_threads=1).predict(clips), expected)
    assert not whole.exists()
