"""audiomentations' transforms on clips: repeatable, harmless to others, told in a sentence if they fail."""

from __future__ import annotations

import copy
import json
import multiprocessing
import pickle
import random
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import audiomentations
import numpy as np
import pytest
import scipy.signal
from hypothesis import given, settings
from hypothesis import strategies as st

from dawnchorus.augment.waveform_transforms import TransformSettings, WaveTransforms
from dawnchorus.config import Settings, to_jsonable, validate
from dawnchorus.config.registry import WAVE_TRANSFORMS
from dawnchorus.errors import ConfigError, MissingExtraError

# librosa, which some transforms load when they first run, loads audioread, which loads these three.
pytestmark = pytest.mark.filterwarnings(
    r"ignore:'(aifc|audioop|sunau)' is deprecated and slated for removal:DeprecationWarning"
)

SAMPLE_RATE = 32_000
NOISE = {"name": "AddGaussianSNR", "params": {"min_snr_db": 0.0, "max_snr_db": 20.0, "p": 1.0}}
FILTER = {"name": "BandPassFilter", "params": {"p": 1.0}}
MASK = {"name": "TimeMask", "params": {"min_band_part": 0.1, "p": 1.0}}
PITCH = {"name": "PitchShift", "params": {"p": 1.0}}
STRETCH = {"name": "TimeStretch", "params": {"leave_length_unchanged": True, "p": 1.0}}
SHIFT = {"name": "Shift", "params": {"p": 1.0}}
ONE_OF = {"name": "OneOf", "params": {"weights": [1, 2, 3]}, "transforms": [NOISE, MASK, SHIFT]}
SOME_OF = {"name": "SomeOf", "params": {"num_transforms": [1, None]}, "transforms": [NOISE, FILTER, SHIFT]}
NESTED = {
    "name": "Compose",
    "params": {"shuffle": True},
    "transforms": [{"name": "OneOf", "transforms": [NOISE, FILTER]}, MASK],
}
VARYING = [NOISE, FILTER, MASK, PITCH, STRETCH, SHIFT, ONE_OF, SOME_OF, NESTED]


def of(*transforms: dict[str, Any]) -> WaveTransforms:
    """Return the transforms of a config, checked as a config is."""
    checked = (validate(TransformSettings, values, where="mine.py") for values in transforms)
    return WaveTransforms(tuple(checked), sample_rate=SAMPLE_RATE)


def always(name: str, **params: Any) -> dict[str, Any]:
    return {"name": name, "params": {**params, "p": 1.0}}


@pytest.fixture
def wave() -> np.ndarray:
    """A chirp in noise, shape (32000,), float32."""
    time_s = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    noise = np.random.default_rng(0).standard_normal(SAMPLE_RATE)
    return (0.5 * scipy.signal.chirp(time_s, 1000, 1, 6000) + 0.05 * noise).astype(np.float32)


@pytest.mark.parametrize("transform", VARYING, ids=lambda t: t["name"])
def test_the_same_number_gives_the_same_clip_and_another_another(
    transform: dict[str, Any], wave: np.ndarray
) -> None:
    before, transforms = wave.copy(), of(transform)
    first = transforms.apply(wave, 1)
    assert first.dtype == np.float32
    assert first.shape == wave.shape
    assert np.isfinite(first).all()
    assert not np.array_equal(transforms.apply(wave, 2), first)
    np.testing.assert_array_equal(transforms.apply(wave, 1), first)
    np.testing.assert_array_equal(of(transform).apply(wave, 1), first)
    np.testing.assert_array_equal(wave, before)


@pytest.mark.parametrize("transform", VARYING, ids=lambda t: t["name"])
def test_silence_stays_finite(transform: dict[str, Any]) -> None:
    assert (of(transform).apply(np.zeros(SAMPLE_RATE, np.float32), 3) == 0).all()


def test_noise_is_as_loud_as_asked(wave: np.ndarray) -> None:
    exact = always("AddGaussianSNR", min_snr_db=10.0, max_snr_db=10.0)
    noise = of(exact).apply(wave, 1) - wave
    assert 10 * np.log10(np.mean(wave**2) / np.mean(noise**2)) == pytest.approx(10, abs=0.1)


def test_a_transform_hears_the_sample_rate() -> None:
    clip = np.random.default_rng(0).standard_normal(SAMPLE_RATE).astype(np.float32)
    low_pass = always("LowPassFilter", min_cutoff_freq=4000, max_cutoff_freq=4000, min_rolloff=24)
    for sample_rate in (16_000, 32_000):
        filtered = WaveTransforms((TransformSettings(**low_pass),), sample_rate=sample_rate).apply(clip, 0)
        frequency_hz, before = scipy.signal.welch(clip, sample_rate)
        _, after = scipy.signal.welch(filtered, sample_rate)
        loss_db = 10 * np.log10(after / before)
        assert loss_db[(frequency_hz > 100) & (frequency_hz < 2000)].min() > -1
        assert loss_db[(frequency_hz > 7000)].max() < -15


def test_transforms_follow_one_another_in_their_order(wave: np.ndarray) -> None:
    louder, limited = always("Gain", min_gain_db=20, max_gain_db=20), always("Clip", a_min=-0.2, a_max=0.2)
    np.testing.assert_allclose(of(louder, limited).apply(wave, 0), np.clip(wave * 10, -0.2, 0.2), atol=1e-6)
    np.testing.assert_allclose(of(limited, louder).apply(wave, 0), np.clip(wave, -0.2, 0.2) * 10, atol=1e-5)


def test_one_of_several_is_drawn_as_often_as_its_weight_says(wave: np.ndarray) -> None:
    inner = [always("PolarityInversion"), always("Reverse")]
    transforms = of({"name": "OneOf", "params": {"weights": [1, 3]}, "transforms": inner})
    clip, rng = wave[:64], np.random.default_rng(0)
    results = [transforms.apply(clip, transforms.draw(rng)) for _ in range(2000)]
    reversed_share = np.mean([np.array_equal(result, clip[::-1]) for result in results])
    inverted_share = np.mean([np.array_equal(result, -clip) for result in results])
    assert reversed_share == pytest.approx(0.75, abs=0.04)
    assert reversed_share + inverted_share == 1


def test_a_clip_is_changed_as_often_as_p_says(wave: np.ndarray) -> None:
    transforms = of({"name": "PolarityInversion", "params": {"p": 0.2}})
    rng = np.random.default_rng(0)
    changed = [transforms.apply(wave[:8], transforms.draw(rng))[0] != wave[0] for _ in range(2000)]
    assert np.mean(changed) == pytest.approx(0.2, abs=0.03)


def test_numbers_are_drawn_from_the_stream_that_is_given() -> None:
    transforms = of(NOISE)
    first, second = np.random.default_rng(5), np.random.default_rng(5)
    drawn = [transforms.draw(first) for _ in range(100)]
    assert drawn == [transforms.draw(second) for _ in range(100)]
    assert len(set(drawn)) == 100
    assert all(0 <= number < 2**32 for number in drawn)


def test_without_transforms_the_clip_itself_comes_back_and_nothing_is_drawn(wave: np.ndarray) -> None:
    rng, untouched = np.random.default_rng(5), np.random.default_rng(5)
    transforms = of()
    assert transforms.apply(wave, transforms.draw(rng)) is wave
    assert rng.integers(2**32) == untouched.integers(2**32)


def test_a_transform_that_works_in_place_does_not_reach_the_clip_that_was_given(
    wave: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    def silence(transform: Any, samples: np.ndarray, sample_rate: int) -> np.ndarray:
        samples *= 0
        return samples

    monkeypatch.setattr(audiomentations.Gain, "apply", silence)
    before = wave.copy()
    assert (of(always("Gain")).apply(wave, 1) == 0).all()
    np.testing.assert_array_equal(wave, before)


def test_a_reversed_clip_can_become_a_tensor(wave: np.ndarray) -> None:
    changed = of(always("Reverse")).apply(wave, 0)
    assert changed.flags.c_contiguous
    np.testing.assert_array_equal(changed, wave[::-1])


def global_state() -> tuple[Any, ...]:
    kind, keys, position, *gauss = np.random.get_state()  # noqa: NPY002
    return random.getstate(), kind, tuple(keys), position, *gauss


def test_the_generators_that_all_share_go_on_as_if_nothing_had_been_drawn(wave: np.ndarray) -> None:
    before = global_state()
    of(NOISE, ONE_OF).apply(wave, 1)
    assert global_state() == before
    with pytest.raises(ConfigError):
        of(NOISE, always("Trim", top_db=1.0)).apply(np.where(np.arange(len(wave)) < 9000, 0, wave), 1)
    assert global_state() == before


def test_what_all_others_drew_makes_no_difference(wave: np.ndarray) -> None:
    transforms = of(NOISE, FILTER)
    expected = transforms.apply(wave, 1)
    random.random()
    np.random.random()  # noqa: NPY002
    np.testing.assert_array_equal(transforms.apply(wave, 1), expected)


def test_threads_do_not_draw_from_each_others_streams(wave: np.ndarray) -> None:
    transforms = of(ONE_OF, FILTER)
    expected = [transforms.apply(wave, number) for number in range(40)]
    with ThreadPoolExecutor(4) as threads:
        actual = list(threads.map(lambda number: transforms.apply(wave, number), range(40)))
    np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize(
    "method", [m for m in multiprocessing.get_all_start_methods() if m in ("fork", "spawn")]
)
def test_a_worker_process_makes_of_a_clip_what_this_one_makes(method: str, wave: np.ndarray) -> None:
    transforms = of(NESTED, PITCH)
    with multiprocessing.get_context(method).Pool(1) as pool:
        actual = pool.apply(transforms.apply, (wave, 5))
    np.testing.assert_array_equal(actual, transforms.apply(wave, 5))


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_process_forked_while_another_thread_is_at_work_does_not_wait_for_ever(wave: np.ndarray) -> None:
    if "fork" not in multiprocessing.get_all_start_methods():
        pytest.skip("no fork here")
    transforms, stop = of(PITCH), False

    def keep_busy() -> None:
        while not stop:
            transforms.apply(wave, 1)

    with ThreadPoolExecutor(1) as thread:
        busy = thread.submit(keep_busy)
        try:
            for number in range(5):
                process = multiprocessing.get_context("fork").Process(
                    target=transforms.apply, args=(wave[:100], number)
                )
                process.start()
                process.join(60)
                assert process.exitcode == 0
        finally:
            stop = True
        busy.result()


def test_a_copy_and_a_pickle_do_the_same(wave: np.ndarray) -> None:
    transforms = of(NESTED)
    for twin in (copy.deepcopy(transforms), pickle.loads(pickle.dumps(transforms))):
        assert twin.settings == transforms.settings
        np.testing.assert_array_equal(twin.apply(wave, 4), transforms.apply(wave, 4))


def test_a_transform_with_a_cache_is_pickled_without_a_warning(data_factory: Any, wave: np.ndarray) -> None:
    path = data_factory.tone("noise.wav", duration_s=0.5)
    transforms = of(always("ApplyImpulseResponse", ir_path=path))
    assert transforms.settings[0].params["ir_path"] == path.as_posix()
    np.testing.assert_array_equal(
        pickle.loads(pickle.dumps(transforms)).apply(wave, 4), transforms.apply(wave, 4)
    )


@pytest.mark.parametrize("transform", VARYING, ids=lambda t: t["name"])
def test_settings_survive_being_saved_as_json(transform: dict[str, Any], wave: np.ndarray) -> None:
    transforms = of(transform)
    saved = json.loads(json.dumps([to_jsonable(step) for step in transforms.settings]))
    again = of(*saved)
    assert again.settings == transforms.settings
    np.testing.assert_array_equal(again.apply(wave, 7), transforms.apply(wave, 7))


def test_a_tuple_in_a_config_is_what_json_makes_of_it() -> None:
    some = {"name": "SomeOf", "params": {"num_transforms": (1, 2)}, "transforms": [NOISE, FILTER]}
    assert of(some).settings[0].params == {"num_transforms": [1, 2]}


@given(
    duration=st.integers(2000, 9000),
    number=st.integers(0, 2**32 - 1),
    level=st.floats(0, 1),
    names=st.lists(st.sampled_from([0, 1, 2, 5, 6, 7, 8]), max_size=3),
)
@settings(max_examples=40, deadline=None)
def test_any_chain_keeps_the_length_and_repeats(
    duration: int, number: int, level: float, names: list[int]
) -> None:
    clip = (level * np.random.default_rng(0).uniform(-1, 1, duration)).astype(np.float32)
    before, transforms = clip.copy(), of(*(VARYING[name] for name in names))
    state = global_state()
    first = transforms.apply(clip, number)
    assert first.shape == clip.shape
    assert first.dtype == np.float32
    np.testing.assert_array_equal(transforms.apply(clip, number), first)
    np.testing.assert_array_equal(clip, before)
    assert global_state() == state


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        (
            {"name": "AddGaussSNR"},
            r"transforms.0.name is 'AddGaussSNR', which is no transform of audiomentations; "
            r"did you mean AddGaussianSNR\?",
        ),
        (
            {"name": "Xyzzy"},
            "is no transform of audiomentations; legal transforms are AddBackgroundNoise, Add",
        ),
        ({"name": "Lambda", "params": {"transform": "print"}}, "'Lambda', which is no transform"),
        ({"name": "NOISE_COLOR_DECAYS"}, "which is no transform"),
        (
            {"name": "AddGaussianSNR", "params": {"min_snr": 3}},
            r"transforms.0.params.min_snr is not known; did you mean min_snr_db\?",
        ),
        (
            {"name": "TimeMask", "params": {"max_bandpart": 0.1}},
            r"params.max_bandpart is not known; did you mean max_band_part\?",
        ),
        (
            {"name": "AddGaussianSNR", "params": {"min_snr_db": 9, "max_snr_db": 3}},
            "AddGaussianSNR refuses {'min_snr_db': 9, 'max_snr_db': 3}: min_snr_db must not be greater than",
        ),
        ({"name": "Gain", "params": {"p": 2}}, "transforms.0: Gain refuses {'p': 2}: AssertionError"),
        ({"name": "Gain", "params": {"min_gain_db": "low"}}, "Gain refuses {'min_gain_db': 'low'}: '>' not"),
        (
            {"name": "AddBackgroundNoise"},
            "AddBackgroundNoise refuses {}: .*missing 1 required .*'sounds_path'",
        ),
        (
            {"name": "Gain", "transforms": [NOISE]},
            "transforms.0.transforms: Gain takes none; only Compose, OneOf",
        ),
        ({"name": "OneOf"}, "transforms.0.transforms is empty; OneOf needs transforms to choose from"),
        (
            {"name": "OneOf", "params": {"transforms": ["Gain"]}},
            "transforms.0.params.transforms: give them as transforms.0.transforms, beside params",
        ),
        (
            {"name": "OneOf", "transforms": [NOISE, {"name": "Shifter"}]},
            r"transforms.0.transforms.1.name is 'Shifter', .* did you mean Shift\?",
        ),
        (
            {"name": "OneOf", "params": {"weights": [1, 2]}, "transforms": [NOISE]},
            "Length of weights must match length of transforms",
        ),
        (
            {"name": "TimeStretch", "params": {"min_rate": 0.4}},
            "transforms.0.params.min_rate is 0.4, where .* twice; take 0.5 or more, or 'method'",
        ),
    ],
)
def test_a_transform_that_cannot_be_made_is_told_in_a_sentence(
    transform: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        of(transform)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [print, float("nan"), b"x", np.arange(3), {1: 2}, [object()]])
def test_code_and_other_things_that_json_lacks_are_refused(value: Any) -> None:
    message = r"mine.py: Gain: params.p(\.0)? is .*; legal: plain data that JSON can hold, no code"
    with pytest.raises(ConfigError, match=message):
        of({"name": "Gain", "params": {"p": value}})


def test_a_slow_stretch_is_allowed_where_it_repeats(wave: np.ndarray) -> None:
    slow = of(always("TimeStretch", min_rate=0.3, max_rate=0.4, method="librosa_phase_vocoder"))
    np.testing.assert_array_equal(slow.apply(wave, 1), slow.apply(wave, 1))
    slowest = of(always("TimeStretch", min_rate=0.5, max_rate=0.5))
    np.testing.assert_array_equal(slowest.apply(wave, 1), slowest.apply(wave, 1))


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        (
            always("TimeStretch", min_rate=2.0, max_rate=2.0, leave_length_unchanged=False),
            r"transforms.0 \(TimeStretch\): makes 16\d\d\d samples of 32000, and a clip must keep its length",
        ),
        (
            {"name": "Compose", "transforms": [NOISE, always("AdjustDuration", duration_samples=9)]},
            r"transforms.0.transforms.1 \(AdjustDuration\): makes 9 samples of 32000",
        ),
        (
            {"name": "SomeOf", "params": {"num_transforms": 3}, "transforms": [NOISE]},
            r"transforms.0 \(SomeOf\): fails on a clip: Sample larger than population",
        ),
    ],
)
def test_a_transform_that_spoils_the_clip_is_told_in_a_sentence(
    transform: dict[str, Any], message: str, wave: np.ndarray
) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        of(transform).apply(wave, 1)
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore:overflow encountered in multiply:RuntimeWarning")
def test_infinite_samples_are_not_passed_on(wave: np.ndarray) -> None:
    with pytest.raises(
        ConfigError, match=r"transforms.0 \(Gain\): gives NaN or infinite samples; choose milder"
    ):
        of(always("Gain", min_gain_db=400, max_gain_db=400)).apply(wave * np.float32(1e25), 1)


def test_a_transform_that_fails_for_any_reason_is_named(
    wave: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    class OddError(Exception):
        pass

    def fail(*_: Any) -> None:
        raise OddError("first line\nsecond line")

    monkeypatch.setattr(audiomentations.Gain, "apply", fail)
    with pytest.raises(ConfigError, match=r"^transforms.0 \(Gain\): fails on a clip: first line$"):
        of(always("Gain")).apply(wave, 1)


def test_a_transform_that_wants_another_package_says_how_to_get_it(
    wave: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise ModuleNotFoundError("No module named 'loudness'")

    monkeypatch.setattr(audiomentations.LoudnessNormalization, "apply", fail)
    message = (
        r"\(LoudnessNormalization\): needs a package that is not installed \(No module named 'loudness'\); "
        r"install it with: pip install 'audiomentations\[extras\]'"
    )
    monkeypatch.setattr(audiomentations.LoudnessNormalization, "randomize_parameters", _applies)
    with pytest.raises(MissingExtraError, match=message):
        of(always("LoudnessNormalization")).apply(wave, 1)


def _applies(transform: Any, *_: Any) -> None:
    transform.parameters["should_apply"] = True


def test_only_what_is_configured_needs_audiomentations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "audiomentations", None)
    of()
    message = r"^transforms.0: .* install it with: pip install -e '.\[audiomentations\]' in the checkout"
    with pytest.raises(MissingExtraError, match=message):
        of(NOISE)


def test_messages_begin_with_the_key_of_the_config() -> None:
    with pytest.raises(ConfigError, match=r"^train_dataset_config\.early\.1\.name is 'Gian'"):
        WaveTransforms(
            (TransformSettings(name="Gain"), TransformSettings(name="Gian")),
            sample_rate=SAMPLE_RATE,
            where="train_dataset_config.early",
        )


class Hiss:
    def __init__(self, level: float = 0.01) -> None:
        self.level = level

    def __call__(self, wave: np.ndarray, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
        assert sample_rate == SAMPLE_RATE
        return wave + self.level * rng.standard_normal(len(wave))


def turned(wave: np.ndarray, sample_rate: int, *, factor: float = -1.0) -> np.ndarray:
    return factor * wave


HERE = __name__
OWN = [
    Hiss(0.02),
    Hiss,
    turned,
    f"{HERE}:turned",
    {"name": f"{HERE}:Hiss", "params": {"level": 0.5}},
    {"name": turned, "params": {"factor": 0.5}},
    {"name": "OneOf", "transforms": [Hiss(0.02), {"name": f"{HERE}:turned"}]},
    audiomentations.Gain(p=1.0),
]


@pytest.mark.parametrize("given", OWN, ids=lambda given: str(given)[:20])
def test_ones_own_transform_repeats_with_the_clips_number_and_in_another_process(
    given: Any, wave: np.ndarray
) -> None:
    transforms = WaveTransforms((validate_one(given),), sample_rate=SAMPLE_RATE)
    state = global_state()
    first = transforms.apply(wave, 7)
    assert first.dtype == np.float32
    assert not np.array_equal(first, wave)
    np.testing.assert_array_equal(transforms.apply(wave, 7), first)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(transforms)).apply(wave, 7), first)
    assert global_state() == state


def validate_one(given: Any) -> TransformSettings:
    return validate(_One, {"transform": given}, where="mine.py").transform


class _One(Settings):
    transform: TransformSettings


def test_the_generator_is_another_in_each_clip_and_each_step(wave: np.ndarray) -> None:
    silence = np.zeros_like(wave)
    one, two = (
        WaveTransforms(tuple(validate_one(Hiss(1.0)) for _ in range(n)), sample_rate=SAMPLE_RATE)
        for n in (1, 2)
    )
    assert not np.array_equal(one.apply(silence, 1), one.apply(silence, 2))
    assert two.apply(silence, 1).std() == pytest.approx(2**0.5, rel=0.02), (
        "noises that know nothing of each other"
    )


def test_a_registered_name_reaches_a_process_in_which_nothing_is_registered(
    wave: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(WAVE_TRANSFORMS, "_parts", {"hiss": Hiss})
    transforms = of({"name": "hiss", "params": {"level": 0.5}})
    expected, pickled = transforms.apply(wave, 3), pickle.dumps(transforms)
    monkeypatch.setattr(WAVE_TRANSFORMS, "_parts", {})
    np.testing.assert_array_equal(pickle.loads(pickled).apply(wave, 3), expected)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"name": f"{HERE}:Hiss", "params": {"leveel": 1}},
            r"transforms.0.params.leveel is not known; did you mean",
        ),
        ({"name": "nowhere:Hiss"}, "transforms.0.name is 'nowhere:Hiss', which cannot be imported"),
        ({"name": Hiss(), "params": {"level": 1.0}}, r"Hiss\(level=0.01\) is an object that is made already"),
        ({"name": Hiss, "transforms": [{"name": "Gain"}]}, "Hiss takes none; only Compose, OneOf, SomeOf do"),
        (
            {"name": "Hiss"},
            "no transform of audiomentations; .*One of your own is named as package.module:name",
        ),
    ],
)
def test_ones_own_transform_that_cannot_be_made_is_told_in_a_sentence(given: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        of(given)


def test_ones_own_transform_that_spoils_a_clip_is_told_in_a_sentence(wave: np.ndarray) -> None:
    def shorter(wave: np.ndarray, sample_rate: int) -> np.ndarray:
        return wave[1:]

    with pytest.raises(ConfigError, match=r"transforms.0 \(.*shorter\): makes 31999 samples of 32000"):
        WaveTransforms((validate_one(shorter),), sample_rate=SAMPLE_RATE).apply(wave, 1)


def test_a_name_is_text_or_can_be_called() -> None:
    with pytest.raises(
        ConfigError, match="name is 3; give a name, an import path, a class, a function or an"
    ):
        of({"name": 3})
