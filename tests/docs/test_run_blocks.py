"""Blocks of a page: found, run in their order, and told where they fail."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest
import run_blocks

PAGE = """# A page

```bash
echo one
echo two > made
```

```bash no-run
exit 3
```

1. In a list:

   ```bash
   cat made
   ```

````text
```bash
exit 4
```
````

~~~python
print("no shell")
~~~
"""


def test_blocks_are_found_with_their_lines_and_marks() -> None:
    blocks = run_blocks.code_blocks(PAGE, name="page.md")
    assert [(block.line, block.language, block.marks) for block in blocks] == [
        (4, "bash", ()),
        (9, "bash", ("no-run",)),
        (15, "bash", ()),
        (19, "text", ()),
        (25, "python", ()),
    ]
    assert blocks[0].code == "echo one\necho two > made\n"
    assert blocks[2].code == "cat made\n"
    assert [block.line for block in run_blocks.runnable(blocks)] == [4, 15, 25]


def test_a_fence_that_is_never_closed_is_told_with_its_line() -> None:
    with pytest.raises(run_blocks.PageError, match=r"page\.md:3: this code block is never closed"):
        run_blocks.code_blocks("one\n\n```bash\necho\n", name="page.md")


def test_blocks_run_in_order_in_one_folder_that_has_the_configs(tmp_path: Path) -> None:
    page, folder = tmp_path / "page.md", tmp_path / "work"
    page.write_text(PAGE.replace("echo one", "test -f train_configs/base.py\ntest -d scripts"))
    done = [block.line for block, _ in run_blocks.run_page(page, folder)]
    assert done == [4, 16, 26]
    assert (folder / "made").read_text() == "two\n"


def test_blocks_find_the_commands_of_this_environment(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```bash\npython -c 'import sys; print(sys.prefix)' > prefix\n```\n")
    list(run_blocks.run_page(page, tmp_path / "work"))
    assert (tmp_path / "work" / "prefix").read_text().strip() == sys.prefix


PYTHON_PAGE = """# A page

```python
# parts/sounds.py
def call():
    return "tsip"
```

```python
from parts.sounds import call

calls = 2 * [call()]
```

```python
# parts/sounds.py

def song():
    return " ".join(3 * [call()])
```

```bash
python -c 'from parts.sounds import song; print(song())' > song.txt
```

```python no-run
raise SystemExit(3)
```

```python
print(*calls, file=open("calls.txt", "w"))
```
"""


def test_python_blocks_share_their_names_and_files_are_written(tmp_path: Path) -> None:
    page, folder = tmp_path / "page.md", tmp_path / "work"
    page.write_text(PYTHON_PAGE)
    done = [block.line for block, _ in run_blocks.run_page(page, folder)]
    assert done == [4, 10, 16, 23, 31]
    assert (folder / "song.txt").read_text() == "tsip tsip tsip\n"
    assert (folder / "calls.txt").read_text() == "tsip tsip\n"


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("print('before', end='')\nraise ValueError('wrong')", "before"),
        ("print('before')\nwrong =", "SyntaxError"),
        ("import sys\nsys.exit(5)", "SystemExit: 5"),
        ("import os\nos._exit(5)", "exit code 5"),
    ],
)
def test_a_failing_python_block_is_told_with_its_line_and_output(
    tmp_path: Path, code: str, told: str
) -> None:
    page, folder = tmp_path / "page.md", tmp_path / "work"
    page.write_text(f"```python\nx = 1\n```\n\n```python\n{code}\n```\n\n```bash\ntouch last\n```\n")
    with pytest.raises(run_blocks.BlockError, match=r"page\.md:6: this block ended with exit") as error:
        list(run_blocks.run_page(page, folder))
    assert told in str(error.value)
    assert not (folder / "last").exists()


def test_a_worker_that_outlives_the_python_process_is_not_waited_for(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text('```python\nimport subprocess\nworker = subprocess.Popen(["sleep", "60"])\n```\n')
    started = time.monotonic()
    list(run_blocks.run_page(page, tmp_path / "work"))
    assert time.monotonic() - started < 30


def test_a_traceback_of_a_python_block_shows_the_line_of_the_page(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("A\n\n```python\nx = 1\nraise ValueError(x)\n```\n")
    with pytest.raises(run_blocks.BlockError, match=r'page\.md", line 5'):
        list(run_blocks.run_page(page, tmp_path / "work"))


@pytest.mark.parametrize(
    "code", ["false\necho not reached", "cat missing | head -n 1", "echo $NOT_SET_ANYWHERE"]
)
def test_a_failing_block_is_told_with_its_line_and_output(tmp_path: Path, code: str) -> None:
    page, folder = tmp_path / "page.md", tmp_path / "work"
    page.write_text(
        f"```bash\ntouch first\n```\n\n```bash\necho before >&2\n{code}\n```\n\n```bash\ntouch last\n```\n"
    )
    with pytest.raises(
        run_blocks.BlockError, match=r"page\.md:6: this block ended with exit code 1"
    ) as error:
        list(run_blocks.run_page(page, folder))
    assert "    before\n" in str(error.value)
    assert "not reached\n" not in str(error.value).partition("its output:")[2]
    assert (folder / "first").exists()
    assert not (folder / "last").exists()


def test_the_program_ends_with_1_where_a_block_fails(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.md"
    page.write_text("```bash\nexit 7\n```\n")
    assert run_blocks.main([str(page), str(tmp_path / "work")]) == 1
    assert "page.md:2: this block ended with exit code 7" in capfd.readouterr().err
    page.write_text("```bash\ntrue\n```\n")
    assert run_blocks.main([str(page)]) == 0
    assert "page.md:2: true\n" in capfd.readouterr().err


def test_a_page_without_blocks_and_a_folder_in_use_are_refused(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```bash no-run\ntrue\n```\n")
    with pytest.raises(run_blocks.PageError, match="there is no block to run in it"):
        list(run_blocks.run_page(page, tmp_path / "work"))
    page.write_text("```bash\ntrue\n```\n")
    with pytest.raises(run_blocks.PageError, match="is not empty; name a new folder"):
        list(run_blocks.run_page(page, tmp_path))


def test_the_tutorial_begins_with_the_whole_run(repository: Path) -> None:
    blocks = run_blocks.runnable(
        run_blocks.code_blocks((repository / "docs" / "tutorial.md").read_text(), name="tutorial")
    )
    assert blocks[0].code == "bash rock_that_bird.sh --sample\n"
