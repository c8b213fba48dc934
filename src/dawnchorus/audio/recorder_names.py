"""Start times in the file names of recordings: built-in patterns, and those of one's own recorders.

A recorder's pattern is a function from the path of a recording to the time when it began, aware or naive, or
None where the name does not fit:

>>> def my_recorder(path):
...     text = path.stem.removeprefix("REC-")
...     return datetime.strptime(text, "%d.%m.%Y %Hh%M") if text != path.stem else None
>>> RecorderTimes(my_recorder).start_of(Path("REC-03.05.2024 04h30.wav"), None)
datetime.datetime(2024, 5, 3, 4, 30)

Under ``@dawnchorus.register("recorder_name", "my_recorder")`` it is called for every recording of the
process; ``dawnchorus predict ... --recorder-name`` takes its import path, or a pattern such as
``REC_%Y%m%d-%H%M%S``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from dawnchorus.config.registry import RECORDER_NAMES
from dawnchorus.errors import ConfigError

NamePattern = Callable[[Path], datetime | None]

YEARS = range(1900, 2100)
"""Years that are accepted from any source; others come from damage or mistakes."""

_OWN = ("date_time", "old_audiomoth")
_AUDIOMOTH_SUFFIXES = (".wav", ".flac", ".hdf5", ".h5")  # libraries number their MP3 files so
_OLD_AUDIOMOTH_YEARS = range(2014, 2041)
_LARGEST_OFFSET = timedelta(hours=14)  # of any time zone, east; the western ones reach 12 hours
_NAME = re.compile(
    r"(?<![^\W_])"  # not within a word or a longer number
    r"(?P<year>[0-9]{4})(?P<dash>-?)(?P<month>[0-9]{2})(?P=dash)(?P<day>[0-9]{2})(?P<mark>[_T$ -])"
    r"(?P<hour>[0-9]{2})(?P<between>[-:.]?)(?P<minute>[0-9]{2})(?P=between)(?P<second>[0-9]{2})"
    r"T?"  # AudioMoth's mark of a recording triggered by a sound
    r"(?P<zone>Z|[+-][0-9]{2}:?[0-9]{2}|\+[0-9]{2})?(?![^\W_])"
)
_OLD_AUDIOMOTH = re.compile(r"[0-9A-Fa-f]{8}")
_DIRECTIVES = {
    **{"Y": "[0-9]{4}", "j": "[0-9]{3}", "f": "[0-9]{1,6}", "b": "[^\\W\\d_]+", "B": "[^\\W\\d_]+"},
    **dict.fromkeys("ymdHIMS", "[0-9]{2}"),
    **{"p": "[AaPp][Mm]", "z": "(?:Z|[+-][0-9]{2}:?[0-9]{2})"},
}
"""Regular expression of each directive of strptime in a name."""


@dataclass(frozen=True)
class RecorderTimes:
    """Rules for the start times of recordings, beside the built-in ones.

    Parameters
    ----------
    name
        Pattern of the file names: of strptime (``REC_%Y%m%d-%H%M%S``), a registered name, an import path
        ``package.module:function``, or a function from a path to a time. A name that it does not fit is read
        by the built-in patterns.
    time_zone
        Offset from UTC of the recorders' clocks, such as ``+02:00`` or ``Z``, for times without one.

    Raises
    ------
    ConfigError
        The pattern is not valid, or the offset is not that of any time zone.

    Examples
    --------
    >>> from pathlib import Path
    >>> times = RecorderTimes("REC_%Y%m%d-%H%M%S", "+02:00")
    >>> times.start_of(Path("REC_20240501-043000.wav"), None).isoformat()
    '2024-05-01T04:30:00+02:00'
    """

    name: str | NamePattern | None = None
    time_zone: str | None = None
    _pattern: NamePattern | None = field(init=False, repr=False, compare=False)
    _zone: timezone | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_pattern", None if self.name is None else name_pattern(self.name))
        zone = None if self.time_zone is None else utc_offset(self.time_zone.strip().upper())
        if self.time_zone is not None and zone is None:
            raise ConfigError(
                f"the time zone {self.time_zone!r} is no offset from UTC; write it as +02:00, -03:30 or Z"
            )
        object.__setattr__(self, "_zone", zone)

    def start_of(self, path: Path, found: datetime | None) -> datetime | None:
        """Return the time at which a recording began, or None.

        ``name`` comes first, then the patterns that were registered in this process, and then ``found``, the
        time from the metadata or a built-in pattern.

        Raises
        ------
        ConfigError
            A pattern returns something else than a time.
        """
        registered = [RECORDER_NAMES.find(name) for name in RECORDER_NAMES if name not in _OWN]
        for pattern in filter(None, [self._pattern, *registered]):
            start = pattern(Path(path))
            if start is not None and not isinstance(start, datetime):
                raise ConfigError(
                    f"the recorder file name {getattr(pattern, '__name__', pattern)!r} makes {start!r} of "
                    f"{Path(path).name}; return a datetime, or None where the name does not fit"
                )
            if start is not None:
                found = start
                break
        return found if found is None or found.tzinfo is not None else found.replace(tzinfo=self._zone)


def name_pattern(given: str | NamePattern) -> NamePattern:
    """Return the function that finds the time in a recording's name.

    Parameters
    ----------
    given
        As ``name`` of :class:`RecorderTimes`. A pattern of strptime may stand anywhere in the name before its
        suffix, but not within a longer number; with a ``/`` in it, the folders belong to the name. It needs
        a year, a day and an hour.

    Raises
    ------
    ConfigError
        It is no pattern, or has a directive that is not supported in names.

    Examples
    --------
    >>> from pathlib import Path
    >>> name_pattern("%Y%m%d/%H%M")(Path("site/20240501/0430_2.wav"))
    datetime.datetime(2024, 5, 1, 4, 30)
    """
    if isinstance(given, str) and "%" in given:
        return _strptime_pattern(given)
    pattern: Any = RECORDER_NAMES.find(given, where="the recorder file name")
    if not callable(pattern):
        raise ConfigError(f"the recorder file name {given!r} is no function from a path to a datetime")
    found: NamePattern = pattern
    return found


def time_in_name(path: Path) -> datetime | None:
    """Return the time in a recording's name by the built-in patterns, None where it has none.

    Examples
    --------
    >>> from pathlib import Path
    >>> time_in_name(Path("SM4A_20230510_080000.wav"))
    datetime.datetime(2023, 5, 10, 8, 0)
    """
    return date_time(path) or old_audiomoth(path)


def date_time(path: Path) -> datetime | None:
    """Return the first date with a time in a name, aware where an offset from UTC stands behind it.

    Examples
    --------
    >>> from pathlib import Path
    >>> date_time(Path("SM4A_20230510_080000.wav"))
    datetime.datetime(2023, 5, 10, 8, 0)
    """
    stem, position = path.stem, 0
    while match := _NAME.search(stem, position):
        position = match.start() + 1
        start = date_in(match)
        if start is None or start.year not in YEARS:
            continue
        zone = match["zone"] or ""
        if zone.startswith("-") and match["mark"] != "T":
            zone = ""  # after any mark but that of ISO 8601, a minus may as well be a dash before a counter
        return start.replace(tzinfo=utc_offset(zone))
    return None


def old_audiomoth(path: Path) -> datetime | None:
    """Return the Unix time of a name that is eight hexadecimal digits; None for a year outside 2014 to 2040.

    Examples
    --------
    >>> from pathlib import Path
    >>> old_audiomoth(Path("5E90A4D8.WAV"))
    datetime.datetime(2020, 4, 10, 16, 54, 48, tzinfo=datetime.timezone.utc)
    """
    if path.suffix.lower() not in _AUDIOMOTH_SUFFIXES or not _OLD_AUDIOMOTH.fullmatch(path.stem):
        return None
    start = datetime.fromtimestamp(int(path.stem, 16), UTC)
    return start if start.year in _OLD_AUDIOMOTH_YEARS else None


def date_in(match: re.Match[str]) -> datetime | None:
    """Return the time in the groups of a match; None for an impossible date such as month 13.

    Examples
    --------
    >>> import re
    >>> groups = "(?P<year>....)(?P<month>..)(?P<day>..)_(?P<hour>..)(?P<minute>..)(?P<second>..)"
    >>> date_in(re.match(groups, "20230510_080000"))
    datetime.datetime(2023, 5, 10, 8, 0)
    """
    names = ("year", "month", "day", "hour", "minute", "second")
    year, month, day, hour, minute, second = map(int, match.group(*names))
    try:
        return datetime(year, month, day, hour, minute, second)
    except ValueError:
        return None


def utc_offset(text: str) -> timezone | None:
    """Return a time zone from ``Z``, ``+2``, ``-3:30``, ``+0200``; None where no time zone has the offset.

    Examples
    --------
    >>> utc_offset("+0200"), utc_offset("Z"), utc_offset("+99")
    (datetime.timezone(datetime.timedelta(seconds=7200)), datetime.timezone.utc, None)
    """
    if text == "Z":
        return UTC
    parts = re.fullmatch(r"([+-])([0-9]{1,2}):?([0-9]{2})?", text)
    if parts is None:
        return None
    offset = timedelta(hours=int(parts[2]), minutes=int(parts[3] or 0))
    if offset > _LARGEST_OFFSET or offset.seconds % 900:  # every zone is whole quarters of an hour from UTC
        return None
    return timezone(-offset if parts[1] == "-" else offset)


def _strptime_pattern(text: str) -> NamePattern:
    """Return a function that looks for a pattern of strptime in names."""
    expression, directives = "", []
    for directive, literal in re.findall(r"%(.?)|([^%]+)", text):
        if literal:
            expression += re.escape(literal)
        elif directive == "%":
            expression += "%"
        elif directive in _DIRECTIVES:
            expression += f"({_DIRECTIVES[directive]})"
            directives.append(directive)
        else:
            legal = ", ".join(f"%{each}" for each in _DIRECTIVES)
            raise ConfigError(f"the recorder file name {text!r} has %{directive}; legal are {legal}")
    has = frozenset(directives)
    has_day = "j" in has or ("d" in has and has & {"m", "b", "B"})
    if not (has & {"Y", "y"} and has_day and has & {"H", "I"}):
        raise ConfigError(
            f"the recorder file name {text!r} tells no time; it needs a year, a day and an hour, as in "
            "REC_%Y%m%d-%H%M%S"
        )
    if len(has) < len(directives):
        raise ConfigError(f"the recorder file name {text!r} has a directive twice; leave one out")
    compiled = re.compile(f"(?<![0-9]){expression}(?![0-9])")
    form = "\n".join(f"%{each}" for each in directives)

    def time_of(path: Path) -> datetime | None:
        name = path.with_suffix("").as_posix() if "/" in text else path.stem
        for match in compiled.finditer(name):
            try:
                start = datetime.strptime("\n".join(match.groups()), form)
            except ValueError:  # a month 13
                continue
            if start.year in YEARS:
                return start
        return None

    return time_of
