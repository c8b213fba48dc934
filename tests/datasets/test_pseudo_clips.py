"""Pseudo-labelled soundscapes in training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dawnchorus.audio.decode import load_audio
from dawnchorus.audio.precompute import PrecomputeSettings, precompute_recordings
from dawnchorus.config import DataSettings, validate
from dawnchorus.datasets.clip_settings import ClipSettings
from dawnchorus.datasets.pseudo_clips import PseudoClips, cap_label_sum
from dawnchorus.datasets.sampling import Draw
from dawnchorus.datasets.self_training_settings import PseudoLabelSettings
from dawnchorus.datasets.wave_dataset import WaveDataset
from dawnchorus.errors import ConfigError, DataError
from dawnchorus.recordings.labels import LabelMap
from dawnchorus.recordings.recordings_table import load_recordings

LABELS = LabelMap(("robin", "wren"))
PLAIN = ClipSettings(late_normalize=False)


@pytest.fixture
def soundscapes(data_factory_in: Any, tmp_path: Path) -> Path:
    factory = data_factory_in(tmp_path / "soundscapes")
    for number, name in enumerate(("H1", "H2", "sub/H3")):
        factory.tone(f"{name}.wav", duration_s=20.0, frequency_hz=1000.0 + 100 * number, noise=0.2)
    return factory.root


def table(tmp_path: Path, rows: dict[str, tuple[float, float]], name: str = "pseudo", **columns: Any) -> Path:
    path = tmp_path / f"{name}.csv"
    probabilities = pd.DataFrame(list(rows.values()), columns=list(LABELS.labels))
    pd.concat([pd.Series(list(rows), name="row_id"), probabilities, pd.DataFrame(columns)], axis=1).to_csv(
        path, index=False
    )
    return path


def make(
    soundscapes: Path, *tables: Path, fold: int = 0, clip: ClipSettings = PLAIN, **settings: Any
) -> PseudoClips:
    values = {"tables": [{"table": path, "audio_dir": soundscapes} for path in tables], **settings}
    config = validate(PseudoLabelSettings, values, where="test")
    return PseudoClips(config, LABELS, clip, use_h5py=True, fold=fold)


ROWS = {"H1_5": (0.9, 0.05), "H1_10": (0.5, 0.2), "H2_20": (0.3, 0.8), "H3_15": (0.05, 0.6)}


def test_sure_rows_are_kept_and_small_probabilities_become_zero(soundscapes: Path, tmp_path: Path) -> None:
    pseudo = make(soundscapes, table(tmp_path, ROWS))
    np.testing.assert_allclose(pseudo.targets, [[0.9, 0], [0.3, 0.8], [0, 0.6]])
    assert [rows.tolist() for rows in pseudo.rows_of_class] == [[0], [1, 2]]


def test_the_exponent_sharpens_before_the_trimming(soundscapes: Path, tmp_path: Path) -> None:
    pseudo = make(soundscapes, table(tmp_path, ROWS), exponent=2.0)
    np.testing.assert_allclose(pseudo.targets, [[0.81, 0], [0, 0.64], [0, 0.36]], rtol=1e-6)


def test_a_clip_is_the_rows_own_five_seconds(soundscapes: Path, tmp_path: Path) -> None:
    pseudo = make(soundscapes, table(tmp_path, ROWS))
    whole = load_audio(soundscapes / "H2.wav")
    start = pseudo.draw_start(1, np.random.default_rng(0))
    assert start == 15 * 32_000
    np.testing.assert_allclose(pseudo.clip(1, start), whole[start : start + 160_000], atol=1e-6)


@pytest.mark.parametrize(("segment_len", "first_s", "last_s"), [(2.0, 15, 18), (8.0, 12, 12), (30.0, 0, 0)])
def test_other_lengths_hold_the_row_or_lie_in_it(
    soundscapes: Path, tmp_path: Path, segment_len: float, first_s: int, last_s: int
) -> None:
    pseudo = make(soundscapes, table(tmp_path, ROWS), clip=ClipSettings(segment_len=segment_len))
    rng = np.random.default_rng(0)
    starts = [pseudo.draw_start(1, rng) for _ in range(300)]
    assert (min(starts) / 32_000, max(starts) / 32_000) == pytest.approx((first_s, last_s), abs=0.1)
    assert pseudo.clip(1, starts[0]).shape == (round(segment_len * 32_000),)


def test_a_soundscape_of_an_earlier_table_is_not_used_again(soundscapes: Path, tmp_path: Path) -> None:
    first = table(tmp_path, {"H1_5": (0.9, 0), "H2_5": (0.2, 0.2)}, "first")
    second = table(tmp_path, {"H1_10": (0.9, 0), "H2_10": (0.7, 0), "H3_5": (0, 0.8)}, "second")
    assert make(soundscapes, first, second).end_s.tolist() == [5, 10, 5]


def test_out_of_fold_a_fold_never_trains_on_its_own_models_rows(soundscapes: Path, tmp_path: Path) -> None:
    path = table(tmp_path, ROWS, fold=[0, 0, 1, 2])
    assert len(make(soundscapes, path)) == 3
    assert len(make(soundscapes, path, out_of_fold=True, fold=0)) == 2
    assert len(make(soundscapes, path, out_of_fold=True, fold=1)) == 2
    with pytest.raises(DataError, match="has no column fold; without out_of_fold it is not needed"):
        make(soundscapes, table(tmp_path, ROWS, "no_fold"), out_of_fold=True)


def test_stored_soundscapes_are_read_from_the_store(soundscapes: Path, tmp_path: Path) -> None:
    features = tmp_path / "features"
    precompute_recordings(soundscapes, features, PrecomputeSettings())
    place = {"table": table(tmp_path, ROWS), "audio_dir": soundscapes, "features_dir": features}
    config = validate(PseudoLabelSettings, {"tables": [place]}, where="test")
    stored = PseudoClips(config, LABELS, PLAIN, use_h5py=True, fold=0)
    assert {source.kind for source in stored.sources} == {"hdf5"}
    raw = make(soundscapes, place["table"])
    np.testing.assert_allclose(stored.clip(2, 320_000), raw.clip(2, 320_000), atol=1e-4)


def test_parquet_says_the_same_as_csv(soundscapes: Path, tmp_path: Path) -> None:
    path = table(tmp_path, ROWS)
    pd.read_csv(path).to_parquet(tmp_path / "pseudo.parquet")
    csv, parquet = make(soundscapes, path), make(soundscapes, tmp_path / "pseudo.parquet")
    np.testing.assert_array_equal(csv.targets, parquet.targets)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("row_id,robin\nH1,0.9\n", "row_id H1 does not end in _ and a second"),
        ("robin\n0.9\n", "has no column row_id"),
        ("row_id,sparrow\nH1_5,0.9\n", "has no column of the classes robin, wren"),
        ("row_id,robin\nH1_5,much\n", "a probability is no number"),
        ("row_id,robin\nH1_5,1.5\n", "the probability of robin is 1.5, beyond 0 to 1"),
        ("row_id,robin\nH9_5,0.9\n", "names H9 not found in"),
        (
            "row_id,robin\nH1_25,0.9\nH1_30,0.9\n",
            r"2 pseudo-labels of 5 s lie outside .* ends at 25 s of H1\.wav, which has 20",
        ),
        (
            "row_id,robin\nH1_5,0.4\n",
            r"bad\.csv: no row has a probability above 0\.5; lower primary_label_min_prob",
        ),
    ],
)
def test_unusable_tables_are_told_in_a_sentence(
    soundscapes: Path, tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "bad.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        make(soundscapes, tmp_path / "bad.csv")


def test_two_soundscapes_of_one_name_are_refused(
    soundscapes: Path, tmp_path: Path, data_factory_in: Any
) -> None:
    data_factory_in(soundscapes).tone("other/H1.wav", duration_s=6)
    with pytest.raises(DataError, match="holds H1 more than once"):
        make(soundscapes, table(tmp_path, ROWS))


def test_a_table_that_cannot_be_read_is_told(soundscapes: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.parquet cannot be read"):
        make(soundscapes, tmp_path / "gone.parquet")


@pytest.mark.parametrize("fold", [["a", "0", "1", "2"], [None, 0, 1, 2], [0.5, 0, 1, 2], ["fold_0", 1, 1, 1]])
def test_out_of_fold_needs_to_know_the_fold_of_every_row(
    soundscapes: Path, tmp_path: Path, fold: list[Any]
) -> None:
    with pytest.raises(DataError, match="out_of_fold needs the number of the fold whose model made the row"):
        make(soundscapes, table(tmp_path, ROWS, fold=fold), out_of_fold=True)


def test_out_of_fold_the_published_fold_id_is_the_fold(soundscapes: Path, tmp_path: Path) -> None:
    path = table(tmp_path, ROWS, fold_id=[0, 0, 1, 2])
    assert len(make(soundscapes, path, out_of_fold=True, fold=0)) == 2
    both = table(tmp_path, ROWS, "both", fold=[1, 1, 1, 1], fold_id=[0, 0, 1, 2])
    assert len(make(soundscapes, both, out_of_fold=True, fold=0)) == 3


def test_folds_written_as_text_are_folds(soundscapes: Path, tmp_path: Path) -> None:
    path = tmp_path / "text.parquet"
    pd.read_csv(table(tmp_path, ROWS)).assign(fold=["0", "0", "1", "2"]).to_parquet(path)
    assert len(make(soundscapes, path, out_of_fold=True, fold=0)) == 2


def test_a_labelled_recording_cannot_be_a_pseudo_labelled_soundscape(
    soundscapes: Path, tmp_path: Path
) -> None:
    (soundscapes / "recordings.csv").write_text("filename,primary_label\nH1.wav,robin\nH2.wav,wren\n")
    recordings = load_recordings(DataSettings(audio_dir=soundscapes)).table
    path = table(tmp_path, {"H1_5": (0.9, 0.05), "H3_5": (0.9, 0.05)})
    with pytest.raises(
        DataError, match=r"H1\.wav both a labelled recording and a pseudo-labelled soundscape"
    ):
        WaveDataset(recordings, LABELS, config_of(soundscapes, path))


@pytest.fixture
def birds(data_factory: Any) -> pd.DataFrame:
    for label in ("robin", "nocall"):
        for k in range(4):
            data_factory.tone(f"{label}/{k}.wav", duration_s=6.0)
    return load_recordings(DataSettings(audio_dir=data_factory.root)).table


def config_of(soundscapes: Path, path: Path, **settings: Any) -> dict[str, Any]:
    return {"soundscape_pseudo_config": {"tables": [{"table": path, "audio_dir": soundscapes}], **settings}}


def test_a_sample_is_replaced_by_rows_of_its_class_as_often_as_announced(
    soundscapes: Path, tmp_path: Path, birds: pd.DataFrame
) -> None:
    dataset = WaveDataset(birds, LABELS, config_of(soundscapes, table(tmp_path, ROWS)))
    robin = birds.index[birds["primary_label"] == "robin"][0]
    drawn = [dataset.draw(Draw(0, position, int(robin))).first for position in range(2000)]
    assert np.mean([crop.pseudo for crop in drawn]) == pytest.approx(0.4, abs=0.03)
    assert {crop.row for crop in drawn if crop.pseudo} == {0}
    draws = (dataset.draw(Draw(0, position, int(robin))) for position in range(50))
    replaced = next(draw for draw in draws if draw.first.pseudo)
    np.testing.assert_allclose(dataset.apply(replaced).target, [0.9, 0])
    nocall = birds.index[birds["primary_label"] == "nocall"][0]
    assert not any(dataset.draw(Draw(0, position, int(nocall))).first.pseudo for position in range(200))


def test_rows_may_be_mixed_in_instead(soundscapes: Path, tmp_path: Path, birds: pd.DataFrame) -> None:
    settings = config_of(soundscapes, table(tmp_path, ROWS), how="mixup", sampling_prob=0.5)
    dataset = WaveDataset(birds, LABELS, settings)
    drawn = [dataset.draw(Draw(0, position, 0)) for position in range(2000)]
    mixed = [draw for draw in drawn if draw.second is not None]
    assert len(mixed) / len(drawn) == pytest.approx(0.5, abs=0.03)
    assert {draw.second.row for draw in mixed} == {0, 1, 2}
    assert {draw.weight for draw in mixed} == {0.5}
    first = dataset.apply(mixed[0])
    own, rows = dataset.audio.target(0), dataset.pseudo.targets
    np.testing.assert_allclose(first.target, np.minimum(own + rows[mixed[0].second.row], 1))


def test_a_soundscape_is_drawn_by_the_sum_of_its_largest_probabilities_and_from_anywhere(
    soundscapes: Path, tmp_path: Path
) -> None:
    pseudo = make(soundscapes, table(tmp_path, ROWS), drawing="soundscapes", how="mixup")
    names = [Path(path).stem for path in pseudo.audio_paths]
    sums = {"H1": 0.9, "H2": 0.3 + 0.8, "H3": 0.6}  # 0.05 is trimmed, and the row of 0.5 left out
    total = sum(sums.values())
    np.testing.assert_allclose(pseudo.source_weights, [sums[name] / total for name in names], rtol=1e-6)
    rng = np.random.default_rng(0)
    drawn = [pseudo.draw(None, rng) for _ in range(4000)]
    for name, source in zip(names, range(len(names)), strict=True):
        starts = [start for row, start in drawn if pseudo.source_of_row[row] == source]
        assert len(starts) / len(drawn) == pytest.approx(sums[name] / total, abs=0.03)
        assert (min(starts) / 32_000, max(starts) / 32_000) == pytest.approx((0, 15), abs=0.2)
        assert len({start % 160_000 for start in starts}) > 100, "not only where rows begin"


def test_the_target_of_a_chunk_is_the_largest_of_the_rows_that_it_touches(
    soundscapes: Path, tmp_path: Path
) -> None:
    rows = {"H1_5": (0.9, 0.2), "H1_10": (0.6, 0.8), "H1_20": (0.7, 0.0)}
    pseudo = make(soundscapes, table(tmp_path, rows), drawing="soundscapes", how="mixup")
    expected = {
        0.0: (0.9, 0.2),
        2.5: (0.9, 0.8),
        5.0: (0.6, 0.8),
        9.9: (0.6, 0.8),
        10.0: (0, 0),
        12.0: (0.7, 0),
    }
    for start_s, target in expected.items():
        np.testing.assert_allclose(pseudo.target(0, round(start_s * 32_000)), target, rtol=1e-6)
    short = ClipSettings(segment_len=1.0, late_normalize=False)
    pseudo = make(soundscapes, table(tmp_path, rows), drawing="soundscapes", how="mixup", clip=short)
    np.testing.assert_allclose(pseudo.target(0, 4 * 32_000), (0.9, 0.2), rtol=1e-6)


def test_labels_are_scaled_down_to_a_sum_after_the_power(soundscapes: Path, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"max_label_sum": 0.75, "exponent": 2.0, "trim_min_prob": 0.0}
    pseudo = make(soundscapes, table(tmp_path, {"H1_5": (0.9, 0.6), "H1_10": (0.8, 0.3)}), **settings)
    powers = np.array([0.9, 0.6]) ** 2
    np.testing.assert_allclose(pseudo.target(0, 0), powers * 0.75 / powers.sum(), rtol=1e-6)
    np.testing.assert_allclose(pseudo.target(1, 0), np.array([0.8, 0.3]) ** 2, rtol=1e-6)
    unknown = np.float32([-1, 0.5, 0.5])
    np.testing.assert_allclose(cap_label_sum(unknown, 0.5), [-1, 0.25, 0.25])


def test_the_noisy_student_mixes_every_clip_by_halves_and_the_larger_target(
    soundscapes: Path, tmp_path: Path, birds: pd.DataFrame
) -> None:
    settings = config_of(soundscapes, table(tmp_path, ROWS), recipe="noisy_student", exponent=1.5)
    dataset = WaveDataset(birds, LABELS, {**settings, "late_normalize": False, "mixup": {"probability": 1.0}})
    assert dataset.pseudo is not None
    drawn = [dataset.draw(Draw(0, position, 0)) for position in range(50)]
    assert all(len(draw.crops) == 2 and draw.second.pseudo for draw in drawn)
    assert {draw.weights for draw in drawn} == {(0.5, 0.5)}
    for draw in drawn[:5]:
        wave, target = dataset.apply(draw)
        own = dataset.audio.clip(draw.first.row, draw.first.start)
        chunk = dataset.pseudo.clip(draw.second.row, draw.second.start)
        np.testing.assert_allclose(wave, (own + chunk) / 2, atol=1e-6)
        labels, soft = dataset.audio.target(0), dataset.pseudo.target(draw.second.row, draw.second.start)
        np.testing.assert_allclose(target, np.maximum(labels, soft))
        assert soft.sum() <= 0.75 + 1e-6


def test_the_weight_of_the_labelled_clip_is_as_given(
    soundscapes: Path, tmp_path: Path, birds: pd.DataFrame
) -> None:
    settings = config_of(
        soundscapes, table(tmp_path, ROWS), how="mixup", sampling_prob=1.0, mixup_weight=0.75
    )
    dataset = WaveDataset(birds, LABELS, settings)
    assert dataset.draw(Draw(0, 0, 0)).weights == (0.75, 0.25)


def test_soundscapes_with_labels_are_mixed_in_at_their_own_share_and_never_with_the_others(
    soundscapes: Path, tmp_path: Path, birds: pd.DataFrame
) -> None:
    known = table(tmp_path, {"H3_5": (1, 1), "H3_10": (0, 0)}, "known")
    own = {"tables": [{"table": known, "audio_dir": soundscapes}], "sampling_prob": 0.3}
    rows = {key: value for key, value in ROWS.items() if not key.startswith("H3")}
    settings = config_of(soundscapes, table(tmp_path, rows), known=own, sampling_prob=0.5)
    for how in ("mixup", "replace"):
        settings["soundscape_pseudo_config"] |= {"how": how, "target_rule": "maximum"}
        dataset = WaveDataset(birds, LABELS, settings)
        robin = int(birds.index[birds["primary_label"] == "robin"][0])
        drawn = [dataset.draw(Draw(0, position, robin)) for position in range(2000)]
        mixed = [draw for draw in drawn if draw.second is not None and draw.second.known]
        share = 0.3 if how == "mixup" else 0.5 * 0.3  # of the clips that are not replaced
        assert len(mixed) / len(drawn) == pytest.approx(share, abs=0.03)
        assert not any(draw.first.pseudo for draw in mixed)
        assert {len(draw.crops) for draw in mixed} == {2}
    assert dataset.known is not None
    assert len(dataset.known) == 2, "a row in which nothing sings is kept"
    singing = next(draw for draw in mixed if draw.second.row == 0)
    np.testing.assert_allclose(dataset.known.target(0, singing.second.start), [0.25, 0.25])
    np.testing.assert_allclose(dataset.apply(singing).target, [1, 0.25])


def test_classes_that_a_teacher_does_not_know_are_unknown(
    soundscapes: Path, tmp_path: Path, birds: pd.DataFrame
) -> None:
    path = tmp_path / "teacher.csv"
    rows = pd.DataFrame({"row_id": ["H1_2.5", "H1_5"], "wren": [0.9, 0.6], "sparrow": [1, 1]})
    rows.to_csv(path, index=False)
    place = {"table": path, "audio_dir": soundscapes, "missing": "unknown", "row_s": 2.5}
    settings = {"tables": [place], "exponent": 2.0, "how": "mixup", "sampling_prob": 1.0}
    dataset = WaveDataset(birds, LABELS, {"soundscape_pseudo_config": settings, "late_normalize": False})
    assert dataset.pseudo is not None
    np.testing.assert_allclose(dataset.pseudo.targets, [[-1, 0.81], [-1, 0.36]], rtol=1e-6)
    assert dataset.pseudo.row_s.tolist() == [2.5, 2.5]
    robin, nocall = (int(birds.index[birds["primary_label"] == label][0]) for label in ("robin", "nocall"))
    assert dataset[Draw(0, 0, robin)].target[0] == 1
    assert dataset[Draw(0, 0, nocall)].target[0] == -1


def test_drawing_soundscapes_needs_mixup(soundscapes: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="drawing is soundscapes, whose clips have no class, and how is"):
        make(soundscapes, table(tmp_path, ROWS), drawing="soundscapes")
