"""The web application of a review: a page and the requests that it makes, each behind a token."""

from __future__ import annotations

import importlib.resources
import ipaddress
import math
import secrets
import threading
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal
from urllib.parse import urlsplit

import numpy as np
from fastapi import Body, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse
from pydantic import BaseModel, ConfigDict, Field

from dawnchorus.audio.excerpts import Excerpt
from dawnchorus.errors import ConfigError, DataError, DawnchorusError
from dawnchorus.formats.taxonomy import names_of
from dawnchorus.recordings.labels import NOCALL
from dawnchorus.review.answer_store import Box
from dawnchorus.review.attended_frames import AttendedFrames
from dawnchorus.review.clip_order import ORDERS, ClipOrder, Queue, site_of
from dawnchorus.review.clip_spectrograms import clip_spectrogram, wav_of
from dawnchorus.review.next_round import NextRound
from dawnchorus.review.review_results import DEFAULT_FORMATS, write_results
from dawnchorus.review.reviewed_precision import PrecisionCurve
from dawnchorus.review.reviewing import Review

LOCAL_HOSTS = ("127.0.0.1", "localhost")
_COOKIE = "dawnchorus_review"
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "media-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_PAGE_FILES = {
    "review.css": "text/css; charset=utf-8",
    "review.js": "text/javascript; charset=utf-8",
    "spectrogram.js": "text/javascript; charset=utf-8",
    "results.js": "text/javascript; charset=utf-8",
}
_LONGEST = 500  # letters of a name
_EXCERPTS_KEPT = 48


@dataclass(frozen=True)
class AppSettings:
    """Settings of the application.

    Attributes
    ----------
    token
        Secret that each request must know; None lets everyone in.
    hosts
        Names by which the page may be requested; ``*`` for any.
    frames
        The model whose attended frames are drawn, if any.
    next_round
        The training that the button begins, if any.

    Examples
    --------
    >>> AppSettings(token=None).hosts
    ('127.0.0.1', 'localhost')
    """

    token: str | None = field(default_factory=lambda: secrets.token_urlsafe(24))
    hosts: Sequence[str] = LOCAL_HOSTS
    frames: AttendedFrames | None = None
    next_round: NextRound | None = None


class _Sent(BaseModel):
    """A request's body; what is not known in it is an error."""

    model_config = ConfigDict(extra="forbid")


_Name = Field(max_length=_LONGEST)


class QueueChoice(_Sent):
    """The queue that a page is working on.

    Examples
    --------
    >>> QueueChoice(order="surest").queue().order
    'surest'
    """

    order: ClipOrder = "strata"
    species: str | None = Field(default=None, max_length=_LONGEST)
    site: str | None = Field(default=None, max_length=_LONGEST)
    per_species: int = Field(default=96, ge=1, le=100_000)
    like: int | None = None

    def queue(self) -> Queue:
        """Return it as the library's."""
        return Queue(self.order, self.species or None, self.site or None, self.per_species, self.like)


class ClipRequest(_Sent):
    """A request for the next clips of a queue, beyond those that the page holds.

    Examples
    --------
    >>> ClipRequest(session="s", reviewer="Ada").n
    1
    """

    session: str = _Name
    reviewer: str = _Name
    queue: QueueChoice = QueueChoice()
    holding: list[int] = Field(default_factory=list, max_length=100)
    skipped: list[int] = Field(default_factory=list, max_length=100_000)
    n: int = Field(default=1, ge=1, le=20)


class DrawnBox(_Sent):
    """A box in seconds of the recording and Hz.

    Examples
    --------
    >>> DrawnBox(start_s=7.0, end_s=8.0, low_hz=400.0, high_hz=900.0, label="owl").label
    'owl'
    """

    start_s: float = Field(ge=0, allow_inf_nan=False)
    end_s: float = Field(gt=0, allow_inf_nan=False)
    low_hz: float = Field(ge=0, allow_inf_nan=False)
    high_hz: float = Field(gt=0, allow_inf_nan=False)
    label: str = Field(min_length=1, max_length=_LONGEST)


class NamedSpecies(_Sent):
    """A species as a reviewer types it; a new one is added only where that is said.

    Examples
    --------
    >>> NamedSpecies(name="Dartford Warbler").is_new
    False
    """

    name: str = Field(min_length=1, max_length=_LONGEST)
    is_new: bool = False


class SentAnswer(_Sent):
    """A reviewer's answer to a clip.

    Examples
    --------
    >>> SentAnswer(clip=1, session="s", reviewer="Ada", verdict="yes").heard
    []
    """

    clip: int
    session: str = _Name
    reviewer: str = Field(min_length=1, max_length=_LONGEST)
    verdict: Literal["yes", "no", "unsure"]
    heard: list[str] = Field(default_factory=list, max_length=50)
    boxes: list[DrawnBox] = Field(default_factory=list, max_length=200)
    queue: QueueChoice = QueueChoice()


def hosts_of(host: str) -> tuple[str, ...]:
    """Return the names by which a page on a host may be requested; any where it listens on all addresses.

    Examples
    --------
    >>> hosts_of("127.0.0.1"), hosts_of("0.0.0.0")
    (('127.0.0.1', 'localhost'), ('*',))
    >>> hosts_of("0:0:0:0:0:0:0:1")  # as browsers shorten it
    ('127.0.0.1', 'localhost', '::1')
    """
    host = _as_browsers_write(host)
    if host in ("0.0.0.0", "::"):
        return ("*",)
    return LOCAL_HOSTS if host in LOCAL_HOSTS else (*LOCAL_HOSTS, host)


def review_app(review: Review, settings: AppSettings) -> FastAPI:
    """Return the application; requests are answered in threads.

    Parameters
    ----------
    review
        The review.
    settings
        Token, hosts, model and training.

    Examples
    --------
    >>> from pathlib import Path
    >>> from dawnchorus.review.reviewing import open_review
    >>> _ = Path("detections.csv").write_text(
    ...     "filename,start_s,end_s,label,probability\\nnight.wav,0.0,5.0,wren,0.9\\n"
    ... )
    >>> app = review_app(open_review("detections.csv", "."), AppSettings())
    >>> sorted(route.path for route in app.routes)[:3]
    ['/', '/api/answers', '/api/clips/{number}/frames']
    """
    app = FastAPI(title="dawnchorus review", docs_url=None, redoc_url=None, openapi_url=None)
    _guard(app, settings)
    _add_page(app)
    excerpt = lru_cache(_EXCERPTS_KEPT)(review.excerpt)
    _add_clips(app, review, settings, excerpt)
    _add_answers(app, review, excerpt)
    _add_results(app, review, settings)
    return app


def _guard(app: FastAPI, settings: AppSettings) -> None:
    """Let only requests with the token and a known host pass, and turn our errors into one sentence."""

    @app.middleware("http")
    async def check(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        answer: Response
        if settings.token is not None and not _knows_token(request, settings.token):
            given = request.query_params.get("token", "")
            if request.url.path == "/" and secrets.compare_digest(given.encode(), settings.token.encode()):
                answer = RedirectResponse("/", status_code=303)
                name = f"{_COOKIE}_{request.url.port or 80}"
                answer.set_cookie(name, settings.token, httponly=True, samesite="strict", max_age=30 * 86_400)
            else:
                answer = Response("Open the address that dawnchorus review has printed.", 403)
        elif _is_from_elsewhere(request):
            answer = Response("This request comes from another page.", 403)
        else:
            answer = await call_next(request)
        answer.headers.update(_HEADERS)
        return answer

    hosts = {_as_browsers_write(host) for host in settings.hosts}

    @app.middleware("http")  # the last that is added sees a request first
    async def check_host(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        host = _requested_host(request.headers.get("host", ""))
        if host is None or hosts.isdisjoint(("*", host)):
            return Response("Invalid host header", 400)
        return await call_next(request)

    @app.exception_handler(DawnchorusError)
    def explain(_: Request, error: DawnchorusError) -> Response:
        return JSONResponse({"error": str(error)}, 400)

    @app.exception_handler(RequestValidationError)
    def refuse(_: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"][1:]))
        return JSONResponse({"error": f"{where}: {first['msg']}"}, 422)


def _requested_host(header: str) -> str | None:
    """Return the host in a header such as ``[::1]:8765``, without brackets and port; None where it has none.

    Starlette's own middleware cuts the header at its first colon, some versions those of IPv6 too.
    """
    try:
        parts = urlsplit(f"//{header}")
        _ = parts.port  # raises where it is none
    except ValueError:
        return None
    if parts.netloc != header or "@" in header:
        return None
    return _as_browsers_write(parts.hostname or "")


def _as_browsers_write(host: str) -> str:
    """Return a host in small letters, an IPv6 address in its short form."""
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return host.lower()


def _knows_token(request: Request, token: str) -> bool:
    scheme, _, sent = request.headers.get("authorization", "").partition(" ")
    given = sent if scheme.lower() == "bearer" else ""
    given = given or request.cookies.get(f"{_COOKIE}_{request.url.port or 80}", "")
    return secrets.compare_digest(given.encode(), token.encode())


def _is_from_elsewhere(request: Request) -> bool:
    """Return whether a request that changes something was made by a page of another origin."""
    origin = request.headers.get("origin")
    return request.method != "GET" and origin is not None and not _is_of(origin, request)


def _is_of(origin: str, request: Request) -> bool:
    return origin.partition("://")[2] == request.headers.get("host", "")


def _add_page(app: FastAPI) -> None:
    page = importlib.resources.files("dawnchorus.review") / "page"

    @app.get("/")
    def index() -> Response:
        return Response((page / "review.html").read_bytes(), media_type="text/html; charset=utf-8")

    @app.get("/page/{name}")
    def file(name: str) -> Response:
        if name not in _PAGE_FILES:
            return Response("There is no such file.", 404)
        return Response((page / name).read_bytes(), media_type=_PAGE_FILES[name])


def _add_clips(
    app: FastAPI, review: Review, settings: AppSettings, excerpt: Callable[[int], Excerpt]
) -> None:
    leasing = threading.Lock()

    @app.get("/api/state")
    def state() -> dict[str, Any]:
        species = review.pool["label"].value_counts()
        sites = sorted({site_of(name) for name in review.pool["filename"].unique()} - {""})
        given = {
            "table": bool(review.table_clips),
            "similar": review.embeddings is not None,
        }
        return {
            "n_clips": len(review.pool),
            "species": [{"label": str(label), "n": int(n)} for label, n in species.items()],
            "names": names_of(review.species.index.labels, review.species.index.taxonomy),
            "sites": sites,
            "orders": [order for order in ORDERS if given.get(order, True)],
            "nocall": NOCALL,
            "has_frames": settings.frames is not None,
            "can_retrain": settings.next_round is not None,
        }

    @app.post("/api/next")
    def following(asked: ClipRequest) -> dict[str, Any]:
        queue = asked.queue.queue()
        with leasing:
            left = review.left_in(queue, asked.reviewer)
            review.store.release(asked.session, but=asked.holding)
            review.store.lease(
                [clip for clip in asked.holding if clip in review.pool.index], asked.session, 100
            )
            held = {*asked.holding, *asked.skipped}
            chosen = review.store.lease((clip for clip in left if clip not in held), asked.session, asked.n)
        return {"clips": [_described(review, clip) for clip in chosen], "n_left": len(left)}

    @app.post("/api/progress")
    def progress(asked: ClipRequest) -> dict[str, Any]:
        found = review.progress(asked.queue.queue(), asked.reviewer)
        return {"n_left": found.n_left, "n_clips": found.n_clips, "sentence": found.sentence()}

    @app.get("/api/clips/{number}/sound")
    def sound(number: int) -> Response:
        return Response(wav_of(excerpt(number)), media_type="audio/wav")

    @app.get("/api/clips/{number}/spectrogram")
    def spectrogram(number: int) -> Response:
        found = excerpt(number)
        drawn = clip_spectrogram(found.wave, found.sample_rate)
        n_bins, n_frames = drawn.levels.shape
        shape = {
            "X-Bins": str(n_bins),
            "X-Frames": str(n_frames),
            "X-High-Hz": f"{drawn.high_hz:g}",
            "X-Start-S": f"{found.start_s:.6f}",
            "X-End-S": f"{found.end_s:.6f}",
        }
        return Response(drawn.levels.tobytes(), media_type="application/octet-stream", headers=shape)

    @app.get("/api/clips/{number}/frames")
    def frames(number: int) -> dict[str, Any]:
        if settings.frames is None:
            raise DataError("no model was given to show its frames; start the review with --model")
        row, found = review.clip(number), excerpt(number)
        first, stop = (
            round((row[edge] - found.start_s) * found.sample_rate) for edge in ("start_s", "end_s")
        )
        heard = settings.frames.of(found.wave[max(0, first) : stop], found.sample_rate, row["label"])
        return {"start_s": float(row["start_s"]), "end_s": float(row["end_s"]), "levels": heard}


def _described(review: Review, clip: int) -> dict[str, Any]:
    row = review.clip(clip)
    score = float(row["probability"])
    return {
        "id": clip,
        "filename": row["filename"],
        "start_s": float(row["start_s"]),
        "end_s": float(row["end_s"]),
        "label": row["label"],
        "channel": int(row["channel"]),
        "probability": None if np.isnan(score) else score,
        "suggestions": review.suggestions(clip),
        "answers": [
            {"reviewer": each.reviewer, "verdict": each.verdict, "heard": list(each.heard)}
            for each in review.store.of_clip(clip)
        ],
    }


def _add_answers(app: FastAPI, review: Review, excerpt: Callable[[int], Excerpt]) -> None:
    @app.post("/api/answers")
    def answer(sent: SentAnswer) -> dict[str, Any]:
        excerpt(sent.clip)  # raises where nobody can have heard it
        for box in sent.boxes:
            if not (box.start_s < box.end_s and box.low_hz < box.high_hz):
                raise ConfigError("a box ends before it begins; draw it again")
        review.answer(
            sent.clip,
            sent.reviewer,
            sent.verdict,
            heard=sent.heard,
            boxes=[Box(**box.model_dump()) for box in sent.boxes],
            queue=sent.queue.queue(),
            session=sent.session,
        )
        return {"written": True}

    @app.post("/api/species")
    def species(sent: NamedSpecies) -> dict[str, Any]:
        known = review.species
        if sent.is_new:
            return {"label": known.add(sent.name), "near": [], "said": ""}
        try:
            return {"label": known.label_of(sent.name), "near": [], "said": ""}
        except DataError as error:
            near = known.index.labels_of(sent.name) or known.index.near(sent.name)
            return {"label": None, "near": near, "said": str(error)}

    @app.post("/api/undo")
    def undo(asked: ClipRequest) -> dict[str, Any]:
        clip = review.store.withdraw_last(asked.reviewer.strip(), asked.session)
        return {"clip": None if clip is None else _described(review, clip)}


def _add_results(app: FastAPI, review: Review, settings: AppSettings) -> None:
    @app.get("/api/results")
    def results(species: str, precision: float = 0.9) -> dict[str, Any]:
        curve = review.precision(species)
        chosen = next(iter(review.thresholds(precision, species)), None)
        threshold = None if chosen is None or math.isinf(chosen.threshold) else chosen.threshold
        at = None if threshold is None else review.precision_at(species, threshold)
        return {
            **_columns(curve),
            "n_answers": int(review.counted()["label"].eq(species).sum()),
            "n_conflicts": len(review.conflicts()),
            "threshold": threshold,
            "how": "" if chosen is None else chosen.how,
            "at": None if at is None else {name: values[0] for name, values in _columns(at).items()},
        }

    @app.post("/api/write")
    def write(precision: float = Body(default=0.9, embed=True)) -> dict[str, Any]:
        written = write_results(review, precision=precision, formats=DEFAULT_FORMATS)
        return {
            "sentence": f"{written.sentence()} All is in {written.folder}.",
            "files": [str(path.relative_to(written.folder)) for path in written.files],
        }

    @app.post("/api/retrain")
    def retrain() -> dict[str, Any]:
        return _round(settings).start()._asdict()

    @app.get("/api/retrain")
    def state_of_round() -> dict[str, Any]:
        return _round(settings).state()._asdict()


def _columns(curve: PrecisionCurve) -> dict[str, list[float]]:
    return {name: np.nan_to_num(values).round(4).tolist() for name, values in curve._asdict().items()}


def _round(settings: AppSettings) -> NextRound:
    if settings.next_round is None:
        raise DataError("no run was given to train again; start the review with --model RUN")
    return settings.next_round
