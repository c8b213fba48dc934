"""Base class of archives of recordings, and the download from one into a folder and a table.

One's own is a subclass of :class:`DownloadSource`; ``dawnchorus download recordings --source
my_package.archives:MyArchive`` and :func:`download_recordings` take it. Where it is registered, for one in a
training config with ``dawnchorus.register("download_source", "my-archive")(MyArchive)``, copies of its
recordings in several datasets are recognized too.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from dawnchorus.config.import_paths import import_path
from dawnchorus.config.registry import DOWNLOAD_SOURCES
from dawnchorus.downloads.http_service import Service, connected
from dawnchorus.downloads.rate_limit import Allowance, RateLimit
from dawnchorus.downloads.recording_catalogue import CatalogueRecording, Found, best_of, is_licensed
from dawnchorus.downloads.recording_download import (
    ANSWERS_NAME,
    FetchReport,
    default_table,
    fetch_recordings,
)
from dawnchorus.downloads.species_list import SpeciesList, read_species
from dawnchorus.errors import ConfigError, DownloadError


class DownloadSource(ABC):
    """An archive of recordings, on the web.

    Subclasses have a ``name``, the ``catalogue_number`` of their recordings, and ``find``;
    ``rate_limit``, where more or less than one request a second is allowed.

    Examples
    --------
    >>> from collections import Counter
    >>> from dawnchorus.downloads.recording_catalogue import Found, CatalogueRecording
    >>> class OwlArchive(DownloadSource):
    ...     name = "owl archive"
    ...     catalogue_number = r"OWL\\d+"
    ...
    ...     def find(self, service, species):
    ...         recordings = []
    ...         for asked in species.asked:
    ...             answer = service.search("https://owls.example/api", {"species": asked.name})
    ...             recordings += [
    ...                 CatalogueRecording(
    ...                     id=f"OWL{entry['number']}",
    ...                     file_url=entry["url"],
    ...                     suffix=".wav",
    ...                     primary_label=species.label(asked.name, asked),
    ...                     scientific_name=asked.name,
    ...                     license="cc-by 4.0",
    ...                     source=self.name,
    ...                 )
    ...                 for entry in answer["recordings"]
    ...             ]
    ...         return Found(recordings, Counter(), [])
    >>> OwlArchive().rate_limit().searches[0].unit_s
    1.0
    """

    name: ClassVar[str]
    """Its name in messages."""

    catalogue_number: ClassVar[str]
    r"""Regular expression of its recordings' ids, such as ``XC\d{3,}``, which file names begin with."""

    def rate_limit(self) -> RateLimit:
        """Return its rate limit: by default one request a second, searches and recordings alike."""
        request = (Allowance(1, 1.0),)
        return RateLimit(searches=request, recordings=request)

    @abstractmethod
    def find(self, service: Service, species: SpeciesList) -> Found:
        """Return the recordings of the requested species.

        Parameters
        ----------
        service
            The connection, which keeps to the rate limit: ``service.search(url, params)`` returns JSON.
        species
            The species; ``species.label`` returns the label of a recording found.
        """


def source_of(given: str | type[DownloadSource], options: Mapping[str, str] | None = None) -> DownloadSource:
    """Return a source by its registered name, its import path or its class, made with options.

    Raises
    ------
    ConfigError
        It is not known, is not a :class:`DownloadSource`, or does not take the options.

    Examples
    --------
    >>> source_of("inaturalist").name
    'iNaturalist'
    """
    found: Any = DOWNLOAD_SOURCES.find(given, where="the download source")
    if not (isinstance(found, type) and issubclass(found, DownloadSource)):
        raise ConfigError(
            f"the download source {import_path(found)} is no subclass of "
            "dawnchorus.downloads.download_source.DownloadSource; make it one"
        )
    try:
        return found(**(options or {}))
    except TypeError as error:
        raise ConfigError(f"the download source {import_path(found)} cannot be made: {error}") from error


def wanted_of(
    source: DownloadSource, found: Found, *, licences: Sequence[str] = (), at_most: int | None = None
) -> list[CatalogueRecording]:
    """Return the recordings to fetch among those found, the best of each label first.

    Raises
    ------
    DownloadError
        There is none.

    Examples
    --------
    >>> from collections import Counter
    >>> from types import SimpleNamespace
    >>> from dawnchorus.downloads.recording_catalogue import Found
    >>> owl = {"primary_label": "owl", "license": "cc-by 4.0", "rating": 5}
    >>> found = [SimpleNamespace(id=f"XC{n}", filename=f"owl/XC{n}.mp3", **owl) for n in (1, 2)]
    >>> [each.id for each in wanted_of(source_of("inaturalist"), Found(found, Counter(), []), at_most=1)]
    ['XC1']
    """
    wanted = best_of([each for each in found.recordings if is_licensed(each.license, licences)], at_most)
    if not wanted:
        raise DownloadError(f"{source.name} has no such recordings; look at the names, or ask for less")
    return wanted


def download_recordings(
    source: str | DownloadSource | type[DownloadSource],
    species: Sequence[str],
    folder: Path | str,
    *,
    licences: Sequence[str] = (),
    at_most: int | None = None,
    table: Path | str | None = None,
    leave_gb: float = 5.0,
) -> FetchReport:
    """Download recordings of species, write their table, and return counts and failures.

    Parameters
    ----------
    source
        A registered name such as ``xeno-canto``, an import path, a source or its class.
    species
        Scientific names, or files that list them, as for
        :func:`dawnchorus.downloads.species_list.read_species`.
    folder
        Where they go. Recordings that are there are not fetched again.
    licences
        Only recordings under these, such as ``cc-by*``; any if empty.
    at_most
        Recordings of a label, the best first.
    table
        CSV file; otherwise beside the folder, with its name.
    leave_gb
        How much of the disk stays free, GB.

    Raises
    ------
    ConfigError
        The source is not known.
    DownloadError
        Nothing is found, the source cannot be reached, or the disk is full.
    MissingExtraError
        requests is not installed.

    Examples
    --------
    >>> download_recordings("xeno-cantor", ["Turdus merula"], "data/blackbirds")
    Traceback (most recent call last):
        ...
    dawnchorus.errors.ConfigError: the download source is 'xeno-cantor', which is not known; did you mean
    xeno-canto? One of your own is named as package.module:name
    """
    opened = source if isinstance(source, DownloadSource) else source_of(source)
    folder = Path(folder)
    asked = read_species(species)
    with connected(opened.name, opened.rate_limit(), answers=folder / ANSWERS_NAME) as service:
        wanted = wanted_of(opened, opened.find(service, asked), licences=licences, at_most=at_most)
        written = default_table(folder) if table is None else Path(table)
        return fetch_recordings(service, wanted, folder, written, leave_gb=leave_gb)
