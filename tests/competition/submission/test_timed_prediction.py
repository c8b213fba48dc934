"""Submissions: their rows and classes, what happens to what is missing, and the time budget."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dawnchorus.competition.submission import SubmissionForm, SubmissionSettings, predict_submission
from dawnchorus.competition.submission.degradation import Way
from dawnchorus.errors import ConfigError, ModelError
from dawnchorus.predict.postprocess import PostprocessSettings

Soundscapes = Callable[..., dict[str, Path]]
LABELS = ("wren", "robin", "owl")


def submission(
    engines: list[Any], soundscapes: dict[str, Path], form: SubmissionForm | None = None, **settings: Any
) -> Any:
    return predict_submission(
        engines,
        [1.0] * len(engines),
        soundscapes,
        form,
        SubmissionSettings(**settings),
        started=0.0,
        clock=engines[0].clock,
    )


def sample(labels: tuple[str, ...], *row_ids: str, value: float = 0.5) -> SubmissionForm:
    return SubmissionForm(labels, row_ids, np.full((len(row_ids), len(labels)), value, np.float32))


def test_without_a_sample_each_soundscape_has_its_rows(
    folds: Any, clock: Any, soundscapes: Soundscapes
) -> None:
    made = submission([folds(2, clock)], soundscapes("b", "a"))
    assert list(made.table.columns) == list(LABELS)
    assert list(made.table.index) == [f"{name}_{end}" for name in "ab" for end in (5, 10, 15, 20)]
    loudness = np.array([0.01, 0.02, 0.03, 0.04])
    expected = np.stack([loudness, loudness / 2, loudness / 4], axis=1) + 0.002
    np.testing.assert_allclose(made.table.to_numpy(), np.vstack([expected, expected]), atol=1e-7)
    assert (made.n_predicted, made.n_filled, made.failures) == (2, 0, [])


def test_rows_and_classes_are_those_of_the_sample_in_its_order(
    folds: Any, clock: Any, soundscapes: Soundscapes
) -> None:
    form = sample(("owl", "wren"), "b_10", "a_5", "b_5")
    made = submission([folds(1, clock)], soundscapes("a", "b", "c"), form)
    assert list(made.table.columns) == ["owl", "wren"]
    assert list(made.table.index) == ["b_10", "a_5", "b_5"]
    np.testing.assert_allclose(made.table["wren"], np.array([0.02, 0.01, 0.01]) + 0.001, atol=1e-7)
    assert made.n_predicted == 2  # no row asks for the third


def test_a_sample_of_soundscapes_that_are_not_there_names_the_classes_alone(
    folds: Any, clock: Any, soundscapes: Soundscapes
) -> None:
    made = submission([folds(1, clock)], soundscapes("a"), sample(("owl", "wren"), "soundscape_8358733_5"))
    assert list(made.table.index) == ["a_5", "a_10", "a_15", "a_20"]


def test_without_soundscapes_the_sample_is_the_submission(folds: Any, clock: Any) -> None:
    made = submission([folds(1, clock)], {}, sample(("owl", "wren"), "x_5", "x_10", value=0.25))
    assert list(made.table.index) == ["x_5", "x_10"]
    assert (made.table.to_numpy() == 0.25).all()
    assert made.n_filled == 0


def test_a_soundscape_that_cannot_be_read_gets_the_mean_of_the_others(
    folds: Any, clock: Any, soundscapes: Soundscapes
) -> None:
    found = soundscapes("a", "b", "c")
    found["b"].write_bytes(b"RIFF no sound")
    made = submission([folds(1, clock)], found)
    assert [failure.path for failure in made.failures] == [found["b"]]
    assert made.n_filled == 4
    means = made.table.loc[["a_5", "a_10", "a_15", "a_20"]].mean()
    np.testing.assert_allclose(made.table.loc["b_5"], means, rtol=1e-6)
    assert np.isfinite(made.table.to_numpy()).all()


def test_a_row_past_the_end_of_its_soundscape_is_filled(
    folds: Any, clock: Any, soundscapes: Soundscapes
) -> None:
    made = submission([folds(1, clock)], soundscapes("a"), sample(("wren",), "a_20", "a_25"))
    assert made.n_filled == 1
    assert made.table.loc["a_25", "wren"] == made.table.loc["a_20", "wren"]


def test_a_class_that_no_model_knows_holds_the_mean_of_the_sample(
    folds: Any, clock: Any, soundscapes: Soundscapes, caplog: pytest.LogCaptureFixture
) -> None:
    form = sample(("wren", "condor"), "a_5", "a_10", value=0.125)
    made = submission([folds(1, clock)], soundscapes("a"), form)
    assert (made.table["condor"] == 0.125).all()
    assert made.n_filled == 0
    assert "The models do not know condor" in caplog.text


def test_models_of_other_species_are_refused(folds: Any, clock: Any, soundscapes: Soundscapes) -> None:
    with pytest.raises(ModelError, match=r"the models know none of the submission's classes \(condor\)"):
        submission([folds(1, clock)], soundscapes("a"), sample(("condor",), "a_5"))


def test_a_model_that_hears_less_than_a_row_is_refused(
    folds: Any, clock: Any, soundscapes: Soundscapes
) -> None:
    import dataclasses

    engine = folds(1, clock)
    engine.card = dataclasses.replace(engine.card, segment_len=2.0)
    with pytest.raises(ModelError, match="hears 2 s at a time, and a row of a submission is 5 s"):
        submission([engine], soundscapes("a"))


def test_a_model_of_longer_windows_is_averaged_onto_the_rows(
    folds: Any, clock: Any, soundscapes: Soundscapes
) -> None:
    import dataclasses

    engine = folds(1, clock)
    engine.card = dataclasses.replace(engine.card, segment_len=10.0)
    made = submission([engine], soundscapes("a"))
    # Windows of 10 s at 0, 5 and 10 s peak at 0.02, 0.03 and 0.04; a row is the mean of those over it.
    expected = np.array([0.02, 0.025, 0.035, 0.04]) + 0.001
    np.testing.assert_allclose(made.table["wren"], expected, atol=1e-7)


def test_the_shift_averages_a_row_with_those_half_a_row_beside_it(
    folds: Any, clock: Any, soundscapes: Soundscapes
) -> None:
    made = submission([folds(1, clock)], soundscapes("a"), postprocess=PostprocessSettings(shift_s=2.5))
    # The windows between two rows peak as the later one does.
    expected = np.array([0.015, 0.07 / 3, 0.1 / 3, 0.04]) + 0.001
    np.testing.assert_allclose(made.table["wren"], expected, atol=1e-7)
    assert made.ways == [Way((1,), True)]


# The time budget ----------------------------------------------------------------------------------


def test_with_time_enough_the_whole_ensemble_predicts(
    folds: Any, clock: Any, soundscapes: Soundscapes
) -> None:
    clock.network_s = 0.1
    names = [f"s{number:02d}" for number in range(12)]
    made = submission([folds(5, clock), folds(3, clock)], soundscapes(*names), budget_s=1000.0)
    assert made.ways == [Way((5, 3), False)]
    assert made.n_predicted == 12
    assert made.seconds == pytest.approx(12 * 4 * 0.1 * 8)


def test_the_ensemble_shrinks_in_the_stated_order_and_is_in_time(
    folds: Any, clock: Any, soundscapes: Soundscapes
) -> None:
    clock.network_s = 0.1
    names = [f"s{number:02d}" for number in range(40)]
    # 8 networks take 3.2 s a soundscape. After 4, what is left needs 115 s and has 45 s: 39 %, so 3 of 8.
    made = submission([folds(5, clock), folds(3, clock)], soundscapes(*names), budget_s=64.0)
    assert made.ways == [Way((5, 3), False), Way((2, 1), False)]
    assert made.n_predicted == 40
    assert made.n_filled == 0
    assert made.seconds <= 0.9 * 64
    first, last = made.table.loc["s00_5", "wren"], made.table.loc["s39_5", "wren"]
    assert first == pytest.approx(0.01 + 0.004)  # the mean of five and three networks
    assert last == pytest.approx(0.01 + 0.0015)


def test_the_shifted_windows_go_before_a_model_has_one_network(
    folds: Any, clock: Any, soundscapes: Soundscapes
) -> None:
    clock.network_s = 0.1
    names = [f"s{number:02d}" for number in range(40)]
    made = submission(
        [folds(4, clock)],
        soundscapes(*names),
        budget_s=50.0,
        postprocess=PostprocessSettings(shift_s=2.5),
    )
    assert made.ways[0] == Way((4,), True)
    assert made.ways[1] == Way((2,), False)
    assert made.seconds <= 50


def test_what_cannot_be_left_out_one_by_one_weighs_as_many_folds(
    folds: Any, clock: Any, soundscapes: Soundscapes
) -> None:
    clock.network_s = 0.1
    names = [f"s{number:02d}" for number in range(40)]
    fixed = folds(3, clock, can_shrink=False)
    made = submission([folds(3, clock), fixed], soundscapes(*names), budget_s=78.0)
    assert made.ways[-1] == Way((1, 1), False)
    assert made.seconds <= 0.9 * 78


def test_where_one_network_is_too_slow_the_rest_is_filled(
    folds: Any, clock: Any, soundscapes: Soundscapes
) -> None:
    clock.network_s = 1.0
    names = [f"s{number:02d}" for number in range(20)]
    made = submission([folds(2, clock)], soundscapes(*names), budget_s=40.0)
    assert made.ways[-1] == Way((1,), False)
    assert 0 < made.n_predicted < 20
    assert made.n_filled == 4 * (20 - made.n_predicted)
    assert made.seconds <= 40
    assert len(made.table) == 80
    assert np.isfinite(made.table.to_numpy()).all()


def test_a_pace_that_falls_later_shrinks_the_ensemble_then(
    folds: Any, clock: Any, soundscapes: Soundscapes
) -> None:
    clock.network_s, clock.slow_from_s, clock.slower_s = 0.01, 1.0, 0.1
    names = [f"s{number:02d}" for number in range(80)]
    made = submission([folds(4, clock)], soundscapes(*names), budget_s=100.0)
    # The first four take 0.64 s, and 80 at that pace 13 s. The next 24 take 35 s: 52 more would take 76 s.
    assert made.ways == [Way((4,), False), Way((2,), False)]
    assert made.seconds <= 97


def test_a_class_of_a_model_that_was_given_up_is_filled(
    folds: Any, clock: Any, soundscapes: Soundscapes
) -> None:
    clock.network_s = 1.0
    names = [f"s{number:02d}" for number in range(12)]
    engines = [folds(1, clock, ("wren",)), folds(1, clock, ("owl",))]
    made = submission(engines, soundscapes(*names), budget_s=72.0)
    assert made.ways[-1] == Way((1, 0), False)
    assert made.n_filled > 0
    assert made.table.loc["s11_5", "owl"] == pytest.approx(made.table["owl"].iloc[:16].mean(), rel=1e-5)


def test_soundscapes_that_cannot_be_read_say_nothing_of_the_pace(
    folds: Any, clock: Any, soundscapes: Soundscapes
) -> None:
    clock.network_s = 0.1
    found = soundscapes(*[f"s{number:02d}" for number in range(40)])
    for name in ("s00", "s01", "s02", "s03"):
        found[name].write_bytes(b"no sound")
    # 36 soundscapes at 1.6 s are 57.6 s: what is measured on the first that can be read shows it.
    made = submission([folds(4, clock)], found, budget_s=53.0)
    assert made.ways[0] == Way((4,), False)
    assert made.ways[1] == Way((3,), False)
    assert made.n_predicted == 36
    assert made.seconds <= 53


def test_a_long_soundscape_is_left_when_the_time_is_up(
    folds: Any, clock: Any, soundscapes: Soundscapes
) -> None:
    clock.network_s = 0.1
    found = soundscapes("a", "b", duration_s=3600.0)
    made = submission([folds(1, clock)], found, budget_s=30.0)
    assert made.seconds <= 30
    assert made.n_predicted == 0
    assert (made.table.to_numpy() == 0).all()
    assert made.n_filled == len(made.table) == 2 * 720


def test_a_model_that_does_not_name_its_folds_has_one_a_network(
    folds: Any, clock: Any, soundscapes: Soundscapes
) -> None:
    import dataclasses

    clock.network_s = 0.1
    engine = folds(3, clock)
    engine.card = dataclasses.replace(engine.card, folds=())
    made = submission([engine], soundscapes(*[f"s{number:02d}" for number in range(20)]), budget_s=20.0)
    assert made.ways[-1] == Way((2,), False)


@pytest.mark.parametrize("budget_s", [0.0, -1.0, float("nan")])
def test_a_budget_of_nothing_is_refused(budget_s: float) -> None:
    with pytest.raises(ConfigError, match=r"the budget is .* minutes; it must be above 0"):
        SubmissionSettings(budget_s)


def test_rows_keep_the_names_that_the_sample_gives_them(
    folds: Any, clock: Any, soundscapes: Soundscapes
) -> None:
    made = submission([folds(1, clock)], soundscapes("a"), sample(("wren",), "a_05", "a_10.0"))
    assert list(made.table.index) == ["a_05", "a_10.0"]
    np.testing.assert_allclose(made.table["wren"], np.array([0.01, 0.02]) + 0.001, atol=1e-7)
