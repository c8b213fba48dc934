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
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from dawnchorus.config.registry import RECORDER_NAMES
from dawnchorus.errors import ConfigError

NamePattern = Callable[[Path], datetime | None]

YEARS = range(1900, 2100)
"""Years that are accepted from any source; others come from damage or mistakes."""

_AUDIOMOTH_SUFFIXES = (".wav", ".flac", ".hdf5", ".h5")  # libraries number their MP3 files so
_OLD_AUDIOMOTH_YEARS = range(2014, 2041)
_LARGEST_OFFSET = timedelta(hours=14)  # of any time zone, east; the western ones reach 12 hours
_NAME = re.compile(
    r"(?<![^\W_])(?:S(?=[0-9]{8}T))?"  # not within a word or a longer number; Frontier Labs mark the start
    r"(?P<year>[0-9]{4})(?P<dash>-?)(?P<month>[0-9]{2})(?P=dash)(?P<day>[0-9]{2})(?P<mark>_?T|[_$ -])"
    r"(?P<hour>[0-9]{2})(?P<between>[-:.]?)(?P<minute>[0-9]{2})(?P=between)(?P<second>[0-9]{2})"
    r"(?P<fraction>(?<=[0-9]{6})\.[0-9]{1,6})?"
    r"T?"  # AudioMoth's mark of a recording triggered by a sound
    r"(?:(?P<apart>_(?=[+-][0-9]{4}))?(?P<zone>Z|[+-][0-9]{2}:?[0-9]{2}|\+[0-9]{2}))?(?![^\W_])"
)
_BIRDNET_PI = re.compile(
    r"(?<![^\W_])(?P<year>[0-9]{4})-(?P<month>[0-9]{2})-(?P<day>[0-9]{2})-birdnet-(?:[^-]+-)?"
    r"(?P<hour>[0-9]{2})[:_](?P<minute>[0-9]{2})[:_](?P<second>[0-9]{2})(?![^\W_])"
)
_PLAIN = re.compile(
    r"(?<![^\W_])(?P<year>[0-9]{4})(?P<month>[0-9]{2})(?P<day>[0-9]{2})"
    r"(?P<hour>[0-9]{2})(?P<minute>[0-9]{2})(?P<second>[0-9]{2})(?P<zone>Z)?(?![^\W_])"
)
_SOUNDTRAP = re.compile(
    r"[0-9]{3,10}\.(?P<year>[0-9]{2})(?P<month>[0-9]{2})(?P<day>[0-9]{2})"
    r"(?P<hour>[0-9]{2})(?P<minute>[0-9]{2})(?P<second>[0-9]{2})(?![^\W_])"
)
_OLD_AUDIOMOTH = re.compile(r"[0-9A-Fa-f]{8}")
_PLACE = re.compile(
    r"[\[_ ](?P<latitude>[+-]?[0-9]{1,2}\.[0-9]+)(?: |(?=[+-]))(?P<longitude>[+-]?[0-9]{1,3}\.[0-9]+)"
    r"(?![0-9.])"
)
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
        Time zone of the recorders' clocks, for times without one: an offset from UTC such as ``+02:00`` or
        ``Z``, or a name of the IANA database such as ``Europe/Berlin``, whose clocks change in spring and
        autumn.

    Raises
    ------
    ConfigError
        The pattern is not valid, or there is no such time zone.

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
    _zone: tzinfo | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_pattern", None if self.name is None else name_pattern(self.name))
        object.__setattr__(
            self, "_zone", None if self.time_zone is None else time_zone_of(self.time_zone.strip())
        )

    def start_of(self, path: Path, found: datetime | None) -> datetime | None:
        """Return the time at which a recording began, or None.

        ``name`` comes first, then the patterns that were registered in this process, and then ``found``, the
        time from the metadata or a built-in pattern.

        Raises
        ------
        ConfigError
            A pattern returns something else than a time.
        """
        registered = [RECORDER_NAMES.find(name) for name in RECORDER_NAMES if name not in RECORDER_NAMES.own]
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


def time_zone_of(text: str) -> tzinfo:
    """Return a time zone from an offset from UTC or a name of the IANA database.

    Raises
    ------
    ConfigError
        There is no such time zone.

    Examples
    --------
    >>> time_zone_of("+02:00"), time_zone_of("Europe/Berlin")
    (datetime.timezone(datetime.timedelta(seconds=7200)), zoneinfo.ZoneInfo(key='Europe/Berlin'))
    """
    offset = utc_offset(text.upper())
    if offset is not None:
        return offset
    try:
        return ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ConfigError(
            f"the time zone {text!r} is not known; write an offset from UTC as +02:00, -03:30 or Z, or a "
            "name such as Europe/Berlin"
        ) from None


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
    patterns: list[NamePattern] = [RECORDER_NAMES[name] for name in RECORDER_NAMES.own]
    return next((start for pattern in patterns if (start := pattern(path)) is not None), None)


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
        if zone.startswith("-") and not match["mark"].endswith("T") and not match["apart"]:
            zone = ""  # after any mark but that of ISO 8601, a minus may as well be a dash before a counter
        fraction = (match["fraction"] or "") if match["mark"] == "T" else ""
        microsecond = int(fraction.lstrip(".").ljust(6, "0"))
        return start.replace(microsecond=microsecond, tzinfo=utc_offset(zone))
    return None


def birdnet_pi(path: Path) -> datetime | None:
    """Return the time in a name such as ``2023-05-10-birdnet-08:00:00.wav``, also of an extracted clip.

    Examples
    --------
    >>> from pathlib import Path
    >>> birdnet_pi(Path("2023-05-10-birdnet-RTSP_1-08:00:00.wav"))
    datetime.datetime(2023, 5, 10, 8, 0)
    """
    return _searched(_BIRDNET_PI, path)


def plain_digits(path: Path) -> datetime | None:
    """Return the time in a name that holds ``YYYYMMDDhhmmss``, in UTC where a Z follows.

    Examples
    --------
    >>> from pathlib import Path
    >>> plain_digits(Path("pond_20230510080000.wav"))
    datetime.datetime(2023, 5, 10, 8, 0)
    """
    return _searched(_PLAIN, path)


def soundtrap(path: Path) -> datetime | None:
    """Return the time in a name of a SoundTrap: its serial number, a dot and ``YYMMDDhhmmss``.

    Examples
    --------
    >>> from pathlib import Path
    >>> soundtrap(Path("5678.230510080000.wav"))
    datetime.datetime(2023, 5, 10, 8, 0)
    """
    match = _SOUNDTRAP.match(path.stem)
    return date_in(match, century=2000) if match else None


def _searched(expression: re.Pattern[str], path: Path) -> datetime | None:
    """Return the first time in a name that the expression finds, in UTC where its zone is Z."""
    for match in expression.finditer(path.stem):
        start = date_in(match)
        if start is not None and start.year in YEARS:
            return start.replace(tzinfo=UTC if match.groupdict().get("zone") else None)
    return None


def place_in_name(path: Path) -> tuple[float, float] | None:
    """Return degrees north and east in a name of Frontier Labs' recorders; None where it has none.

    Examples
    --------
    >>> from pathlib import Path
    >>> place_in_name(Path("20230510T080000+1000_REC [-27.4 152.9].flac"))
    (-27.4, 152.9)
    """
    match = _PLACE.search(path.stem)
    place = (float(match["latitude"]), float(match["longitude"])) if match else None
    return place if place and abs(place[0]) <= 90 and abs(place[1]) <= 180 else None


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


def date_in(match: re.Match[str], century: int = 0) -> datetime | None:
    """Return the time in the groups of a match; None for an impossible date such as month 13.

    ``century`` is added to the year, such as 2000 to one of two digits.

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
        return datetime(century + year, month, day, hour, minute, second)
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
