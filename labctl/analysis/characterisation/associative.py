"""What an associative chip is like: errors of shifts, margin of a search, yield, retention, positions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy import optimize

from labctl.analysis import estimators
from labctl.analysis.characterisation.statistic import Statistic, plain, quantity, statistic
from labctl.analysis.estimators import Estimate, Normal

Floats = NDArray[np.float64]

NOMINAL = 0.5
"""The threshold half-way between the signal of a match and that of one mismatch."""


@dataclass(frozen=True)
class Margin:
    """Signals of match lines by a swept threshold, in units of one mismatch.

    misses, matches: (thresholds,) shares of matching rows that were not tagged, and of rows with one mismatch that
    were. match, mismatch: the normal distributions that these come of.
    """

    threshold: Floats
    misses: list[Estimate]
    matches: list[Estimate]
    match: Normal
    mismatch: Normal

    @classmethod
    def of(cls, measured: xr.Dataset) -> Margin:
        threshold = measured["sense_threshold"].values.astype(np.float64)
        names = ("matching", "false_misses", "mismatching", "false_matches")
        matching, missed, mismatching, matched = (measured[name].values for name in names)
        return cls(
            threshold,
            [estimators.fraction(int(count), int(of)) for count, of in zip(missed, matching, strict=True)],
            [estimators.fraction(int(count), int(of)) for count, of in zip(matched, mismatching, strict=True)],
            estimators.normal_below(threshold, matching - missed, matching),
            estimators.normal_below(threshold, matched, mismatching),
        )

    @property
    def is_known(self) -> bool:
        return bool(np.isfinite([self.match.sd.value, self.mismatch.sd.value]).all())

    @property
    def sigmas(self) -> float:
        """How far apart the two are, in the sum of their standard deviations: what either may be off at once."""
        return (self.mismatch.mean.value - self.match.mean.value) / (self.match.sd.value + self.mismatch.sd.value)

    @cached_property
    def best(self) -> float:
        """The threshold at which fewest are expected to be sensed wrong: there both densities are as high."""
        ends = (self.match.mean.value, self.mismatch.mean.value)

        def higher(threshold: float) -> float:
            scores = [((threshold - each.mean.value) / each.sd.value) ** 2 / 2 for each in (self.match, self.mismatch)]
            return scores[0] - scores[1] + float(np.log(self.match.sd.value / self.mismatch.sd.value))

        if not (ends[0] < ends[1] and higher(ends[0]) < 0 < higher(ends[1])):
            return float("nan")
        return float(optimize.brentq(higher, *ends))

    def wrong(self, threshold: float) -> float:
        """Share expected to be sensed wrong, of matching rows and of those with one mismatch as many."""
        return (float(self.match.above(threshold)) + float(self.mismatch.below(threshold))) / 2


def statistics(measured: xr.Dataset) -> list[Statistic]:
    """Of an `associative-characterisation` measurement: of those of its kinds that were made."""
    parts = {"displaced": _shifts, "matching": _margin, "sound_writes": _yield, "flipped_bits": _retention}
    return [each for name, part in parts.items() if name in measured for each in part(measured)]


@dataclass(frozen=True, slots=True)
class ShiftErrors:
    """Of a single shift of a nanowire: how often it goes one domain too far, and how often it stays one short."""

    over: Estimate
    under: Estimate

    @classmethod
    def of(cls, strides: NDArray[np.int64], stride: int) -> ShiftErrors:
        """strides: (8,) of so many shifts, by how many domains too far they went."""
        return cls(*estimators.step_errors(strides, stride))

    def named(self) -> tuple[tuple[str, Estimate], tuple[str, Estimate]]:
        return ("over", self.over), ("under", self.under)


def stride_of(measured: xr.Dataset) -> int:
    """Shifts of one stride."""
    return int(measured["stride"].values[0])


def shift_errors(measured: xr.Dataset) -> ShiftErrors:
    """Of all tracks, both ways."""
    return ShiftErrors.of(measured["displaced"].values.sum(axis=(0, 1)), stride_of(measured))


def shift_errors_by_track(measured: xr.Dataset) -> list[ShiftErrors]:
    """In the order of `measured`'s tracks."""
    return [ShiftErrors.of(counts.sum(axis=0), stride_of(measured)) for counts in measured["displaced"].values]


def _shifts(measured: xr.Dataset) -> Iterator[Statistic]:
    both = shift_errors(measured)
    yield statistic("shift_over", "1", both.over, "a nanowire goes one domain too far, in a shift by one")
    yield statistic("shift_under", "1", both.under, "a nanowire stays one domain short, in a shift by one")
    for place, direction in enumerate(("up", "down")):
        found = ShiftErrors.of(measured["displaced"].values[:, place].sum(axis=0), stride_of(measured))
        for name, estimate in found.named():
            yield statistic(f"shift_{name}_by", "1", estimate, direction=direction)
    for track, found in zip(measured["track"].values, shift_errors_by_track(measured), strict=True):
        for name, estimate in found.named():
            yield statistic(f"shift_{name}_by", "1", estimate, track=str(track))
    checks, misreads = (int(measured[f"position_{name}"].values.sum()) for name in ("checks", "misreads"))
    yield statistic(
        "check_misread",
        "1",
        estimators.fraction(misreads, checks),
        "position checks of a nanowire that two others contradict",
    )


def _margin(measured: xr.Dataset) -> Iterator[Statistic]:
    margin = Margin.of(measured)
    place = int(np.argmin(np.abs(margin.threshold - NOMINAL)))
    at = f"{margin.threshold[place]:g}"
    yield statistic("false_miss", "1", margin.misses[place], "of rows that match the key", threshold=at)
    yield statistic("false_match", "1", margin.matches[place], "of rows with one mismatch", threshold=at)
    for name, normal in (("match", margin.match), ("mismatch", margin.mismatch)):
        note = "signal of the match line, one mismatch being 1" if name == "match" else ""
        yield statistic(f"{name}_mean", "1", normal.mean, note)
        yield statistic(f"{name}_sd", "1", normal.sd)
    if margin.is_known:
        rows = margin.match.mean.n + margin.mismatch.mean.n
        yield plain("margin", "1", margin.sigmas, rows, "between their means, in the sum of their sd")
        yield plain("best_threshold", "1", margin.best, rows, "where fewest are expected to be sensed wrong")
        yield plain("wrong_at_best", "1", margin.wrong(margin.best), rows, "of rows, by the normal distributions")


def _yield(measured: xr.Dataset) -> Iterator[Statistic]:
    cells, stuck = (int(measured[name].values.sum()) for name in ("cells", "stuck"))
    yield statistic("yield", "1", estimators.fraction(cells - stuck, cells), "cells that take both bits")
    ways = zip(*(measured[name].values for name in ("way", "failed_writes", "sound_writes")), strict=True)
    for way, failed, written in ways:
        yield statistic(
            "write_error", "1", estimators.fraction(int(failed), int(written)), "of those cells", way=str(way)
        )
    bits, misread = measured["read_bits"].values.tolist()
    yield statistic("read_error", "1", estimators.fraction(misread, bits), "bits that two other reads contradict")


def flips(measured: xr.Dataset) -> list[tuple[float, Estimate, Estimate]]:
    """At each time, s: the share of bits that are not what they were, and the rate of flips, 1/s."""
    held = int(measured["stored_bits"].values.sum())
    shares = [estimators.fraction(int(each), held) for each in measured["flipped_bits"].values.sum(axis=1)]
    return [
        (float(time), share, _rate(share, float(time)))
        for time, share in zip(measured["elapsed"].values, shares, strict=True)
    ]


def _rate(share: Estimate, time: float) -> Estimate:
    """Of flips to and fro that are as likely: a share of (1 - exp(-2 rate time)) / 2 is not what it was."""
    value, low, high = (
        abs(float(np.log(max(1 - 2 * each, np.finfo(float).tiny)))) / (2 * time)
        for each in (share.value, share.low, share.high)
    )
    return Estimate(value, low, high, share.n)


def _retention(measured: xr.Dataset) -> Iterator[Statistic]:
    found = flips(measured)
    for time, share, _ in found:
        yield statistic("flipped", "1", share, "bits that are not what they were", time=quantity(time, "s"))
    time, _, rate = found[-1]
    yield statistic("flip_rate", "1/s", rate, f"of a cell, by the reads after {quantity(time, 's')}")
    for stored, of, flipped in zip(
        (0, 1), measured["stored_bits"].values, measured["flipped_bits"].values[-1], strict=True
    ):
        share = estimators.fraction(int(flipped), int(of))
        yield statistic("flip_rate_by", "1/s", _rate(share, time), stored=str(stored))


def of_alignment(measured: xr.Dataset) -> list[Statistic]:
    """Of an `associative-alignment` measurement."""
    told, found = measured.attrs, []
    for moment in ("before", "after"):
        counts = measured[moment].values
        aligned = int(counts[:, measured["offset"].values == 0].sum())
        known = int(counts.sum())
        note = "nanowires that are not where their head is"
        found.append(statistic(f"astray_{moment}", "1", estimators.fraction(known - aligned, known), note))
    for moment in ("before", "after"):
        of_tracks = measured[moment].values[:, measured["offset"].values != 0].sum(axis=1)
        found.append(plain(f"tracks_astray_{moment}", "1", int(np.count_nonzero(of_tracks)), len(of_tracks)))
    misread = estimators.fraction(int(told.get("misreads", 0)), int(told.get("checked", 0)))
    found.append(statistic("check_misread", "1", misread, "position checks of a nanowire that two others contradict"))
    return found
