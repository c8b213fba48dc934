"""Results of benchmarks: a JSON file each, with the machine and the versions, and Markdown tables of it."""

from __future__ import annotations

import datetime
import importlib.metadata
import subprocess
from collections.abc import Sequence
from pathlib import Path

import jinja2
from pydantic import BaseModel, field_serializer
from tabulate import tabulate

from dawnchorus.files import write_text
from dawnchorus.report.measurements import Measurement, machine_description, table_cells

FOLDER = Path(__file__).parent / "results"
LIBRARIES = ("numpy", "torch", "lightning", "timm", "onnxruntime", "openvino", "soundfile", "librosa")


class Trial(BaseModel, extra="forbid", frozen=True):
    """The scores of one method with one seed on one task, of a benchmark of accuracy."""

    task: str
    method: str
    seed: int
    scores: dict[str, float]


class Result(BaseModel, extra="forbid", frozen=True):
    """What a benchmark measured.

    Attributes
    ----------
    title
        What was measured, and on how much.
    date, commit
        When, and of which version of the code.
    quick
        Whether it was a short run.
    machine
        Processor, cores, memory, system, Python.
    versions
        Of the libraries, by name.
    seeds
        Of everything random.
    notes
        Sentences about this run, such as how much other runs differed.
    rows
        The measurements.
    trials
        What the rows of a benchmark of accuracy are made of; a later run does those that are not here.
    """

    title: str
    date: datetime.date
    commit: str
    quick: bool
    machine: str
    versions: dict[str, str]
    seeds: list[int]
    notes: list[str] = []
    rows: list[Measurement]
    trials: tuple[Trial, ...] = ()

    @field_serializer("rows")
    def _as_objects(self, rows: list[Measurement]) -> list[dict[str, object]]:
        return [
            {key: value for key, value in row._asdict().items() if value not in (None, "")} for row in rows
        ]

    @property
    def description(self) -> str:
        """What was measured, when and on which machine, and the notes."""
        versions = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        made = [
            "a short run" if self.quick else "",
            self.machine,
            versions,
            f"{self.date}",
            f"commit {self.commit}",
        ]
        return "\n\n".join([f"{self.title}: {'; '.join(filter(None, made))}.", " ".join(self.notes)]).strip()

    def table(self, *, wanted_only: bool = False) -> str:
        """Return all rows, or those that have a target."""
        headings, cells = table_cells([row for row in self.rows if row.target is not None or not wanted_only])
        return tabulate(cells, headings, tablefmt="pipe", disable_numparse=True)

    def grid(self, unit: str) -> str:
        """Return the rows of one unit that are named ``column: row``, each name once."""
        cells: dict[str, dict[str, str]] = {}
        columns: dict[str, None] = {}
        for row in self.rows:
            column, colon, name = row.name.partition(": ")
            if row.unit == unit and colon:
                columns[column] = None
                cells.setdefault(name, {}).setdefault(column, f"{row.value:.3g}")
        lines = [[name, *(of_name.get(column, "") for column in columns)] for name, of_name in cells.items()]
        return tabulate(lines, [unit, *columns], tablefmt="pipe", disable_numparse=True)


def described_result(title: str, rows: Sequence[Measurement], *, quick: bool, seeds: Sequence[int]) -> Result:
    """Return what was measured just now, with the date, the commit, the machine and the versions."""
    return Result(
        title=title,
        date=datetime.date.today(),
        commit=described_commit(),
        quick=quick,
        machine=machine_description(),
        versions={name: version for name in LIBRARIES if (version := _version(name))},
        seeds=list(seeds),
        rows=list(rows),
    )


def write_result(
    path: Path, title: str, rows: Sequence[Measurement], *, quick: bool, seeds: Sequence[int]
) -> None:
    """Write what was measured just now."""
    result = described_result(title, rows, quick=quick, seeds=seeds)
    write_text(path, result.model_dump_json(indent=2) + "\n")


def read_result(name: str) -> Result:
    """Return the committed result of a benchmark, such as ``bench_store``."""
    return Result.model_validate_json((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def filled_in(page: str) -> str:
    """Return a page, a template of Jinja, with the results that it asks for by ``result(NAME)``."""
    return (
        jinja2.Environment(trim_blocks=True, undefined=jinja2.StrictUndefined)
        .from_string(page)
        .render(result=read_result)
    )


def _version(library: str) -> str | None:
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return None


def described_commit() -> str:
    """Return the version of the code, with ``-dirty`` where files were changed since."""
    command = ["git", "describe", "--always", "--dirty"]
    done = subprocess.run(command, cwd=FOLDER.parent, capture_output=True, text=True)
    return done.stdout.strip() or "unknown"
