"""HTTP requests to a public service: within its rate limit, with retries where it is busy.

Keys show neither in errors nor in logs nor in the answers that are kept.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib.metadata
import json
import logging
import re
import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dawnchorus.config import parsed_json
from dawnchorus.downloads.rate_limit import RateLimit
from dawnchorus.downloads.retries import BUSY, Interrupted, retried, wait_wanted_s
from dawnchorus.errors import DownloadError, MissingExtraError, RunError
from dawnchorus.files import replacing
from dawnchorus.wording import install_extra

if TYPE_CHECKING:
    from requests import Response, Session

logger = logging.getLogger(__name__)

ANSWERS_KEPT_S = 7 * 86_400
"""Age from which the kept answer to a search is not used."""

CONNECT_S, READ_S = 15.0, 60.0
"""Timeouts of a connection, and of a pause in an answer."""

_BLOCK = 1 << 16
_LONGEST_ANSWER = 100_000_000  # bytes; a page of 500 recordings has about one million
_SHOWN = 200  # characters of a service's message
_SECRET = re.compile(r"([?&]key=)[^&\s'\"]*")


@dataclass(frozen=True)
class Service:
    """A connection to a service.

    Attributes
    ----------
    name
        Its name in messages.
    session
        A session of requests.
    rate_limit
        Its rate limit.
    answers
        Folder of the answers to searches, from which an interrupted search goes on; None keeps none.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> from dawnchorus.downloads.rate_limit import RateLimit
    >>> Service("xeno-canto", SimpleNamespace(), RateLimit()).name
    'xeno-canto'
    """

    name: str
    session: Session
    rate_limit: RateLimit
    answers: Path | None = None

    def search(
        self,
        url: str,
        params: Mapping[str, Any],
        *,
        secret: Mapping[str, str] | None = None,
        remedies: Mapping[int, str] | None = None,
    ) -> dict[str, Any]:
        """Return the JSON object that answers a search.

        Parameters
        ----------
        url, params
            Address and parameters of the search.
        secret
            More parameters, which are never shown or kept.
        remedies
            Remedies by status, for the end of the message.

        Raises
        ------
        ServiceDownError
            It cannot be reached, or is busy for too long.
        DownloadError
            It refuses the search, or the answer is not a JSON object.
        """
        kept = self._kept(url, params)
        if kept is not None and (found := _kept_answer(kept)) is not None:
            return found
        for allowance in self.rate_limit.searches:
            allowance.spend()
        status, reason, body = retried(
            lambda: self._answer(url, {"params": {**params, **(secret or {})}}), self.name
        )
        answer = _json_object(body)
        if status != 200:
            said = (answer or {}).get("message") or reason or "no reason"
            raise self._refusal(status, str(said), params, secret or {}, remedies or {})
        if answer is None:
            raise DownloadError(
                f"{self.name} answers a search with something else than a JSON object; a proxy may stand "
                "between, or its API has changed"
            )
        if kept is not None:
            with replacing(kept, sync=False) as temporary:
                temporary.write_bytes(gzip.compress(json.dumps(answer).encode()))
        return answer

    @contextmanager
    def recording(self, url: str, headers: Mapping[str, str]) -> Iterator[Response]:
        """Yield the answer to the request for a file, whose body is still to come.

        Raises
        ------
        ServiceDownError
            The service cannot be reached, or is busy for too long.
        """
        for allowance in self.rate_limit.recordings:
            allowance.spend()
        with retried(lambda: self._response(url, {"headers": dict(headers)}), self.name) as response:
            yield response

    def _answer(self, url: str, options: Mapping[str, Any]) -> tuple[int, str, bytes]:
        """Return the status, its reason and the body of an answer."""
        import requests

        body = bytearray()
        with self._response(url, options) as response:
            try:
                for block in response.iter_content(_BLOCK):
                    body += block
                    if len(body) > _LONGEST_ANSWER:
                        raise DownloadError(
                            f"{self.name} answers a search with more than {_LONGEST_ANSWER / 1e6:.0f} MB; "
                            "ask for fewer species at once"
                        )
            except requests.RequestException as error:
                raise Interrupted(describe_broken(error)) from error
            return response.status_code, response.reason, bytes(body)

    def _response(self, url: str, options: Mapping[str, Any]) -> Response:
        import requests

        try:
            response = self.session.get(url, timeout=(CONNECT_S, READ_S), stream=True, **options)
        except (ValueError, requests.TooManyRedirects) as error:  # such as InvalidURL
            raise DownloadError(
                f"{self.name} sends an address or answer that cannot be understood ({type(error).__name__})"
            ) from error
        except requests.RequestException as error:
            raise Interrupted(f"it cannot be reached, for {describe_broken(error)}") from error
        if response.status_code in BUSY:
            response.close()
            raise Interrupted(
                f"it is busy and answers {response.status_code}",
                wait_wanted_s(response.headers.get("Retry-After", "")),
            )
        return response

    def _refusal(
        self,
        status: int,
        said: str,
        params: Mapping[str, Any],
        secret: Mapping[str, str],
        remedies: Mapping[int, str],
    ) -> DownloadError:
        said = said.rstrip(".")
        for name, value in secret.items():
            said = said.replace(value, f"[{name}]")
        asked = ", ".join(f"{name} {value}" for name, value in params.items())
        remedy = remedies.get(status, "look at what was asked for")
        return DownloadError(
            f"{self.name} refuses the search ({asked}) with {status}: {said[:_SHOWN]}; {remedy}"
        )

    def _kept(self, url: str, params: Mapping[str, Any]) -> Path | None:
        if self.answers is None:
            return None
        asked = json.dumps([url, sorted(params.items())])
        return self.answers / f"{hashlib.sha256(asked.encode()).hexdigest()[:32]}.json.gz"


@contextmanager
def connected(name: str, rate_limit: RateLimit, *, answers: Path | None = None) -> Iterator[Service]:
    """Yield a connection to a service.

    Raises
    ------
    MissingExtraError
        requests is not installed.

    Examples
    --------
    >>> from dawnchorus.downloads.rate_limit import RateLimit
    >>> with connected("xeno-canto", RateLimit()) as service:
    ...     service.name  # service.search(...) would ask it
    'xeno-canto'
    """
    try:
        import requests
    except ModuleNotFoundError:
        raise MissingExtraError(
            f"{name} is asked through requests, which is not installed: {install_extra('download')}"
        ) from None
    speaker = logging.getLogger("urllib3.connectionpool")
    with requests.Session() as session:
        version = importlib.metadata.version("dawnchorus")
        session.headers["User-Agent"] = f"dawnchorus/{version} requests/{requests.__version__}"
        speaker.addFilter(_without_secrets)
        try:
            yield Service(name, session, rate_limit, answers)
        finally:
            speaker.removeFilter(_without_secrets)


def describe_broken(error: Exception) -> str:
    """Return why a request failed, without the URL, which may hold a key.

    Examples
    --------
    >>> import requests
    >>> describe_broken(requests.ConnectionError("refused"))
    'there is no connection, or it broke'
    """
    import requests

    reasons = {
        requests.exceptions.SSLError: "its certificate is not accepted",
        requests.exceptions.ProxyError: "the proxy does not let it through",
        requests.Timeout: f"nothing comes for {READ_S:g} s",
        requests.exceptions.ChunkedEncodingError: "the connection broke",
        requests.ConnectionError: "there is no connection, or it broke",
    }
    found = (reason for kind, reason in reasons.items() if isinstance(error, kind))
    return next(found, f"the answer cannot be understood ({type(error).__name__})")


def _without_secrets(record: logging.LogRecord) -> bool:
    """Hide keys in urllib3's log records."""
    record.msg, record.args = _SECRET.sub(r"\1...", record.getMessage()), ()
    return True


def _kept_answer(path: Path) -> dict[str, Any] | None:
    """Return an answer that was kept, None where there is none, or an old or damaged one."""
    try:
        if time.time() - path.stat().st_mtime > ANSWERS_KEPT_S:
            return None
        return parsed_json(gzip.decompress(path.read_bytes()), dict[str, Any], where=str(path))
    except (OSError, EOFError, zlib.error, RunError):
        return None


def _json_object(body: bytes) -> dict[str, Any] | None:
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return answer if isinstance(answer, dict) else None
