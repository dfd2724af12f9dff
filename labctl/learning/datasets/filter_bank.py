"""Mel filter-bank features of short clips: a picture of bands by frames from each waveform.

Pre-emphasis, Hamming windows, power spectra, triangular filters on the mel scale, logarithm: S. B. Davis and P.
Mermelstein, IEEE Trans. Acoust., Speech, Signal Process. 28 (1980) 357, without their cosine transform. Silence at both
ends is left out, by energy alone (compare L. R. Rabiner and M. R. Sambur, Bell Syst. Tech. J. 54 (1975) 297); frames
are spread evenly over the rest, which takes its length out; levels are relative to the loudest, which takes its gain
out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Features = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class FilterBank:
    """bands x frames features. window: s. lowest: Hz, where the first filter begins; the last ends at half the rate.

    emphasis: of x[n] - emphasis x[n - 1]. silence: dB under the clip's loudest 10 ms, below which its ends are silent.
    floor: dB under the clip's loudest level, where levels are cut off.
    """

    bands: int = 23
    frames: int = 20
    window: float = 0.032
    lowest: float = 20.0
    emphasis: float = 0.97
    silence: float = 30.0
    floor: float = 50.0

    def levels(self, samples: NDArray[np.int16], offsets: NDArray[np.int64], rate: int) -> Features:
        """(clips, bands, frames) dB, from -floor to 0.

        samples: all clips one after the other, none empty; clip i is samples[offsets[i]:offsets[i + 1]], at `rate` Hz.
        What is shorter than a window is taken to be followed by silence.
        """
        width = round(self.window * rate)
        transform = 1 << (width - 1).bit_length()
        filters = self._filters(rate, transform)
        taper = np.hamming(width).astype(np.float32)
        emphasised = self._emphasised(samples, offsets, width)
        begins, ends = self._sounding(emphasised[: len(samples)], offsets, rate)
        starts = begins + np.rint(np.linspace(0, 1, self.frames) * np.maximum(ends - begins - width, 0)).astype(
            np.int64
        )
        power = np.empty((len(starts), self.frames, self.bands), np.float32)
        for first in range(0, len(starts), 256):  # a few MB at a time
            chosen = slice(first, first + 256)
            at = starts[chosen, :, None] + np.arange(width)
            cut = np.where(at < ends[chosen, :, None], emphasised[at], np.float32(0))
            power[chosen] = np.abs(np.fft.rfft(cut * taper, transform)).astype(np.float32) ** 2 @ filters
        decibels = 10 * np.log10(np.maximum(power, np.finfo(np.float32).tiny))
        relative = decibels - decibels.max(axis=(1, 2), keepdims=True)
        return np.ascontiguousarray(np.maximum(relative, np.float32(-self.floor)).transpose(0, 2, 1))

    def _emphasised(self, samples: NDArray[np.int16], offsets: NDArray[np.int64], width: int) -> NDArray[np.float32]:
        """`samples` with high frequencies raised, each clip by itself, and a window of silence after the last."""
        raised = np.zeros(len(samples) + width, np.float32)
        raised[: len(samples)] = samples
        raised[1 : len(samples)] -= np.float32(self.emphasis) * samples[:-1].astype(np.float32)
        raised[offsets[:-1]] = 0  # what came before a clip is not known, and a step there would be a click
        return raised

    def _sounding(
        self, emphasised: NDArray[np.float32], offsets: NDArray[np.int64], rate: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(clips, 1) each: where a clip's first block of 10 ms that is not silent begins, and its last one ends."""
        block = max(1, round(0.01 * rate))
        blocks = -(-np.diff(offsets) // block)
        first = np.cumsum(blocks) - blocks
        starts = np.repeat(offsets[:-1], blocks) + block * (np.arange(blocks.sum()) - np.repeat(first, blocks))
        energy = np.add.reduceat(emphasised**2, starts)
        sounds = energy >= np.repeat(np.maximum.reduceat(energy, first), blocks) * 10 ** (-self.silence / 10)
        begins = np.minimum.reduceat(np.where(sounds, starts, offsets[-1]), first)
        lasts = np.maximum.reduceat(np.where(sounds, starts, 0), first)
        return begins[:, None], np.minimum(lasts + block, offsets[1:])[:, None]

    def _filters(self, rate: int, transform: int) -> NDArray[np.float32]:
        """(transform / 2 + 1, bands) weights of the spectrum's lines: triangles, equally wide on the mel scale."""
        edges = np.linspace(_mel(self.lowest), _mel(rate / 2), self.bands + 2)
        lines = _mel(np.arange(transform // 2 + 1) * rate / transform)[:, None]
        rising = (lines - edges[:-2]) / np.diff(edges)[:-1]
        falling = (edges[2:] - lines) / np.diff(edges)[1:]
        return np.maximum(0, np.minimum(rising, falling)).astype(np.float32)


def _mel(frequency: float | NDArray[np.float64]) -> NDArray[np.float64]:
    """mel = 2595 log10(1 + f / 700 Hz): D. O'Shaughnessy, Speech Communication (1987), p. 150."""
    return 2595 * np.log10(1 + np.asarray(frequency) / 700)
