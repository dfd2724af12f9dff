"""How well a network does on the samples it is judged by, as numbers for the record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labctl.learning import metrics
from labctl.learning.datasets import Dataset
from labctl.steps import Result


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """accuracy: the share of samples (of segmentation, of pixels in the field of view) labelled right, with Wilson's
    interval. logits: (n, classes), of segmentation (n, 2, height, width). labels, predicted: (n,), of those that count.
    pr_auc, roc_auc: of segmentation, of the rarer class; else None.
    """

    accuracy: metrics.Accuracy
    logits: NDArray[np.float32]
    labels: NDArray[Any]
    predicted: NDArray[Any]
    classes: int
    pr_auc: float | None = None
    roc_auc: float | None = None

    @property
    def is_segmentation(self) -> bool:
        return self.pr_auc is not None

    @property
    def interval(self) -> tuple[float, float] | tuple[None, None]:
        """Wilson's, of 95 %; pixels of a picture go together, so theirs would say nothing."""
        return (None, None) if self.is_segmentation else (self.accuracy.low, self.accuracy.high)

    def as_values(self) -> dict[str, Any]:
        """JSON values."""
        found: dict[str, Any] = {
            "accuracy": self.accuracy.value,
            "accuracy_low": self.interval[0],
            "accuracy_high": self.interval[1],
            "samples": self.accuracy.n,
        }
        return found if self.pr_auc is None else {**found, "pr_auc": self.pr_auc, "roc_auc": self.roc_auc}

    def confusion(self) -> Result:
        counts = metrics.confusion(self.labels, self.predicted, self.classes)
        return Result(counts, ("label", "predicted"), "samples of a label that were predicted so")


def judged(logits: NDArray[np.float32], data: Dataset, field: NDArray[np.bool_] | None = None) -> Judged:
    """`logits` of the first test samples: (n, classes), or of segmentation (n, 2, height, width).

    field: (n, height, width), where pixels count; all do where None.
    """
    labels, predicted = data.test_labels[: len(logits)], np.argmax(logits, axis=1)
    if logits.ndim == 2:
        return Judged(metrics.accuracy(labels, predicted), logits, labels, predicted, data.classes)
    counted = np.ones(labels.shape, bool) if field is None else field[: len(logits)]
    scores = (logits[:, 1] - logits[:, 0])[counted]
    truth, said = labels[counted], predicted[counted]
    return Judged(
        metrics.accuracy(truth, said),
        logits,
        truth,
        said,
        data.classes,
        metrics.pr_auc(truth, scores),
        metrics.roc_auc(truth, scores),
    )
