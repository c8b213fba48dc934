"""The group of all commands: its help in sections, and the exit code of a command line that is wrong."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

from dawnchorus.wording import USED_WRONGLY

CONTEXT_SETTINGS: dict[str, Any] = {
    "help_option_names": ["-h", "--help"],
    "token_normalize_func": lambda option: option.replace("_", "-"),  # --n_cores of earlier versions
    "max_content_width": 80,
}
"""Settings of every command: ``-h``, and options with ``_`` or ``-``."""

_WORDS = {"Value error, ": "", "Input should be": "it must be"}
"""Words of newer versions of typer, and ours."""

_UsageError: Any = typer.BadParameter.__mro__[1]  # click's, or typer's copy of it, by typer's version


class CommandGroup(TyperGroup):
    """Commands in sections by their ``rich_help_panel``.

    Examples
    --------
    >>> app = typer.Typer(cls=CommandGroup, rich_markup_mode=None)
    >>> _ = app.callback()(lambda: None)
    >>> _ = app.command("train", rich_help_panel="Training")(lambda: None)
    >>> typer.main.get_command(app).main(["tain"])
    Traceback (most recent call last):
        ...
    SystemExit: 64
    """

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write a section of help for each panel, in the order of their first commands."""
        panels: dict[str, list[tuple[str, Any]]] = {}
        for name in self.list_commands(ctx):
            command: Any = self.get_command(ctx, name)
            panel = getattr(command, "rich_help_panel", None)
            panels.setdefault(panel if isinstance(panel, str) else "Commands", []).append((name, command))
        width = max((len(name) for name in self.list_commands(ctx)), default=0)
        for panel, commands in panels.items():
            with formatter.section(panel):
                limit = formatter.width - 6 - width
                formatter.write_dl(
                    [(name.ljust(width), command.get_short_help_str(limit)) for name, command in commands]
                )

    def main(self, *args: Any, **options: Any) -> Any:
        """Run a command; where its arguments are wrong, say so and exit with ``USED_WRONGLY``."""
        standalone_mode = options.pop("standalone_mode", True)
        options["standalone_mode"] = False
        try:
            result = super().main(*args, **options)
        except _UsageError as error:
            if not standalone_mode:
                raise
            for theirs, ours in _WORDS.items():
                error.message = error.message.replace(theirs, ours)
            error.show()
            raise SystemExit(USED_WRONGLY) from None
        if not standalone_mode:
            return result
        raise SystemExit(result if isinstance(result, int) else 0)
