"""HTTP requests to a public service: within its rate limit, with retries where it is busy.

The waits and retries are urllib3's, through a session of requests. Keys show neither in errors nor in logs
nor in the answers that are kept.
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

from dawnchorus.downloads.rate_limit import RateLimit
from dawnchorus.errors import DownloadError, MissingExtraError
from dawnchorus.files import replacing

if TYPE_CHECKING:
    from requests import Response, Session
    from urllib3.util.retry import Retry

logger = logging.getLogger(__name__)

FIRST_WAIT_S = 2.0
"""Wait before the second try; it doubles from try to try."""

LONGEST_WAIT_S = 600.0
"""Longest wait, whatever the service requests: the command can be run again later."""

TRIES = 6
"""Tries before a request counts as failed: with the waits between, about a minute."""

ANSWERS_KEPT_S = 7 * 86_400
"""Age from which the kept answer to a search is not used."""

CONNECT_S, READ_S = 15.0, 60.0
"""Timeouts of a connection, and of a pause in an answer."""

_BUSY = frozenset({429, 500, 502, 503, 504})
_SHOWN = 200  # characters of a service's message
_SECRET = re.compile(r"([?&]key=)[^&\s'\"]*")


class ServiceDownError(DownloadError):
    """A service that cannot be reached, or is busy for too long.

    Examples
    --------
    >>> from dawnchorus.errors import DownloadError
    >>> issubclass(ServiceDownError, DownloadError)
    True
    """


@dataclass(frozen=True)
class Service:
    """A connection to a service.

    Attributes
    ----------
    name
        Its name in messages.
    session
        A session that retries by itself where the service is busy.
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
        with self._asked(url, params={**params, **(secret or {})}) as response:
            if response.status_code != 200:
                raise self._refusal(response, params, secret or {}, remedies or {})
            answer = _json_object(response)
        if answer is None:
            raise DownloadError(
                f"{self.name} answers a search with something else than a JSON object; a proxy may stand "
                "between, or its API has changed"
            )
        if kept is not None:
            with replacing(kept) as temporary:
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
        with self._asked(url, headers=dict(headers), stream=True) as response:
            yield response

    @contextmanager
    def _asked(self, url: str, **options: Any) -> Iterator[Response]:
        """Yield an answer, after retries where the service is busy."""
        with self._response(url, options) as response:
            if response.status_code in _BUSY:
                raise ServiceDownError(
                    f"{self.name} is busy: it answers {response.status_code} after {TRIES} tries; the same "
                    "command goes on later"
                )
            yield response

    def _response(self, url: str, options: Mapping[str, Any]) -> Response:
        import requests

        for attempt in range(1, TRIES + 1):
            try:
                return self.session.get(url, timeout=(CONNECT_S, READ_S), **options)
            except requests.exceptions.ChunkedEncodingError as error:
                broken: requests.RequestException = error  # in its middle, where urllib3 does not try again
                if attempt < TRIES:
                    time.sleep(min(LONGEST_WAIT_S, FIRST_WAIT_S * 2 ** (attempt - 1)))
            except requests.RequestException as error:
                broken = error
                break
        raise ServiceDownError(
            f"{self.name} cannot be reached after {TRIES} tries: {describe_broken(broken)}; once there "
            "is a connection again, the same command goes on"
        )

    def _refusal(
        self,
        response: Response,
        params: Mapping[str, Any],
        secret: Mapping[str, str],
        remedies: Mapping[int, str],
    ) -> DownloadError:
        said = (_json_object(response) or {}).get("message") or response.reason or "no reason"
        said = str(said).rstrip(".")
        for name, value in secret.items():
            said = said.replace(value, f"[{name}]")
        asked = ", ".join(f"{name} {value}" for name, value in params.items())
        remedy = remedies.get(response.status_code, "look at what was asked for")
        return DownloadError(
            f"{self.name} refuses the search ({asked}) with {response.status_code}: {said[:_SHOWN]}; {remedy}"
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
        from requests.adapters import HTTPAdapter
    except ModuleNotFoundError:
        raise MissingExtraError(
            f"{name} is asked through requests, which is not installed: pip install 'dawnchorus[download]'"
        ) from None
    speaking = [logging.getLogger(f"urllib3.{name}") for name in ("connectionpool", "util.retry")]
    with requests.Session() as session:
        version = importlib.metadata.version("dawnchorus")
        session.headers["User-Agent"] = f"dawnchorus/{version} requests/{requests.__version__}"
        adapter = HTTPAdapter(max_retries=_patient_retry())
        for scheme in ("https://", "http://"):
            session.mount(scheme, adapter)
        for speaker in speaking:
            speaker.addFilter(_without_secrets)
        try:
            yield Service(name, session, rate_limit, answers)
        finally:
            for speaker in speaking:
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


def _patient_retry() -> Retry:
    """Return urllib3's retries: with growing waits from the second try on, or those that the service sets."""
    from urllib3.util.retry import Retry

    class PatientRetry(Retry):
        def sleep(self, response: Any = None) -> None:
            asked_s = None if response is None else self.get_retry_after(response)
            wait_s = min(asked_s or FIRST_WAIT_S * 2 ** (len(self.history) - 1), LONGEST_WAIT_S)
            status = "no answer" if response is None else f"the service is busy ({response.status})"
            logger.info(f"{status}; trying again in {wait_s:.0f} s")
            time.sleep(wait_s)

    return PatientRetry(total=TRIES - 1, redirect=False, status_forcelist=_BUSY, raise_on_status=False)


def _without_secrets(record: logging.LogRecord) -> bool:
    """Hide keys in urllib3's log records, and drop those on retries, which are logged here."""
    record.msg, record.args = _SECRET.sub(r"\1...", record.getMessage()), ()
    return not record.msg.startswith("Retrying")


def _kept_answer(path: Path) -> dict[str, Any] | None:
    """Return an answer that was kept, None where there is none, or an old or damaged one."""
    try:
        if time.time() - path.stat().st_mtime > ANSWERS_KEPT_S:
            return None
        found = json.loads(gzip.decompress(path.read_bytes()))
    except (OSError, EOFError, ValueError, zlib.error):
        return None
    return found if isinstance(found, dict) else None


def _json_object(response: Response) -> dict[str, Any] | None:
    import requests

    try:
        answer = response.json()
    except requests.exceptions.JSONDecodeError:
        return None
    return answer if isinstance(answer, dict) else None
