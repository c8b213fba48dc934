"""A local server that answers as xeno-canto and iNaturalist document it, and misbehaves on demand."""

from __future__ import annotations

import json
import re
import threading
import time
import zlib
from collections import defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

KEY = "s3cret+key/of=mine"


class Asked(NamedTuple):
    """A request: when it came (s), its path, its parameters, its headers."""

    at_s: float
    path: str
    params: dict[str, str]
    headers: dict[str, str]


class RecordingServer:
    """What it holds and how it behaves may be changed while it runs.

    Attributes
    ----------
    recordings, observations, taxa
        What xeno-canto and iNaturalist know.
    sounds
        Bytes and content type by path.
    script
        By path, what happens to the next requests instead: a status such as "500" or "429 after 1", "gone"
        (the connection is closed), "half" (it is closed in the middle), "html", "empty", "longer" (more is
        promised than comes),
        "absurd" (a petabyte is), "unannounced" (nothing is), "text" (no JSON),
        "piece" (a rest from elsewhere), "to PATH" (a redirection).
    ranges
        Whether a rest can be asked for.
    versions
        Whether sounds have an ETag.
    page_size
        Entries a page, whatever is asked for.
    pause_s
        Between blocks of a sound.
    """

    def __init__(self) -> None:
        self.recordings: list[dict[str, Any]] = []
        self.observations: list[dict[str, Any]] = []
        self.taxa: list[dict[str, Any]] = []
        self.sounds: dict[str, tuple[bytes, str]] = {}
        self.script: dict[str, list[str]] = defaultdict(list)
        self.ranges, self.versions, self.page_size, self.pause_s = True, False, 500, 0.0
        self.asked: list[Asked] = []

    def __enter__(self) -> RecordingServer:
        outer = self

        class Handler(_Handler):
            server_state = outer

        self._http = _Quiet(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,))
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def add(self, number: int, species: str, sound: bytes, **changes: Any) -> dict[str, Any]:
        """Add a recording of xeno-canto; ``changes`` are fields that are otherwise than usual."""
        genus, _, epithet = species.partition(" ")
        suffix = changes.get("file-name", "x.mp3").rpartition(".")[2]
        path = f"/{number}/download"
        self.sounds[path] = (sound, "audio/mpeg")
        entry = {
            "id": str(number),
            "gen": genus,
            "sp": epithet,
            "ssp": "",
            "grp": "birds",
            "en": f"Common {epithet}",
            "rec": "Ana Lucía Ñandú",
            "cnt": "Spain",
            "loc": "Sisalde, Ames, A Coruña",
            "lat": "42.837312",
            "lon": "-8.652",
            "type": "song",
            "url": f"//xeno-canto.org/{number}",
            "file": f"{self.url}{path}",
            "file-name": f"XC{number}-{genus} #1?.{suffix}",
            "lic": "//creativecommons.org/licenses/by-nc-sa/4.0/",
            "q": "A",
            "length": "0:46",
            "time": "08:00",
            "date": "2022-01-18",
            "also": [""],
            **changes,
        }
        self.recordings.append(entry)
        return entry

    def add_observation(
        self, number: int, taxon_id: int, sounds: dict[int, bytes], **changes: Any
    ) -> dict[str, Any]:
        """Add an observation of iNaturalist with the sounds by their numbers."""
        taxon = next(taxon for taxon in self.taxa if taxon["id"] == taxon_id)
        entries = []
        for sound_id, data in sounds.items():
            self.sounds[f"/sounds/{sound_id}.m4a"] = (data, "audio/mp4")
            entries.append(
                {
                    "id": sound_id,
                    "file_url": f"{self.url}/sounds/{sound_id}.m4a?1234",
                    "license_code": "cc-by-nc",
                    "attribution": "(c) somebody",
                    "file_content_type": "audio/mp4",
                }
            )
        entry = {
            "id": number,
            "quality_grade": "research",
            "observed_on": "2023-05-01",
            "time_observed_at": "2023-05-01T06:30:00+02:00",
            "geojson": {"type": "Point", "coordinates": [-8.5, 42.25]},
            "user": {"login": "ana", "name": "Ana"},
            "taxon": taxon,
            "place_guess": "Ames",
            "uri": f"https://www.inaturalist.org/observations/{number}",
            "license_code": "cc-by",
            "sounds": entries,
            **changes,
        }
        self.observations.append(entry)
        return entry

    def paths(self, beginning: str = "/") -> list[str]:
        """Return the paths of all requests so far that begin so."""
        return [asked.path for asked in self.asked if asked.path.startswith(beginning)]


class _Quiet(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that went away."""


class _Handler(BaseHTTPRequestHandler):
    server_state: RecordingServer
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Keep quiet."""

    def do_GET(self) -> None:
        state = self.server_state
        parts = urlsplit(self.path)
        params = {name: values[0] for name, values in parse_qs(parts.query).items()}
        state.asked.append(Asked(time.monotonic(), parts.path, params, dict(self.headers)))
        scripted = state.script[parts.path]
        what = scripted.pop(0) if scripted else ""
        if what == "gone":
            self.close_connection = True
        elif re.match(r"\d{3}", what):
            extra = {"Retry-After": what.rpartition(" ")[2]} if " after " in what else {}
            self._json({"error": "busy", "message": f"Please wait, {KEY}."}, int(what[:3]), extra)
        elif what == "half" and parts.path not in state.sounds:
            self.close_connection = True
            self._json({"recordings": [], "numPages": 1})
        elif what.startswith("to "):
            self._send(302, b"", "text/html", {"Location": what.partition(" ")[2]})
        elif what == "text":
            self._send(200, b"no JSON", "text/plain", {})
        elif parts.path in state.sounds:
            self._sound(*state.sounds[parts.path], what)
        elif parts.path == "/api/3/recordings":
            self._xeno_canto(params)
        elif parts.path == "/v1/taxa":
            self._json({"total_results": len(state.taxa), "results": state.taxa})
        elif parts.path == "/v1/observations":
            self._observations(params)
        else:
            self._send(404, b"<html>no such page</html>", "text/html", {})

    def _xeno_canto(self, params: dict[str, str]) -> None:
        if params.get("key") != KEY:
            self._json({"error": "unauthorized", "message": "Missing or invalid 'key' parameter."}, 401)
            return
        tags = dict(re.findall(r'(\w+):"([^"]*)"', params["query"]))
        if not tags or not 50 <= int(params["per_page"]) <= 500:
            self._json({"error": "client_error", "message": "Query without tags."}, 400)
            return
        tests = {
            "sp": lambda e, value: f"{e['gen']} {e['sp']}".lower().startswith(value),
            "gen": lambda e, value: e["gen"].lower().startswith(value),
            "grp": lambda e, value: e["grp"] == value,
            "cnt": lambda e, value: e["cnt"] == value,
            "q": lambda e, value: e["q"] == value,
        }
        entries = self.server_state.recordings
        found = [e for e in entries if all(tests[tag](e, value) for tag, value in tags.items())]
        size, page = self.server_state.page_size, int(params["page"])
        answer = {
            "numRecordings": str(len(found)),
            "numSpecies": str(len({(e["gen"], e["sp"]) for e in found})),
            "page": page,
            "numPages": max(1, -(-len(found) // size)),
            "recordings": found[(page - 1) * size : page * size],
        }
        self._json(answer)

    def _observations(self, params: dict[str, str]) -> None:
        taxon_id, above = int(params["taxon_id"]), int(params["id_above"])
        found = [
            o
            for o in sorted(self.server_state.observations, key=lambda o: o["id"])
            if o["id"] > above and taxon_id in (o["taxon"]["id"], *o["taxon"].get("ancestor_ids", ()))
        ]
        page = found[: self.server_state.page_size]
        self._json({"total_results": len(found), "page": 1, "per_page": len(page), "results": page})

    def _sound(self, data: bytes, kind: str, what: str) -> None:
        state = self.server_state
        if what == "html":
            data, kind = b"<html>log in first</html>", "text/html; charset=utf-8"
        if what == "empty":
            data = b""
        version = f'"{zlib.crc32(data)}"'
        begin = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "")) if state.ranges else None
        if self.headers.get("If-Range", version) != version:
            begin = None
        start = int(begin[1]) if begin else 0
        if begin and start >= len(data):
            self._send(416, b"", kind, {"Content-Range": f"bytes */{len(data)}"})
            return
        length = len(data) - start + {"longer": 10, "absurd": 10**15}.get(what, 0)
        self.send_response(206 if begin else 200)
        if begin:
            first = start + 1 if what == "piece" else start
            self.send_header("Content-Range", f"bytes {first}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Type", kind)
        if what != "unannounced":
            self.send_header("Content-Length", str(length))
        if state.versions:
            self.send_header("ETag", version)
        self.end_headers()
        end = start + (len(data) - start) // 2 if what == "half" else len(data)
        for place in range(start, end, 1000):
            self.wfile.write(data[place : min(place + 1000, end)])
            time.sleep(state.pause_s)
        self.close_connection = what in ("half", "longer", "absurd", "unannounced")

    def _json(self, answer: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self._send(status, json.dumps(answer).encode(), "application/json", headers or {})

    def _send(self, status: int, body: bytes, kind: str, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.close_connection:
            body = body[: len(body) // 2]
        self.wfile.write(body)
