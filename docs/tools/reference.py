"""Data of the pages in ``docs/reference``, taken from the code when Sphinx reads a page.

A page is a template of Jinja: ``{{ ... }}`` and ``{% ... %}`` in it see the functions of `CONTEXT`. Text is
reStructuredText, as docstrings are, and stands in ``eval-rst`` blocks.
"""

from __future__ import annotations

import ast
import os
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import typer
from settings_tables import BELOW, REQUIRED, Section, card_sections, section_of, train_sections
from sphinx.util.rst import escape
from tabulate import tabulate

from dawnchorus.cli import app
from dawnchorus.config import InferenceConfig
from dawnchorus.config.config_files import bases_of
from dawnchorus.config.config_list import list_configs, own_settings

REPOSITORY = Path(__file__).resolve().parents[2]
_AS_IT_STANDS = "\b\n"  # click's mark of a paragraph whose lines are not to be joined


class Command(NamedTuple):
    """A command that does something.

    Attributes
    ----------
    name
        With the names of its groups, such as ``dawnchorus download recordings``.
    summary, help
        First paragraph, and all of them.
    usage
        The line that ``--help`` begins with.
    arguments, options
        Names and explanations.
    """

    name: str
    summary: str
    help: str
    usage: str
    arguments: list[tuple[str, str]]
    options: list[tuple[str, str]]


def commands() -> list[Command]:
    """Return all commands, in the order of ``--help``."""
    return list(_commands(typer.main.get_command(app), "dawnchorus"))


def _commands(command: Any, name: str) -> Iterator[Command]:
    for child_name, child in command.commands.items():
        if hasattr(child, "commands"):
            yield from _commands(child, f"{name} {child_name}")
        elif not child.hidden:
            yield _command(f"{name} {child_name}", child)


def _command(name: str, command: Any) -> Command:
    context = command.make_context(name, [], resilient_parsing=True)
    records: dict[str, list[tuple[str, str]]] = {"argument": [], "option": []}
    for parameter in command.params:
        if (record := parameter.get_help_record(context)) and not parameter.hidden:
            records[parameter.param_type_name].append((literal(record[0]), escape(record[1])))
    paragraphs = [_paragraph(text) for text in (command.help or "").strip().split("\n\n")]
    usage = " ".join([name, *command.collect_usage_pieces(context)])
    return Command(name, paragraphs[0], "\n\n".join(paragraphs), usage, *records.values())


def _paragraph(text: str) -> str:
    if text.startswith(_AS_IT_STANDS):
        return "::\n\n" + textwrap.indent(text.removeprefix(_AS_IT_STANDS), "    ")
    return escape(" ".join(text.split()))


class Config(NamedTuple):
    """A config file: its path in the repository, its docstring, its bases and what it states itself."""

    path: Path
    summary: str
    docstring: str
    bases: list[str]
    values: list[tuple[str, str]]


def configs(folder: str) -> list[Config]:
    """Return the configs in a folder of the repository, experiments first."""
    return [
        Config(
            listed.path.relative_to(REPOSITORY),
            listed.summary,
            ast.get_docstring(ast.parse(listed.path.read_text(encoding="utf-8"))) or "",
            [os.path.relpath(base, listed.path.parent) for base in bases_of(listed.path)],
            [(literal(key), literal(value)) for key, value in own_settings(listed.path)],
        )
        for listed in list_configs(REPOSITORY / folder)
    ]


def key_rows(section: Section) -> list[tuple[str, str, str, str]]:
    """Return the keys of a section as rows: name, what it takes, default, what it does."""
    return [
        (
            literal(key.name),
            escape(key.kind),
            key.default if key.default in (REQUIRED, BELOW) else literal(key.default),
            key.description,
        )
        for key in section.keys
    ]


def table(rows: Iterable[Sequence[str]], *headings: str) -> str:
    """Return a table of reStructuredText, its columns as wide as they need to be."""
    grid = tabulate(rows, headings, tablefmt="grid", disable_numparse=True)
    return ".. table::\n   :widths: auto\n\n" + textwrap.indent(grid, "   ")


def literal(text: str) -> str:
    """Return text as code; nothing for nothing, and code as it is."""
    return f"``{text}``" if text and "`" not in text else text


CONTEXT = {
    "commands": commands,
    "configs": configs,
    "train_sections": train_sections,
    "inference_section": lambda: section_of(InferenceConfig),
    "card_sections": card_sections,
}


def filled_in(page: str) -> str:
    """Return a page with what the code says in its places."""
    jinja = jinja2.Environment(trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined)
    jinja.filters |= {"table": table, "literal": literal, "key_rows": key_rows}
    return jinja.from_string(page).render(CONTEXT)
