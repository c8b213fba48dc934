"""One handle for stores and recordings."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from dawnchorus.audio.decode import load_audio, stream_audio
from dawnchorus.audio.source import open_source
from dawnchorus.audio.store import write_store
from dawnchorus.errors import AudioError, StoreError


def test_both_kinds_give_the_same_sound_here_and_after_pickling(data_factory, tmp_path):
    path = data_factory.tone("a.flac", duration_s=3, sample_rate=48_000)
    stored = tmp_path / "a.flac.hdf5"
    write_store(stored, stream_audio(path), sample_rate=32_000, source=path)
    whole = load_audio(path)
    for source, kind in ((open_source(path), "raw"), (open_source(path, stored=stored), "hdf5")):
        assert (source.kind, source.n_samples, source.sample_rate) == (kind, 96_000, 32_000)
        crop = pickle.loads(pickle.dumps(source)).read(40_000, 16_000)
        np.testing.assert_allclose(crop, whole[40_000:56_000], atol=2e-5)
        assert len(source.read(95_000, 16_000)) == 1_000


def test_a_store_is_enough_where_the_recording_is_elsewhere(data_factory, tmp_path):
    stored = tmp_path / "a.hdf5"
    write_store(stored, [np.ones(5, np.float32)], sample_rate=32_000)
    assert open_source(data_factory.root / "absent.wav", stored=stored).n_samples == 5
    with pytest.raises(AudioError, match=r"absent\.wav: cannot be read"):
        open_source(data_factory.root / "absent.wav")


def test_a_store_at_another_rate_is_refused_with_the_remedy(data_factory, tmp_path):
    stored = tmp_path / "a.hdf5"
    write_store(stored, [np.ones(5, np.float32)], sample_rate=16_000)
    with pytest.raises(StoreError, match="holds sound at 16000 Hz where 32000 Hz is asked for; run"):
        open_source(data_factory.root / "a.wav", stored=stored)
