"""The reference, written from the code: commands, configs, settings, and the names of the package."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from docstrings import as_markdown, cell, code, plain, summary
from settings_tables import Section, section_of, section_table, train_sections

import dawnchorus
from dawnchorus.cli import app
from dawnchorus.config import InferenceConfig
from dawnchorus.config.config_files import read_own_config
from dawnchorus.config.config_list import ListedConfig, list_configs, own_settings
from dawnchorus.files import write_text

_GENERATED = (
    "This page is written by `docs/tools/build.py` from the code, so that it says what the code does.\n"
)
_CONFIG_FOLDERS = {
    "train_configs": "Training",
    "train_configs/parts": "Parts of training configs",
    "inference_configs": "Inference",
}
_AS_IT_STANDS = "\b\n"  # how click marks a paragraph whose lines are not to be joined


def write_reference(folder: Path, *, repository: Path) -> list[Path]:
    """Write the reference into ``folder`` and return its pages.

    Parameters
    ----------
    folder
        Where the pages go; made if it is missing.
    repository
        The checkout, for its configs.
    """
    pages = {
        "commands": commands_page(),
        "configs": configs_page(repository),
        "settings": settings_page(),
        "api": api_page(),
    }
    paths = []
    for name, text in pages.items():
        write_text(folder / f"{name}.md", text)
        paths.append(folder / f"{name}.md")
    return paths


def commands_page() -> str:
    """Return the page of all commands with their arguments and options."""
    parts = ["# Commands\n", _GENERATED]
    parts.append(
        "Results go to standard output, progress and messages to standard error. Exit code 0: all went well; "
        "1: an error, told in one sentence; 2: the command was used wrongly, or some recordings failed and "
        "the others are done.\n"
    )
    commands = list(_commands(typer.main.get_command(app), "dawnchorus"))
    rows = [f"| [`{name}`](#{_anchor(name)}) | {cell(_first_line(each.help))} |" for name, each in commands]
    parts.append("\n".join(["| command | what it does |", "|---|---|", *rows]) + "\n")
    parts.extend(_command(name, command) for name, command in commands)
    return "\n".join(parts)


def _commands(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Yield each command that does something, with its name and those of its groups before it."""
    for child_name, child in getattr(command, "commands", {}).items():
        if hasattr(child, "commands"):
            yield from _commands(child, f"{name} {child_name}")
        elif not child.hidden:
            yield f"{name} {child_name}", child


def _command(name: str, command: Any) -> str:
    context = command.make_context(name, [], resilient_parsing=True)
    usage = " ".join([name, *command.collect_usage_pieces(context)])
    text = "\n\n".join(_paragraph(part) for part in (command.help or "").strip().split("\n\n"))
    parts = [f"## {name}\n", text + "\n", f"```text\n{usage}\n```\n"]
    for kind, title in (("argument", "argument"), ("option", "option")):
        records = [
            parameter.get_help_record(context)
            for parameter in command.params
            if parameter.param_type_name == kind and not parameter.hidden
        ]
        rows = [f"| {code(cell(names))} | {cell(plain(told))} |" for names, told in filter(None, records)]
        if rows:
            parts.append("\n".join([f"| {title} | what it is |", "|---|---|", *rows]) + "\n")
    return "\n".join(parts)


def _paragraph(text: str) -> str:
    if text.startswith(_AS_IT_STANDS):
        return f"```text\n{text.removeprefix(_AS_IT_STANDS)}\n```"
    return plain(" ".join(text.split()))


def _first_line(text: str | None) -> str:
    return plain(" ".join((text or "").partition("\n\n")[0].split()))


def _anchor(heading: str) -> str:
    """Return what GitHub and MyST call the anchor of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def configs_page(repository: Path) -> str:
    """Return the page of the configs: what each is for, and what it states beyond its bases."""
    parts = ["# Configs\n", _GENERATED]
    parts.append(
        "A config is a Python file with a dict `CONFIG`. It names a `base`, or several, each laid over the "
        "one before, and states only what differs from them: dicts are merged key by key, every other value "
        "replaces the base's. `dawnchorus configs` lists them in a terminal. [Settings](settings.md) has "
        "every key.\n"
    )
    for folder, title in _CONFIG_FOLDERS.items():
        configs = list_configs(repository / folder)
        parts.append(f"## {title}\n")
        rows = [
            f"| [{each.path.stem}](#{_anchor(_heading(each))}) | {cell(each.summary)} |" for each in configs
        ]
        parts.append("\n".join(["| config | what it is |", "|---|---|", *rows]) + "\n")
        parts.extend(_config(each) for each in configs)
    return "\n".join(parts)


def _heading(config: ListedConfig) -> str:
    return f"{config.path.parent.name}/{config.path.name}"


def _config(config: ListedConfig) -> str:
    docstring = ast.get_docstring(ast.parse(config.path.read_text(encoding="utf-8"))) or ""
    parts = [f"### {_heading(config)}\n", as_markdown(docstring) + "\n"]
    base = read_own_config(config.path).get("base", ())
    bases = [base] if isinstance(base, str | Path) else base
    if bases:
        parts.append("Laid over " + ", then ".join(f"`{each}`" for each in bases) + ".\n")
    rows = [f"| `{key}` | {code(cell(value))} |" for key, value in own_settings(config.path)]
    if rows:
        parts.append("\n".join(["| key | value |", "|---|---|", *rows]) + "\n")
    return "\n".join(parts)


def settings_page() -> str:
    """Return the page of every key of a training and an inference config."""
    parts = ["# Settings\n", _GENERATED]
    parts.append(
        "A key that is not known is an error that names the nearest one. Beside the keys below, a config "
        "may name a `base`: another config file, relative to its own, whose values it starts from.\n"
    )
    parts.append("## CONFIG of a training config\n")
    top, *inner = train_sections()
    parts.append(_section(top, heading=False))
    parts.extend(_section(section) for section in inner)
    parts.append("## CONFIG of an inference config\n")
    parts.append(_section(section_of(InferenceConfig), heading=False))
    return "\n".join(parts)


def _section(section: Section, *, heading: bool = True) -> str:
    title = [f"### {section.path}\n"] if heading else []
    return "\n".join([*title, section.introduction + "\n", section_table(section)])


def api_page() -> str:
    """Return the page of the package's public names, whose docstrings Sphinx brings in."""
    parts = ["# Python\n", _GENERATED, "What `from dawnchorus import ...` offers.\n"]
    parts.append("```{eval-rst}\n.. py:module:: dawnchorus\n```\n")
    rows = [f"| `{name}` | {_what_it_is(name)} |" for name in dawnchorus.__all__]
    parts.append("\n".join(["| name | what it is |", "|---|---|", *rows]) + "\n")
    for name in dawnchorus.__all__:
        parts.append(f"## {name}\n")
        parts.append(_directive(name))
    return "\n".join(parts)


def _what_it_is(name: str) -> str:
    public = getattr(dawnchorus, name)
    return cell(summary(public.__doc__) if hasattr(public, "__name__") else repr(public))


def _directive(name: str) -> str:
    public = getattr(dawnchorus, name)
    if not hasattr(public, "__name__"):
        return f"```{{eval-rst}}\n.. py:data:: dawnchorus.{name}\n   :value: {public!r}\n```\n"
    if public.__name__ != name:
        return f"Another spelling of [{public.__name__}](#{public.__name__.lower()}).\n"
    kind = "class" if isinstance(public, type) else "function"
    if isinstance(public, type) and issubclass(public, Exception):
        kind = "exception"
    members = "   :members:\n" if kind == "class" else ""
    return f"```{{eval-rst}}\n.. auto{kind}:: dawnchorus.{name}\n{members}```\n"
