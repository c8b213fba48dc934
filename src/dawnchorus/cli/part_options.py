"""Options of the command line that take names, or import paths of one's own parts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand

USAGE_EXIT_CODE = 64
"""``EX_USAGE`` of ``sysexits.h``."""
_CLICK_USAGE_EXIT_CODE = 2


class CommandWithFormats(TyperCommand):
    """A command whose help lists the output formats, which are looked up when it is called and not before.

    Where it is used wrongly, the exit code is 64, for 2 says that some recordings failed.
    """

    def make_context(self, *args: Any, **options: Any) -> Any:
        """Return the context of the command, its options complete."""
        from dawnchorus.config.registry import FORMATS

        for parameter in self.params:
            if parameter.name == "formats":
                parameter.metavar = f"[{'|'.join(FORMATS)}|package.module:Writer]"
        try:
            return super().make_context(*args, **options)
        except Exception as error:  # the class of errors of usage is typer's own copy of click's
            if getattr(error, "exit_code", None) == _CLICK_USAGE_EXIT_CODE:
                error.exit_code = USAGE_EXIT_CODE  # type: ignore[attr-defined]
            raise


def check_formats(formats: list[str]) -> list[str]:
    """Return the values of ``--format``; where one is not known, the command was used wrongly."""
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
