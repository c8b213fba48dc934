"""Config files: Python files with a ``CONFIG`` dict, read into one frozen, checked object.

A config states only what differs from its base::

    CONFIG = {
        "base": "base.py",              # read first: a file beside this one, or a name such as "smoke"
        "exp_name": "my_birds",
        "train_function_args": {"n_epochs": 30},
    }

Dicts are merged key by key; every other value replaces the base's. Unknown keys are errors that
name the nearest legal one. A run keeps its resolved config as ``config.json``, which is read back
without running any code.
"""

from dawnchorus.config.changes import merge
from dawnchorus.config.config_files import (
    config_chain,
    load_inference_config,
    load_train_config,
    read_config_file,
    resolve_config,
)
from dawnchorus.config.experiment_settings import DataSettings, FoldSettings, InferenceConfig, TrainConfig
from dawnchorus.config.json_files import Record, parsed_json, read_json, read_json_if_sound
from dawnchorus.config.saved_config import (
    differing_keys,
    from_json_file,
    read_saved_config,
    saved_roots,
    to_jsonable,
    with_defaults,
)
from dawnchorus.config.settings import Settings, SettingsT, check_keywords, validate
from dawnchorus.config.shipped import find_config, names_config, shipped_config, shipped_configs_dir
from dawnchorus.config.tables_in_memory import TableInMemory, is_dataframe
from dawnchorus.config.training_settings import (
    BatchAugmentationSettings,
    LoaderSettings,
    OptimizerSettings,
    SchedulerSettings,
    TrainFunctionArgs,
)

__all__ = [
    "BatchAugmentationSettings",
    "DataSettings",
    "FoldSettings",
    "InferenceConfig",
    "LoaderSettings",
    "OptimizerSettings",
    "Record",
    "SchedulerSettings",
    "Settings",
    "SettingsT",
    "TableInMemory",
    "TrainConfig",
    "TrainFunctionArgs",
    "check_keywords",
    "config_chain",
    "differing_keys",
    "find_config",
    "from_json_file",
    "is_dataframe",
    "load_inference_config",
    "load_train_config",
    "merge",
    "names_config",
    "parsed_json",
    "read_config_file",
    "read_json",
    "read_json_if_sound",
    "read_saved_config",
    "resolve_config",
    "saved_roots",
    "shipped_config",
    "shipped_configs_dir",
    "to_jsonable",
    "validate",
    "with_defaults",
]
