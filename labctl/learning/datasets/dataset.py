"""What every data set looks like to the networks and protocols."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Inputs = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """Inputs and labels to train with and to be judged by.

    name: the task. classes: labels are 0 to classes - 1. train_inputs, test_inputs: (n, 1, height, width) f4, from
    0 to 1, in an order whose first samples are of all classes; of text (n,) f4, the numbers of its characters in their
    order. train_labels, test_labels: (n,) i8; of segmentation (n, height, width) u1. digest: sha256 of the samples as
    they were read or drawn and of how they were prepared. source: where the data come from, for the
    record. extra: what else belongs to the samples, by name (speakers, fields of view); a name begins with train_ or
    test_, and the first axis is that part's samples, or it is of both parts (alphabet: the characters, by number).
    """

    name: str
    classes: int
    train_inputs: Inputs
    train_labels: NDArray[Any]
    test_inputs: Inputs
    test_labels: NDArray[Any]
    digest: str
    source: str
    extra: Mapping[str, NDArray[Any]] = field(default_factory=dict)
