"""Samples changed without changing what they are."""

from __future__ import annotations

import numpy as np
from toy_tasks import as_dataset, bars, clusters

from labctl.learning.augmentation import augmentation_of, mirrored, shifted


def test_mirrored_pictures_keep_their_labels_with_them() -> None:
    data = bars(16)
    assert augmentation_of(data) is mirrored
    inputs = data.train_labels[:, None].astype(np.float32)
    given, wanted = mirrored(inputs, data.train_labels, np.random.default_rng(1))
    np.testing.assert_array_equal(given[:, 0], wanted)
    changed = np.any(wanted != data.train_labels, axis=(1, 2))
    assert 0.5 < changed.mean() < 1  # three in four, but for pictures that are their own mirror image


def test_spoken_digits_begin_a_frame_earlier_or_later_or_as_they_did() -> None:
    inputs = np.tile(np.arange(6, dtype=np.float32), (300, 1, 2, 1))
    assert augmentation_of(as_dataset("spoken-digits", 10, inputs, np.zeros(300, int))) is shifted
    given, _ = shifted(inputs, np.zeros(300, int), np.random.default_rng(1))
    found = {tuple(frames) for frames in given.reshape(-1, 6)}
    assert found == {(0, 1, 2, 3, 4, 5), (0, 0, 1, 2, 3, 4), (1, 2, 3, 4, 5, 5)}
    assert np.all(given[:, 0, 0] == given[:, 0, 1])  # all bands of a sample go together


def test_other_samples_are_left_as_they_are() -> None:
    assert augmentation_of(clusters()) is None
