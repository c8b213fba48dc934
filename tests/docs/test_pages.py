"""What pages and notebooks show exists: commands, options, files, keys of configs, names in Python."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import re
import shlex
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import typer
from markdown_it import MarkdownIt

import dawnchorus
from dawnchorus.cli import app, spread_repeatable
from dawnchorus.config import load_train_config

REPOSITORY = Path(__file__).resolve().parents[2]
DOCS = REPOSITORY / "docs"
PAGES = [REPOSITORY / "README.md", *sorted({*DOCS.rglob("*.md")} - {*DOCS.glob("_build/**/*.md")})]
NOTEBOOKS = sorted((DOCS / "notebooks").glob("*.ipynb"))
SCRIPTS = {
    "precompute_features.py": "precompute",
    "main_train.py": "train",
    "main_inference_and_compile.py": "compile",
}
"""The competition's scripts, and the command that each stands over."""

_ENDS = frozenset(";&|()<>")
_INLINE = re.compile(r"`(dawnchorus [a-z][^`]*)`")
_FILLED_IN_BY_THE_SHELL = re.compile(r"\$\([^)]*\)|\$\{[^}]*\}|\$\w+")


class Block(NamedTuple):
    """A code block of a page: its first line, the words behind its fence, its code."""

    line: int
    info: tuple[str, ...]
    code: str


def code_blocks(page: Path) -> list[Block]:
    """Return the fenced code blocks of a page, in their order."""
    tokens = MarkdownIt().parse(page.read_text(encoding="utf-8"))
    return [
        Block(token.map[0] + 2, tuple(token.info.split()) or ("",), token.content)
        for token in tokens
        if token.type == "fence" and token.map
    ]


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
    for block in code_blocks(page):
        lines = block.code.splitlines()
        in_blocks.update(range(block.line, block.line + len(lines)))
        if block.info[0] != "bash":
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
        options = [word for word in rest if word.startswith("--")]
        unknown = [each for each in options if each.partition("=")[0].replace("_", "-") not in known]
        return f"{shown.where}: {' '.join(path)} has no option {unknown[0]}" if unknown else None
    try:
        command.make_context(" ".join(path), list(rest))
    except Exception as error:  # typer has its own copy of click's UsageError, or click's, by its version
        if not hasattr(error, "format_message"):
            raise
        return f"{shown.where}: {shlex.join([*path, *rest])}: {error.format_message()}"
    return None


OF_OTHER_PROGRAMS = {"--help", "--no-deps", "--quick", "--nonblock"}
"""Options in the pages that belong to every command, pip, the benchmarks and flock."""


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("dawnchorus train a.py --folds 0 2  # five folds", [("train", "a.py", "--folds", "0", "2")]),
        ("CUDA_VISIBLE_DEVICES=1 .venv/bin/dawnchorus evaluate run > out", [("evaluate", "run")]),
        ("dawnchorus folds 'a b' && dawnchorus train x.py | tee log", [("folds", "a b"), ("train", "x.py")]),
        ('for f in *; do dawnchorus predict m "$f"; done', [("predict", "m", "1")]),
        ("python scripts/main_train.py a.py --debug", [("train", "a.py", "--debug")]),
        ("python -m dawnchorus.inference MODEL x; pip install 'dawnchorus[train]'", []),
    ],
)
def test_commands_are_found_in_a_line_of_bash(line: str, expected: list[tuple[str, ...]]) -> None:
    assert commands_of(line) == expected


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("```bash\ndawnchorus sing x\n```\n", "page.md:2: dawnchorus has no command sing"),
        ("```bash\n\ndawnchorus train \\\n  x.py --fast\n```\n", "page.md:3: dawnchorus train x.py --fast: "),
        ("```bash\ndawnchorus train\n```\n", "page.md:2: dawnchorus train: Missing argument"),
        (
            "```bash\ndawnchorus predict m r --format xml\n```\n",
            "page.md:2: dawnchorus predict m r --format xml: ",
        ),
        ("```bash\ndawnchorus folds a --seed many\n```\n", "page.md:2: dawnchorus folds a --seed many: "),
        ("It is `dawnchorus train --fast`.\n", "page.md:1: dawnchorus train has no option --fast"),
        ("It is `dawnchorus train`.\n", None),
        ('```bash\ndawnchorus train --help\ndawnchorus precompute a b --n_cores "$(nproc)"\n```\n', None),
    ],
)
def test_a_wrong_command_in_a_page_is_found(tmp_path: Path, text: str, fault: str | None) -> None:
    page = tmp_path / "page.md"
    page.write_text(text)
    faults = [found for shown in shown_commands(page) if (found := fault_of(shown))]
    assert len(faults) == (fault is not None)
    assert all(found.startswith(str(fault)) for found in faults)


@pytest.fixture
def modules_of_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the modules be imported that pages show, and that their commands and configs name."""
    folder = tmp_path / "modules"
    folder.mkdir()
    written = set()
    for page in PAGES:
        for block in code_blocks(page):
            named = re.match(r"# (\w+)\.py\n", block.code)
            if named is not None:
                with (folder / f"{named[1]}.py").open("a", encoding="utf-8") as lines:
                    lines.write(block.code)
                written.add(named[1])
    monkeypatch.syspath_prepend(str(folder))
    yield
    for name in written:
        sys.modules.pop(name, None)


@pytest.mark.usefixtures("modules_of_pages")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_pages_name_only_commands_and_options_that_exist(page: Path) -> None:
    faults = [fault_of(shown) for shown in shown_commands(page)]
    assert [fault for fault in faults if fault is not None] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_options_in_running_text_exist(page: Path, all_commands: dict[tuple[str, ...], Any]) -> None:
    parameters = [each for command in all_commands.values() for each in command.params]
    known = {name for each in parameters for name in (*each.opts, *each.secondary_opts)}
    shown = set(re.findall(r"`(--[a-z][a-z0-9_-]*)", page.read_text(encoding="utf-8")))
    assert shown - known - OF_OTHER_PROGRAMS == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_files_of_the_repository_that_pages_name_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    own = {*re.findall(r"Save this as `([\w/]+\.py)`", text), *re.findall(r"^# ([\w/]+\.py)$", text, re.M)}
    named = set(
        re.findall(r"\b((?:train_configs|inference_configs|scripts|benchmarks|docs)/[\w/]+\.\w+)", text)
    )
    assert [name for name in sorted(named - own) if not (REPOSITORY / name).exists()] == []


def config_blocks() -> list[tuple[str, str]]:
    return [
        (f"{page.relative_to(REPOSITORY)}:{block.line}", block.code)
        for page in PAGES
        for block in code_blocks(page)
        if block.info[0] == "python" and re.search("^CONFIG = ", block.code, re.MULTILINE)
    ]


@pytest.mark.parametrize(("where", "text"), config_blocks(), ids=lambda value: value.partition("\n")[0])
@pytest.mark.usefixtures("modules_of_pages")
def test_configs_that_pages_show_are_legal(tmp_path: Path, where: str, text: str) -> None:
    shutil.copytree(REPOSITORY / "train_configs", tmp_path / "train_configs")
    path = tmp_path / "train_configs" / "shown.py"
    path.write_text(text)
    config = load_train_config(path)
    dataset = config.train_function_args.train_dataset_class
    dataset.settings_class.model_validate(config.train_function_args.train_dataset_config)
    assert config.exp_name in text


def test_every_command_is_on_a_page_that_somebody_wrote(all_commands: dict[tuple[str, ...], Any]) -> None:
    shown = [shown.arguments for page in PAGES for shown in shown_commands(page)]
    texts = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    # Those have another name where people meet them: a target of make, a script, one page for all years.
    by_another_name = {("demo",): "make demo", ("rock-that-bird",): "bash rock_that_bird.sh"}
    missing = [
        path
        for path in all_commands
        if not any(arguments[: len(path)] == path for arguments in shown)
        and by_another_name.get(path, "\0") not in texts
        and not path[-1].startswith("birdclef-")
    ]
    assert missing == []


def faults_of(code: str) -> list[str]:
    """Return the modules and names of dawnchorus that code imports or calls in vain, and unknown keywords."""
    tree = ast.parse(code)
    names: dict[str, Any] = {}
    faults = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and str(node.module).partition(".")[0] == "dawnchorus":
            module = importlib.import_module(str(node.module))
            faults += [f"{node.module}.{each.name}" for each in node.names if not hasattr(module, each.name)]
            names |= {each.asname or each.name: getattr(module, each.name, None) for each in node.names}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "dc":
            faults += [f"dc.{node.attr}"] * (not hasattr(dawnchorus, node.attr))
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            called = getattr(dawnchorus, name[3:], None) if name.startswith("dc.") else names.get(name)
            parameters = inspect.signature(called).parameters if called is not None else {}
            if called is not None and not any(each.kind is each.VAR_KEYWORD for each in parameters.values()):
                faults += [f"{name}({each.arg}=)" for each in node.keywords if each.arg not in parameters]
    return faults


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        ("from dawnchorus import gone", "dawnchorus.gone"),
        ("import dawnchorus as dc\ndc.gone('a')", "dc.gone"),
        ("import dawnchorus as dc\ndc.open_engine('a', gone=1)", "dc.open_engine(gone=)"),
        ("from dawnchorus.aviary import make_aviary\nmake_aviary('a', gone=1)", "make_aviary(gone=)"),
    ],
)
def test_a_name_that_does_not_exist_is_found(code: str, fault: str) -> None:
    assert faults_of(code) == [fault]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_pages_show_python_that_exists(page: Path) -> None:
    blocks = [block for block in code_blocks(page) if block.info == ("python",)]
    programs = [block.code for block in blocks if "dawnchorus" in block.code or "dc." in block.code]
    assert [fault for code in programs for fault in faults_of(code)] == []


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_show_python_that_exists_and_hold_no_outputs(notebook: Path) -> None:
    content = json.loads(notebook.read_text(encoding="utf-8"))
    assert content["nbformat"] == 4
    assert content["metadata"]["kernelspec"]["name"] == "python3"
    for number, cell in enumerate(content["cells"], start=1):
        assert set(cell["metadata"]) <= {"tags"}
        if cell["cell_type"] == "code":
            assert faults_of("".join(cell["source"])) == [], f"cell {number}"
            remedy = f"cell {number} holds outputs; clear all outputs in Jupyter before you save"
            assert (cell["outputs"], cell["execution_count"]) == ([], None), remedy


def test_there_are_notebooks_and_the_index_lists_each() -> None:
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    assert len(NOTEBOOKS) >= 3
    assert [path.stem for path in NOTEBOOKS if f"\nnotebooks/{path.stem}\n" not in index] == []


def test_the_tutorial_begins_with_the_whole_run() -> None:
    run = [block.code for block in code_blocks(DOCS / "tutorial.md") if block.info == ("bash",)]
    assert run[0] == "bash rock_that_bird.sh --sample\n"
