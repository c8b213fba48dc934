"""Which species are asked for, and their labels."""

from __future__ import annotations

from pathlib import Path

import pytest

from dawnchorus.downloads.species_list import AskedSpecies, SpeciesList, plain_species, read_species
from dawnchorus.errors import DataError

BLACKBIRD = AskedSpecies("Turdus merula")


def test_names_and_lists_are_read_together_and_each_species_once(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text(
        "\ufeff# birds\nTurdus  merula\n\nparus major  # a tit\nOrtalis_guttata\n", encoding="utf-8"
    )
    (tmp_path / "taxonomy.csv").write_text(
        "primary_label,inat_taxon_id,scientific_name,common_name\n"
        'parmaj,1,Parus major,"Tit, great"\n41970,2,Panthera onca,Jaguar\n',
    )
    asked = read_species(
        ["Turdus merula", str(tmp_path / "list.txt"), str(tmp_path / "taxonomy.csv"), "Aves"]
    )
    assert asked.asked == (
        BLACKBIRD,
        AskedSpecies("Parus major", "parmaj"),
        AskedSpecies("Ortalis guttata"),
        AskedSpecies("Panthera onca", "41970"),
        AskedSpecies("Aves"),
    )


def test_all_services_give_a_species_the_label_of_the_name_asked_for() -> None:
    asked = SpeciesList((BLACKBIRD, AskedSpecies("Parus caeruleus"), AskedSpecies("Hyla", "frog")))
    assert asked.label("Turdus merula", BLACKBIRD) == "Turdus_merula"
    assert asked.label("Cyanistes caeruleus", asked.asked[1]) == "Parus_caeruleus"
    assert asked.label("Hyla arborea", asked.asked[2]) == "frog"
    assert asked.label("Turdus merula", AskedSpecies("Aves")) == "Turdus_merula"
    assert asked.label("Turdus pilaris", AskedSpecies("Turdus")) == "Turdus_pilaris"
    assert asked.label("Turdus pilaris", None) == "Turdus_pilaris"


def test_other_species_are_those_of_the_list_only_where_it_has_labels_of_its_own() -> None:
    heard = ["Erithacus rubecula", "", "Parus major", "?", "Turdus merula"]
    plain = SpeciesList((BLACKBIRD,))
    assert plain.others(heard, "Turdus_merula") == ("Erithacus_rubecula", "Parus_major")
    coded = SpeciesList((AskedSpecies("Turdus merula", "bla"), AskedSpecies("Parus major", "parmaj")))
    assert coded.others(heard, "bla") == ("parmaj",)


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("Turdus merula merula", "Turdus merula"),
        ("Anas platyrhynchos × rubripes", "Anas platyrhynchos"),
        ("Anas x rubripes", None),
        ("Anas × rubripes", None),
        ("Corvus sp.", None),
        ("Aves", None),
        ("", None),
        ("Óscar ñandú", "Óscar ñandú"),
        ("../../etc passwd", None),
    ],
)
def test_only_plain_species_count(name: str, plain: str | None) -> None:
    assert plain_species(name) == plain


@pytest.mark.parametrize("name", ["", "1234", 'Turdus" q:"A', "../x y", "a b c", "Turdus merula."])
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(DataError, match=r"--species: .* is no scientific name; write genus and species"):
        read_species([name])


@pytest.mark.parametrize(
    ("file", "text", "reason"),
    [
        ("gone.txt", None, r"species list .*gone\.txt does not exist"),
        ("a.txt", "# nothing\n", r"a\.txt: no species"),
        ("a.txt", "Turdus merula\nXC1234\n", r"a\.txt, line 2: 'XC1234' is no scientific name"),
        (
            "a.csv",
            "primary_label\nx\n",
            r"a\.csv has no column scientific_name; its columns are primary_label",
        ),
        ("a.csv", "", r"a\.csv has no column scientific_name; its columns are none"),
        ("a.csv", "scientific_name,b\nTurdus merula,1\n,2\n", r"a\.csv, line 3: '' is no scientific name"),
        ("latin.txt", b"Turdus merula\xe9", r"latin\.txt cannot be read as UTF-8"),
    ],
)
def test_a_list_that_cannot_be_read_says_why(
    tmp_path: Path, file: str, text: str | bytes | None, reason: str
) -> None:
    if text is not None:
        (tmp_path / file).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError, match=reason):
        read_species([str(tmp_path / file)])
