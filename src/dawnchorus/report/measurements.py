"""Measurements in one form: a table on screen, a JSON list for programs.

``ratio`` and ``target`` are given so that larger is better; a missed target is shown as missed.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from dawnchorus.files import write_text

PATH = "path"
"""Unit of a row whose value is a file or folder."""

_HEADINGS = ("", "value", "rival", "ratio", "target")
_MIN_WIDTH, _NAME_WIDTH = 120, 28


class Measurement(NamedTuple):
    """One measured number.

    Attributes
    ----------
    name, value, unit
        What was measured; the value may be a path.
    rival
        What it is compared with.
    ratio
        Times better than the rival, larger is better.
    target
        The ratio, or where there is no rival the value, that was wanted.

    Examples
    --------
    >>> Measurement("decoding", 412.0, "h/h", rival="librosa", ratio=3.1, target=2.0).met
    True
    """

    name: str
    value: float | str
    unit: str = ""
    rival: str | None = None
    ratio: float | None = None
    target: float | None = None

    @property
    def met(self) -> bool | None:
        """Whether the target was met; None where there is none."""
        measured = self.ratio if self.ratio is not None else self.value
        return None if self.target is None else float(measured) >= self.target


def machine_description() -> str:
    """Return the machine in a line: processor, cores, memory, system, Python.

    Examples
    --------
    >>> "Python" in machine_description()
    True
    """
    parts = [_processor_name(), f"{os.cpu_count()} cores"]
    if hasattr(os, "sysconf"):
        parts.append(f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB")
    return ", ".join([*parts, platform.system(), f"Python {platform.python_version()}"])


def print_measurements(title: str, rows: Sequence[Measurement]) -> None:
    """Print the rows as a table on stdout, and below it, whole, the paths among them.

    Examples
    --------
    >>> print_measurements("speed", [Measurement("decoding", 412.0, "h/h")])
    speed
    ┏━━━━━━━━━━┳━━━━━━━━━┓
    ┃          ┃   value ┃
    ┡━━━━━━━━━━╇━━━━━━━━━┩
    │ decoding │ 412 h/h │
    └──────────┴─────────┘
    """
    headings, cells = table_cells([row for row in rows if row.unit != PATH])
    table = Table(header_style="bold")
    for heading in headings:
        table.add_column(heading, justify="right" if heading in ("value", "ratio") else "left")
    for row_cells in cells:
        table.add_row(*row_cells)
    console = Console(width=max(_MIN_WIDTH, Console().width))
    console.print(title, table, sep="\n")
    for row in rows:
        if row.unit == PATH:
            console.print(f"{row.name:<{_NAME_WIDTH}} {row.value}", soft_wrap=True, highlight=False)


def table_cells(rows: Sequence[Measurement]) -> tuple[list[str], list[list[str]]]:
    """Return the headings and the cells of a table of rows, without columns that are empty in all of them.

    Examples
    --------
    >>> table_cells([Measurement("decoding", 412.0, "h/h"), Measurement("onset", 0.25, "s", target=0.2)])
    (['', 'value', 'target'], [['decoding', '412 h/h', ''], ['onset', '0.25 s', '≥ 0.2 met']])
    """
    cells = [_cells(row) for row in rows]
    used = [index for index in range(len(_HEADINGS)) if any(each[index] for each in cells)]
    return [_HEADINGS[index] for index in used], [[each[index] for index in used] for each in cells]


def write_measurements(path: Path, rows: Sequence[Measurement]) -> None:
    """Write the rows as a JSON list of objects.

    Examples
    --------
    >>> import json
    >>> from pathlib import Path
    >>> write_measurements(Path("speed.json"), [Measurement("decoding", 412.0, "h/h")])
    >>> json.loads(Path("speed.json").read_text())[0]["value"]
    412.0
    """
    write_text(path, json.dumps([row._asdict() for row in rows], indent=2) + "\n")


def _cells(row: Measurement) -> list[str]:
    value = row.value if isinstance(row.value, str) else f"{row.value:.4g} {row.unit}".strip()
    target = ""
    if row.target is not None:
        target = f"≥ {row.target:g} {'met' if row.met else 'missed'}"
    ratio = "" if row.ratio is None else f"{row.ratio:.{0 if row.ratio >= 100 else 2}f}×"
    return [row.name, value, row.rival or "", ratio, target]


def _processor_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
