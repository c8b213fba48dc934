"""What pages show exists: commands, options, files, keys of configs."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import page_commands
import pytest
import run_blocks

from dawnchorus.config import load_train_config

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = page_commands.written_pages(REPOSITORY)
OF_OTHER_PROGRAMS = {"--help", "--no-deps", "--quick", "--external", "--nonblock"}
"""Options in the pages that belong to every command, pip, the benchmarks, build.py and flock."""


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
    assert page_commands.commands_of(line) == expected


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
    faults = [
        found for shown in page_commands.shown_commands(page) if (found := page_commands.fault_of(shown))
    ]
    assert len(faults) == (fault is not None)
    assert all(found.startswith(str(fault)) for found in faults)


@pytest.fixture
def modules_of_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the modules be imported that pages show, and that their commands and configs name."""
    folder = tmp_path / "modules"
    folder.mkdir()
    written = set()
    for page in PAGES:
        for block in run_blocks.code_blocks(page.read_text(encoding="utf-8"), name=str(page)):
            file = run_blocks.file_of(block)
            if file is not None and "/" not in file:
                with (folder / file).open("a", encoding="utf-8") as lines:
                    lines.write(block.code)
                written.add(Path(file).stem)
    monkeypatch.syspath_prepend(str(folder))
    yield
    for name in written:
        sys.modules.pop(name, None)


@pytest.mark.usefixtures("modules_of_pages")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_pages_name_only_commands_and_options_that_exist(page: Path) -> None:
    faults = [page_commands.fault_of(shown) for shown in page_commands.shown_commands(page)]
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
        for block in run_blocks.code_blocks(page.read_text(encoding="utf-8"), name=str(page))
        if block.language == "python" and re.search("^CONFIG = ", block.code, re.MULTILINE)
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
    shown = [shown.arguments for page in PAGES for shown in page_commands.shown_commands(page)]
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
