"""Catalogue numbers of archives, by which copies of one recording are recognized.

Each :class:`dawnchorus.downloads.download_source.DownloadSource` has its own; those of two archives that have
no source here, but whose recordings come with competitions, are added.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import PurePath

from dawnchorus.config.registry import DOWNLOAD_SOURCES
from dawnchorus.errors import ConfigError

OTHER_ARCHIVES = {
    "Humboldt's CSA": r"CSA\d{3,}(?:_\d+)?",
    "Macaulay Library": r"ML\d{3,}(?:_\d+)?",
}


def catalogue_numbers(filenames: Iterable[str]) -> list[str]:
    """Return the number that the name of each file begins with, empty where there is none.

    Raises
    ------
    ConfigError
        A registered source has none, or an invalid regular expression.

    Examples
    --------
    >>> catalogue_numbers(["robin/XC694038.mp3", "iNat123_456.m4a", "night.wav", "XC12-copy.ogg"])
    ['XC694038', 'iNat123_456', '', '']
    """
    patterns = [_compiled(archive, pattern) for archive, pattern in OTHER_ARCHIVES.items()]
    for name in DOWNLOAD_SOURCES:
        source = DOWNLOAD_SOURCES.find(name)
        patterns.append(_compiled(name, getattr(source, "catalogue_number", None)))
    found = []
    for filename in filenames:
        name = PurePath(filename).name
        matches = (pattern.match(name) for pattern in patterns)
        found.append(next((match[0] for match in matches if match), ""))
    return found


def _compiled(archive: str, pattern: str | None) -> re.Pattern[str]:
    if not pattern:
        raise ConfigError(f"the download source {archive!r} has no catalogue_number; give it one")
    try:
        return re.compile(rf"(?:{pattern})(?!\d)")
    except re.error as error:
        raise ConfigError(
            f"the download source {archive!r} has the catalogue_number {pattern!r}, which is no regular "
            f"expression: {error}"
        ) from None
