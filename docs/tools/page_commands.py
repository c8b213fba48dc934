"""Whether the commands that a page shows exist: each ``dawnchorus X --option`` goes to the real parser."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import typer
from run_blocks import code_blocks

from dawnchorus.cli import app, spread_repeatable

SCRIPTS = {
    "precompute_features.py": "precompute",
    "main_train.py": "train",
    "main_inference_and_compile.py": "compile",
}
"""The competition's scripts, and the command that each stands over."""

_ENDS = frozenset(";&|()<>")
_INLINE = re.compile(r"`(dawnchorus [a-z][^`]*)`")
_FILLED_IN_BY_THE_SHELL = re.compile(r"\$\([^)]*\)|\$\{[^}]*\}|\$\w+")


def written_pages(repository: Path) -> list[Path]:
    """Return the README and the pages of docs/ that somebody wrote, without those that a build made."""
    docs = repository / "docs"
    return [repository / "README.md", *sorted({*docs.rglob("*.md")} - {*docs.glob("_build/**/*.md")})]


class Shown(NamedTuple):
    """A command line that a page shows.

    Attributes
    ----------
    where
        Page and line.
    arguments
        What stands behind ``dawnchorus``.
    whole
        Whether it stands in a bash block, to be run as it is; in running text arguments may be missing.
    """

    where: str
    arguments: tuple[str, ...]
    whole: bool


def shown_commands(page: Path) -> list[Shown]:
    """Return the command lines of dawnchorus in a page's bash blocks and in its running text."""
    text = page.read_text(encoding="utf-8")
    shown = []
    in_blocks: set[int] = set()
    for block in code_blocks(text, name=str(page)):
        lines = block.code.splitlines()
        in_blocks.update(range(block.line, block.line + len(lines)))
        if block.language != "bash":
            continue
        for offset, line in _whole_lines(lines):
            for arguments in commands_of(line):
                shown.append(Shown(f"{page.name}:{block.line + offset}", arguments, True))
    for number, line in enumerate(text.splitlines(), start=1):
        if number not in in_blocks:
            for match in _INLINE.finditer(line):
                for arguments in commands_of(match[1]):
                    shown.append(Shown(f"{page.name}:{number}", arguments, False))
    return shown


def _whole_lines(lines: Sequence[str]) -> Iterator[tuple[int, str]]:
    """Yield each line with those that a backslash joins to it, and its offset."""
    begun, offset = "", 0
    for number, line in enumerate(lines):
        offset = offset if begun else number
        if line.endswith("\\"):
            begun += line[:-1] + " "
            continue
        yield offset, begun + line
        begun = ""


def commands_of(line: str) -> list[tuple[str, ...]]:
    """Return what stands behind each ``dawnchorus``, or script over one, in a line of bash."""
    if "dawnchorus" not in line and not any(script in line for script in SCRIPTS):
        return []
    words = shlex.shlex(_FILLED_IN_BY_THE_SHELL.sub("1", line), posix=True, punctuation_chars=True)
    words.whitespace_split = True
    found: list[list[str]] = []
    within = False
    for word in words:
        name = word.rpartition("/")[2]
        if set(word) <= _ENDS:
            within = False
        elif within:
            found[-1].append(word)
        elif name == "dawnchorus" or name in SCRIPTS:
            found.append([SCRIPTS[name]] if name in SCRIPTS else [])
            within = True
    return [tuple(arguments) for arguments in found]


def fault_of(shown: Shown) -> str | None:
    """Return what the parser says against a command line, None where it would take it."""
    command: Any = typer.main.get_command(app)
    path, rest = ["dawnchorus"], spread_repeatable(shown.arguments)
    while hasattr(command, "commands") and rest and not rest[0].startswith("-"):
        name, *rest = rest
        if name not in command.commands:
            return f"{shown.where}: {' '.join(path)} has no command {name}"
        command = command.commands[name]
        path.append(name)
    if "--help" in rest or (hasattr(command, "commands") and not rest):
        return None
    if not shown.whole:
        known = {name for each in command.params for name in (*each.opts, *each.secondary_opts)}
        unknown = [word for word in rest if word.startswith("--") and word.partition("=")[0] not in known]
        return f"{shown.where}: {' '.join(path)} has no option {unknown[0]}" if unknown else None
    try:
        command.make_context(" ".join(path), list(rest))
    except Exception as error:  # typer has its own copy of click's UsageError, or click's, by its version
        if not hasattr(error, "format_message"):
            raise
        return f"{shown.where}: {shlex.join([*path, *rest])}: {error.format_message()}"
    return None
