"""The table of the last ``make stress``: what was tried of each kind, and how it ended.

python benchmarks/reliability.py stress_counts.jsonl --json benchmarks/results/reliability.json
"""

from __future__ import annotations

import argparse
import datetime
from pathlib import Path

from pydantic import BaseModel
from results import FOLDER, described_commit
from tabulate import tabulate

from dawnchorus.files import write_text
from dawnchorus.report.measurements import machine_description


class Tried(BaseModel, extra="forbid", frozen=True):
    """How what was tried of a kind has ended.

    Attributes
    ----------
    kind
        What was done, to which file or command.
    tried
        Inputs, kills or runs.
    well, sentence, badly
        Those that ended as undisturbed, with one sentence that says what is wrong, and otherwise.
    longest_s
        Seconds of the longest.
    how
        Of those that ended badly, how many in which way.
    """

    kind: str
    tried: int
    well: int
    sentence: int
    badly: int
    longest_s: float
    how: dict[str, int] = {}


class Reliability(BaseModel, extra="forbid", frozen=True):
    """All kinds that a run has tried, with its date, commit and machine."""

    date: datetime.date
    commit: str
    machine: str
    rows: list[Tried]

    @property
    def description(self) -> str:
        """When and where the run was, and how much it has tried."""
        n_tried, n_badly = sum(row.tried for row in self.rows), sum(row.badly for row in self.rows)
        return f"{n_tried} tried, {n_badly} ended badly; {self.machine}; {self.date}; commit {self.commit}."

    def table(self) -> str:
        """Return all rows in Markdown."""
        headings = ("kind", "tried", "ended well", "in a sentence", "badly", "longest, s")
        cells = [
            (row.kind, row.tried, row.well, row.sentence, row.badly, f"{row.longest_s:.2f}")
            for row in self.rows
        ]
        return tabulate(cells, headings, tablefmt="pipe", disable_numparse=True)


def counted(counts: Path) -> Reliability:
    """Return the lines that the tests have written; those of one kind are added up."""
    rows: dict[str, Tried] = {}
    for line in counts.read_text(encoding="utf-8").splitlines():
        row = Tried.model_validate_json(line)
        rows[row.kind] = _sum(rows[row.kind], row) if row.kind in rows else row
    return Reliability(
        date=datetime.date.today(),
        commit=described_commit(),
        machine=machine_description(),
        rows=[rows[kind] for kind in sorted(rows)],
    )


def _sum(first: Tried, second: Tried) -> Tried:
    return Tried(
        kind=first.kind,
        tried=first.tried + second.tried,
        well=first.well + second.well,
        sentence=first.sentence + second.sentence,
        badly=first.badly + second.badly,
        longest_s=max(first.longest_s, second.longest_s),
        how={**first.how, **second.how},
    )


def read_reliability(path: Path = FOLDER / "reliability.json") -> Reliability:
    """Return the committed table."""
    return Reliability.model_validate_json(path.read_text(encoding="utf-8"))


def filled_in(page: str) -> str:
    """Return a page, a template of Jinja, with the committed table as ``reliability``."""
    import jinja2

    return (
        jinja2.Environment(undefined=jinja2.StrictUndefined)
        .from_string(page)
        .render(reliability=read_reliability())
    )


def main() -> None:
    """Print the table in Markdown, and write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("counts", type=Path)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    reliability = counted(arguments.counts)
    if arguments.json is not None:
        write_text(arguments.json, reliability.model_dump_json(indent=2) + "\n")
    print(f"{reliability.description}\n\n{reliability.table()}")


if __name__ == "__main__":
    main()
