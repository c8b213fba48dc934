"""Search of iNaturalist, https://www.inaturalist.org, for sounds of observations of research grade.

It needs no key. It allows at most 60 requests a minute and 10,000 a day, and less than 5 GB an hour and 24 GB
a day of sounds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from dawnchorus.downloads.download_source import DownloadSource
from dawnchorus.downloads.http_service import Service
from dawnchorus.downloads.rate_limit import Allowance, RateLimit
from dawnchorus.downloads.recording_catalogue import (
    ALL_RIGHTS_RESERVED,
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

NAME = "iNaturalist"
API_URL = "https://api.inaturalist.org/v1"
PAGE_URL = "https://www.inaturalist.org/observations"
SECONDS_A_REQUEST = 1.0

_A_PAGE = 200  # the most that it returns at once
_DAY_S = 86_400
_SEARCHES_AT_ONCE, _SEARCHES_A_DAY = 4_000, 5_000
_BYTES_AT_ONCE, _BYTES_A_DAY = 3.5e9, 20e9  # in no hour more than 4.4 GB, in no day more than 23.5 GB


@dataclass(frozen=True)
class INaturalistFilters:
    """Filters of recordings.

    Attributes
    ----------
    places
        Numbers of the places that recordings are from; all the world if empty.
    licences
        Codes such as ``cc0``, or patterns such as ``cc-by*``; any licence if empty.
    all_rights_reserved
        Whether sounds without a licence are included.
    at_most
        Recordings of a species, the oldest first.

    Examples
    --------
    >>> INaturalistFilters(licences=("cc-by*",), at_most=20).at_most
    20
    """

    places: tuple[int, ...] = ()
    licences: tuple[str, ...] = ()
    all_rights_reserved: bool = False
    at_most: int | None = None


class INaturalist(DownloadSource):
    """iNaturalist as a source.

    Parameters
    ----------
    filters
        Filters of the recordings.

    Examples
    --------
    >>> source = INaturalist(INaturalistFilters(licences=("cc-by*",)))
    >>> source.name, source.filters.licences
    ('iNaturalist', ('cc-by*',))
    """

    name = NAME
    catalogue_number = r"iNat\d{3,}(?:_\d+)?"

    def __init__(self, filters: INaturalistFilters | None = None) -> None:
        self.filters = filters or INaturalistFilters()

    def rate_limit(self) -> RateLimit:
        """Return iNaturalist's rate limit."""
        return inaturalist_rate_limit()

    def find(self, service: Service, species: SpeciesList) -> Found:
        """Return the sounds of observations of the species."""
        return find_on_inaturalist(service, species, self.filters)


def inaturalist_rate_limit() -> RateLimit:
    """Return iNaturalist's rate limit.

    Examples
    --------
    >>> len(inaturalist_rate_limit().searches)
    2
    """
    request = Allowance(1, SECONDS_A_REQUEST)
    return RateLimit(
        searches=(request, Allowance(_SEARCHES_AT_ONCE, _DAY_S / _SEARCHES_A_DAY)),
        recordings=(request,),
        n_bytes=(Allowance(_BYTES_AT_ONCE, _DAY_S / _BYTES_A_DAY),),
    )


def find_on_inaturalist(service: Service, species: SpeciesList, filters: INaturalistFilters) -> Found:
    """Return the sounds of observations of the species; several of one observation are several recordings.

    Parameters
    ----------
    service
        The connection.
    species
        The species; of a genus or a larger group, all.
    filters
        Filters of the recordings.

    Raises
    ------
    DataError
        No species is named.
    DownloadError
        iNaturalist refuses a search, cannot be reached, or sends an answer of another form.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> from dawnchorus.downloads.species_list import read_species
    >>> def search(url, params):  # in place of a connection
    ...     if url.endswith("taxa"):
    ...         return {"results": [{"id": 12716, "name": "Turdus merula"}]}
    ...     sound = {"id": 5, "license_code": "cc-by", "file_url": "https://example.org/5.mp3"}
    ...     observation = {"id": 7, "taxon": {"name": "Turdus merula"}, "sounds": [sound]}
    ...     return {"results": [observation], "total_results": 1}
    >>> service = SimpleNamespace(search=search)
    >>> found = find_on_inaturalist(service, read_species(["Turdus merula"]), INaturalistFilters())
    >>> [(recording.id, recording.license) for recording in found.recordings]
    [('iNat7_5', 'cc-by')]
    """
    if not species.asked:
        raise DataError("name what to download: --species, which may also be a group such as Aves")
    found = Found([], Counter(), [])
    seen: set[str] = set()
    for asked in track(species.asked, "Asking iNaturalist"):
        taxon = _taxon(service, asked)
        if taxon is None:
            found.notes.append(f"{asked.name}: iNaturalist knows no species or group of this name")
            continue
        taxon_id, known_as = taxon
        if known_as.casefold() != asked.name.casefold():
            found.notes.append(f"{asked.name}: iNaturalist calls it {known_as}")
        n_before = len(found.recordings)
        for observation in _observations(service, taxon_id, filters):
            with leaving_out_absurd(found):
                _add_sounds(found, observation, asked, species, filters, seen)
            n_found = len(found.recordings) - n_before
            if is_species(asked.name) and filters.at_most is not None and n_found >= filters.at_most:
                break
        if len(found.recordings) == n_before:
            found.notes.append(f"{asked.name}: iNaturalist has no such recordings of it")
    return found


def _taxon(service: Service, asked: AskedSpecies) -> tuple[int, str] | None:
    """Return the number and the present name of a species; an old name is found too.

    A search for observations by name alone would also find those of species with similar names.
    """
    answer = service.search(f"{API_URL}/taxa", {"q": asked.name, "per_page": 30})
    try:
        taxa = [
            (int(taxon["id"]), str(taxon["name"]), taxon.get("matched_term")) for taxon in answer["results"]
        ]
    except (KeyError, TypeError, ValueError):
        raise _changed(f"taxon {asked.name}") from None
    wanted = asked.name.casefold()
    same = [taxon for taxon in taxa if taxon[1].casefold() == wanted]
    old = [taxon for taxon in taxa if str(taxon[2]).casefold() == wanted]
    return next(((number_, name) for number_, name, _ in [*same, *old]), None)


def _observations(service: Service, taxon_id: int, filters: INaturalistFilters) -> Iterator[dict[str, Any]]:
    """Yield all observations with sounds, the oldest first."""
    params: dict[str, Any] = {
        "taxon_id": taxon_id,
        "sounds": "true",
        "quality_grade": "research",
        "per_page": _A_PAGE,
        "order_by": "id",
        "order": "asc",
    }
    if filters.places:
        params["place_id"] = ",".join(map(str, filters.places))
    last = 0
    while True:
        # Pages by number end at the ten thousandth observation.
        answer = service.search(f"{API_URL}/observations", {**params, "id_above": last})
        try:
            results = list(answer["results"])
            ids = [
                each["id"] for each in results if isinstance(each, dict) and isinstance(each.get("id"), int)
            ]
            n_left = int(answer["total_results"])
        except (KeyError, TypeError, ValueError):
            raise _changed(f"taxon_id {taxon_id}") from None
        if (ids and min(ids) <= last) or (results and not ids):
            raise _changed(f"taxon_id {taxon_id}")
        yield from results
        if not ids or n_left <= len(ids):
            return
        last = max(ids)


def _changed(search: str) -> DownloadError:
    return DownloadError(
        f"iNaturalist answers the search {search} otherwise than its API says; it may have changed, and a "
        "newer dawnchorus know it"
    )


def _add_sounds(
    found: Found,
    observation: dict[str, Any],
    asked: AskedSpecies,
    species: SpeciesList,
    filters: INaturalistFilters,
    seen: set[str],
) -> None:
    taxon = observation.get("taxon") or {}
    full_name = str(taxon.get("name") or "")
    name = plain_species(full_name) or (asked.name if asked.code and not is_species(asked.name) else None)
    for sound in observation.get("sounds") or ():
        with leaving_out_absurd(found):
            if not isinstance(sound, dict) or sound.get("id") is None:
                found.left_out["without a sound file that can be decoded"] += 1
                continue
            identity = f"iNat{int(observation['id'])}_{int(sound['id'])}"
            if identity in seen:
                continue
            seen.add(identity)
            licence = licence_code(str(sound.get("license_code") or ALL_RIGHTS_RESERVED))
            file_url = str(sound.get("file_url") or "")
            suffix = suffix_of(
                name=urlsplit(file_url).path, content_type=str(sound.get("file_content_type") or "")
            )
            if name is None:
                found.left_out["not named to the species"] += 1
            elif licence == ALL_RIGHTS_RESERVED and not filters.all_rights_reserved:
                found.left_out["with all rights reserved"] += 1
            elif not file_url.startswith(("https://", "http://")) or suffix is None:
                found.left_out["without a sound file that can be decoded"] += 1
            elif is_licensed(licence, filters.licences) or licence == ALL_RIGHTS_RESERVED:
                label = species.label(name, asked)
                found.recordings.append(
                    _recording(observation, identity, file_url, suffix, licence, name=name, label=label)
                )


def _recording(
    observation: dict[str, Any],
    identity: str,
    file_url: str,
    suffix: str,
    licence: str,
    *,
    name: str,
    label: str,
) -> CatalogueRecording:
    user, taxon = observation.get("user") or {}, observation.get("taxon") or {}
    longitude, latitude = [*((observation.get("geojson") or {}).get("coordinates") or ()), None, None][:2]
    return CatalogueRecording(
        id=identity,
        file_url=file_url,
        suffix=suffix,
        primary_label=label,
        secondary_labels=(),
        scientific_name=name,
        common_name=_text(taxon.get("preferred_common_name")),
        author=_text(user.get("name") or user.get("login")),
        license=licence,
        url=_text(observation.get("uri")) or f"{PAGE_URL}/{observation['id']}",
        rating=None,
        latitude=number(latitude, -90, 90),
        longitude=number(longitude, -180, 180),
        date=_text(observation.get("observed_on")),
        time=_text(observation.get("time_observed_at"))[11:16],  # of 2023-05-01T06:30:00+02:00
        country="",
        locality=_text(observation.get("place_guess")),
        type="",
        duration_s=None,
        source=NAME,
    )


def _text(value: Any) -> str:
    return "" if value is None else " ".join(str(value).split())
