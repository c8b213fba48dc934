"""Build the documentation: reference pages and pictures from the code, then HTML, then its links.

``python docs/tools/build.py`` writes ``docs/_build/html``. The notebooks are executed. Every warning of
Sphinx, every cell that fails and every broken link is an error, with exit code 1. The internet is not needed;
``--external`` asks it about external links too.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from check_links import broken_links
from reference_pages import write_reference

from dawnchorus.progress import silence_progress

DOCS = Path(__file__).resolve().parents[1]
REPOSITORY = DOCS.parent
HAND_WRITTEN = (
    *("*.md", "how_to/*.md", "explanation/*.md", "development/*.md", "notebooks/*.ipynb"),
    *("conf.py", "pictures/*.png"),
)


def gather_pages(source: Path) -> None:
    """Bring the pages as they are written and the generated ones together in one folder for Sphinx.

    What the folder held before is removed.
    """
    shutil.rmtree(source, ignore_errors=True)
    for pattern in HAND_WRITTEN:
        for path in sorted(DOCS.glob(pattern)):
            target = source / path.relative_to(DOCS)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, target)
    write_reference(source / "reference", repository=REPOSITORY)


def keep_notebooks_work(source: Path, work: Path) -> None:
    """Let the notebooks find what an earlier build made for them: ``work`` beside them leads to it."""
    work.mkdir(parents=True, exist_ok=True)
    (source / "notebooks" / "work").symlink_to(work.absolute(), target_is_directory=True)


def run_sphinx(source: Path, out: Path, *, builder: str, execute: bool = True) -> int:
    """Run Sphinx, with warnings as errors, and return its exit code.

    Parameters
    ----------
    source, out
        Folder of the pages, and of what is built.
    builder
        Such as ``html``.
    execute
        Whether the notebooks are executed; else they are shown as they are.
    """
    doctrees = out.parent / f"{out.name}_doctrees"
    options = ["-W", "--keep-going", "-n", "-q", "-E", "-b", builder, "-d", str(doctrees)]
    options += [] if execute else ["-D", "nb_execution_mode=off"]
    return subprocess.run([sys.executable, "-m", "sphinx", *options, str(source), str(out)]).returncode


def main(arguments: Sequence[str] | None = None) -> int:
    """Build the pages; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=DOCS / "_build", help="Folder for everything.")
    parser.add_argument("--external", action="store_true", help="Ask the internet about external links too.")
    options = parser.parse_args(arguments)
    from recipe_pictures import draw_pictures  # here, for it imports all that draws and trains

    silence_progress()
    source, html = options.out / "source", options.out / "html"
    gather_pages(source)
    keep_notebooks_work(source, options.out / "work" / "notebooks")
    # The aviary and the network behind the pictures stay there for the next build.
    draw_pictures(source / "explanation" / "pictures", work=options.out / "work")
    shutil.rmtree(html, ignore_errors=True)
    failed = run_sphinx(source, html, builder="html")
    faults = broken_links(html)
    for fault in faults:
        sys.stderr.write(f"{fault}\n")
    if options.external:
        failed = run_sphinx(source, options.out / "linkcheck", builder="linkcheck", execute=False) or failed
    if failed or faults:
        return 1
    sys.stdout.write(f"{html / 'index.html'}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
