"""Products and updates of weights in small batches, in as few passes over the weights as can be."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labctl.learning.trainable.network import Float32

_FEW, _MANY = 4, 32  # vectors: with less the search costs more than it saves, with more hardly a row is left out
_SMALL = 1 << 15  # weights below which it costs more
_SPARSE = 0.6  # share of the inputs from which on all are multiplied


def one_thread() -> AbstractContextManager[Any]:
    """Products on one thread while it lasts: small as they are, several would wait for one another."""
    import scipy.linalg.blas  # noqa: F401 -- which brings a library of its own, to be told as well
    from threadpoolctl import threadpool_limits

    limits: AbstractContextManager[Any] = threadpool_limits(1, user_api="blas")
    return limits


def occupied(vectors: Float32, outputs: int) -> NDArray[np.intp] | None:
    """The inputs of (n, inputs) on which anything stands; None where a product is quicker with all of them."""
    count, inputs = vectors.shape
    if not _FEW <= count <= _MANY or inputs * outputs < _SMALL:
        return None
    rows = np.flatnonzero(vectors.any(axis=0))
    return None if len(rows) > _SPARSE * inputs else rows


def multiply(vectors: Float32, weights: Float32) -> Float32:
    """(n, inputs) @ (inputs, outputs)."""
    rows = occupied(vectors, weights.shape[1])
    return vectors @ weights if rows is None else vectors[:, rows] @ weights[rows]


class Outer:
    """Adds outer products to matrices, in one pass over each."""

    def __init__(self) -> None:
        from scipy.linalg.blas import sgemm  # in place, which numpy's product of two matrices cannot be

        self._sgemm = sgemm

    def add(self, values: Float32, inputs: Float32, deltas: Float32, factor: float) -> None:
        """values (inputs, outputs) += factor * inputs.T @ deltas, for inputs (n, inputs) and deltas (n, outputs)."""
        self._sgemm(factor, deltas.T, inputs.T, beta=1.0, c=values.T, trans_b=True, overwrite_c=True)
