"""Bundles: the exports of several runs in one folder."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from dawnchorus.engines.ensembles import bundled_models
from dawnchorus.engines.opening import BUNDLE_NAME, EXPORTS, EngineName, holds_model, is_run
from dawnchorus.errors import RunError
from dawnchorus.files import mend, refuse_existing, replacing, walk


def bundle_runs(
    runs: Sequence[Path], out: Path, engine: EngineName = "openvino", *, force: bool = False
) -> list[str]:
    """Make a folder with the export of each run under the run's name, and return the names.

    Parameters
    ----------
    runs
        Runs that were exported, exports, or bundles.
    out
        The folder; it takes its place when all is copied.
    engine
        The export to take.
    force
        Whether to replace a folder of models that is there.

    Raises
    ------
    RunError
        A run has no such export, two have one name, or ``out`` is there and must not be replaced.

    Examples
    --------
    >>> import shutil
    >>> from pathlib import Path
    >>> from dawnchorus.engines.opening import EXPORTS
    >>> from dawnchorus.runs import Run
    >>> run = Run.open("logdirs/tiny")
    >>> _ = shutil.copytree("model", (run.path / EXPORTS["onnx"]).parent)  # what dawnchorus export makes
    >>> bundle_runs([run.path], Path("bundle"), "onnx")
    ['tiny']
    """
    if engine not in EXPORTS:
        raise RunError(f"{engine} is no export; legal: {', '.join(EXPORTS)}")
    mend(out.parent)
    _check_replaceable(out, force=force)
    folders: dict[str, Path] = {}
    for run in (one for given in runs for one in bundled_models(given)):
        file, name = run / EXPORTS[engine], run.resolve().name
        if not holds_model(run):
            raise RunError(f"{run} is no run; give folders below logdirs that dawnchorus train has made")
        if not is_run(run):
            file = run / file.name
        if not file.is_file():
            option = " --int8" if engine == "int8" else ""
            raise RunError(f"{run} has no export for {engine}; make it with: dawnchorus export {run}{option}")
        if name in folders:
            raise RunError(f"{run} has the name of another run, {name}; rename one")
        folders[name] = file.parent
    with replacing(out) as temporary:
        for name, folder in folders.items():
            for file in walk(folder):  # copytree would hide the cause of a failure
                copy = temporary / name / file.relative_to(folder)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(file, copy)
    return list(folders)


def _check_replaceable(out: Path, *, force: bool) -> None:
    """Raise where ``out`` exists; with ``force``, only where it is not a folder of exports."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    refuse_existing(out, force=force, remedy="replace it with --force")
    if not out.is_dir() or not all(_is_export(entry) for entry in out.iterdir()):
        raise RunError(
            f"{out} holds something else than exported models, and is not replaced; choose another name with "
            "--out"
        )


def _is_export(folder: Path) -> bool:
    """Return whether a folder is an export, complete or not, and not a run."""
    return (holds_model(folder) or (folder / BUNDLE_NAME).is_file()) and not is_run(folder)
