"""Blocks of a page are run in their order, and told where they fail."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"
pytest.importorskip("sybil", reason="the extra docs is not installed")

PAGE = """# A page

```bash
test -f train_configs/base.py
echo two > made
```

```bash no-run
exit 3
```

1. In a list:

   ```bash
   test "$(cat made)" = two
   python -c 'import sys; print(sys.prefix)' > prefix
   ```

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

```python no-run
raise SystemExit(3)
```

```bash
python -c 'from parts.sounds import song; assert song() == "tsip tsip tsip"'
```

```python
import sys

assert calls == ["tsip", "tsip"]
assert open("prefix").read().strip() == sys.prefix
```
"""


@pytest.fixture
def page(tmp_path: Path) -> Path:
    """A page to be written, in a checkout as small as can be."""
    (tmp_path / "docs").mkdir()
    shutil.copy(DOCS / "conftest.py", tmp_path / "docs")
    for folder in ("train_configs", "inference_configs", "scripts"):
        (tmp_path / folder).mkdir()
    for file in ("train_configs/base.py", "rock_that_bird.sh"):
        (tmp_path / file).touch()
    return tmp_path / "docs" / "page.md"


def run_page(page: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "--verbose", "--exitfirst", str(page)]
    return subprocess.run(
        [*command, "--rootdir", str(page.parent), "--basetemp", str(page.parent / "work")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
    )


def test_the_blocks_of_a_page_run_in_one_folder_and_share_their_names(page: Path) -> None:
    page.write_text(PAGE)
    done = run_page(page)
    assert done.returncode == 0, done.stdout
    assert "7 passed" in done.stdout


@pytest.mark.parametrize(
    ("block", "told"),
    [
        ("```bash\necho before\nfalse | true\n```", "before"),
        ("```bash\necho $NOBODY\n```", "NOBODY: unbound variable"),
        ("```python\nsong = 1\nmissing\n```", "NameError: name 'missing' is not defined"),
    ],
)
def test_a_block_that_fails_is_told_and_those_behind_it_are_not_run(
    page: Path, block: str, told: str
) -> None:
    reached = page.with_name("reached")
    page.write_text(f"One.\n\n{block}\n\n```bash\ntouch {reached}\n```\n")
    done = run_page(page)
    assert done.returncode == 1
    assert told in done.stdout
    assert "page.md::line:3" in done.stdout
    assert not reached.exists()
