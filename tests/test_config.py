"""Config files: bases, merging, messages, and what is kept beside a run."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dawnchorus.config import (
    InferenceConfig,
    TrainConfig,
    config_chain,
    differing_keys,
    from_json_file,
    load_inference_config,
    load_train_config,
    merge,
    read_config_file,
    to_jsonable,
    validate,
)
from dawnchorus.config.config_list import differences_table, list_configs, own_settings
from dawnchorus.config.registry import LOSSES
from dawnchorus.errors import ConfigError

REPOSITORY = Path(__file__).resolve().parents[1]


def shipped(folder: str) -> list[Path]:
    """Return the configs of a folder that come with the project; beside them may lie a user's own."""
    listed = subprocess.run(
        ["git", "ls-files", f"{folder}/*.py"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    ).stdout.split()
    paths = [REPOSITORY / name for name in listed] or list((REPOSITORY / folder).glob("*.py"))
    return sorted(path for path in paths if path.parent == REPOSITORY / folder)


TRAIN_CONFIGS = [path for path in shipped("train_configs") if "exp_name" in path.read_text()]


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("path", TRAIN_CONFIGS, ids=lambda path: path.stem)
def test_every_config_that_comes_with_the_project_is_legal(path: Path) -> None:
    assert load_train_config(path).exp_name == path.stem


@pytest.mark.parametrize("path", shipped("inference_configs"), ids=lambda p: p.stem)
def test_every_inference_config_names_a_training_config_that_is_there(path: Path) -> None:
    config = load_inference_config(path)
    assert config.train_config is not None
    assert load_train_config(config.train_config).exp_name == config.exp_name


def test_the_winning_configs_differ_from_each_other_in_what_the_recipe_says() -> None:
    ebs, eca = (
        to_jsonable(load_train_config(REPOSITORY / "train_configs" / f"selected_{name}.py"))
        for name in ("ebs", "eca")
    )
    keys = {difference.split(":")[0] for difference in differing_keys(ebs, eca)}
    assert keys == {
        "exp_name",
        "nn_model_config.backbone",
        "train_function_args.class_balance",
        "train_function_args.optimizer.lr",
        "train_function_args.optimizer.name",
        "train_function_args.optimizer.weight_decay",
        "train_function_args.repeat_rare_to",
        "folds.rare_up_to",
        "nn_model_config.weights",
        "train_function_args.train_dataset_config.soundscape_pseudo_config.tables",
    }


@pytest.mark.parametrize(
    ("name", "base", "keys"),
    [
        ("best_solo_ebs", "selected_ebs", {"tables"}),
        ("best_ensem_ebs1", "selected_ebs", {"rare_up_to", "out_of_fold_targets"}),
        ("best_ensem_ebs2", "best_solo_ebs", {"weights"}),
        (
            "pretrain_ebs_large",
            "pretrain_ebs",
            {"main_metric"},
        ),  # and its recordings
        ("pretrain_eca_large", "pretrain_eca", {"min_lr"}),
        ("sample_b", "sample_a", {"seed", "soundscape_pseudo_config"}),
    ],
)
def test_an_experiment_differs_from_its_neighbour_in_a_few_keys(name: str, base: str, keys: set[str]) -> None:
    values, others = (
        to_jsonable(load_train_config(REPOSITORY / "train_configs" / f"{one}.py")) for one in (name, base)
    )
    differing = {difference.split(":")[0].split(".")[-1] for difference in differing_keys(values, others)}
    assert differing == {*keys, "exp_name"}


def test_what_each_config_states_itself_is_a_few_lines() -> None:
    listed = list_configs(REPOSITORY / "train_configs")
    table = differences_table(listed)
    sys.stdout.write(table)  # shown with -rP
    names = {config.path.stem for config in listed if config.is_experiment}
    assert {"selected_ebs", "selected_eca", "best_solo_ebs", "best_ensem_ebs1", "best_ensem_ebs2"} <= names
    assert {"pretrain_ebs", "pretrain_ebs_large", "pretrain_eca", "pretrain_eca_large"} <= names
    assert "| best_ensem_ebs1 | selected_ebs | `folds.rare_up_to` | `0` |" in table.splitlines()
    for config in (config for config in listed if config.path in shipped("train_configs")):
        assert config.summary
        if config.is_experiment and config.path.stem not in ("smoke", "small_data", "student_fast"):
            assert len(own_settings(config.path)) <= 3, config.path


def test_a_folder_without_configs_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no config files here; give a folder of them"):
        list_configs(tmp_path)


def test_a_listed_file_that_is_not_python_is_told(tmp_path: Path) -> None:
    write(tmp_path / "mine.py", "CONFIG = {")
    with pytest.raises(ConfigError, match=r"mine\.py is no Python file"):
        list_configs(tmp_path)


def test_a_config_may_be_laid_over_several(tmp_path: Path) -> None:
    write(tmp_path / "ground.py", "CONFIG = {'seed': 1, 'data': {'audio_dir': 'a'}}")
    write(tmp_path / "one.py", "CONFIG = {'base': 'ground.py', 'data': {'features_dir': 'f'}}")
    write(tmp_path / "two.py", "CONFIG = {'seed': 3, 'data': {'features_dir': 'g'}}")
    top = write(tmp_path / "top.py", "CONFIG = {'base': ['one.py', 'two.py'], 'exp_name': 'x'}")
    assert read_config_file(top) == {
        "seed": 3,
        "data": {"audio_dir": "a", "features_dir": "g"},
        "exp_name": "x",
    }
    assert [path.name for path in config_chain(top)] == ["top.py", "one.py", "ground.py", "two.py"]


def test_a_chain_that_leads_back_is_told_whoever_follows_it(tmp_path: Path) -> None:
    write(tmp_path / "one.py", "CONFIG = {'base': 'two.py'}")
    two = write(tmp_path / "two.py", "CONFIG = {'base': ['one.py']}")
    for follow in (config_chain, read_config_file):
        with pytest.raises(ConfigError, match="its base leads back to itself"):
            follow(two)


def test_a_base_may_be_a_path_and_the_dict_annotated(tmp_path: Path) -> None:
    write(tmp_path / "ground.py", "CONFIG = {'seed': 1}")
    text = "from pathlib import Path\nCONFIG: dict = {'base': Path('ground.py'), 'exp_name': 'x', 'seed': 2}"
    write(tmp_path / "top.py", text)
    listed = list_configs(tmp_path)
    assert [(config.path.stem, config.is_experiment) for config in listed] == [
        ("top", True),
        ("ground", False),
    ]
    assert "| top | ground | `seed` | `2` |" in differences_table(listed)


def test_a_base_that_is_no_path_is_told(tmp_path: Path) -> None:
    top = write(tmp_path / "top.py", "CONFIG = {'base': 3}")
    with pytest.raises(ConfigError, match="base is 3; give the path of another config file, or several"):
        read_config_file(top)


def test_dicts_are_merged_key_by_key_and_other_values_replaced() -> None:
    base = {"a": {"b": 1, "c": 2}, "d": [1, 2]}
    assert merge(base, {"a": {"c": 3}, "d": [4]}) == {"a": {"b": 1, "c": 3}, "d": [4]}
    assert base == {"a": {"b": 1, "c": 2}, "d": [1, 2]}


def test_a_config_is_laid_over_its_base_and_that_over_its_own(tmp_path: Path) -> None:
    write(tmp_path / "ground.py", "CONFIG = {'seed': 1, 'data': {'audio_dir': 'a'}}")
    write(tmp_path / "middle.py", "CONFIG = {'base': 'ground.py', 'data': {'features_dir': 'f'}}")
    top = write(tmp_path / "top.py", "CONFIG = {'base': 'middle.py', 'seed': 2}")
    assert read_config_file(top) == {"seed": 2, "data": {"audio_dir": "a", "features_dir": "f"}}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.yaml", "x: 1", "is not a Python file"),
        ("a.py", "CONFIG = [1]", "defines no dict named CONFIG"),
        ("a.py", "x = 1", "defines no dict named CONFIG"),
        ("a.py", "CONFIG = {", "cannot be run: SyntaxError"),
        ("a.py", "import nowhere", "cannot be run: ModuleNotFoundError"),
        ("a.py", "CONFIG = {'base': 'a.py'}", "leads back to itself"),
        ("a.py", "CONFIG = {'base': 3}", "base is 3"),
        ("a.py", "CONFIG = {'base': 'b.py'}", "b.py is not a file"),
    ],
)
def test_a_config_file_that_cannot_be_used_is_told_in_a_sentence(
    tmp_path: Path, name: str, text: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        read_config_file(write(tmp_path / name, text))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sede": 1}, r"mine.py: sede is not known; did you mean seed\?"),
        (
            {"train_function_args": {"n_epoch": 1}},
            r"train_function_args.n_epoch is not known; did you mean n_epochs\?",
        ),
        (
            {"train_function_args": {"optimizer": {"xyz": 1}}},
            "optimizer.xyz is not known; legal keys are args, lr, name, weight_decay",
        ),
        (
            {"train_function_args": {"n_epochs": 0}},
            "mine.py: train_function_args.n_epochs is 0; legal: 1 or more",
        ),
        ({"exp_name": "a/b"}, "exp_name is 'a/b'"),
        ({"data": None}, "data is None"),
    ],
)
def test_a_wrong_key_or_value_is_named_with_what_would_be_legal(
    changes: dict[str, object], message: str
) -> None:
    values = merge(read_config_file(REPOSITORY / "train_configs" / "selected_ebs.py"), changes)
    with pytest.raises(ConfigError, match=message):
        validate(TrainConfig, values, where="mine.py")


def test_the_model_may_be_named_inside_the_training_arguments() -> None:
    path = REPOSITORY / "train_configs" / "selected_ebs.py"
    values = read_config_file(path)
    model = {"nn_model_class": values.pop("nn_model_class"), "nn_model_config": {"backbone": "x"}}
    del values["nn_model_config"]
    inside = validate(TrainConfig, merge(values, {"train_function_args": model}), where="here")
    assert inside.nn_model_config == {"backbone": "x"}


def test_the_model_named_in_both_places_is_refused() -> None:
    values = read_config_file(REPOSITORY / "train_configs" / "selected_ebs.py")
    twice = merge(values, {"train_function_args": {"nn_model_config": {}}})
    with pytest.raises(ConfigError, match="given both at the top and in train_function_args"):
        validate(TrainConfig, twice, where="here")


def test_a_missing_key_is_named() -> None:
    with pytest.raises(ConfigError, match="exp_name is missing"):
        validate(TrainConfig, {}, where="here")


def test_a_resolved_config_survives_json(tmp_path: Path) -> None:
    config = load_train_config(REPOSITORY / "train_configs" / "selected_eca.py")
    file = write(tmp_path / "config.json", json.dumps(to_jsonable(config)))
    assert from_json_file(file) == config


def test_a_saved_config_is_read_although_its_modules_were_renamed(tmp_path: Path) -> None:
    config = load_train_config(REPOSITORY / "train_configs" / "selected_eca.py")
    saved = to_jsonable(config)
    values = json.loads(json.dumps(saved).replace("dawnchorus.datasets.", "dawnchorus.data."))
    assert values != saved
    assert from_json_file(write(tmp_path / "config.json", json.dumps(values))) == config
    assert differing_keys(values, saved) == []


def test_a_saved_config_cannot_name_a_class_from_elsewhere(tmp_path: Path) -> None:
    config = load_train_config(REPOSITORY / "train_configs" / "selected_eca.py")
    values = {**to_jsonable(config), "nn_model_class": "os:system"}
    file = write(tmp_path / "config.json", json.dumps(values))
    with pytest.raises(
        ConfigError,
        match="'os:system', which is no network of dawnchorus; a saved config imports no code: open",
    ):
        from_json_file(file)


class _Sharpened:
    """A part that is an object; what it says of itself tells two of them apart."""

    def __init__(self, gamma: float) -> None:
        self.gamma = gamma

    def __repr__(self) -> str:
        return f"Sharpened(gamma={self.gamma})"


@pytest.mark.parametrize("make", [_Sharpened, lambda gamma: partial(_Sharpened, gamma=gamma)])
def test_objects_in_a_config_are_compared_by_what_they_are(make: Any) -> None:
    saved = json.loads(json.dumps(to_jsonable({"loss": make(1)})))
    assert differing_keys(saved, to_jsonable({"loss": make(1)})) == []
    (difference,) = differing_keys(saved, to_jsonable({"loss": make(2)}))
    assert difference.startswith("loss: ")


def test_objects_without_a_repr_of_their_own_are_named_by_their_class() -> None:
    values = to_jsonable({"part": object(), "kind": object, "numbers": np.arange(2), "names": {"b", "a"}})
    assert values == {
        "part": "builtins:object()",
        "kind": "builtins:object",
        "numbers": [0, 1],
        "names": ["a", "b"],
    }


def test_a_network_may_be_named_by_its_import_path() -> None:
    path = "dawnchorus.models.wave_cnn:WaveCNNAttenClassifier"
    config = load_train_config(REPOSITORY / "train_configs" / "selected_eca.py", {"nn_model_class": path})
    assert config == load_train_config(REPOSITORY / "train_configs" / "selected_eca.py")
    with pytest.raises(
        ConfigError, match=r"nn_model_class is 'no_such.module:Net', which cannot be imported"
    ):
        load_train_config(
            REPOSITORY / "train_configs" / "selected_eca.py", {"nn_model_class": "no_such.module:Net"}
        )


def test_a_damaged_saved_config_is_told_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"config\.json is not JSON: .* in line 1; open the run by the training config"
    ):
        from_json_file(write(tmp_path / "config.json", "{"))


def test_an_inference_config_names_one_source() -> None:
    for values in ({}, {"run": "a", "train_config": "b"}):
        with pytest.raises(ConfigError, match="give either train_config or run"):
            validate(InferenceConfig, values, where="here")


def test_a_debug_run_lies_beside_the_real_one() -> None:
    path = REPOSITORY / "train_configs" / "selected_ebs.py"
    real = load_train_config(path)
    debug = load_train_config(path, {"train_function_args": {"debug": True}})
    assert (real.run_dir.name, debug.run_dir.name) == ("selected_ebs", "selected_ebs-debug")


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (["n_epochs=3"], {"train_function_args.n_epochs": 3}),
        (["train_function_args.optimizer.lr=1e-4"], {"train_function_args.optimizer.lr": 1e-4}),
        (["optimizer.lr=1e-4", "seed=7"], {"train_function_args.optimizer.lr": 1e-4, "seed": 7}),
        (["batch_size=8"], {"train_function_args.train_loader.batch_size": 8}),
        (["nn_model_config.dropout=None"], {"nn_model_config.dropout": None}),
        (["exp_name=owls"], {"exp_name": "owls"}),
        (["data.0.features_dir=stores"], {"data.0.features_dir": Path("stores")}),
        (["data.features_dir=None", "features_dir=stores"], {"data.0.features_dir": Path("stores")}),
        (["mixup.probability=0.1"], {"train_function_args.train_dataset_config.mixup.probability": 0.1}),
    ],
)
def test_set_changes_a_value_by_its_key_or_its_whole_path(given: list[str], found: dict[str, Any]) -> None:
    config = load_train_config("smoke", given=given)
    for path, expected in found.items():
        value: Any = config
        for part in path.split("."):
            is_key = isinstance(value, dict)
            value = value[int(part)] if part.isdigit() else value[part] if is_key else getattr(value, part)
        assert value == expected


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("n_epochs", "--set n_epochs sets nothing; write KEY=VALUE, such as --set n_epochs=3"),
        ("=3", "--set =3 sets nothing"),
        ("a..b=3", "--set a..b=3 sets nothing"),
        ("n_epoch=3", "n_epoch is no key of a training config; did you mean n_epochs"),
        ("optimiser.lr=3", "optimiser is no key of a training config; did you mean optimizer"),
        ("train_function_args.n_epoch=3", "n_epoch is not known; did you mean n_epochs"),
        ("n_epochs=many", "smoke --set n_epochs=many: train_function_args.n_epochs is 'many'"),
        ("data.1.features_dir=x", "data has 1; write it into each, or name one by its number"),
    ],
)
def test_set_tells_what_it_cannot_set(given: str, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        load_train_config("smoke", given=[given])


def test_parts_of_ones_own_may_lie_beside_the_config(tmp_path: Path) -> None:
    before = list(sys.path)
    (tmp_path / "sqrt.py").write_text("raise AssertionError  # no package is shadowed")
    (tmp_path / "rain_parts.py").write_text("from rain_more import drop\n")
    (tmp_path / "rain_more.py").write_text("def drop(logits, targets): ...\n")
    (tmp_path / "rain.py").write_text(
        'import rain_parts\nCONFIG = {"base": "smoke", "train_function_args": {"loss": "rain_parts:drop"}}'
    )
    try:
        assert load_train_config(tmp_path / "rain.py").train_function_args.loss == "rain_parts:drop"
        assert LOSSES.find("rain_parts:drop").__name__ == "drop"
        assert sys.path == [*before, str(tmp_path)]  # for worker processes
        load_train_config("smoke")
        assert sys.path == [*before, str(tmp_path)]
    finally:
        sys.path[:] = before
        for name in ("rain_parts", "rain_more"):
            sys.modules.pop(name, None)


def test_a_folder_without_parts_does_not_stay_on_the_path(tmp_path: Path) -> None:
    before = list(sys.path)
    (tmp_path / "plain.py").write_text('CONFIG = {"base": "smoke"}')
    load_train_config(tmp_path / "plain.py")
    assert sys.path == before
