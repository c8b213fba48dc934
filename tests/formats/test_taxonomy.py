"""Tables of names of species."""

from __future__ import annotations

from pathlib import Path

import pytest

from dawnchorus.errors import DataError
from dawnchorus.formats.taxonomy import read_taxonomy

BLACKBIRD = {
    "scientific_name": "Turdus merula",
    "common_name": "Eurasian Blackbird",
    "species_code": "eurbla",
}


@pytest.mark.parametrize("label", ["eurbla", "Turdus_merula", "turdus merula", "Eurasian Blackbird", "amsel"])
@pytest.mark.parametrize(
    "header",
    [
        "primary_label,scientific_name,common_name,species_code",
        "primary_label;SCI_NAME;PRIMARY_COM_NAME;SPECIES_CODE",
        "primary_label,Scientific Name,Common Name,eBird code",
    ],
)
def test_a_label_is_found_by_any_of_its_names(tmp_path: Path, label: str, header: str) -> None:
    path = tmp_path / "taxonomy.csv"
    row = "amsel,Turdus merula,Eurasian Blackbird,eurbla"
    path.write_text(f"{header}\n{row.replace(',', ';') if ';' in header else row}\n", encoding="utf-8")
    assert read_taxonomy(path, [label, "Engine"]) == {label: BLACKBIRD}


def test_names_that_are_not_known_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "taxonomy.csv"
    path.write_text("primary_label,scientific_name,common_name\nowl,Strix aluco,\n", encoding="utf-8")
    assert read_taxonomy(path, ["owl"]) == {"owl": {"scientific_name": "Strix aluco"}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("primary_label\nowl\n", "has no names of species; legal columns are common_name, "),
        ("scientific_name\nParus major\n", "knows none of the labels; give a table with"),
    ],
)
def test_a_table_without_names_of_these_species_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "taxonomy.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        read_taxonomy(tmp_path / "taxonomy.csv", ["owl"])
