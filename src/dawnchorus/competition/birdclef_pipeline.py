"""The steps of a competition: download, convert, train, export, bundle, submit."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dawnchorus.competition.pipeline_steps import Step
from dawnchorus.errors import RunError

SHIFT = ("--shift", "2.5", "--smooth")
"""Test-time augmentation of the submission: windows shifted by half, and smoothing over neighbours."""

BUDGET_MINUTES = "90"
"""Time limit of the competition, on a CPU."""


@dataclass(frozen=True)
class RockSettings:
    """Settings of the competition's pipeline.

    Attributes
    ----------
    checkout
        Folder that holds ``train_configs`` and ``inference_configs``.
    n_cores
        Processes that convert audio.
    leave_gb
        GB of the disk that stay free; the biggest recordings are converted first. None converts all.
    n_devices
        GPUs that share the training of a fold.

    Examples
    --------
    >>> from pathlib import Path
    >>> RockSettings(checkout=Path(), n_cores=4).n_devices
    1
    """

    checkout: Path
    n_cores: int = 8
    leave_gb: int | None = None
    n_devices: int = 1

    def train_config(self, name: str) -> Path:
        """Return the training config of an experiment.

        Raises
        ------
        RunError
            It is not there.
        """
        return self._config("train_configs", name)

    def inference_config(self, name: str) -> Path:
        """Return the inference config of an experiment.

        Raises
        ------
        RunError
            It is not there.
        """
        return self._config("inference_configs", name)

    def _config(self, folder: str, name: str) -> Path:
        path = self.checkout.absolute() / folder / f"{name}.py"
        if not path.is_file():
            raise RunError(f"{path} is not there; run the pipeline in a checkout of dawnchorus")
        return path


def competition_steps(settings: RockSettings) -> list[Step]:
    """Return the steps of BirdCLEF 2025's second place, with its published data and pseudo-labels.

    Examples
    --------
    >>> from pathlib import Path
    >>> for folder in ("train_configs", "inference_configs"):
    ...     Path(folder).mkdir()
    ...     for name in ("selected_ebs", "selected_eca"):
    ...         Path(folder, f"{name}.py").touch()
    >>> [step.name for step in competition_steps(RockSettings(Path()))][:2]
    ['download', 'check the tables']
    """
    converted = [
        _converting(settings, "train_audio", "train_features"),
        _converting(settings, "add_train_audio_from_prev_comps", "add_train_features_from_prev_comps"),
        _converting(
            settings,
            "add_train_audio_from_xeno_canto_28032025",
            "add_train_features_from_xeno_canto_28032025",
        ),
        _converting(settings, "train_soundscapes", "train_features_soundscapes"),
    ]
    names = ("selected_ebs", "selected_eca")
    trained = [step for name in names for step in _training(settings, name)]
    return [
        Step(
            "download",
            ("download", "birdclef-2025", "--out", "data"),
            ("data/train.csv",),
            disk="about 600 GB with what is converted of it",
            must_be_whole=True,
        ),
        _checking(settings, names[0]),
        *converted,
        *trained,
        *_submitting(names),
    ]


def sample_steps(settings: RockSettings) -> list[Step]:
    """Return the same steps on a miniature competition, with a round of pseudo-labels of its own.

    Examples
    --------
    >>> from pathlib import Path
    >>> for folder in ("train_configs", "inference_configs"):
    ...     Path(folder).mkdir()
    ...     for name in ("sample_a", "sample_b"):
    ...         Path(folder, f"{name}.py").touch()
    >>> [step.name for step in sample_steps(RockSettings(Path()))][-2:]
    ['submit', 'score']
    """
    first, second = "sample_a", "sample_b"
    labelling = (
        "pseudo-label",
        f"logdirs/{first}",
        "data/train_soundscapes",
        *("--out", "data/pseudo_labels.parquet"),
    )
    return [
        Step(
            "make the miniature",
            ("miniature", "data"),
            ("data/train.csv", "data/solution.csv", "data/sample_submission.csv"),
            _cores(settings),
            disk="17 MB",
        ),
        _checking(settings, first),
        _converting(settings, "train_audio", "train_features", disk="80 MB"),
        _converting(settings, "train_soundscapes", "train_features_soundscapes", disk="23 MB"),
        *_training(settings, first, disk="20 MB"),
        Step("label the soundscapes", labelling, ("data/pseudo_labels.parquet",)),
        *_training(settings, second, disk="20 MB"),
        *_submitting((first, second)),
        Step("score", ("score", "submission.csv", "data/solution.csv"), ("submission.csv",)),
    ]


def _checking(settings: RockSettings, name: str) -> Step:
    config = settings.train_config(name)
    command = ("recordings", str(config), "--out", "logs/recordings.csv", "--force")
    return Step("check the tables", command, ("logs/recordings.csv",), configs=(config,))


def _converting(settings: RockSettings, audio: str, features: str, *, disk: str = "") -> Step:
    command = ["precompute", f"data/{audio}", f"data/{features}"]
    if settings.leave_gb is not None:
        command += ["--only_biggest", "--leave_gb", str(settings.leave_gb)]
    said = disk or "2 bytes a sample: 0.23 GB an hour of audio"
    made = (f"data/{features}/**/*.hdf5",)
    return Step(f"convert {audio}", tuple(command), made, _cores(settings), disk=said)


def _cores(settings: RockSettings) -> tuple[str, ...]:
    return ("--n_cores", str(settings.n_cores))


def _training(settings: RockSettings, name: str, *, disk: str = "about 2 GB") -> list[Step]:
    config = settings.train_config(name)
    inference_config = settings.inference_config(name)
    devices = ("--devices", str(settings.n_devices)) if settings.n_devices > 1 else ()
    run = f"logdirs/{name}"
    return [
        Step(
            f"train {name}",
            ("train", str(config), *devices),
            (f"{run}/fold_0/finished.json",),
            configs=(config,),
            disk=disk,
        ),
        Step(
            f"score and export {name}",
            ("compile", str(inference_config)),
            (f"{run}/onnx_ensem_5first_folds_openvino_fp16/model.xml",),
            configs=(config, inference_config),
        ),
    ]


def _submitting(names: tuple[str, ...]) -> list[Step]:
    runs = tuple(f"logdirs/{name}" for name in names)
    submit = ("submit-kaggle", "bundle", "data/test_soundscapes", "--out", "submission.csv", "--force")
    bundled = tuple(f"bundle/{name}/model.xml" for name in names)
    return [
        Step("bundle", ("bundle", *runs, "--out", "bundle", "--force"), bundled),
        Step("submit", (*submit, *SHIFT, "--budget-minutes", BUDGET_MINUTES), ("submission.csv",)),
    ]
