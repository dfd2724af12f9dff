"""A data set of one's own in MNIST's files: blurred strokes that a small network tells apart in seconds."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np

from labctl.learning.datasets.idx import encode_idx

SIDE = 12
CLASSES = 4


def write_small_digits(folder: Path, train: int = 600, test: int = 200) -> Path:
    """The four idx files in `folder`/mnist; gives `folder`."""
    rng = np.random.default_rng(1)
    (folder / "mnist").mkdir(parents=True)
    for prefix, count in (("train", train), ("t10k", test)):
        labels = rng.integers(0, CLASSES, count).astype(np.uint8)
        images = np.stack([_drawn(int(label), rng) for label in labels])
        _write(folder / "mnist" / f"{prefix}-images-idx3-ubyte.gz", images)
        _write(folder / "mnist" / f"{prefix}-labels-idx1-ubyte.gz", labels)
    return folder


def _drawn(label: int, rng: np.random.Generator) -> np.ndarray:
    """Horizontal, vertical, falling, rising: a stroke somewhere, in noise."""
    image = rng.normal(50, 30, (SIDE, SIDE))
    shift = int(rng.integers(-2, 3))
    along = np.arange(2, SIDE - 2)
    rows, cols = ((SIDE // 2 + shift, along), (along, SIDE // 2 + shift), (along, along), (along, SIDE - 1 - along))[
        label
    ]
    image[rows, cols] += 110
    return image.clip(0, 255).astype(np.uint8)


def _write(path: Path, values: np.ndarray) -> None:
    path.write_bytes(gzip.compress(encode_idx(values), 1))
