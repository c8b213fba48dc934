"""Waveform transforms of a clip: any of audiomentations, or one's own, for the early or the late place.

audiomentations draws from the global generators of Python and NumPy. Here they are seeded for each clip and
then restored: the result depends on the clip and on one drawn number, and no other stream is changed.

A transform of one's own is a function, or a class whose objects are called, with the clip, float32 of shape
(n_samples,), and the sample rate in Hz; where it has a third parameter ``rng``, with a
:class:`numpy.random.Generator` of the clip as well. It returns a clip of the same length::

    class Hiss:
        def __init__(self, level=0.01):
            self.level = level

        def __call__(self, wave, sample_rate, rng):
            return wave + self.level * rng.standard_normal(len(wave))

    "early_transforms": [{"name": "Gain"}, {"name": "my_package.transforms:Hiss", "params": {"level": 0.02}}]
    "early_transforms": [Hiss(0.02)]
"""

from __future__ import annotations

import inspect
import math
import os
import random
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import Field, ValidationInfo, field_validator, model_validator

from dawnchorus.config import Settings
from dawnchorus.config.import_paths import import_path, made_part
from dawnchorus.config.registry import OWN_PART, WAVE_TRANSFORMS
from dawnchorus.config.settings import check_keys, nearest
from dawnchorus.errors import ConfigError, DawnchorusError, MissingExtraError
from dawnchorus.wording import install_extra

COMPOSITIONS = ("Compose", "OneOf", "SomeOf")
_TAKES_CODE = ("Lambda",)  # a function cannot be saved in a config
_MIN_SEEDED_RATE = 0.5
"""Below this rate, signalsmith's stretcher uses random phases from the device's own entropy."""

_global_generators = threading.RLock()
if hasattr(os, "register_at_fork"):  # else a child forked meanwhile would wait for the lock forever
    os.register_at_fork(
        before=_global_generators.acquire,
        after_in_parent=_global_generators.release,
        after_in_child=_global_generators.release,
    )


class TransformSettings(Settings):
    """One waveform transform. An entry that is no dict is taken as its name.

    Attributes
    ----------
    name
        Its class in audiomentations, such as ``AddGaussianSNR``; or one's own: a registered name, an import
        path ``package.module:name``, a class, a function, or an object, which takes no ``params``.
    params
        Its keyword arguments, ``p`` among them (the probability that a clip is changed; audiomentations'
        default is 0.5, for its compositions 1).
    transforms
        The transforms of ``Compose``, ``OneOf`` or ``SomeOf``; the others take none.

    Examples
    --------
    >>> noise = TransformSettings(name="AddGaussianSNR", params={"min_snr_db": 5.0, "p": 0.5})
    >>> noise.name, noise.params["p"]
    ('AddGaussianSNR', 0.5)
    """

    name: str | Any
    params: dict[str, Any] = Field(default_factory=dict)
    transforms: tuple[TransformSettings, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _may_be_the_name_alone(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) or callable(value) else value

    @field_validator("name")
    @classmethod
    def _is_a_name_or_a_part(cls, name: Any) -> Any:
        if isinstance(name, str) or callable(name):
            return name
        raise ValueError(f"name is {name!r}; give a name, an import path, a class, a function or an object")

    @field_validator("params")
    @classmethod
    def _as_json_has_it(cls, params: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        name = _label(info.data.get("name", "transform"))
        return {key: _plain(value, f"{name}: params.{key}") for key, value in params.items()}

    @property
    def label(self) -> str:
        """Its name in messages and titles."""
        return _label(self.name)

    @property
    def is_own(self) -> bool:
        """Whether it is the user's, not audiomentations'."""
        return not isinstance(self.name, str) or ":" in self.name or self.name in WAVE_TRANSFORMS


def _label(name: Any) -> str:
    return name if isinstance(name, str) else import_path(name).partition(":")[2]


class WaveTransforms:
    """Transforms of a clip, one after the other.

    audiomentations is imported only where a transform is configured. Only the settings are pickled; a worker
    makes the transforms anew.

    Parameters
    ----------
    settings
        The transforms in their order; none leaves every clip as it is.
    sample_rate
        Of the clips, Hz.
    where
        The key of the settings in a config, for messages.

    Raises
    ------
    ConfigError
        A transform or a keyword is not known, or a value is illegal.
    MissingExtraError
        audiomentations is not installed.

    Examples
    --------
    >>> import numpy as np
    >>> settings = TransformSettings(name="Gain", params={"min_gain_db": -6.0, "max_gain_db": -6.0, "p": 1.0})
    >>> transforms = WaveTransforms((settings,), sample_rate=32_000)
    >>> drawn = transforms.draw(np.random.default_rng(0))
    >>> transforms.apply(np.ones(4, np.float32), drawn).round(3)  # -6 dB
    array([0.501, 0.501, 0.501, 0.501], dtype=float32)
    """

    def __init__(
        self, settings: tuple[TransformSettings, ...], *, sample_rate: int, where: str = "transforms"
    ) -> None:
        self.settings = settings
        self.sample_rate = sample_rate
        self.where = where
        self._steps = [_TransformStep(step, f"{where}.{index}") for index, step in enumerate(settings)]

    def __reduce__(self) -> tuple[Any, ...]:
        # In a spawned worker nothing is registered.
        found = tuple(
            step.model_copy(update={"name": WAVE_TRANSFORMS.find(step.name)}) if step.is_own else step
            for step in self.settings
        )
        return partial(type(self), sample_rate=self.sample_rate, where=self.where), (found,)

    def draw(self, rng: np.random.Generator) -> int:
        """Return a seed for one clip; without transforms it is 0, and ``rng`` is not used."""
        return int(rng.integers(2**32)) if self._steps else 0

    def apply(self, wave: npt.NDArray[np.float32], drawn: int) -> npt.NDArray[np.float32]:
        """Return the clip after all transforms.

        Parameters
        ----------
        wave
            Shape (n_samples,), float32; not changed.
        drawn
            From :meth:`draw`. The same clip and number give the same result.

        Returns
        -------
        ndarray
            Shape (n_samples,), float32; ``wave`` itself where there are no transforms.

        Raises
        ------
        ConfigError
            A transform fails, changes the length, or returns NaN or infinite samples.
        MissingExtraError
            A transform needs a package that is not installed.
        """
        if not self._steps:
            return wave
        changed = np.array(wave, dtype=np.float32)
        with _seeded(drawn):
            for step in self._steps:
                changed = step(changed, self.sample_rate)
        return np.ascontiguousarray(changed)


class _TransformStep:
    """A transform whose result is checked; it also stands for it within a composition of audiomentations."""

    def __init__(self, settings: TransformSettings, where: str) -> None:
        self.where = f"{where} ({settings.label})"
        self.transform = _own(settings, where) if settings.is_own else _made(settings, where)

    def __call__(self, wave: npt.NDArray[np.float32], sample_rate: int) -> npt.NDArray[np.float32]:
        """Return the transformed clip, shape (n_samples,), float32."""
        n_samples = len(wave)
        try:
            changed = np.asarray(self.transform(wave, sample_rate), dtype=np.float32)
        except DawnchorusError:
            raise  # from a transform within this one, which is named already
        except ImportError as error:
            raise MissingExtraError(
                f"{self.where}: needs a package that is not installed ({_reason(error)}); "
                "install it with: pip install 'audiomentations[extras]'"
            ) from error
        except Exception as error:  # transforms may raise any error
            raise ConfigError(f"{self.where}: fails on a clip: {_reason(error)}") from error
        if changed.shape != (n_samples,):
            raise ConfigError(
                f"{self.where}: makes {changed.shape[-1]} samples of {n_samples}, and a clip must keep its "
                "length; choose parameters that keep it, or leave the transform out"
            )
        if not np.isfinite(changed).all():
            raise ConfigError(
                f"{self.where}: gives NaN or infinite samples; choose milder parameters, or leave it out"
            )
        return changed


def _own(settings: TransformSettings, where: str) -> Callable[[npt.NDArray[np.float32], int], Any]:
    """Return a transform of the user's, which takes a clip and its rate."""
    if settings.transforms:
        takers = ", ".join(COMPOSITIONS)
        raise ConfigError(f"{where}.transforms: {settings.label} takes none; only {takers} do")
    part = WAVE_TRANSFORMS.find(settings.name, where=f"{where}.name")
    made: Callable[..., Any] = made_part(part, settings.params, where=f"{where}.params", given_later=2)
    try:
        parameters = inspect.signature(made).parameters
    except (TypeError, ValueError):  # compiled code may lack a signature
        return made
    if "rng" not in parameters:
        return made

    def with_generator(wave: npt.NDArray[np.float32], sample_rate: int) -> Any:
        # NumPy's global generator is seeded for the clip here, also within a composition.
        rng = np.random.default_rng(np.random.randint(2**32, dtype=np.int64))  # noqa: NPY002
        return made(wave, sample_rate, rng=rng)

    return with_generator


def _made(settings: TransformSettings, where: str) -> Any:
    """Return the transform of audiomentations that the settings describe."""
    transform_class = _transform_class(settings.name, where)
    params = dict(settings.params)
    _check_params(transform_class, settings, where)
    if settings.name in COMPOSITIONS:
        inner = enumerate(settings.transforms)
        params["transforms"] = [_TransformStep(step, f"{where}.transforms.{index}") for index, step in inner]
    if settings.name == "SomeOf" and isinstance(params.get("num_transforms"), list):
        params["num_transforms"] = tuple(params["num_transforms"])  # JSON has no tuples, SomeOf no lists
    try:
        transform = transform_class(**params)
    except Exception as error:  # it may raise any error
        raise ConfigError(f"{where}: {settings.name} refuses {settings.params}: {_reason(error)}") from error
    _refuse_unseeded(transform, where)
    return transform


def _transform_class(name: str, where: str) -> Any:
    audiomentations = _import_audiomentations(where)
    from audiomentations.core.transforms_interface import BaseWaveformTransform

    legal = [
        key
        for key, value in vars(audiomentations).items()
        if key not in _TAKES_CODE and isinstance(value, type) and issubclass(value, BaseWaveformTransform)
    ]
    if name not in (*legal, *COMPOSITIONS):
        near = nearest(name, (*legal, *COMPOSITIONS, *WAVE_TRANSFORMS), kind="transforms")
        end = " " if near.endswith("?") else ". "
        raise ConfigError(
            f"{where}.name is {name!r}, which is no transform of audiomentations{near}{end}{OWN_PART}"
        )
    return getattr(audiomentations, name)


def _import_audiomentations(where: str) -> ModuleType:
    try:
        import audiomentations
    except ImportError as error:
        raise MissingExtraError(
            f"{where}: transforms need audiomentations, which cannot be imported ({_reason(error)}); "
            f"install it with: {install_extra('audiomentations')}"
        ) from error
    return audiomentations


def _check_params(transform_class: Any, settings: TransformSettings, where: str) -> None:
    """Raise for unknown keywords, also where audiomentations would ignore them, and misplaced transforms."""
    is_composition = settings.name in COMPOSITIONS
    if is_composition and "transforms" in settings.params:
        raise ConfigError(f"{where}.params.transforms: give them as {where}.transforms, beside params")
    if is_composition and not settings.transforms:
        raise ConfigError(f"{where}.transforms is empty; {settings.name} needs transforms to choose from")
    if settings.transforms and not is_composition:
        takers = ", ".join(COMPOSITIONS)
        raise ConfigError(f"{where}.transforms: {settings.name} takes none; only {takers} do")
    parameters = inspect.signature(transform_class).parameters.values()
    named = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD and p.name != "transforms"]
    check_keys(settings.params, named, where=f"{where}.params")


def _refuse_unseeded(transform: Any, where: str) -> None:
    """Raise a ConfigError where the transform would draw from a stream that cannot be seeded."""
    if type(transform).__name__ != "TimeStretch" or transform.method == "librosa_phase_vocoder":
        return
    if transform.min_rate < _MIN_SEEDED_RATE:
        raise ConfigError(
            f"{where}.params.min_rate is {transform.min_rate}, where signalsmith_stretch never gives the "
            f"same twice; take {_MIN_SEEDED_RATE} or more, or 'method': 'librosa_phase_vocoder'"
        )


@contextmanager
def _seeded(drawn: int) -> Iterator[None]:
    """Seed Python's and NumPy's global generators with ``drawn`` for a block, and restore them after it."""
    python_seed, numpy_seed = (int(word) for word in np.random.SeedSequence(drawn).generate_state(2))
    with _global_generators:
        python_state, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002
        random.seed(python_seed)
        np.random.seed(numpy_seed)  # noqa: NPY002
        try:
            yield
        finally:
            random.setstate(python_state)
            np.random.set_state(numpy_state)  # noqa: NPY002


def _plain(value: Any, key: str) -> Any:
    """Return a value as JSON types; raise a ValueError where it has none."""
    if value is None or isinstance(value, str | bool | int) or _is_finite_float(value):
        return value
    if isinstance(value, Path):
        return value.as_posix()
    if isinstance(value, list | tuple):
        return [_plain(item, f"{key}.{index}") for index, item in enumerate(value)]
    if isinstance(value, Mapping) and all(isinstance(name, str) for name in value):
        return {name: _plain(item, f"{key}.{name}") for name, item in value.items()}
    raise ValueError(f"{key} is {value!r}; legal: plain data that JSON can hold, no code")


def _is_finite_float(value: Any) -> bool:
    return isinstance(value, float) and math.isfinite(value)


def _reason(error: Exception) -> str:
    """Return the first line of an error's message, or its class where that is empty."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__
