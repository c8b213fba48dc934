"""Archives from Kaggle, through its own client: sizes, versions, and bytes from any position.

``import kaggle`` looks for credentials at once and prints; ``kagglesdk``, on which it is built, does neither.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import requests
from kagglesdk.competitions.types.competition_api_service import (
    ApiDownloadDataFilesRequest,
    ApiGetCompetitionDataFilesSummaryRequest,
)
from kagglesdk.datasets.types.dataset_api_service import (
    ApiDownloadDatasetRequest,
    ApiGetDatasetFilesSummaryRequest,
)
from kagglesdk.kaggle_client import KaggleClient
from requests.adapters import HTTPAdapter

from dawnchorus.competition.kaggle.archives import ArchiveBytes, RemoteArchive
from dawnchorus.competition.kaggle.kaggle_catalogue import SETTINGS_URL, KaggleSource
from dawnchorus.competition.kaggle.kaggle_credentials import Credentials
from dawnchorus.downloads.retries import Interrupted, wait_wanted_s
from dawnchorus.errors import DownloadError

CONNECT_WITHIN_S = 20.0
SILENT_FOR_S = 60.0
"""Limit on silence of a connection; a slow one that still sends may take any time."""

_CHUNK_BYTES = 1 << 16  # where a connection breaks, less than this is lost
_BUSY = (408, 429)


class CredentialsRefusedError(DownloadError):
    """Kaggle refuses the credentials, and so every other part too.

    Examples
    --------
    >>> from dawnchorus.errors import DownloadError
    >>> issubclass(CredentialsRefusedError, DownloadError)
    True
    """


class _PunctualAdapter(HTTPAdapter):
    """An adapter that adds timeouts to every request, which Kaggle's client leaves out."""

    def send(self, request: Any, *args: Any, **options: Any) -> Any:
        options["timeout"] = options.get("timeout") or (CONNECT_WITHIN_S, SILENT_FOR_S)
        return super().send(request, *args, **options)


class KaggleFiles:
    """A session with Kaggle; a context manager that closes it.

    Examples
    --------
    >>> from dawnchorus.competition.kaggle.kaggle_credentials import Credentials
    >>> with KaggleFiles(Credentials(token="a secret")) as kaggle:
    ...     pass  # kaggle.locate(source), then kaggle.read(...)
    """

    def __init__(self, credentials: Credentials) -> None:
        self._client = KaggleClient(
            username=credentials.username, password=credentials.key, api_token=credentials.token
        )

    def __enter__(self) -> KaggleFiles:
        self._client.__enter__()
        # The client offers no way to set timeouts, nor to request a range from the storage.
        self._session: requests.Session = self._client.http_client()._session
        for scheme in ("https://", "http://"):
            self._session.mount(scheme, _PunctualAdapter())
        return self

    def __exit__(self, *raised: object) -> None:
        self._client.__exit__(*raised)

    def unpacked_bytes(self, source: KaggleSource) -> int | None:
        """Return the size of all files of a source together; None where Kaggle does not send it.

        Raises
        ------
        CredentialsRefusedError
            Kaggle refuses the credentials.
        """
        try:
            with _told(source):
                summary = self._summary(source).file_summary_info
        except CredentialsRefusedError:
            raise
        except (DownloadError, Interrupted):
            return None  # the request for the archive itself will raise the reason
        return sum(kind.total_size for kind in summary.file_types) or None if summary else None

    def locate(self, source: KaggleSource) -> RemoteArchive:
        """Return size, version and checksum of a source's archive, as Kaggle sends them.

        Raises
        ------
        DownloadError
            Kaggle refuses: the credentials, rules that are not accepted, or no such source.
        Interrupted
            A retry may succeed.
        """
        with _told(source), self._archive(source) as response:
            headers = response.headers
            length = headers.get("Content-Length", "")
            return RemoteArchive(
                int(length) if length.isdigit() and "Content-Encoding" not in headers else None,
                headers.get("ETag") or headers.get("Last-Modified"),
                _md5(headers.get("x-goog-hash", ""), headers.get("Content-MD5")),
                response.request,
            )

    @contextmanager
    def read(self, source: KaggleSource, remote: RemoteArchive, start: int) -> Iterator[ArchiveBytes]:
        """Yield the bytes from ``start`` on, or all of them where the storage cannot send a part.

        Raises
        ------
        Interrupted
            The connection broke, the address has expired, or the archive has changed.
        """
        request = remote.request.copy()
        request.headers["Accept-Encoding"] = "identity"
        if start:
            request.headers["Range"] = f"bytes={start}-"
        with _told(source):
            settings = self._session.merge_environment_settings(request.url, {}, True, None, None)
            with self._session.send(request, **settings) as response:
                if response.status_code not in (200, 206):
                    raise Interrupted(f"the storage answers HTTP {response.status_code}", _wait_s(response))
                version = response.headers.get("ETag") or response.headers.get("Last-Modified")
                if version != remote.version:
                    raise Interrupted("the archive changed meanwhile")
                begins = start if response.status_code == 206 else 0
                if begins and not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
                    raise Interrupted("the storage sends another range than it was asked for")
                yield ArchiveBytes(begins, response.iter_content(_CHUNK_BYTES))

    def _archive(self, source: KaggleSource) -> requests.Response:
        if source.kind == "competition":
            request = ApiDownloadDataFilesRequest()
            request.competition_name = source.ref
            return self._client.competitions.competition_api_client.download_data_files(request)
        request = ApiDownloadDatasetRequest()
        request.owner_slug, _, request.dataset_slug = source.ref.partition("/")
        return self._client.datasets.dataset_api_client.download_dataset(request)

    def _summary(self, source: KaggleSource) -> Any:
        if source.kind == "competition":
            request = ApiGetCompetitionDataFilesSummaryRequest()
            request.competition_name = source.ref
            api = self._client.competitions.competition_api_client
            return api.get_competition_data_files_summary(request)
        request = ApiGetDatasetFilesSummaryRequest()
        request.owner_slug, _, request.dataset_slug = source.ref.partition("/")
        return self._client.datasets.dataset_api_client.get_dataset_files_summary(request)


@contextmanager
def _told(source: KaggleSource) -> Iterator[None]:
    """Translate errors of requests into ours, which do not show the signed address of the storage."""
    try:
        yield
    except requests.HTTPError as error:
        raise _refusal(cast(requests.Response, error.response), source) from error
    except requests.Timeout as error:
        raise Interrupted(f"nothing came for {SILENT_FOR_S:g} s") from error
    except requests.JSONDecodeError as error:
        raise Interrupted("the answer cannot be read") from error
    except requests.RequestException as error:
        raise Interrupted(f"the connection failed or broke ({type(error).__name__})") from error


def _refusal(response: requests.Response, source: KaggleSource) -> Exception:
    """Return the error for a status of 400 or more."""
    status = response.status_code
    if response.history:  # Kaggle's storage, whose addresses expire: a new request gives another
        return Interrupted(f"the storage answers HTTP {status}", _wait_s(response))
    if status in _BUSY or status >= 500:
        return Interrupted(f"Kaggle answers HTTP {status}", _wait_s(response))
    said = _said(response)
    if status == 401:
        return CredentialsRefusedError(
            f"Kaggle does not know these credentials (HTTP 401{said}); make a new token at {SETTINGS_URL}, "
            "and look whether an old one is left in KAGGLE_API_TOKEN, KAGGLE_KEY or ~/.kaggle"
        )
    if status == 403 and source.kind == "competition":
        return DownloadError(
            f"Kaggle does not let you have {source} (HTTP 403{said}); accept its rules at "
            f"{source.url}/rules, then run this again"
        )
    if status == 403:
        return DownloadError(
            f"Kaggle does not let you have {source} (HTTP 403{said}); open {source.url} and see what it "
            "asks for"
        )
    if status == 404:
        return DownloadError(f"Kaggle has not got {source} (HTTP 404{said}); see whether {source.url} opens")
    return DownloadError(f"Kaggle refuses {source} (HTTP {status}{said}); see {source.url}")


def _said(response: requests.Response) -> str:
    """Return the message that Kaggle sent, if any."""
    try:
        message = response.json()["message"]
    except (ValueError, KeyError, TypeError):
        return ""
    return f": {str(message).strip().rstrip('.')}" if message else ""


def _wait_s(response: requests.Response) -> float | None:
    return wait_wanted_s(response.headers.get("Retry-After", ""))


def _md5(goog_hash: str, content_md5: str | None) -> bytes | None:
    """Return the MD5 that a storage sends in base64; None where it sends none, or only a CRC32C."""
    found = re.search(r"\bmd5=([A-Za-z0-9+/]{22}==)", goog_hash)
    text = found[1] if found else content_md5 or ""
    return base64.b64decode(text) if re.fullmatch(r"[A-Za-z0-9+/]{22}==", text) else None
