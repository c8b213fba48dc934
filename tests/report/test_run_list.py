"""All runs of a folder side by side."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dawnchorus.cli import main
from dawnchorus.errors import RunError
from dawnchorus.report.run_list import list_runs


@pytest.fixture
def three(written: Any) -> Path:
    """Three runs: one evaluated, one trained in part, one that is just begun; return their folder."""
    folder = written.path.parent
    written.path.rmdir()
    for name, lr, aucs in (("a", 0.1, (0.7, 0.9)), ("b", 0.2, (0.85,)), ("c", 0.1, ())):
        run = type(written)(folder / name)
        run.card("owl", exp_name=name)
        optimizer = {"name": "AdamW", "lr": lr}
        run.json(
            "config.json",
            {
                "exp_name": name,
                "seed": 42,
                "folds": {"n_folds": 2},
                "nn_model_config": {"backbone": "resnet18"},
                "train_function_args": {"optimizer": optimizer},
            },
        )
        run.folds([0, 1])
        for fold, auc in enumerate(aucs):
            run.json(f"fold_{fold}/finished.json", {"val_macro_roc_auc": auc})
    (folder / "a" / "oof_score.json").write_text(json.dumps({"oof_macro_roc_auc": 0.75}))
    return folder


def test_runs_stand_side_by_side_the_best_out_of_fold_first(three: Path) -> None:
    table = list_runs([three]).set_index("name")
    assert list(table.index) == ["a", "b", "c"]
    assert table["out_of_fold"].tolist()[0] == 0.75
    assert table["out_of_fold"].isna().tolist() == [False, True, True]
    assert table["validation"].tolist()[:2] == [pytest.approx(0.8), 0.85]
    assert table["n_finished"].tolist() == [2, 1, 0]
    assert table["n_folds"].tolist() == [2, 2, 2]
    assert set(table["backbone"]) == {"resnet18"}
    assert table["trained"]["a"].endswith("+00:00")
    assert table["trained"]["c"] == ""
    lr = "train_function_args.optimizer.lr"
    assert table["differences"].tolist() == [{lr: "0.1"}, {lr: "0.2"}, {lr: "0.1"}]


def test_the_command_prints_a_table_json_or_csv(
    three: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(three.parent)
    printed = {}
    for option in ("", "--json", "--csv"):
        with pytest.raises(SystemExit) as stopped:
            main(["runs", *filter(None, [option])])  # logdirs is where runs lie
        assert stopped.value.code == 0
        printed[option] = capsys.readouterr().out
    assert "0.7500" in printed[""]
    assert "2 of 2" in printed[""]
    assert "—" in printed[""]
    rows = json.loads(printed["--json"])
    assert [row["name"] for row in rows] == ["a", "b", "c"]
    assert rows[1]["out_of_fold"] is None
    assert printed["--csv"].splitlines()[0].startswith("name,out_of_fold,validation,")
    assert len(printed["--csv"].splitlines()) == 4


def test_a_folder_without_runs_is_told(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no runs here; give a folder of runs, such as logdirs"):
        list_runs([tmp_path])
