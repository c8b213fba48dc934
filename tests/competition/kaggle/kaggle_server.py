"""A server on this machine that answers like Kaggle's API and the storage behind it."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import threading
import time
import zipfile
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kagglesdk import kaggle_env

from dawnchorus.competition.kaggle.competition_data import PartOutcome, download_parts
from dawnchorus.competition.kaggle.kaggle_catalogue import COMPETITIONS

USERNAME, KEY, TOKEN = "wren", "0123456789abcdef", "KGAT_0123456789abcdef"
_AUTHORIZATIONS = (
    "Basic " + base64.b64encode(f"{USERNAME}:{KEY}".encode()).decode(),
    f"Bearer {TOKEN}",
)


def zipped(files: Mapping[str, bytes], *, compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    """Return a zip archive of these files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


SYDOR = "vladimirsydor"
BACKBONES = f"{SYDOR}/bird-clef-2025-all-pretrained-models"
PSEUDO = f"{SYDOR}/bird-clef-2025-pseudo"


def noise(n_bytes: int, seed: int = 0) -> bytes:
    """Bytes that no compression makes smaller."""
    return np.random.default_rng(seed).bytes(n_bytes)


COMPETITION_FILES = {
    "train.csv": b"primary_label,filename\n",
    "taxonomy.csv": b"primary_label\n",
    "train_audio/houspa/XC1.ogg": noise(40_000, 1),
    "train_audio/amerob/XC2.ogg": noise(30_000, 2),
    "train_soundscapes/H02_1.ogg": noise(20_000, 3),
}
BACKBONE_FILES = {"models_2025/eca.ckpt": noise(50_000, 4), "models_2024/ebs.pth": noise(5_000, 5)}


@dataclass
class Fault:
    """How one answer goes wrong: with another status, cut off after some bytes, or slow."""

    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b"trouble"
    cut_after: int | None = None
    block_bytes: int | None = None
    pause_s: float = 0.0


@dataclass
class Request:
    """What was asked: of ``api`` or ``storage``, which source, from which byte on, as whom."""

    kind: str
    ref: str
    start: int | None
    authorization: str | None


@dataclass
class KaggleServer:
    """Archives by their names at Kaggle, and how the next answers go wrong."""

    url: str = ""
    storage_url: str = ""
    archives: dict[str, bytes] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    refused: dict[str, tuple[int, str]] = field(default_factory=dict)
    extra_headers: dict[str, str] = field(default_factory=dict)
    wrong_md5: bool = False
    names_length: bool = True
    knows_ranges: bool = True
    redirects: bool = True
    api_faults: deque[Fault] = field(default_factory=deque)
    storage_faults: deque[Fault] = field(default_factory=deque)
    requests: list[Request] = field(default_factory=list)

    def asked(self, kind: str, ref: str | None = None) -> list[Request]:
        """Return what was asked of the API or of the storage."""
        return [r for r in self.requests if r.kind == kind and ref in (None, r.ref)]

    def md5(self, data: bytes) -> str:
        """Return what stands in x-goog-hash after ``md5=``."""
        return base64.b64encode(hashlib.md5(b"other" if self.wrong_md5 else data).digest()).decode()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    kaggle: KaggleServer

    def log_message(self, *_: Any) -> None:
        pass

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])) or b"{}")
        method = self.path.rpartition("/")[2]
        ref = body.get("competitionName") or f"{body.get('ownerSlug')}/{body.get('datasetSlug')}"
        is_summary = method.endswith("FilesSummary")
        self._note("summary" if is_summary else "api", ref)
        service = "competitions.Competition" if "competitionName" in body else "datasets.Dataset"
        assert self.path == f"/v1/{service}ApiService/{method}"
        if self.headers["Authorization"] not in _AUTHORIZATIONS:
            self._json(401, {"code": 401, "message": "Unauthenticated"})
        elif is_summary:
            self._summary(ref)
        elif self.kaggle.api_faults:
            fault = self.kaggle.api_faults.popleft()
            self._send(fault.status or 500, fault.body, fault.headers)
        elif ref in self.kaggle.refused:
            status, message = self.kaggle.refused[ref]
            self._json(status, {"code": status, "message": message})
        elif ref not in self.kaggle.archives:
            self._json(404, {"code": 404, "message": "Not found"})
        elif self.kaggle.redirects:
            self._send(302, b"", {"Location": f"{self.kaggle.storage_url}/{ref}?signature=x"})
        else:
            self._archive(ref)

    def do_GET(self) -> None:
        ref = self.path.lstrip("/").partition("?")[0]
        self._note("storage", ref)
        self._archive(ref)

    def _summary(self, ref: str) -> None:
        if ref not in self.kaggle.sizes:
            self._json(404, {"code": 404, "message": "Not found"})
            return
        kind = {"extension": ".ogg", "fileCount": 1, "totalSize": self.kaggle.sizes[ref]}
        self._json(200, {"fileSummaryInfo": {"totalFileCount": 1, "fileTypes": [kind]}})

    def _archive(self, ref: str) -> None:
        fault = self.kaggle.storage_faults.popleft() if self.kaggle.storage_faults else Fault()
        if fault.status is not None:
            self._send(fault.status, fault.body, fault.headers)
            return
        data = self.kaggle.archives[ref]
        found = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        is_part = found is not None and self.kaggle.knows_ranges
        start = int(found[1]) if found and is_part else 0
        self.send_response(206 if is_part else 200)
        headers = {
            "Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}" if is_part else "",
            "Content-Type": "application/zip",
            "ETag": f'"{hashlib.sha256(data).hexdigest()[:16]}"',
            "x-goog-hash": f"crc32c=AAAAAA==, md5={self.kaggle.md5(data)}",
        }
        if self.kaggle.names_length:
            headers["Content-Length"] = str(len(data) - start)
        else:
            headers["Connection"] = "close"
        for name, value in {**headers, **self.kaggle.extra_headers, **fault.headers}.items():
            if value:
                self.send_header(name, value)
        self.end_headers()
        self._body(data[start:], fault)

    def _body(self, data: bytes, fault: Fault) -> None:
        end = len(data) if fault.cut_after is None else min(fault.cut_after, len(data))
        block = fault.block_bytes or max(end, 1)
        try:
            for begin in range(0, end, block):
                self.wfile.write(data[begin : min(begin + block, end)])
                self.wfile.flush()
                time.sleep(fault.pause_s)
        except OSError:
            pass  # the client has gone
        if end < len(data) or not self.kaggle.names_length:
            self.close_connection = True

    def _note(self, kind: str, ref: str) -> None:
        found = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(found[1]) if found else None
        self.kaggle.requests.append(Request(kind, ref, start, self.headers["Authorization"]))

    def _json(self, status: int, content: dict[str, Any]) -> None:
        self._send(status, json.dumps(content).encode(), {"Content-Type": "application/json"})

    def _send(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


class _Threads(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        pass  # a client that went away


@contextmanager
def serving() -> Iterator[KaggleServer]:
    """Yield a server at work. Its storage has another host name, so that credentials must not go there."""
    kaggle = KaggleServer()
    handler = type("Handler", (_Handler,), {"kaggle": kaggle})
    with _Threads(("127.0.0.1", 0), handler) as server:
        kaggle.url = f"http://127.0.0.1:{server.server_port}"
        kaggle.storage_url = f"http://localhost:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield kaggle
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def serving_kaggle(monkeypatch: pytest.MonkeyPatch, home: Path) -> Iterator[KaggleServer]:
    """Yield a server that Kaggle's client takes for Kaggle, asked as somebody it knows, without waits."""
    home.mkdir()
    for name in ("KAGGLE_API_TOKEN", "KAGGLE_CONFIG_DIR", "KAGGLE_API_ENVIRONMENT", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("KAGGLE_USERNAME", USERNAME)
    monkeypatch.setenv("KAGGLE_KEY", KEY)
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr("dawnchorus.downloads.retries.FIRST_WAIT_S", 0.001)
    monkeypatch.setattr("dawnchorus.competition.kaggle.kaggle_files._CHUNK_BYTES", 1000)
    with serving() as server:
        monkeypatch.setitem(kaggle_env._env_to_endpoint, kaggle_env.KaggleEnv.PROD, server.url)
        server.archives["birdclef-2025"] = zipped(COMPETITION_FILES)
        server.archives[BACKBONES] = zipped(BACKBONE_FILES)
        server.archives[PSEUDO] = zipped({"double/v0_0.csv": b"row_id\n"})
        yield server


def download(out: Path, *only: str, **options: Any) -> list[PartOutcome]:
    return list(download_parts(COMPETITIONS["birdclef-2025"], out, only=only, **options))


def failure(out: Path, *only: str) -> str:
    """The sentence about the one part that was asked for, which failed."""
    (outcome,) = download(out, *only)
    assert outcome.state == "failed"
    assert "?signature" not in outcome.sentence
    return outcome.sentence


def contents(folder: Path) -> dict[str, bytes]:
    """All files below a folder, but for those of the download itself."""
    paths = [path for path in folder.rglob("*") if path.is_file()]
    found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
    return {name: content for name, content in found.items() if not name.startswith(".downloads")}


def left_over(out: Path) -> list[str]:
    """What lies in the folder where archives gather, the lock aside."""
    return sorted(path.name for path in (out / ".downloads").iterdir() if path.name != "lock")
