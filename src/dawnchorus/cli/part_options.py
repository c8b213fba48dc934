"""Options of the command line that take names, or import paths of one's own parts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand


class CommandWithFormats(TyperCommand):
    """A command whose help lists the output formats, which are looked up when it is called and not before."""

    def make_context(self, *args: Any, **options: Any) -> Any:
        """Return the context of the command, its options complete."""
        from dawnchorus.config.registry import FORMATS

        for parameter in self.params:
            if parameter.name == "formats":
                parameter.metavar = f"[{'|'.join(FORMATS)}|package.module:Writer]"
        return super().make_context(*args, **options)


def check_formats(formats: list[str]) -> list[str]:
    """Return the values of ``--format``; where one is not known, the command ends with exit code 2."""
    from dawnchorus.errors import ConfigError
    from dawnchorus.formats import formats_of

    try:
        with own_parts_of(*formats):
            formats_of(formats)
    except ConfigError as error:
        raise typer.BadParameter(str(error)) from None
    return formats


@contextmanager
def own_parts_of(*given: str | None) -> Iterator[None]:
    """Search the working folder for modules while the block runs, if an import path is given."""
    from dawnchorus.config.import_paths import importing_from

    if any(":" in each for each in given if each):
        with importing_from(Path()):
            yield
    else:
        yield
