"""Measured numbers in one form: a table on screen, a JSON list for programs.

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


class Measurement(NamedTuple):
    """One number.

    Attributes
    ----------
    name, value, unit
        What was measured; the value may be a path.
    rival
        What it is compared with.
    ratio
        How many times better than the rival, larger is better.
    target
        The ratio, or where there is no rival the value, that was wanted.
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
    """Return the machine in a line: processor, cores, memory, system, Python."""
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{_processor_name()}, {os.cpu_count()} cores, {memory_gib:.0f} GiB, "
        f"{platform.system()}, Python {platform.python_version()}"
    )


def print_measurements(title: str, rows: Sequence[Measurement]) -> None:
    """Print the rows as a table on stdout."""
    columns = ["", "value", "rival", "ratio", "target"]
    if not any(row.rival or row.target is not None for row in rows):
        columns = columns[:2]
    table = Table(title=title, title_justify="left", header_style="bold")
    for name in columns:
        table.add_column(name, justify="left" if name in ("", "rival") else "right", overflow="fold")
    for row in rows:
        table.add_row(*_cells(row)[: len(columns)])
    Console().print(table)


def write_measurements(path: Path, rows: Sequence[Measurement]) -> None:
    """Write the rows as a JSON list of objects."""
    write_text(path, json.dumps([row._asdict() for row in rows], indent=2) + "\n")


def _cells(row: Measurement) -> list[str]:
    value = row.value if isinstance(row.value, str) else f"{row.value:.4g} {row.unit}".strip()
    target = ""
    if row.target is not None:
        target = f"≥ {row.target:g} {'met' if row.met else 'missed'}"
    return [row.name, value, row.rival or "", f"{row.ratio:.2f}×" if row.ratio is not None else "", target]


def _processor_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
