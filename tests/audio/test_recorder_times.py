"""When a recording began: GUANO metadata, AudioMoth's comment, and names, against independent readers."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import metamoth
import numpy as np
import pytest
import soundfile
from guano import GuanoFile
from hypothesis import given
from hypothesis import strategies as st

from dawnchorus.audio.decode import read_info
from dawnchorus.audio.recorder_times import Recorder, RecorderTime, recorder_of, recorder_time, time_at

START = datetime(2018, 3, 30, 19, 17, 30)
AUDIOMOTH = "AudioMoth 243B1F055B0F36FE"
COMMENTS = {
    # firmware 1.0, 1.0.1, 1.2.0, 1.2.2, 1.4.0, 1.6.0: after the comments that metamoth knows of each
    f"Recorded at 19:17:30 30/03/2018 by {AUDIOMOTH} at gain setting 2 while battery state was 4.2V": 0,
    f"Recorded at 19:17:30 30/03/2018 (UTC) by {AUDIOMOTH} at gain setting 2 while battery "
    "state was > 5.0V": 0,
    f"Recorded at 19:17:30 30/03/2018 (UTC+2) by {AUDIOMOTH} at gain setting 2 while battery "
    "state was 4.2V.": 2,
    f"Recorded at 19:17:30 30/03/2018 (UTC+5:45) by {AUDIOMOTH} at gain setting 4 while battery state was "
    "less than 3.6V. Recording cancelled before completion due to low battery voltage.": 5.75,
    f"Recorded at 19:17:30 30/03/2018 (UTC-10) by {AUDIOMOTH} at medium gain setting while battery state "
    "was 4.2V and temperature was -4.7C.": -10,
    f"Recorded at 19:17:30 30/03/2018 (UTC+2) by {AUDIOMOTH} using external microphone at low gain while "
    "battery was 4.2V and temperature was 21.3C. Recording stopped due to file size limit.": 2,
}


def chunk(identifier: bytes, content: bytes, *, size: int | None = None) -> bytes:
    size = len(content) if size is None else size
    return identifier + struct.pack("<I", size) + content + b"\0" * (len(content) % 2)


def audiomoth_list(comment: str, artist: str = AUDIOMOTH) -> bytes:
    """Return the LIST chunk of AudioMoth's firmware: texts in fields of fixed lengths, filled with zeros."""
    texts = chunk(b"ICMT", comment.encode().ljust(384, b"\0")) + chunk(
        b"IART", artist.encode().ljust(32, b"\0")
    )
    return chunk(b"LIST", b"INFO" + texts)


def wav(*extra: bytes, after: bytes = b"", n_samples: int = 1601) -> bytes:
    """Return a WAV file of noise, with chunks before and after its sound."""
    sound = np.random.default_rng(0).integers(-9000, 9000, n_samples).astype("<i2").tobytes()
    form = struct.pack("<HHIIHH", 1, 1, 16_000, 32_000, 2, 16)
    body = b"WAVE" + chunk(b"fmt ", form) + b"".join(extra) + chunk(b"data", sound) + after
    return chunk(b"RIFF", body)


def write_with_guano(path: Path, **fields: Any) -> Path:
    soundfile.write(path, np.zeros(1601), 16_000)
    file = GuanoFile(str(path))
    for key, value in fields.items():
        file[key.replace("_", " ")] = value
    file.write(make_backup=False)
    return path


def test_guano_metadata_are_read_as_the_guano_package_writes_them(tmp_path: Path) -> None:
    start = datetime(2023, 5, 10, 4, 59, 58, 250_000, timezone(timedelta(hours=-3, minutes=-30)))
    path = write_with_guano(
        tmp_path / "20200101_000000.wav",
        Timestamp=start,
        Loc_Position=(47.123456, -8.5),
        Make="Wildlife Acoustics",
        Model="SM4BAT",
        Serial="S4U01234",
        Note="Timestamp: none\nof these",
    )
    found = recorder_time(path)
    assert found == (start, "guano", "Wildlife Acoustics SM4BAT S4U01234", 47.123456, -8.5)
    assert found is not None
    assert found.start.utcoffset() == timedelta(hours=-3, minutes=-30)
    read_back = GuanoFile(str(path))
    assert read_back["Timestamp"] == found.start
    assert read_back["Loc Position"] == (found.latitude, found.longitude)
    assert soundfile.info(path).frames == 1601


def test_guano_time_without_an_offset_is_the_recorders_own(tmp_path: Path) -> None:
    path = write_with_guano(tmp_path / "a.wav", Timestamp=START)
    assert recorder_time(path) == RecorderTime(START, "guano")
    assert GuanoFile(str(path))["Timestamp"].tzinfo is None


def test_guano_metadata_are_found_after_sound_of_an_odd_length(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, np.zeros(1601), 16_000, subtype="PCM_24")
    with_padding = path.read_bytes()
    guano = GuanoFile(str(path))
    guano["Timestamp"] = START
    guano.write(make_backup=False)  # the guano package leaves the padding out, and misses its own chunk then
    assert path.read_bytes().index(b"guan") % 2 == 1
    assert recorder_time(path) == RecorderTime(START, "guano")
    padding = b"\0" * (len(with_padding) % 2)
    path.write_bytes(
        with_padding + padding + chunk(b"note", b"odd") + chunk(b"guan", bytes(guano.serialize()))
    )
    assert path.read_bytes().index(b"guan") % 2 == 0
    assert recorder_time(path) == RecorderTime(START, "guano")
    assert GuanoFile(str(path))["Timestamp"] == START


@given(
    st.datetimes(min_value=datetime(1970, 1, 1), max_value=datetime(2099, 12, 31)),
    st.none() | st.integers(-48, 56),
)
def test_every_time_that_guano_can_spell_comes_back(
    tmp_path_factory: pytest.TempPathFactory, start: datetime, quarters: int | None
) -> None:
    if quarters is not None:
        start = start.replace(tzinfo=timezone(timedelta(minutes=15 * quarters)))
    file = GuanoFile()
    file["Timestamp"] = start
    path = tmp_path_factory.getbasetemp() / "spelled_by_guano.wav"
    path.write_bytes(wav(after=chunk(b"guan", bytes(file.serialize()))))
    found = recorder_time(path)
    assert found is not None
    assert (found.start, found.start.utcoffset()) == (start, start.utcoffset())


@pytest.mark.parametrize(
    "line",
    [
        "Timestamp: 2023-13-10T08:00:00",
        "Timestamp: 2023-05-10",
        "Timestamp: 2023-W19-3T08:00:00",
        "Timestamp: yesterday",
        "Timestamp:",
        "WA|Timestamp: 2023-05-10T08:00:00",
        "Timestamp 2023-05-10T08:00:00",
        "\N{ARABIC-INDIC DIGIT TWO}Timestamp: 2023-05-10T08:00:00",
    ],
)
def test_what_is_no_time_in_guano_leaves_it_to_the_name(tmp_path: Path, line: str) -> None:
    path = tmp_path / "20180330_191730.wav"
    text = f"GUANO|Version: 1.0\nLoc Position: 1.5 2.5\n{line}"
    path.write_bytes(wav(after=chunk(b"guan", text.encode())))
    assert recorder_time(path) == (START, "name", None, 1.5, 2.5)


@pytest.mark.parametrize("place", ["91 0", "0 181", "nan 3", "inf -inf", "1.5", "1 2 3", "north west", ""])
def test_what_is_no_place_is_none(tmp_path: Path, place: str) -> None:
    path = tmp_path / "a.wav"
    text = f"GUANO|Version: 1.0\nTimestamp: 2018-03-30 19:17:30Z\nLoc Position: {place}\n"
    path.write_bytes(wav(after=chunk(b"guan", text.encode())))
    assert recorder_time(path) == (START.replace(tzinfo=UTC), "guano", None, None, None)


@pytest.mark.parametrize("comment", COMMENTS)
def test_audiomoth_comments_say_what_metamoth_reads_in_them(tmp_path: Path, comment: str) -> None:
    path = tmp_path / "20200101_000000.WAV"
    path.write_bytes(wav(audiomoth_list(comment)))
    found = recorder_time(path)
    assert found is not None
    assert found == (START.replace(tzinfo=found.start.tzinfo), "audiomoth", AUDIOMOTH, None, None)
    assert found.start.utcoffset() == timedelta(hours=COMMENTS[comment])
    read = metamoth.parse_metadata(path)
    assert read.datetime.replace(tzinfo=read.timezone) == found.start
    assert f"AudioMoth {read.audiomoth_id}" == found.device


def test_an_offset_west_of_greenwich_has_its_minutes_west_too(tmp_path: Path) -> None:
    comment = (
        f"Recorded at 19:17:30 30/03/2018 (UTC-3:30) by {AUDIOMOTH} at medium gain setting while battery "
        "state was 4.2V and temperature was 21.3C."
    )
    path = tmp_path / "a.wav"
    path.write_bytes(wav(audiomoth_list(comment)))
    found = recorder_time(path)
    assert found is not None
    assert found.start == datetime(
        2018, 3, 30, 22, 47, 30, tzinfo=UTC
    )  # Newfoundland; metamoth adds the minutes
    assert metamoth.parse_metadata(path).datetime == found.start.replace(tzinfo=None)


def test_the_device_of_a_deployment_is_the_artist(tmp_path: Path) -> None:
    comment = (
        "Recorded at 19:17:30 30/03/2018 (UTC) during deployment 0123456789ABCDEF at medium gain while "
        "battery was 4.2V and temperature was 21.3C."
    )
    path = tmp_path / "a.wav"
    path.write_bytes(wav(audiomoth_list(comment)))
    assert recorder_time(path) == RecorderTime(START.replace(tzinfo=UTC), "audiomoth", AUDIOMOTH)
    assert metamoth.parse_metadata(path).deployment_id == "0123456789ABCDEF"
    path.write_bytes(wav(audiomoth_list(comment, artist="somebody")))
    assert recorder_time(path) == RecorderTime(START.replace(tzinfo=UTC), "audiomoth", None)


def test_a_comment_that_libsndfile_writes_is_found_before_or_after_the_sound(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    with soundfile.SoundFile(path, "w", 16_000, 2, subtype="PCM_24") as file:
        file.title = "odd"
        file.comment = f"Recorded at 19:17:30.5 30/03/2018 (UTC+1) by {AUDIOMOTH}"
        file.write(np.zeros((1601, 2)))
    found = recorder_time(path)
    expected = datetime(2018, 3, 30, 18, 17, 30, 500_000, UTC)
    assert found == RecorderTime(expected, "audiomoth", AUDIOMOTH)
    path.write_bytes(wav(after=audiomoth_list(next(iter(COMMENTS)))))
    assert recorder_time(path) == RecorderTime(START.replace(tzinfo=UTC), "audiomoth", AUDIOMOTH)


@pytest.mark.parametrize(
    "comment",
    [
        f"Recorded at 19:17:30 31/02/2018 (UTC) by {AUDIOMOTH}",
        f"Recorded at 25:17:30 30/03/2018 (UTC) by {AUDIOMOTH}",
        f"Recorded at 19:17:30 30/03/2018 (UTC+99) by {AUDIOMOTH}",
        "Recorded at 19:17:30 30/03/2018 (UTC) by my neighbour",
        "Recorded at home",
        "",
    ],
)
def test_what_is_no_comment_of_an_audiomoth_leaves_it_to_the_name(tmp_path: Path, comment: str) -> None:
    (tmp_path / "a.wav").write_bytes(wav(audiomoth_list(comment)))
    assert recorder_time(tmp_path / "a.wav") is None
    (tmp_path / "20230510_080000.wav").write_bytes(wav(audiomoth_list(comment)))
    found = recorder_time(tmp_path / "20230510_080000.wav")
    assert found is not None
    assert (found.start, found.source) == (datetime(2023, 5, 10, 8), "name")


def test_guano_is_trusted_before_the_comment_and_that_before_the_name(tmp_path: Path) -> None:
    comment = audiomoth_list(f"Recorded at 19:17:30 30/03/2018 (UTC) by {AUDIOMOTH}")
    guano = chunk(b"guan", b"GUANO|Version: 1.0\nTimestamp: 2019-01-01T00:00:00\n")
    path = tmp_path / "20200101_000000.wav"
    sources = []
    for content in (wav(comment, after=guano), wav(guano, comment), wav(comment), wav(), b"", None):
        path.unlink(missing_ok=True)
        if content is not None:
            path.write_bytes(content)
        found = recorder_time(path)
        assert found is not None
        sources.append((found.source, found.start.year))
    assert sources == [("guano", 2019), ("guano", 2019), ("audiomoth", 2018), *[("name", 2020)] * 3]


def utc_offset(hours: float) -> timezone:
    return timezone(timedelta(hours=hours))


NAMES = [
    ("20230510_080000.WAV", datetime(2023, 5, 10, 8)),
    ("20230510_080000T.WAV", datetime(2023, 5, 10, 8)),  # AudioMoth, triggered by a sound
    ("243B1F055B0F36FE_20230510_080000.WAV", datetime(2023, 5, 10, 8)),
    ("SM4XXXX_20230510_080000.wav", datetime(2023, 5, 10, 8)),
    ("SITE-A_0+1_20230510_080000_000.wav", datetime(2023, 5, 10, 8)),
    ("SITE01_0_20230510$080000.wac", datetime(2023, 5, 10, 8)),
    ("20230510-080000.flac", datetime(2023, 5, 10, 8)),
    ("20230510T080000.flac", datetime(2023, 5, 10, 8)),
    ("20230510T080000Z.flac", datetime(2023, 5, 10, 8, tzinfo=UTC)),
    ("site 3 20230510_080000Z (copy).flac", datetime(2023, 5, 10, 8, tzinfo=UTC)),
    ("20230510T080000+0200_REC [-27.4 152.9].flac", datetime(2023, 5, 10, 8, tzinfo=utc_offset(2))),
    ("20230510T080000-0330_REC.flac", datetime(2023, 5, 10, 8, tzinfo=utc_offset(-3.5))),
    ("20230510T080000+02.flac", datetime(2023, 5, 10, 8, tzinfo=utc_offset(2))),
    ("20230510_080000+1000.flac", datetime(2023, 5, 10, 8, tzinfo=utc_offset(10))),
    ("20230510_080000-0200.flac", datetime(2023, 5, 10, 8)),  # may be a counter
    ("20230510T080000-0001.flac", datetime(2023, 5, 10, 8)),  # is one
    ("20230510T080000+9900.flac", datetime(2023, 5, 10, 8)),
    ("2023-05-10_08-00-00.ogg", datetime(2023, 5, 10, 8)),
    ("Vögel_2023-05-10_08-00-00_2.ogg", datetime(2023, 5, 10, 8)),
    ("2023-05-10T08-00-00+05:45.ogg", datetime(2023, 5, 10, 8, tzinfo=utc_offset(5.75))),
    ("2023-05-10 08.00.00.m4a", datetime(2023, 5, 10, 8)),
    ("20231310_080000_20230510_080000.wav", datetime(2023, 5, 10, 8)),  # the first is none
    ("20230510_080000_20230510_090000.wav", datetime(2023, 5, 10, 8)),  # start and end
    ("12345678-20230510_080000.wav", datetime(2023, 5, 10, 8)),
    ("20240229_235959.wav", datetime(2024, 2, 29, 23, 59, 59)),
    ("5B9C3A2F.WAV", datetime(2018, 9, 14, 22, 46, 7, tzinfo=UTC)),
    ("5b9c3a2f.flac", datetime(2018, 9, 14, 22, 46, 7, tzinfo=UTC)),
    ("57903412.WAV", datetime(2016, 7, 21, 2, 31, 46, tzinfo=UTC)),
    (
        "S20240101T000000.000+0000_E20240101T010000.000+0000_+51.50000-000.12000.wav",
        datetime(2024, 1, 1, tzinfo=UTC),
    ),
    (
        "S20240101T000000.25+1000_E20240101T010000+1000.flac",
        datetime(2024, 1, 1, 0, 0, 0, 250_000, utc_offset(10)),
    ),
    ("20230510T080000+1000_REC_-27.1-152.9.flac", datetime(2023, 5, 10, 8, tzinfo=utc_offset(10))),
    ("20091219T070006.789123+1130_00600.wav", datetime(2009, 12, 19, 7, 0, 6, 789_123, utc_offset(11.5))),
    ("2023-05-10-birdnet-08:00:00.wav", datetime(2023, 5, 10, 8)),
    ("2023-05-10-birdnet-RTSP_1-08:00:00.wav", datetime(2023, 5, 10, 8)),
    ("Eurasian_Wren-85-2023-05-10-birdnet-08:00:00.mp3", datetime(2023, 5, 10, 8)),
    ("5678.230510080000.wav", datetime(2023, 5, 10, 8)),
    ("671629352.181204100002.wav", datetime(2018, 12, 4, 10, 0, 2)),
    ("20230510080000.wav", datetime(2023, 5, 10, 8)),
    ("pond_20230510080000Z.wav", datetime(2023, 5, 10, 8, tzinfo=UTC)),
    ("FNQ-RBS_20190102_044802_010.wav", datetime(2019, 1, 2, 4, 48, 2)),
    ("OWL_55063_2024-11-27_T16-47-33.wav", datetime(2024, 11, 27, 16, 47, 33)),
    ("SwiftOne_20220719_000000_-0400.wav", datetime(2022, 7, 19, tzinfo=utc_offset(-4))),
]
NO_TIMES = [
    "20231310_080000.wav",  # month 13
    "20230231_080000.wav",
    "20230229_080000.wav",
    "20230510_240000.wav",
    "20230510_086000.wav",
    "00230510_080000.wav",  # no recorder's year
    "99990510_080000.wav",
    "120230510_080000.wav",  # longer numbers
    "20230510_0800001.wav",
    "REC20230510_080000.wav",  # not at a token's border
    "20230510_080000abc.wav",
    "ä20230510_080000.wav",
    "2023-05-1008-00-00.wav",
    "2023-0510_080000.wav",
    "20230510_08-0000.wav",
    "20230510.wav",  # in hexadecimal, the year 1987
    "20230510_0800.wav",
    "٢٠٢٣٠٥١٠_٠٨٠٠٠٠.wav",
    "5B9C3A2F1.WAV",
    "5B9C3A2.WAV",
    "5B9C3A2F_1.WAV",
    "A5B9C3A2.WAV",  # the year 2057
    "0000001E.WAV",  # a clock that was never set
    "FFFFFFFF.WAV",
    "20231310080000.wav",
    "120230510080000.wav",
    "5678.231310080000.wav",
    "5678.2305100800001.wav",
    "2023-13-10-birdnet-08:00:00.wav",
    "S20241301T000000.000+0000.wav",
    "XC134.ogg",
    ".wav",
    "",
]


@pytest.mark.parametrize(("name", "start"), NAMES)
def test_names_that_recorders_give_tell_the_time(name: str, start: datetime) -> None:
    found = recorder_time(Path("20010101_000000") / name)
    assert found is not None
    assert found[:3] == (start, "name", None)
    assert found.start.utcoffset() == start.utcoffset()


@pytest.mark.parametrize("name", NO_TIMES)
def test_names_without_a_time_tell_none(name: str) -> None:
    assert recorder_time(Path("20010101_000000") / "sub" / name) is None


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("20230510T080000+1000_REC [-27.4 152.9].flac", (-27.4, 152.9)),
        ("20230510T080000+1000_REC_-27.1-152.9.flac", (-27.1, -152.9)),
        ("S20240101T000000.000+0000_E20240101T010000.000+0000_+51.50000-000.12000.wav", (51.5, -0.12)),
        ("20230510T080000+1000_REC [-97.4 152.9].flac", (None, None)),
        ("20230510T080000+1000_REC [-27.4 192.9].flac", (None, None)),
        ("20230510_080000.wav", (None, None)),
    ],
)
def test_names_of_frontier_labs_tell_the_place(name: str, place: tuple[float | None, float | None]) -> None:
    assert recorder_of(Path(name)) == Recorder(None, *place)


def test_device_and_place_are_known_without_a_time(tmp_path: Path) -> None:
    path = write_with_guano(tmp_path / "a.wav", Make="Titley", Model="Chorus", Loc_Position="1.5 2.5")
    assert recorder_time(path) is None
    assert recorder_of(path).device == "Titley Chorus"
    assert recorder_of(tmp_path / "missing.wav") == Recorder()


BORDERS = st.sampled_from(["", "_", "-", " ", "$", "(", "SM4_", "site-3_"])


@given(
    start=st.datetimes(min_value=datetime(1900, 1, 1), max_value=datetime(2099, 12, 31)),
    form=st.sampled_from(
        ["%Y%m%d_%H%M%S", "%Y%m%d$%H%M%S", "%Y-%m-%d_%H-%M-%S", "%Y%m%d-%H%M%S", "%Y%m%dT%H%M%S"]
    ),
    before=BORDERS,
    after=st.sampled_from(["", "_", "_1", " (2)", ".part", "_20200101_000000"]),
    quarters=st.none() | st.integers(-48, 56),
)
def test_every_time_that_is_formatted_into_a_name_comes_back(
    start: datetime, form: str, before: str, after: str, quarters: int | None
) -> None:
    start = start.replace(microsecond=0)
    if quarters is not None and ("T" in form or quarters >= 0):
        start = start.replace(tzinfo=timezone(timedelta(minutes=15 * quarters)))
        form += "%z"
    found = recorder_time(Path(f"{before}{start.strftime(form)}{after}.wav"))
    assert found is not None
    assert (found.start, found.start.utcoffset()) == (start, start.utcoffset())
    utc = recorder_time(Path(f"{before}{start.strftime(form.removesuffix('%z'))}Z{after}.wav"))
    assert utc == RecorderTime(start.replace(tzinfo=UTC), "name")


@given(st.datetimes(min_value=datetime(2014, 1, 1), max_value=datetime(2040, 12, 31)))
def test_every_name_of_an_old_audiomoth_is_its_unix_time(start: datetime) -> None:
    start = start.replace(microsecond=0, tzinfo=UTC)
    found = recorder_time(Path(f"{int(start.timestamp()):08X}.WAV"))
    assert found == RecorderTime(start, "name")


@pytest.fixture
def described() -> bytes:
    """A WAV file with an AudioMoth's comment before its sound and GUANO metadata after it."""
    comment = audiomoth_list(f"Recorded at 19:17:30 30/03/2018 (UTC) by {AUDIOMOTH}")
    guano = chunk(b"guan", b"GUANO|Version: 1.0\nTimestamp: 2019-01-01T00:00:00\nLoc Position: 1.5 2.5\n")
    return wav(comment, after=guano, n_samples=100)


def test_a_file_that_is_cut_off_anywhere_tells_nothing_wrong(tmp_path: Path, described: bytes) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(described)
    whole = recorder_time(path)
    comment_only = RecorderTime(START.replace(tzinfo=UTC), "audiomoth", AUDIOMOTH)
    found = []
    for length in range(len(described)):
        path.write_bytes(described[:length])
        found.append(recorder_time(path))
    assert whole is not None
    assert whole.source == "guano"
    assert set(found) == {None, comment_only}
    n_before_sound = described.index(b"data")
    assert found[n_before_sound:] == [comment_only] * (len(described) - n_before_sound)


def test_damage_raises_nothing(
    tmp_path: Path, described: bytes, mutated: Callable[[bytes, np.random.Generator], bytes]
) -> None:
    rng = np.random.default_rng(0)
    path = tmp_path / "20200101_000000.wav"
    sources = set()
    for _ in range(600):
        path.write_bytes(mutated(described, rng))
        found = recorder_time(path)
        assert found is not None
        sources.add(found.source)
    assert sources == {"guano", "audiomoth", "name"}


@pytest.mark.parametrize(
    "content",
    [
        b"RIFF\0\0\0\0WAVE" + bytes(100_000),
        b"RIFF\0\0\0\0WAVE" + chunk(b"guan", b"Timestamp: 2019-01-01T00:00:00", size=2**32 - 1),
        b"RIFF\0\0\0\0WAVE" + chunk(b"guan", b"Timestamp: 2019-01-01T00:00:00" + bytes(2 << 20)),
        b"RIFF\0\0\0\0WAVE" + chunk(b"JUNK", b"") * 1000 + chunk(b"guan", b"Timestamp: 2019-01-01T00:00:00"),
        b"RIFF\0\0\0\0WAVE" + chunk(b"LIST", b"INFO" + chunk(b"ICMT", b"", size=9)),
        b"RF64\0\0\0\0WAVE" + chunk(b"ds64", b"\xff" * 24) + chunk(b"data", b"", size=2**32 - 1),
        b"RIFX\0\0\0\0WAVE" + chunk(b"guan", b"Timestamp: 2019-01-01T00:00:00"),
        b"\xff" * 100,
    ],
)
def test_headers_that_lead_astray_are_left(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "20200101_000000.wav"
    path.write_bytes(content)
    assert recorder_time(path) == RecorderTime(datetime(2020, 1, 1), "name")


def test_a_folder_is_known_by_its_name_alone(tmp_path: Path) -> None:
    (tmp_path / "20200101_000000.wav").mkdir()
    assert recorder_time(tmp_path / "20200101_000000.wav") == RecorderTime(datetime(2020, 1, 1), "name")


def test_of_gigabytes_only_headers_and_metadata_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    n_bytes = 5 << 30
    text = b"GUANO|Version: 1.0\nTimestamp: 2023-05-10T08:00:00+02:00\n"
    path = tmp_path / "long.wav"
    with path.open("wb") as file:
        file.write(b"RF64" + struct.pack("<I", 2**32 - 1) + b"WAVE")
        file.write(chunk(b"ds64", struct.pack("<QQQI", n_bytes + 200, n_bytes, n_bytes // 2, 0)))
        file.write(chunk(b"fmt ", struct.pack("<HHIIHH", 1, 1, 32_000, 64_000, 2, 16)))
        file.write(chunk(b"data", b"", size=2**32 - 1))
        file.seek(n_bytes, 1)  # a hole: the disk holds none of it
        file.write(chunk(b"guan", text))
    assert read_info(path).n_frames == n_bytes // 2
    n_read = []

    class Counting(io.FileIO):
        def read(self, size: int = -1, /) -> bytes:
            n_read.append(size)
            return super().read(size)  # type: ignore[return-value]

    def counting_open(self: Path, mode: str, buffering: int) -> Counting:
        assert buffering == 0  # or the system would be asked for more
        return Counting(self, mode)

    monkeypatch.setattr(Path, "open", counting_open)
    found = recorder_time(path)
    assert found == RecorderTime(datetime(2023, 5, 10, 8, tzinfo=utc_offset(2)), "guano")
    assert all(size > 0 for size in n_read)
    assert sum(n_read) == 12 + 4 * 8 + 16 + len(text)


@given(st.datetimes(min_value=datetime(1990, 1, 1), max_value=datetime(2090, 1, 1)), st.integers(0, 10**12))
def test_a_time_within_a_recording_is_exact_to_the_microsecond(start: datetime, offset_us: int) -> None:
    found = time_at(start, offset_us / 1_000_000)
    assert (found - start) // timedelta(microseconds=1) == offset_us
    aware = time_at(start.replace(tzinfo=utc_offset(5.75)), offset_us / 1_000_000)
    assert aware == found.replace(tzinfo=utc_offset(5.75))
    assert aware.utcoffset() == timedelta(hours=5.75)


def test_a_time_within_a_recording_takes_numpy_numbers_and_goes_with_the_clocks() -> None:
    assert time_at(START, np.float32(0.5)) == START + timedelta(seconds=0.5)
    assert time_at(START, np.int64(3600)) == START + timedelta(hours=1)
    berlin = datetime(2023, 3, 26, 1, 59, 59, tzinfo=ZoneInfo("Europe/Berlin"))
    assert str(time_at(berlin, 1)) == "2023-03-26 03:00:00+02:00"
