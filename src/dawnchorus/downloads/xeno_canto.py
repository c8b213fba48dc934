"""Search of xeno-canto, https://xeno-canto.org, through version 3 of its API.

It needs a key, which members find on their account page, and allows at most one request a second.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from dawnchorus.downloads.download_source import DownloadSource
from dawnchorus.downloads.http_service import Service
from dawnchorus.downloads.rate_limit import Allowance, RateLimit
from dawnchorus.downloads.recording_catalogue import (
    CatalogueRecording,
    Found,
    is_licensed,
    leaving_out_absurd,
    licence_code,
    number,
    suffix_of,
)
from dawnchorus.downloads.species_list import AskedSpecies, SpeciesList, is_species, plain_species
from dawnchorus.errors import DataError, DownloadError
from dawnchorus.progress import track

NAME = "xeno-canto"
KEY_VARIABLE = "XENO_CANTO_KEY"
ACCOUNT_URL = "https://xeno-canto.org/account"
API_URL = "https://xeno-canto.org/api/3/recordings"
GROUPS = ("birds", "grasshoppers", "bats", "frogs", "land mammals")
QUALITIES = ("A", "B", "C", "D", "E")
SECONDS_A_REQUEST = 1.0

_A_PAGE = 500  # the most that it returns at once
_RATING = {quality: 5 - number for number, quality in enumerate(QUALITIES)}
_NO_PLAIN_VALUE = re.compile(r"[\"\\]")


@dataclass(frozen=True)
class XenoCantoFilters:
    """Filters of recordings; those not given let all pass.

    Attributes
    ----------
    qualities
        Letters from A, the best, to E.
    country
        Its name at xeno-canto.
    group
        One of ``GROUPS``.
    licences
        Codes such as ``cc-by-nc-sa``, or patterns such as ``cc-by*``.
    min_s, max_s
        Length, seconds.

    Examples
    --------
    >>> XenoCantoFilters(qualities=("A", "B"), country="Spain", min_s=5.0).qualities
    ('A', 'B')
    """

    qualities: tuple[str, ...] = ()
    country: str | None = None
    group: str | None = None
    licences: tuple[str, ...] = ()
    min_s: float | None = None
    max_s: float | None = None

    def __post_init__(self) -> None:
        wrong = [quality for quality in self.qualities if quality not in QUALITIES]
        if wrong:
            raise DataError(
                f"quality {wrong[0]!r} is not known; {', '.join(QUALITIES)} are, A being the best"
            )
        if self.group is not None and self.group not in GROUPS:
            raise DataError(f"group {self.group!r} is not known; {', '.join(GROUPS)} are")
        if self.country is not None and (not self.country.strip() or _NO_PLAIN_VALUE.search(self.country)):
            raise DataError(f"country {self.country!r} is no name of a country; write one such as Spain")
        if self.min_s is not None and self.max_s is not None and self.min_s > self.max_s:
            raise DataError(
                f"no recording is at least {self.min_s:g} s and at most {self.max_s:g} s long; swap the two"
            )

    def met_by(self, recording: CatalogueRecording, quality: str) -> bool:
        """Return whether a recording passes."""
        length = recording.duration_s
        return (
            (not self.qualities or quality in self.qualities)
            and is_licensed(recording.license, self.licences)
            and (self.min_s is None or (length is not None and length >= self.min_s))
            and (self.max_s is None or (length is not None and length <= self.max_s))
        )


class XenoCanto(DownloadSource):
    """xeno-canto as a source.

    Parameters
    ----------
    filters
        Filters of the recordings.
    key
        The user's; otherwise that of the environment variable XENO_CANTO_KEY.

    Examples
    --------
    >>> source = XenoCanto(XenoCantoFilters(qualities=("A",)), key="a secret")
    >>> source.name, source.filters.qualities
    ('xeno-canto', ('A',))
    """

    name = NAME
    catalogue_number = r"XC\d{3,}(?:_\d+)?"

    def __init__(self, filters: XenoCantoFilters | None = None, key: str | None = None) -> None:
        self.filters, self.key = filters or XenoCantoFilters(), key

    def rate_limit(self) -> RateLimit:
        """Return xeno-canto's rate limit."""
        return xeno_canto_rate_limit()

    def find(self, service: Service, species: SpeciesList) -> Found:
        """Return the recordings of the species that pass the filters, or of all where none is named."""
        return find_on_xeno_canto(service, species, self.filters, key=self.key or xeno_canto_key())


def xeno_canto_key() -> str:
    """Return the user's key.

    Raises
    ------
    DownloadError
        The variable is not set.

    Examples
    --------
    >>> import os
    >>> from unittest.mock import patch
    >>> with patch.dict(os.environ, {KEY_VARIABLE: "a secret"}):
    ...     xeno_canto_key() == "a secret"
    True
    """
    key = os.environ.get(KEY_VARIABLE, "").strip()
    if not key:
        raise DownloadError(
            f"xeno-canto wants a key: copy it from {ACCOUNT_URL} (free for members with a verified address) "
            f"and set it as the environment variable {KEY_VARIABLE}"
        )
    return key


def xeno_canto_rate_limit() -> RateLimit:
    """Return xeno-canto's rate limit: a request a second, searches and recordings alike.

    Examples
    --------
    >>> len(xeno_canto_rate_limit().recordings)
    1
    """
    request = (Allowance(1, SECONDS_A_REQUEST),)
    return RateLimit(searches=request, recordings=request)


def find_on_xeno_canto(
    service: Service, species: SpeciesList, filters: XenoCantoFilters, *, key: str
) -> Found:
    """Return the recordings of the species that pass the filters.

    Parameters
    ----------
    service
        The connection.
    species
        The species; none means all species of the filters' group and country.
    filters
        Filters of the recordings.
    key
        The user's.

    Raises
    ------
    DataError
        Neither a species nor a group nor a country is named.
    DownloadError
        xeno-canto refuses a search, cannot be reached, or sends an answer of another form.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> from dawnchorus.downloads.species_list import read_species
    >>> entry = {"id": "1", "gen": "Turdus", "sp": "merula", "q": "A", "length": "0:46"}
    >>> entry["file"] = "//example.org/1"
    >>> def search(url, params, **options):  # in place of a connection
    ...     return {"recordings": [entry], "numPages": 1}
    >>> service, species = SimpleNamespace(search=search), read_species(["Turdus merula"])
    >>> found = find_on_xeno_canto(service, species, XenoCantoFilters(), key="a secret")
    >>> [(recording.id, recording.rating, recording.duration_s) for recording in found.recordings]
    [('XC1', 5, 46.0)]
    """
    searches: list[AskedSpecies | None] = list(species.asked)
    if not searches:
        if not (filters.group or filters.country):
            raise DataError("name what to download: --species, --group, or --country")
        searches = [None]
    found = Found([], Counter(), [])
    seen: set[str] = set()
    for asked in track(searches, "Asking xeno-canto"):
        n_before, others = len(seen), Counter[str]()
        for entry in _pages(service, _query(asked, filters), key):
            with leaving_out_absurd(found):
                name = plain_species(f"{entry.get('gen', '')} {entry.get('sp', '')}")
                if not _is_asked(name, asked):
                    others[name or "no species"] += 1
                    continue
                assert name is not None
                identity = f"XC{int(entry['id'])}"
                if identity not in seen:
                    seen.add(identity)
                    _add(found, entry, species.label(name, asked), name, species, filters)
        if others:
            found.left_out["of another species than asked for, or of none"] += others.total()
        if asked is not None and len(seen) == n_before:
            known_as = f"; it sent recordings of {', '.join(sorted(others))}" if others else ""
            found.notes.append(f"{asked.name}: xeno-canto has no recordings under this name{known_as}")
    return found


def _is_asked(name: str | None, asked: AskedSpecies | None) -> bool:
    if name is None or name.startswith("Mystery "):  # its name for unknown sounds
        return False
    if asked is None:
        return True
    theirs = name if is_species(asked.name) else name.partition(" ")[0]
    return theirs.casefold() == asked.name.casefold()


def _query(asked: AskedSpecies | None, filters: XenoCantoFilters) -> str:
    tags = {
        "sp": asked.name.lower() if asked is not None and is_species(asked.name) else None,
        "gen": asked.name.lower() if asked is not None and not is_species(asked.name) else None,
        "grp": filters.group,
        "cnt": filters.country,
        "q": filters.qualities[0] if len(set(filters.qualities)) == 1 else None,
    }
    return " ".join(f'{tag}:"{value}"' for tag, value in tags.items() if value)


def _pages(service: Service, query: str, key: str) -> Iterator[dict[str, Any]]:
    page, n_pages = 1, 1
    while page <= n_pages:
        answer = service.search(
            API_URL,
            {"query": query, "per_page": _A_PAGE, "page": page},
            secret={"key": key},
            remedies={
                401: f"copy the key anew from {ACCOUNT_URL} into the environment variable {KEY_VARIABLE}",
                400: "look at the names of species, country and group",
            },
        )
        entries = answer.get("recordings")
        try:
            n_pages = int(answer["numPages"])
            well_formed = not entries or any(_has_id(entry) for entry in entries)
        except (KeyError, TypeError, ValueError):
            well_formed = False
        if not well_formed or not isinstance(entries, list):
            raise DownloadError(
                f"xeno-canto answers the search {query} otherwise than its API says; it may have changed, "
                "and a newer dawnchorus know it"
            )
        if not entries:
            return
        yield from entries
        page += 1


def _has_id(entry: Any) -> bool:
    return isinstance(entry, dict) and str(entry.get("id")).isdigit()


def _add(
    found: Found,
    entry: dict[str, Any],
    label: str,
    name: str,
    species: SpeciesList,
    filters: XenoCantoFilters,
) -> None:
    quality = _text(entry, "q").upper()
    recording = CatalogueRecording(
        id=f"XC{int(entry['id'])}",
        file_url=_with_scheme(_text(entry, "file")),
        suffix=suffix_of(name=_text(entry, "file-name")) or ".mp3",
        primary_label=label,
        secondary_labels=species.others(_names(entry.get("also")), label),
        scientific_name=name,
        common_name=_text(entry, "en"),
        author=_text(entry, "rec"),
        license=licence_code(_text(entry, "lic")),
        url=_with_scheme(_text(entry, "url")),
        rating=_RATING.get(quality),
        latitude=number(entry.get("lat"), -90, 90),
        longitude=number(entry.get("lon"), -180, 180),
        date=_text(entry, "date"),
        time=_text(entry, "time"),
        country=_text(entry, "cnt"),
        locality=_text(entry, "loc"),
        type=_text(entry, "type"),
        duration_s=seconds_of(_text(entry, "length")),
        source=NAME,
    )
    if not filters.met_by(recording, quality):
        return
    if not recording.file_url:
        found.left_out["without a file: xeno-canto holds back protected species"] += 1
        return
    found.recordings.append(recording)


def seconds_of(length: str) -> float | None:
    """Return a length such as ``0:46`` or ``1:02:15`` in seconds; None where it is none.

    Examples
    --------
    >>> seconds_of("0:46"), seconds_of("1:02:15"), seconds_of("long")
    (46.0, 3735.0, None)
    """
    if not re.fullmatch(r"\d+(:\d{1,2}){0,2}", length):
        return None
    seconds = 0
    for part in length.split(":"):
        seconds = 60 * seconds + int(part)
    return float(seconds)


def _text(entry: dict[str, Any], name: str) -> str:
    value = entry.get(name)
    return "" if value is None else " ".join(str(value).split())


def _names(value: Any) -> list[str]:
    return [str(name).strip() for name in value] if isinstance(value, list) else []


def _with_scheme(url: str) -> str:
    return f"https:{url}" if url.startswith("//") else url if url.startswith(("https://", "http://")) else ""
