"""Scores of a network's edges: which are kept, how a batch changes them, which flips are worth their pulses.

The weights are what forming left and are not trained. Every edge has a score; of each layer the edges with the largest
|score| are kept (Ramanujan et al., arXiv 1911.13299). A kept edge weighs `kept`, a pruned one `pruned`, its residue,
and the gradient goes straight through the choice:

    d loss / d score = sign(score) * d loss / d weight * (kept - pruned)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labctl.errors import UsageError
from labctl.learning.descent import CHUNK, Descent

Float32 = NDArray[np.float32]
Flags = NDArray[np.bool_]

_AROUND = 0.02  # of a threshold, within which the next batch's is looked for first
_SIGN = np.uint32(0x8000_0000)


@dataclass(frozen=True, slots=True)
class Flips:
    """What a synchronisation changes. masks: per layer (inputs, outputs), True is kept, after it.

    pruned, reinstated: (layers,) edges that change. held: (layers,) edges that top-k would change and hysteresis did
    not.
    """

    masks: list[Flags]
    pruned: NDArray[np.int64]
    reinstated: NDArray[np.int64]
    held: NDArray[np.int64]


class EdgeScores:
    """Scores of the edges of layers.

    Attributes:
        scores: per layer (inputs, outputs).
        kept: per layer, how many edges are kept.
        updates: how many there were.
    """

    def __init__(
        self,
        shapes: Sequence[tuple[int, int]],
        keep: float,
        rng: np.random.Generator,
        descent: Descent | None = None,
    ) -> None:
        """Draw scores evenly within +-1/sqrt(inputs): Kaiming's uniform with a = sqrt(5) (He et al., arXiv 1502.01852).

        keep: share of each layer's edges to keep. Raises UsageError where it is none.
        """
        if not 0 <= keep <= 1:
            raise UsageError(f"a share of {keep:g} of the edges cannot be kept: it is a number from 0 to 1")
        self.descent = descent or Descent()
        self.updates = 0
        self.scores: list[Float32] = []
        for inputs, outputs in shapes:
            bound = np.float32(1 / np.sqrt(inputs))
            self.scores.append((rng.random((inputs, outputs), np.float32) * 2 - 1) * bound)
        self.kept = [round(keep * score.size) for score in self.scores]
        self._velocities = [np.zeros_like(score) for score in self.scores]
        self._decided = [np.full_like(score, np.inf) for score in self.scores]
        self._thresholds = [0.0 for _ in self.scores]
        self._scratch = np.empty((2, CHUNK), np.float32)

    def masks(self) -> list[Flags]:
        """Per layer (inputs, outputs) which edges are kept: exactly as many as are to be, of equal ones the first."""
        return [self._choose(layer)[0] for layer in range(len(self.scores))]

    def weights(self, kept: Sequence[Float32], pruned: Sequence[Float32]) -> list[Float32]:
        """Per layer the weights: of each edge `kept` or `pruned`, as its score decides."""
        return [_either(mask, one, other) for mask, one, other in zip(self.masks(), kept, pruned, strict=True)]

    def update(self, gradients: Sequence[Float32], kept: Sequence[Float32], pruned: Sequence[Float32]) -> None:
        """Descend by the gradients of a batch: per layer (inputs, outputs) d loss / d weight."""
        for score, velocity, *given in zip(self.scores, self._velocities, gradients, kept, pruned, strict=True):
            for values, speeds, slopes, one, other in _chunks(score, velocity, *given):
                change = np.subtract(one, other, out=self._scratch[0, : len(values)])
                change *= slopes
                signs = np.bitwise_and(
                    values.view(np.uint32), _SIGN, out=self._scratch[1, : len(values)].view(np.uint32)
                )
                flipped = change.view(np.uint32)
                flipped ^= signs
                self.descent.step(values, speeds, change, self.updates)
        self.updates += 1

    def flips(self, current: Sequence[Flags], limit: float) -> Flips:
        """Which edges to change on a chip whose edges are kept as `current` says.

        An edge is decided when it is asked about for the first time, and whenever it flips. One that top-k wants to
        be other than it is may flip only if its |score| has moved by at least `limit` times the layer's threshold (the
        smallest |score| that top-k keeps) since it was last decided; the first time it always may, and with a limit of
        0 too. Then, so that as many edges are kept as there should be, flips of the side that has too many (prunings or
        reinstatements) are held as well, those nearest the threshold first. A held edge stays decided as it was, and is
        asked about again next time.
        """
        masks: list[Flags] = []
        counts: list[tuple[int, int, int]] = []
        for layer, (decided, now) in enumerate(zip(self._decided, current, strict=True)):
            size = np.abs(self.scores[layer])
            wanted, threshold = self._choose(layer)
            wish = wanted != now
            undecided = np.isinf(decided)
            far = limit * threshold if self.kept[layer] else 0.0
            may = wish & (undecided | (np.abs(size - decided) >= far))
            may = _balanced(may, now, size, self.kept[layer])
            np.copyto(decided, size, where=may | undecided)
            pruned, reinstated = int(np.count_nonzero(may & now)), int(np.count_nonzero(may & ~now))
            masks.append(now ^ may)
            counts.append((pruned, reinstated, int(np.count_nonzero(wish)) - pruned - reinstated))
        pruned_, reinstated_, held = np.array(counts, np.int64).reshape(-1, 3).T
        return Flips(masks, pruned_, reinstated_, held)

    def state(self) -> dict[str, NDArray[Any]]:
        """All that changes, as copies under flat names."""
        return {"updates": np.array([self.updates], np.int64)} | {
            name: values.copy() for name, values in self._named().items()
        }

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Go on from what `state` gave; names that are not its own are passed over.

        Raises UsageError where an array is missing or has another shape.
        """
        arrays = self._named()
        shapes = {name: values.shape for name, values in arrays.items()} | {"updates": (1,)}
        for name, shape in shapes.items():
            if name not in state or state[name].shape != shape:
                raise UsageError(f"these are not scores of these edges: there is no {name} of shape {shape}")
        for name, values in arrays.items():
            values[:] = state[name]
        self.updates = int(state["updates"][0])

    def _choose(self, layer: int) -> tuple[Flags, float]:
        """Which edges of a layer have the largest |score|, of equal ones the first, and the smallest of these."""
        scores, count = self.scores[layer], self.kept[layer]
        threshold = self._thresholds[layer] = _threshold(scores, count, self._thresholds[layer], self._scratch[0])
        chosen = np.empty(scores.shape, np.bool_)
        for part, flags in _chunks(scores, chosen):
            np.greater_equal(np.abs(part, out=self._scratch[0, : len(part)]), np.float32(threshold), out=flags)
        surplus = np.count_nonzero(chosen) - count
        if surplus:
            chosen.reshape(-1)[np.flatnonzero(np.abs(scores) == np.float32(threshold))[-surplus:]] = False
        return chosen, threshold

    def _named(self) -> dict[str, Float32]:
        named: dict[str, Float32] = {}
        for number, (score, velocity, decided) in enumerate(
            zip(self.scores, self._velocities, self._decided, strict=True)
        ):
            named |= {f"scores_{number}": score, f"velocities_{number}": velocity, f"decided_{number}": decided}
        return named


def _threshold(scores: Float32, count: int, near: float, scratch: Float32) -> float:
    """The `count`-th largest |score|. It is looked for around `near` first: a partition of all costs ten times that."""
    if not count:
        return float("inf")
    low, high = np.float32(near * (1 - _AROUND)), np.float32(near * (1 + _AROUND))
    around, rest = [], count
    for (part,) in _chunks(scores):
        sizes = np.abs(part, out=scratch[: len(part)])
        above = sizes > high
        rest -= int(np.count_nonzero(above))
        around.append(sizes[(sizes >= low) ^ above])
    found = np.concatenate(around)
    if not 1 <= rest <= found.size:
        found, rest = np.abs(scores).reshape(-1), count
    return float(np.partition(found, found.size - rest)[found.size - rest])


def _either(mask: Flags, kept: Float32, pruned: Float32) -> Float32:
    """`kept` where `mask`, else `pruned`, by bits: np.where takes ten times as long where the mask is random."""
    chosen = np.empty(mask.shape, np.float32)
    for result, flags, one, other in _chunks(chosen, mask, kept, pruned):
        bits = result.view(np.int32)
        np.negative(flags.view(np.int8), out=bits, dtype=np.int32)
        bits &= one.view(np.int32) ^ other.view(np.int32)
        bits ^= other.view(np.int32)
    return chosen


def _balanced(may: Flags, now: Flags, sizes: Float32, count: int) -> Flags:
    """The flips that may be, less those, weakest first, that take the kept further from `count` than they need be."""
    flat = may.reshape(-1)
    pruned = np.flatnonzero(may & now)
    reinstated = np.flatnonzero(may & ~now)
    over = int(np.count_nonzero(now)) + len(reinstated) - len(pruned) - count
    if over > 0:
        flat[_weakest(reinstated, sizes.reshape(-1)[reinstated], over)] = False
    elif over < 0:
        flat[_weakest(pruned, -sizes.reshape(-1)[pruned], -over)] = False
    return may


def _weakest(places: NDArray[np.intp], strengths: Float32, count: int) -> NDArray[np.intp]:
    if count >= len(places):
        return places
    return places[np.argpartition(strengths, count)[:count]]


def _chunks(*arrays: NDArray[Any]) -> Iterator[list[NDArray[Any]]]:
    """Flat pieces of arrays of one shape, in step; of contiguous ones they are views."""
    flat = [array.reshape(-1) for array in arrays]
    for start in range(0, flat[0].size, CHUNK):
        yield [array[start : start + CHUNK] for array in flat]
