"""Tables of recordings with labels for the whole file."""

from __future__ import annotations

from pathlib import Path

import pytest

from dawnchorus.errors import DataError
from dawnchorus.recordings.table_readers import parse_label_list, read_recordings_table

TRAIN_CSV = """\
primary_label,secondary_labels,type,latitude,longitude,author,filename,rating,url
asbfly,"['grnsan', 'rubthr']",['song'],39.2297,118.1987,Matt Slaymaker,asbfly/XC134896.ogg,2.5,https://x/134896
grnsan,[''],['call'],,,Someone,grnsan/XC1.ogg,0,https://x/1
rubthr,[],['call'],None,nan,,rubthr/XC2.ogg,,https://x/2
"""


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "recordings.csv"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not a CSV table"),
        ("filename\na.wav\n", "has no column primary_label; its columns are filename"),
        ("filename,primary_label\n", "lists no recordings"),
    ],
)
def test_a_table_that_is_none_is_told_in_a_sentence(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_recordings_table(write(tmp_path, text))


def test_a_missing_table_is_told_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist; give a CSV"):
        read_recordings_table(tmp_path / "nowhere.csv")


def test_a_folder_in_the_place_of_a_table_is_told_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read; Is a directory"):
        read_recordings_table(tmp_path)


def test_birdclefs_table_is_read_as_it_is(tmp_path: Path) -> None:
    table, faults = read_recordings_table(write(tmp_path, TRAIN_CSV))
    assert faults == []
    assert table["secondary_labels"].tolist() == [("grnsan", "rubthr"), (), ()]
    assert table["rating"].tolist()[:2] == [2.5, 0.0]
    assert table["rating"].isna().tolist() == [False, False, True]
    assert table["latitude"][0] == pytest.approx(39.2297)
    assert table["latitude"].isna().tolist() == [False, True, True]
    assert table["longitude"].isna().tolist() == [False, True, True]
    assert table["url"][2] == "https://x/2"
    assert table["author"].tolist() == ["Matt Slaymaker", "Someone", ""]


def test_all_faults_are_listed_with_their_lines_and_the_other_rows_are_kept(tmp_path: Path) -> None:
    lines = [
        "filename,primary_label,rating,latitude,secondary_labels",
        "good.wav,x,3,,",
        "no_label.wav,,3,,",
        "good.wav,y,3,,",
        "bad_rating.wav,x,A,,",
        "high_rating.wav,x,10,,",
        "bad_list.wav,x,,,\"['y', \"",
        "bad_place.wav,x,,91,",
        ",x,,,",
        "two.wav,,-1,,",
    ]
    table, faults = read_recordings_table(write(tmp_path, "\n".join(lines)))
    assert table["filename"].tolist() == ["good.wav"]
    assert table["line"].tolist() == [2]
    told = {(fault.line, fault.what.split(";")[0]) for fault in faults}
    assert told == {
        (3, "primary_label is empty"),
        (4, "good.wav listed more than once"),
        (5, "rating is 'A'"),
        (6, "rating is 10, beyond 0 to 5"),
        (7, "secondary_labels is \"['y',\": a bracket is open"),
        (8, "latitude is 91, beyond -90 to 90"),
        (9, "filename is empty"),
        (10, "primary_label is empty"),
        (10, "rating is -1, beyond 0 to 5"),
    }


def test_a_short_line_has_empty_cells(tmp_path: Path) -> None:
    table, faults = read_recordings_table(write(tmp_path, "filename,primary_label,author\na.wav,x\n"))
    assert (table["author"].tolist(), faults) == ([""], [])


def test_a_species_may_be_coded_na_and_cells_may_have_spaces(tmp_path: Path) -> None:
    table, _ = read_recordings_table(write(tmp_path, "\ufefffilename, primary_label\na.wav, NA\n"))
    assert table["primary_label"].tolist() == ["NA"]


@pytest.mark.parametrize(
    ("cell", "labels"),
    [
        ("a b", ("a", "b")),
        ("Turdus merula", ("Turdus merula",)),
        ("a;b", ("a", "b")),
        ("['Cyanopica cooki', 'b']", ("Cyanopica cooki", "b")),
        ('["Swainson\'s thrush, juvenile", "b"]', ("Swainson's thrush, juvenile", "b")),
        ("[a, b]", ("a", "b")),
        ("['asbfly1' 'comior1']", ("asbfly1", "comior1")),
        ("('a', 'b')", ("a", "b")),
        ("{'a'}", ("a",)),
        ("a|b", ("a", "b")),
        ("nan", ()),
        ("None", ()),
        ("Corvus corax (juvenile)", ("Corvus corax (juvenile)",)),
        ("[]", ()),
        ("['']", ()),
        ("", ()),
        (float("nan"), ()),
        ("a;a", ("a",)),
        ("[__import__('os').system('false')]", ("__import__('os').system('false')",)),
    ],
)
def test_lists_of_labels_are_parsed_and_never_evaluated(cell: object, labels: tuple[str, ...]) -> None:
    assert parse_label_list(cell, known={"a", "b"}) == labels


def test_a_list_that_nests_beyond_reason_is_no_danger() -> None:
    assert parse_label_list("[" * 50_000 + "]" * 50_000) == ()


def test_labels_that_are_known_from_elsewhere_separate_a_list_with_spaces(tmp_path: Path) -> None:
    path = write(tmp_path, "filename,primary_label,secondary_labels\nx.wav,a,a b\ny.wav,a,Turdus merula\n")
    assert read_recordings_table(path)[0]["secondary_labels"].tolist() == [("a b",), ("Turdus merula",)]
    assert read_recordings_table(path, ("b",))[0]["secondary_labels"].tolist() == [("b",), ("Turdus merula",)]


@pytest.mark.parametrize("separator", [";", "\t"])
def test_a_table_may_be_separated_by_semicolons_or_tabs(tmp_path: Path, separator: str) -> None:
    text = TRAIN_CSV.replace("['grnsan', 'rubthr']", "grnsan|rubthr").replace('"', "").replace(",", separator)
    table, faults = read_recordings_table(write(tmp_path, text))
    assert faults == []
    assert table["secondary_labels"][0] == ("grnsan", "rubthr")


def test_a_table_in_another_encoding_is_told(tmp_path: Path) -> None:
    (tmp_path / "latin.csv").write_bytes("filename,primary_label\ncafé.wav,x\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"latin\.csv is no text in UTF-8; save it as UTF-8"):
        read_recordings_table(tmp_path / "latin.csv")


def test_more_cells_than_columns_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has more cells in its lines than in its header"):
        read_recordings_table(write(tmp_path, "filename,primary_label\na.wav,x,\nb.wav,y,\n"))
