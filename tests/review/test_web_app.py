"""The requests behind the page: who may make them, what they take, and that none leads out of the folders."""

from __future__ import annotations

import inspect
import threading
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("fastapi", reason="the extra review is not installed")

from fastapi.testclient import TestClient

from dawnchorus.errors import DataError
from dawnchorus.review.clip_spectrograms import clip_spectrogram, wav_of
from dawnchorus.review.reviewing import Review, open_review
from dawnchorus.review.web_app import AppSettings, hosts_of, review_app
from dawnchorus.review.web_server import listen

TOKEN = "a-secret-of-this-test"
URL = "http://127.0.0.1:8765"
KNOWN = {"Authorization": f"Bearer {TOKEN}"}

Truth = tuple[Path, pd.DataFrame]


@pytest.fixture
def review(predictions: Path, soundscapes: Truth) -> Review:
    return open_review(predictions, soundscapes[0])


@pytest.fixture
def app(review: Review) -> Any:
    return review_app(review, AppSettings(token=TOKEN))


@pytest.fixture
def client(app: Any) -> TestClient:
    return TestClient(app, base_url=URL, headers=KNOWN)


def asked(**more: Any) -> dict[str, Any]:
    return {"session": "s", "reviewer": "Ada", "queue": {"order": "surest"}, **more}


def test_every_route_wants_the_token(app: Any) -> None:
    stranger = TestClient(app, base_url=URL)
    n_routes = 0
    for route in app.routes:
        path = route.path.replace("{number}", "1").replace("{name}", "review.js")
        for method in route.methods:
            for headers in (
                {},
                {"Authorization": "Bearer wrong"},
                {"Cookie": "dawnchorus_review_8765=wrong"},
            ):
                answer = stranger.request(method, path, headers=headers, json={})
                assert answer.status_code == 403, (method, path)
            n_routes += 1
    assert n_routes >= 12
    assert stranger.get("/nowhere").status_code == 403


def test_the_address_with_the_token_sets_a_cookie_and_drops_the_token(app: Any) -> None:
    visitor = TestClient(app, base_url=URL)
    assert visitor.get("/?token=wrong").status_code == 403
    answer = visitor.get(f"/?token={TOKEN}", follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    page = visitor.get("/")
    assert page.status_code == 200
    assert "script-src 'self'" in page.headers["content-security-policy"]
    assert "http" not in page.text  # nothing is fetched from elsewhere


def test_another_host_or_origin_is_refused(client: TestClient) -> None:
    assert client.get("/api/state", headers={"Host": "evil.example:8765"}).status_code == 400
    assert client.get("/api/state", headers={"Host": "localhost:8765"}).status_code == 200
    for origin in ("http://evil.example", "http://127.0.0.1:9999", "null"):
        answer = client.post("/api/undo", json=asked(), headers={"Origin": origin})
        assert answer.status_code == 403
    assert client.post("/api/undo", json=asked(), headers={"Origin": URL}).status_code == 200


@pytest.mark.parametrize("given", ["::1", "0:0:0:0:0:0:0:1"])
def test_a_page_on_an_ipv6_address_is_opened_by_it(review: Review, given: str) -> None:
    app = review_app(review, AppSettings(token=TOKEN, hosts=hosts_of(given)))
    client, host = TestClient(app, base_url=URL), {"Host": "[::1]:8765"}
    answer = client.get(f"/?token={TOKEN}", headers=host, follow_redirects=False)
    assert answer.status_code == 303
    assert answer.headers["set-cookie"].startswith("dawnchorus_review_8765=")
    known = {**host, **KNOWN}
    assert client.get("/", headers=known).status_code == 200
    origin = {"Origin": "http://[::1]:8765"}
    assert client.post("/api/undo", json=asked(), headers={**known, **origin}).status_code == 200
    assert client.get("/api/state", headers={**KNOWN, "Host": "[::2]:8765"}).status_code == 400


@pytest.mark.parametrize(
    "host",
    ["[::1", "::1", "[::1]:x", "127.0.0.1:x", "evil@127.0.0.1", "127.0.0.1/evil", "127.0.0.1?", "[]", ""],
)
def test_a_host_that_is_none_is_refused(client: TestClient, host: str) -> None:
    assert client.get("/api/state", headers={"Host": host}).status_code == 400


def test_a_page_on_all_addresses_is_opened_by_any(review: Review) -> None:
    for given in ("0.0.0.0", "::", "0:0:0:0:0:0:0:0"):
        app = review_app(review, AppSettings(token=TOKEN, hosts=hosts_of(given)))
        client = TestClient(app, base_url=URL, headers=KNOWN)
        for host in ("owl.example:8765", "[fe80::1]:8765"):
            assert client.get("/api/state", headers={"Host": host}).status_code == 200
        assert client.get("/api/state", headers={"Host": "[::1]:x"}).status_code == 400


def test_an_ipv6_address_is_printed_in_brackets_and_answers(review: Review) -> None:
    uvicorn = pytest.importorskip("uvicorn", reason="the extra review is not installed")
    try:
        address = listen("::1", port=0)
    except DataError:
        pytest.skip("there is no IPv6")
    assert address.url(None) == f"http://[::1]:{address.port}/"
    with pytest.raises(DataError, match=rf"^\[::1\]:{address.port} cannot be listened on; "):
        listen("::1", port=address.port)
    app = review_app(review, AppSettings(token=TOKEN, hosts=hosts_of("::1")))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [address.socket]}, daemon=True)
    thread.start()
    try:
        asked_for = urllib.request.Request(address.url(None) + "api/state", headers=KNOWN)
        with urllib.request.urlopen(asked_for, timeout=30) as answer:
            assert answer.status == 200
    finally:
        server.should_exit = True
        thread.join(30)


def test_without_a_token_everybody_who_can_reach_it_is_let_in(review: Review) -> None:
    app = review_app(review, AppSettings(token=None))
    assert TestClient(app, base_url=URL).get("/api/state").json()["n_clips"] == 40


@pytest.mark.parametrize("name", ["..%2fweb_app.py", "%2e%2e/web_app.py", "review.html", "/etc/passwd", "x"])
def test_no_file_but_the_pages_own_is_served(client: TestClient, name: str) -> None:
    assert client.get(f"/page/{name}").status_code == 404


def test_a_clip_whose_recording_lies_elsewhere_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret.wav").write_bytes(b"secret")
    (tmp_path / "audio").mkdir()
    rows = "".join(f"{name},0.0,5.0,owl,0.9\n" for name in ("../secret.wav", str(tmp_path / "secret.wav")))
    (tmp_path / "detections.csv").write_text("filename,start_s,end_s,label,probability\n" + rows)
    review = open_review(tmp_path / "detections.csv", tmp_path / "audio")
    client = TestClient(review_app(review, AppSettings(token=None)), base_url=URL)
    for clip in review.pool.index:
        for kind in ("sound", "spectrogram"):
            answer = client.get(f"/api/clips/{clip}/{kind}")
            assert answer.status_code == 400
            assert "does not lie below" in answer.json()["error"]


def test_two_pages_get_different_clips_and_both_answers_are_kept(client: TestClient, review: Review) -> None:
    one = client.post("/api/next", json=asked(session="one", n=4)).json()["clips"]
    two = client.post("/api/next", json=asked(session="two", reviewer="Bea", n=4)).json()["clips"]
    assert not {c["id"] for c in one} & {c["id"] for c in two}
    held = [c["id"] for c in one]
    more = client.post("/api/next", json=asked(session="one", holding=held, n=2)).json()["clips"]
    assert not {c["id"] for c in more} & {*held, *(c["id"] for c in two)}
    for session, reviewer, clips in (("one", "Ada", one), ("two", "Bea", two)):
        for clip in clips:
            sent = asked(session=session, reviewer=reviewer, clip=clip["id"], verdict="yes")
            assert client.post("/api/answers", json=sent).json() == {"written": True}
    assert review.answers()["reviewer"].value_counts().to_dict() == {"Ada": 4, "Bea": 4}


@pytest.mark.parametrize(
    ("change", "status", "said"),
    [
        ({"verdict": "perhaps"}, 422, "verdict"),
        ({"clip": 99_999}, 400, "there is no clip 99999"),
        ({"reviewer": ""}, 422, "reviewer"),
        ({"reviewer": " "}, 400, "needs the name of its reviewer"),
        ({"stranger": 1}, 422, "stranger"),
        ({"heard": [" "]}, 400, "a species that was heard is empty"),
        ({"heard": ["x" * 10_000], "queue": {"order": "best"}}, 422, "order"),
        (
            {"boxes": [{"start_s": 2, "end_s": 1, "low_hz": 1, "high_hz": 2, "label": "owl"}]},
            400,
            "a box ends before it begins",
        ),
        (
            {"boxes": [{"start_s": 1, "end_s": "inf", "low_hz": 1, "high_hz": 2, "label": "owl"}]},
            422,
            "end_s",
        ),
    ],
)
def test_an_answer_that_is_none_is_refused_and_not_written(
    client: TestClient, review: Review, change: dict[str, Any], status: int, said: str
) -> None:
    clip = int(review.pool.index[0])
    answer = client.post("/api/answers", json={**asked(clip=clip, verdict="yes"), **change})
    assert answer.status_code == status
    assert said in answer.json()["error"]
    assert review.answers().empty


def test_sound_and_spectrogram_of_a_clip_are_those_of_its_excerpt(client: TestClient, review: Review) -> None:
    clip = int(review.queue("time").index[0])
    found = review.excerpt(clip)
    assert client.get(f"/api/clips/{clip}/sound").content == wav_of(found)
    answer = client.get(f"/api/clips/{clip}/spectrogram")
    shape = int(answer.headers["x-bins"]), int(answer.headers["x-frames"])
    levels = clip_spectrogram(found.wave, found.sample_rate).levels
    assert np.array_equal(np.frombuffer(answer.content, np.uint8).reshape(shape), levels)


def test_suggestions_are_the_likeliest_other_species_of_the_windows(
    client: TestClient, review: Review
) -> None:
    (clip,) = client.post("/api/next", json=asked()).json()["clips"]
    assert review.windows is not None
    windows = pd.read_parquet(review.windows)
    here = windows[(windows["filename"] == clip["filename"]) & (windows["start_s"] == clip["start_s"])]
    scores = here[["owl", "robin", "wren"]].iloc[0].drop(clip["label"]).sort_values(ascending=False)
    assert clip["suggestions"] == list(scores.index)


def test_every_request_is_answered_in_a_thread(app: Any) -> None:
    assert not any(inspect.iscoroutinefunction(route.endpoint) for route in app.routes)


def test_results_are_written_and_told(client: TestClient, review: Review) -> None:
    for clip in review.queue("surest").index[:12]:
        client.post("/api/answers", json=asked(clip=int(clip), verdict="yes"))
    found = client.get("/api/results", params={"species": "owl", "precision": 0.9}).json()
    assert found["n_answers"] == review.counted()["label"].eq("owl").sum()
    assert "12 clips with an answer" in client.post("/api/write", json={"precision": 0.8}).json()["sentence"]
    assert (review.folder / "thresholds.csv").is_file()
    said = client.post("/api/progress", json=asked()).json()
    assert (said["n_left"], said["n_clips"]) == (28, 40)
    assert "12 answers say" in said["sentence"]
    assert "start the review with --model RUN" in client.post("/api/retrain", json={}).json()["error"]


def test_the_page_and_the_file_have_the_same_threshold(client: TestClient, review: Review) -> None:
    clips = review.queue("surest").index
    for place, clip in enumerate(clips):
        review.answer(int(clip), "Ada", "yes" if place % 4 else "no")
    for precision in (0.5, 0.75, 0.9):
        in_file = {line.label: line for line in review.thresholds(precision)}
        for label, line in in_file.items():
            found = client.get(f"/api/results?species={label}&precision={precision}").json()
            assert found["threshold"] == (None if np.isinf(line.threshold) else line.threshold)
            assert found["how"] == line.how
            if found["at"]:
                assert found["at"]["n_above"] == line.n_above


def test_one_answer_has_the_pooled_threshold_on_the_page_too(client: TestClient, review: Review) -> None:
    for species, verdict in (("owl", "yes"), ("robin", "no")):
        review.answer(int(review.queue("surest", species=species).index[0]), "Ada", verdict)
    found = client.get("/api/results?species=robin&precision=0.5").json()
    (line,) = review.thresholds(0.5, "robin")
    assert (found["threshold"], found["how"]) == (line.threshold, "pooled: 1 answer")


def test_a_name_is_resolved_by_the_server_and_an_unknown_one_is_added_only_on_demand(
    client: TestClient, review: Review
) -> None:
    said = client.post("/api/species", json={"name": "Owl"}).json()
    assert said["label"] == "owl"
    said = client.post("/api/species", json={"name": "wrenn"}).json()
    assert (said["label"], said["near"]) == (None, ["wren"])
    assert "did you mean wren?" in said["said"]
    clip = int(review.queue("surest").index[0])
    answer = {"clip": clip, "session": "s", "reviewer": "Ada", "verdict": "no", "heard": ["wrenn"]}
    refused = client.post("/api/answers", json=answer)
    assert (refused.status_code, "did you mean wren?" in refused.json()["error"]) == (400, True)
    assert client.post("/api/species", json={"name": "cuckoo", "is_new": True}).json()["label"] == "cuckoo"
    assert client.get("/api/state").json()["names"]["cuckoo"] == ["cuckoo", "cuckoo"]
    assert client.post("/api/answers", json={**answer, "heard": ["cuckoo"]}).status_code == 200


def test_a_clip_that_cannot_be_heard_takes_no_answer_and_can_be_skipped(
    predictions: Path, soundscapes: Truth, tmp_path: Path
) -> None:
    (tmp_path / "wood").symlink_to(soundscapes[0] / "wood")
    with open_review(predictions, tmp_path) as review:
        assert review.missing_recordings() == ["meadow/a.wav", "meadow/b.wav"]
        client = TestClient(review_app(review, AppSettings(token=None)), base_url=URL)
        rows = review.queue("time")
        gone, there = int(rows.index[0]), int(rows.index[-1])
        sent = {"session": "s", "reviewer": "Ada", "verdict": "yes"}
        refused = client.post("/api/answers", json={**sent, "clip": gone})
        assert (refused.status_code, "meadow/a.wav" in refused.json()["error"]) == (400, True)
        assert client.post("/api/answers", json={**sent, "clip": there}).status_code == 200
        assert review.answers().index.tolist() == [there]
        queue = {"order": "time"}
        asked = {"session": "s", "reviewer": "Ada", "queue": queue, "skipped": [gone]}
        (following,) = client.post("/api/next", json=asked).json()["clips"]
        assert following["id"] == int(rows.index[1])
    with (
        open_review(predictions, predictions) as review,
        pytest.raises(DataError, match=r"of 4 recordings, none is below .*, such as meadow.*with --audio"),
    ):
        review.missing_recordings()
