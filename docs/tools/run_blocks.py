"""Run the code blocks of a page one after the other, as a reader would: ``run_blocks.py docs/tutorial.md``.

Bash and Python blocks are run unless their first line says ``no-run`` behind the language; GitHub and Sphinx
render both alike. All run in one fresh folder that holds what a page may name: the repository's configs and
scripts. A bash block is a shell of its own (``bash -euo pipefail``). The Python blocks of a page share their
names, as the cells of a notebook do; a Python block that begins with the name of a file, such as
``# my_parts.py``, is not run but added to this file. The exit code is 1 where a block fails.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Self

REPOSITORY = Path(__file__).resolve().parents[2]
REACHABLE = ("train_configs", "inference_configs", "scripts", "rock_that_bird.sh")
"""What of the repository a page may name; copied, so that no block can change it."""

NO_RUN = "no-run"
END_S = 30.0
"""Seconds that the Python process of a page may take to end."""

LANGUAGES = ("bash", "python")
_FILE = re.compile(r"# (?P<file>[\w./-]+\.py)\n")
_FENCE = re.compile(r"^(?P<indent> *)(?P<marks>`{3,}|~{3,})(?P<info>.*)$")


class Block(NamedTuple):
    """A code block of a page.

    Attributes
    ----------
    line
        Line of its first line of code in the page, from 1.
    language
        First word behind the opening fence, such as ``bash``; empty where there is none.
    marks
        The other words there.
    code
        Its lines, without the indentation of the fence.
    """

    line: int
    language: str
    marks: tuple[str, ...]
    code: str


class PageError(Exception):
    """A page that cannot be run: a fence that is never closed, or no block in it."""


class BlockError(Exception):
    """A block that failed; the message holds the page, the line, the exit code and the output."""


def code_blocks(page: str, *, name: str) -> list[Block]:
    """Return the fenced code blocks of a Markdown page, in their order.

    Parameters
    ----------
    page
        Its text.
    name
        What an error calls it.

    Raises
    ------
    PageError
        A fence is not closed.
    """
    blocks: list[Block] = []
    opening: re.Match[str] | None = None
    first, lines = 0, list[str]()
    for number, text in enumerate(page.splitlines(), start=1):
        fence = _FENCE.match(text)
        if opening is None:
            if fence is not None:
                opening, first, lines = fence, number + 1, []
        elif fence is not None and _closes(fence, opening):
            blocks.append(_block(opening, first, lines))
            opening = None
        else:
            lines.append(text)
    if opening is not None:
        raise PageError(
            f"{name}:{first - 1}: this code block is never closed; end it with {opening['marks']}"
        )
    return blocks


def _closes(fence: re.Match[str], opening: re.Match[str]) -> bool:
    same_kind = fence["marks"][0] == opening["marks"][0]
    return same_kind and len(fence["marks"]) >= len(opening["marks"]) and not fence["info"].strip()


def _block(opening: re.Match[str], first: int, lines: Sequence[str]) -> Block:
    words = opening["info"].split()
    code = textwrap.dedent("\n".join(lines)) if opening["indent"] else "\n".join(lines)
    return Block(first, words[0] if words else "", tuple(words[1:]), code + "\n")


def runnable(blocks: Sequence[Block]) -> list[Block]:
    """Return the bash and Python blocks that are not marked ``no-run``."""
    return [block for block in blocks if block.language in LANGUAGES and NO_RUN not in block.marks]


def file_of(block: Block) -> str | None:
    """Return the file that a Python block is added to, None where it is to be run."""
    named = _FILE.match(block.code) if block.language == "python" else None
    return None if named is None else named["file"]


def run_page(
    page: Path, folder: Path, *, on_start: Callable[[Block], object] = lambda block: None
) -> Iterator[tuple[Block, float]]:
    """Run the blocks of a page in ``folder``, and yield each that went well with its seconds.

    Parameters
    ----------
    page
        Markdown file.
    folder
        A new or empty folder.
    on_start
        Called with each block before it runs.

    Raises
    ------
    PageError
        The page has no block to run, a fence is not closed, or the folder is not empty.
    BlockError
        A block ended with another exit code than 0; those behind it are not run.
    """
    blocks = runnable(code_blocks(page.read_text(encoding="utf-8"), name=str(page)))
    if not blocks:
        raise PageError(f"{page}: there is no block to run in it")
    if folder.exists() and any(folder.iterdir()):
        raise PageError(f"{folder} is not empty; name a new folder, so that nothing of before can help")
    folder.mkdir(parents=True, exist_ok=True)
    _bring(folder)
    with PythonSession(folder) as session:
        for block in blocks:
            on_start(block)
            started = time.monotonic()
            _run(block, page, folder, session)
            yield block, time.monotonic() - started


def _bring(folder: Path) -> None:
    """Copy what a page may name of the repository into ``folder``."""
    for name in REACHABLE:
        source = REPOSITORY / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif source.is_file():
            shutil.copy2(source, folder / name)


def _run(block: Block, page: Path, folder: Path, session: PythonSession) -> None:
    file = file_of(block)
    if file is not None:
        _add_to(folder / file, block.code)
        return
    if block.language == "bash":
        exit_code, output = _run_bash(block, folder)
    else:
        exit_code, output = session.run(block.code, page, block.line)
    if exit_code:
        raise BlockError(
            f"{page}:{block.line}: this block ended with exit code {exit_code}\n"
            f"{textwrap.indent(block.code, '    ')}its output:\n{textwrap.indent(output, '    ')}"
        )


def _run_bash(block: Block, folder: Path) -> tuple[int, str]:
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block.code],
        cwd=folder,
        env=_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    return done.returncode, done.stdout


def _environment() -> dict[str, str]:
    """Return the environment with the commands of this Python, as after `source .venv/bin/activate`."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    return {**os.environ, "PATH": path}


def _add_to(file: Path, code: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a", encoding="utf-8") as lines:
        lines.write(code)


class PythonSession:
    """A Python process that runs blocks one after the other in one namespace; started by the first of them.

    Parameters
    ----------
    folder
        Where it runs, and where it imports from first.
    """

    # The code is moved down to its lines in the page, so that a traceback shows them.
    _LOOP = """
import json, sys, traceback
end, names = sys.argv.pop(), {"__name__": "__main__"}
for request in sys.stdin:
    page, line, code = json.loads(request)
    failed = 0
    try:
        exec(compile("\\n" * (line - 1) + code, page, "exec"), names)
    except BaseException:
        traceback.print_exc()
        failed = 1
    print(f"{end}{failed}", file=sys.stdout, flush=True)
"""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._end = secrets.token_hex(16)
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """End the process as a script ends, and with it the workers that it started."""
        if self._process is None:
            return
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(timeout=END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        # Not read to its end: workers that outlive the process would hold it open.
        self._process.stdout.close()

    def run(self, code: str, page: Path, line: int) -> tuple[int, str]:
        """Run a block that begins at a line of a page; return its exit code and its output."""
        process = self._started()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps([str(page), line, code]) + "\n")
        process.stdin.flush()
        output = []
        for said in process.stdout:
            text, end, failed = said.partition(self._end)
            output.append(text)
            if end:
                return int(failed), "".join(output)
        return process.wait(), "".join(output)

    def _started(self) -> subprocess.Popen[str]:
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-c", self._LOOP, self._end],
                cwd=self.folder,
                env={**_environment(), "PYTHONUNBUFFERED": "1"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
            )
        return self._process


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a page's blocks; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("page", type=Path, help="Markdown page.")
    parser.add_argument(
        "folder", type=Path, nargs="?", help="New or empty folder to run in; a temporary one otherwise."
    )
    options = parser.parse_args(arguments)

    def announce(block: Block) -> None:
        sys.stderr.write(f"{options.page}:{block.line}: {block.code.splitlines()[0]}\n")

    with tempfile.TemporaryDirectory(prefix="dawnchorus-page-") as temporary:
        try:
            folder = options.folder or Path(temporary)
            for _, seconds in run_page(options.page, folder, on_start=announce):
                sys.stderr.write(f"    {seconds:.1f} s\n")
        except (PageError, BlockError, OSError) as error:
            sys.stderr.write(f"{error}\n")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
