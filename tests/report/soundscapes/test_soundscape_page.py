"""The page: what it holds, what it says is missing, and that nothing in a table becomes markup."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile

import dawnchorus
from dawnchorus.cli import main
from dawnchorus.errors import ConfigError, DataError, OverwriteError
from dawnchorus.files import Failure, write_failures
from dawnchorus.report.soundscapes.activity_pictures import _short
from dawnchorus.report.soundscapes.soundscape_page import ReportSettings, write_report

FEW = ReportSettings(n_species=2, n_clips=1)
NIGHT = "20240504_220000.wav"
RATE = 16_000


class Page(HTMLParser):
    """The tags of a page with their attributes, and its text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag == name]


def test_a_season_has_all_pictures_with_descriptions_and_a_table_behind_each(
    season: Any, tmp_path: Path
) -> None:
    folder = season.write(
        made={"threshold": 0.5, "time zone": "+02:00", "model": "3f9a", "calibration": {"n": 7}}
    )
    made = write_report(folder, tmp_path / "out", settings=FEW)
    page = Page(made.page)
    pictures = page.all("img")
    assert len(pictures) == 4 + 2
    assert all(picture["alt"] and picture["src"].startswith("data:image/png") for picture in pictures)
    alts = " ".join(picture["alt"] for picture in pictures)
    n = int((pd.read_csv(folder / "detections.csv")["label"] == "species_0").sum())
    assert f"species_0: {n:,} detections on" in alts
    assert "2 sites, recorded for 175 hours on 21 of 21 days" in alts
    assert "most per recorded hour from" in alts
    for fact in ("time zone", "+02:00", "3f9a", '{"n": 7}', "Lines: civil dawn and dusk"):
        assert fact in page.text
    names = {path.name for path in (tmp_path / "out" / "tables").iterdir()}
    assert {"species.csv", "hours.csv", "effort.csv", "recordings.csv", "sites.csv", "sun.csv"} <= names
    hours = pd.read_csv(tmp_path / "out/tables/hours.csv")
    assert hours["n_detections"].sum() == made.activity.n_detections
    sun = pd.read_csv(tmp_path / "out/tables/sun.csv").iloc[0]
    assert sun["day"] == "2024-05-01"
    assert "06:31" <= sun["sunrise"] <= "06:35"  # London's 05:33 BST, an hour on
    files = sorted(path.name for path in (tmp_path / "out/pictures").rglob("*.png"))
    assert files == [
        "001_species_0.png",
        "002_species_1.png",
        "accumulation.png",
        "all_species.png",
        "effort.png",
        "sites.png",
    ]


def test_the_page_asks_nothing_of_the_network(season: Any, tmp_path: Path) -> None:
    page = Page(write_report(season.write(), tmp_path / "out", settings=FEW).page)
    assert "default-src 'none'" in page.source
    links = [
        value
        for _, attributes in page.tags
        for name, value in attributes.items()
        if name in ("src", "href", "srcset")
    ]
    assert all(re.match(r"data:|#|tables/", link or "") for link in links)


def test_hostile_names_are_shown_as_text(predicted: Any, tmp_path: Path) -> None:
    label, name = '<script>alert("1")</script>\n$x$', 'pond/<img src=x onerror=alert(1)>"\n.wav'
    predicted.add(name, None, [(0.0, 5.0, label, 0.9)])
    predicted.add(f"a & b/{NIGHT}", "2024-05-04T22:00:00", [(0.0, 5.0, label, 0.8), (0.0, 5.0, "=1+1", 0.7)])
    folder = predicted.write()
    write_failures(folder, [Failure(Path("<b>.wav"), "<i>bad</i>")])
    made = write_report(folder, tmp_path / "out")
    page = Page(made.page)
    assert made.activity.n_detections == 3
    assert len(page.all("script")) == 1
    assert not page.all("b")
    assert not page.all("i")
    assert not [img for img in page.all("img") if "onerror" in img]
    assert '<script>alert("1")</script>' in page.text
    assert 'onerror=alert(1)>"' in page.text
    assert "<b>.wav" in page.text


def test_a_name_that_is_not_utf_8_is_shown_with_an_escape(predicted: Any, tmp_path: Path) -> None:
    predicted.add("owl\udce9.wav", None, [(0.0, 5.0, "owl", 0.9)])
    made = write_report(predicted.write(), tmp_path / "out")
    assert made.activity.without_time["filename"].tolist() == ["owl\\udce9.wav"]


def test_empty_predictions_make_a_page_that_says_so(predicted: Any, tmp_path: Path) -> None:
    made = write_report(predicted.write(), tmp_path / "out")
    assert "There is no detection: no score reached its threshold" in made.missing[0]
    assert "0 detections of 0 species in 0 recordings" in Page(made.page).text


def test_an_empty_table_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    table = tmp_path / "detections.csv"
    table.write_text("filename,start_s,end_s,label,probability\n")
    with pytest.raises(DataError, match="has no detection, and tells of no recording"):
        write_report(table, tmp_path / "report")
    assert not (tmp_path / "report").exists()


def test_raw_scores_are_called_scores_and_settings_stand_in_words(predicted: Any, tmp_path: Path) -> None:
    predicted.add(NIGHT, "2024-05-04T22:00:00", [(0.0, 5.0, "robin", 0.284)])
    raw = {
        **{"model": "3f9a", "name of the model": "birdnet", "calibration": None, "merge": False, "gap": 0.0},
        "overlap or shift": [144_000, None],
    }
    page = Page(write_report(predicted.write(made=raw), tmp_path / "raw").page)
    assert "highest score 0.284" in page.text
    assert "probability" not in page.text.replace("raw scores, no probabilities", "")
    for fact in ("birdnet", "fingerprint of the model", "raw scores, no prob", "one every 144,000 samples"):
        assert fact in page.text
    assert "gap" not in page.source[page.source.index('id="settings"') :]
    calibrated = predicted.write(made={**raw, "calibration": "77ab"})
    page = Page(write_report(calibrated, tmp_path / "calibrated").page)
    assert "highest probability 0.284" in page.text


def test_a_label_that_holds_only_names_stands_nowhere_beside_them(tmp_path: Path) -> None:
    rows = [(NIGHT, 0.0, 5.0, "Dryobates minor", 0.9, "Dryobates minor", "Lesser Spotted Woodpecker")]
    columns = ["filename", "start_s", "end_s", "label", "probability", "scientific_name", "common_name"]
    pd.DataFrame(rows, columns=columns).to_csv(tmp_path / "detections.csv", index=False)
    page = Page(write_report(tmp_path, tmp_path / "out").page)
    assert "Lesser Spotted Woodpecker (Dryobates minor) 1 detection in" in " ".join(page.text.split())
    assert ">label<" not in page.source


def test_silence_alone_is_effort_without_species(predicted: Any, tmp_path: Path) -> None:
    predicted.add(NIGHT, "2024-05-04T22:00:00", [])
    made = write_report(predicted.write(), tmp_path / "out")
    alts = [picture["alt"] for picture in Page(made.page).all("img")]
    assert any("1 site, recorded for 1 hours on 1 of 1 day, without a gap" in str(alt) for alt in alts)


def test_what_is_missing_is_said_with_its_remedy(predicted: Any, tmp_path: Path) -> None:
    predicted.add("robin.wav", None, [(0.0, 5.0, "robin", 0.9)])
    predicted.add(NIGHT, "2024-05-04T22:00:00", [(0.0, 5.0, "robin", 0.9)])
    made = write_report(predicted.write("csv"), tmp_path / "out", settings=FEW)
    text = "\n".join(made.missing)
    for remedy in ("--format effort", "--recorder-name", "--time-zone", "--sites", "--audio DIR"):
        assert remedy in text
    page = Page(made.page)
    assert "The start of 1 recording is not known" in page.text
    assert "Recordings without a known time: 1" in page.text


def test_sounds_are_those_of_the_detections_and_stay_within_the_limit(
    predicted: Any, data_factory: Any, tmp_path: Path
) -> None:
    time_s = np.arange(60 * RATE) / RATE
    data_factory.write(NIGHT, 0.3 * np.sin(2 * np.pi * 1200 * time_s), RATE)
    rows = [(5.0 * k, 5.0 * k + 5, "owl", 0.5 + k / 25) for k in range(10)]
    predicted.add(NIGHT, "2024-05-04T22:00:00", rows, duration_s=60.0)
    folder = predicted.write()
    made = write_report(folder, tmp_path / "out", audio_dir=data_factory.root)
    page = Page(made.page)
    sounds = page.all("audio")
    assert len(sounds) == 6
    wave, rate = soundfile.read(io.BytesIO(base64.b64decode(str(sounds[0]["src"]).partition(",")[2])))
    assert rate == RATE
    assert abs(np.abs(np.fft.rfft(wave)).argmax() * rate / len(wave) - 1200) < 5
    assert "0.860" in page.text
    assert "2024-05-04 22:00:45" in page.text
    small = write_report(
        folder, tmp_path / "small", audio_dir=data_factory.root, settings=ReportSettings(most_mb=0.04)
    )
    shown = Page(small.page)
    assert 0 < len(shown.all("audio")) < 6
    assert "found no room" in shown.text


def test_a_broken_recording_is_named_and_the_others_are_heard(
    predicted: Any, data_factory: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data_factory.tone("good.wav", 10.0)
    (data_factory.root / "bad.wav").write_bytes(b"RIFF")
    for name in ("good.wav", "bad.wav"):
        predicted.add(name, None, [(0.0, 5.0, "owl", 0.9)], duration_s=10.0)
    folder = predicted.write()
    with pytest.raises(SystemExit) as ended:
        main(["report", str(folder), "--audio", str(data_factory.root), "--clips", "2"])
    assert ended.value.code == 2
    said = capsys.readouterr()
    assert "bad.wav" in said.err
    assert said.out.startswith("2 detections of 1 species in 2 recordings: ")
    assert len(Page(folder / "report" / "report.html").all("audio")) == 1


def test_a_report_is_made_anew_but_a_page_of_others_stays(predicted: Any, tmp_path: Path) -> None:
    predicted.add(NIGHT, None, [(0.0, 5.0, "owl", 0.9)])
    folder, out = predicted.write(), tmp_path / "out"
    write_report(folder, out, settings=FEW)
    write_report(folder, out, settings=ReportSettings(n_species=0))
    assert not list((out / "pictures" / "species").iterdir())
    (out / "report.html").write_text("<html>mine</html>")
    with pytest.raises(OverwriteError, match=r"report.html exists and is no report of dawnchorus"):
        write_report(folder, out)
    write_report(folder, out, settings=FEW, overwrite=True)


def test_the_time_and_size_of_a_page_do_not_grow_with_species_beyond_those_shown(
    predicted: Any, tmp_path: Path
) -> None:
    rows = [(5.0 * k, 5.0 * k + 5, f"species {k:03}", 0.9) for k in range(500)]
    predicted.add(NIGHT, "2024-05-04T22:00:00+02:00", rows)
    made = write_report(predicted.write(), tmp_path / "out", settings=FEW)
    assert made.n_bytes < 1_500_000
    assert len(Page(made.page).all("details")) == 2
    assert "species 499" in Page(made.page).text


def test_predictions_of_the_library_make_the_same_page(
    exported: Any, data_factory: Any, tmp_path: Path
) -> None:
    data_factory.tone(NIGHT, 12.0, sample_rate=RATE)
    scores = dawnchorus.load_model(exported.onnx, n_threads=1).predict(data_factory.root / NIGHT)
    made = dawnchorus.write_report(scores.detections(threshold=0.0), tmp_path / "out", settings=FEW)
    assert made.activity.n_detections == scores.probabilities.size
    page = Page(made.page)
    assert 2 <= len(page.all("audio")) <= 4  # the surest, and where it is another, the most doubtful
    assert "Recorded from 2024-05-04 to 2024-05-04" in page.text


def test_wrong_settings_and_sources_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="n_clips is -1; it must be 0 or more"):
        ReportSettings(n_clips=-1)
    with pytest.raises(ConfigError, match="longest_s is 0; it must be above 0 s"):
        ReportSettings(longest_s=0)
    with pytest.raises(
        DataError, match="no such file or folder; give a folder that dawnchorus predict wrote"
    ):
        write_report(tmp_path / "none", tmp_path / "out")
    (tmp_path / "detections.csv").write_text("filename,start_s,end_s,label,probability\na.wav,0,5,owl,\n")
    with pytest.raises(DataError, match=r"a row without a number or a label, in 'a.wav'"):
        write_report(tmp_path, tmp_path / "out")
    (tmp_path / "detections.csv").write_text("filename,start_s,end_s,label,probability\na.wav,0,soon,owl,1\n")
    with pytest.raises(DataError, match=r"detections.csv is not a table of detections"):
        write_report(tmp_path, tmp_path / "out")


def test_long_names_are_told_apart_and_a_label_of_both_names_is_not_repeated(tmp_path: Path) -> None:
    names = [f"Genus longus{k}_A Bird With a Name of Many Words, Form {k}" for k in range(3)]
    rows = "".join(f'{NIGHT},{5 * k},{5 * k + 5},"{name}",0.9\n' for k, name in enumerate(names))
    (tmp_path / "detections.csv").write_text(f"filename,start_s,end_s,label,probability\n{rows}")
    found = pd.read_csv(tmp_path / "detections.csv")
    both = found["label"].str.split("_", expand=True)
    found.assign(scientific_name=both[0], common_name=both[1]).to_csv(
        tmp_path / "detections.csv", index=False
    )
    page = Page(write_report(tmp_path, tmp_path / "out", settings=FEW).page)
    head = page.source[page.source.index('id="species"') :].partition("</thead>")[0]
    assert "<button" in head
    assert ">label<" not in head
    shown = {_short(f"A Bird With a Name of Many Words, Form {k} (Genus longus{k})") for k in range(3)}
    assert len(shown) == 3
    assert all(len(name) <= 40 for name in shown)
