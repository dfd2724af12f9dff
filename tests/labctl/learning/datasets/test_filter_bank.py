"""Filter-bank features of sounds whose spectra are known."""

from __future__ import annotations

import numpy as np
import pytest

from labctl.learning.datasets.filter_bank import FilterBank

RATE = 8000
BANK = FilterBank()


def tone(frequency: float, seconds: float, amplitude: float = 8000.0) -> np.ndarray:
    return np.rint(amplitude * np.sin(2 * np.pi * frequency * np.arange(round(seconds * RATE)) / RATE)).astype(np.int16)


def levels(*clips: np.ndarray, bank: FilterBank = BANK) -> np.ndarray:
    offsets = np.cumsum([0, *(len(clip) for clip in clips)])
    return bank.levels(np.concatenate(clips), offsets, RATE)


def test_every_clip_has_as_many_bands_and_frames_however_long_it_is() -> None:
    found = levels(tone(500, 0.02), tone(500, 0.4), tone(500, 2.3))
    assert found.shape == (3, 23, 20)
    assert found.dtype == np.float32
    assert found.max(axis=(1, 2)) == pytest.approx(0, abs=1e-5)
    assert found.min() >= -BANK.floor


@pytest.mark.parametrize("frequency", [150, 700, 1500, 3000])
def test_a_tone_is_loudest_in_the_band_around_it(frequency: float) -> None:
    edges = np.linspace(2595 * np.log10(1 + 20 / 700), 2595 * np.log10(1 + 4000 / 700), 25)
    nearest = int(np.argmin(np.abs(edges[1:-1] - 2595 * np.log10(1 + frequency / 700))))
    found = levels(tone(frequency, 0.5))[0]
    np.testing.assert_array_equal(found.argmax(axis=0), nearest)


def test_how_loud_a_clip_is_does_not_count() -> None:
    quiet, loud = levels(tone(900, 0.3, 4000), tone(900, 0.3, 16000))
    np.testing.assert_allclose(quiet, loud, atol=0.05)  # dB: rounding to whole numbers is noise 80 dB below the tone


def test_clips_do_not_see_one_another() -> None:
    rng = np.random.default_rng(1)
    clips = [rng.integers(-3000, 3000, length).astype(np.int16) for length in (900, 3000, 100, 5000)]
    together = levels(*clips)
    for number, clip in enumerate(clips):
        np.testing.assert_array_equal(together[number], levels(clip)[0])


def test_many_clips_are_as_each_alone() -> None:
    clip = tone(440, 0.2)
    found = levels(*[clip] * 300)
    np.testing.assert_array_equal(found, np.broadcast_to(found[0], found.shape))


def test_silence_at_the_ends_is_left_out() -> None:
    hiss = np.random.default_rng(2).integers(-5000, 5000, 3200).astype(np.int16)
    hiss[[0, -1]] = 0  # or emphasis would make clicks of them where silence follows
    silence = np.zeros(1600, np.int16)
    alone, padded = levels(hiss, np.concatenate([silence, hiss, silence]))
    np.testing.assert_allclose(padded, alone, atol=1e-4)


def test_a_pause_within_stays() -> None:
    word = tone(600, 0.2)
    found = levels(np.concatenate([word, np.zeros(1600, np.int16), word]))[0].max(axis=0)
    assert (found[[0, -1]] > -3).all()
    assert found[10] == -BANK.floor


def test_time_runs_forward_over_the_whole_clip() -> None:
    found = levels(np.concatenate([tone(300, 0.3), tone(2500, 0.3)]))[0]
    low, high = found[:8].max(axis=0), found[15:].max(axis=0)
    assert (low[:9] > high[:9]).all()
    assert (high[11:] > low[11:]).all()


def test_a_clip_of_zeros_has_levels_too() -> None:
    assert np.isfinite(levels(np.zeros(2000, np.int16))).all()
