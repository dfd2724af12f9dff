"""How well a network does: accuracy with its interval, confusion, and areas under the curves of detections.

The areas are exact, not of binned scores: equal scores are one point of a curve, and no order among them counts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from labctl.proportions import wilson_interval


@dataclass(frozen=True, slots=True)
class Accuracy:
    """The share of samples that were labelled right, with Wilson's interval of 95 %; n: samples."""

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """One point per distinct score, the highest first: so many of the detections at or above it are right and wrong.

    score: (k,). right, wrong: (k,) i8, true and false detections.
    """

    score: NDArray[np.floating]
    right: NDArray[np.int64]
    wrong: NDArray[np.int64]

    @property
    def precision(self) -> NDArray[np.float64]:
        """(k,) share of what is detected that is there."""
        return self.right / (self.right + self.wrong)

    @property
    def recall(self) -> NDArray[np.float64]:
        """(k,) share of what is there that is detected."""
        share: NDArray[np.float64] = self.right / self.right[-1]
        return share

    @property
    def fall_out(self) -> NDArray[np.float64]:
        """(k,) share of what is not there that is detected."""
        share: NDArray[np.float64] = self.wrong / self.wrong[-1]
        return share


def accuracy(labels: ArrayLike, predicted: ArrayLike) -> Accuracy:
    """How many of the labels `predicted` are those of `labels`; both (n, ...), at least one."""
    truth, said = _alike(labels, predicted)
    right = int(np.count_nonzero(truth == said))
    return Accuracy(right / truth.size, *wilson_interval(right, truth.size), truth.size)


def confusion(labels: ArrayLike, predicted: ArrayLike, classes: int) -> NDArray[np.uint32]:
    """(classes, classes) counts: by label down, by what was predicted across; both 0 to classes - 1."""
    truth, said = _alike(labels, predicted)
    for values in (truth, said):
        if values.min() < 0 or values.max() >= classes:
            raise ValueError(f"labels from {values.min()} to {values.max()} are not among {classes} classes")
    cells = truth.astype(np.int64) * classes + said.astype(np.int64)
    return np.bincount(cells, minlength=classes**2).reshape(classes, classes).astype(np.uint32)


def detection_curve(truth: ArrayLike, scores: ArrayLike) -> Curve:
    """What each threshold on `scores` (n, ...) detects of `truth` (n, ...), which is 0 or 1.

    Raises ValueError where all or none is there to be detected, as no curve is defined then, or a score is NaN.
    """
    there, score = _alike(truth, scores)
    there = there.astype(bool)
    if there.all() or not there.any():
        raise ValueError("detections can be judged only where some of it is there and some is not")
    if np.isnan(score).any():
        raise ValueError("a score is NaN")
    falling = np.argsort(score)[::-1]  # the order of equal scores does not count: each group is one point
    score, there = score[falling], there[falling]
    last = np.append(np.flatnonzero(score[1:] != score[:-1]), score.size - 1)
    right = np.cumsum(there, dtype=np.int64)[last]
    return Curve(score[last], right, last + 1 - right)


def roc_auc(truth: ArrayLike, scores: ArrayLike) -> float:
    """Area under the receiver operating characteristic: how often what is there scores above what is not.

    Equal scores count half (J. A. Hanley and B. J. McNeil, Radiology 143 (1982) 29). Raises as `detection_curve`.
    """
    curve = detection_curve(truth, scores)
    right, wrong = np.append(0, curve.right), np.append(0, curve.wrong)
    doubled = np.sum(np.diff(wrong) * (right[1:] + right[:-1]))  # whole numbers: exact below 2**63
    return float(doubled) / (2 * float(right[-1]) * float(wrong[-1]))


def pr_auc(truth: ArrayLike, scores: ArrayLike) -> float:
    """Average precision: the sum over thresholds of precision times the recall it adds.

    Not interpolated, as linear interpolation flatters (J. Davis and M. Goadrich, Proc. ICML (2006) 233). Raises as
    `detection_curve`.
    """
    curve = detection_curve(truth, scores)
    return float(np.sum(np.diff(curve.recall, prepend=0) * curve.precision))


def _alike(first: ArrayLike, second: ArrayLike) -> tuple[NDArray[np.generic], NDArray[np.generic]]:
    """Both, flat; raises ValueError unless they are of one shape and not empty."""
    one, other = np.asarray(first), np.asarray(second)
    if one.shape != other.shape or not one.size:
        raise ValueError(f"expected two arrays of one shape, not empty, got {one.shape} and {other.shape}")
    return one.ravel(), other.ravel()
