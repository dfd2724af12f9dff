"""The samples that a protocol learns from and is judged by, as its settings name them."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path
from typing import Any

from labctl.learning.datasets import Dataset, load_dataset


def load_samples(task: str, data: str, train: int | None, test: int | None, **options: Any) -> Dataset:
    """The first `train` and `test` samples (all where None) of a data set, which is in the folder `data`.

    options: of `load_dataset`; those that are empty are left out. Raises UsageError.
    """
    found = _loaded(task, data, tuple(sorted((name, value) for name, value in options.items() if value)))
    ends = {"train": slice(train), "test": slice(test)}
    return replace(
        found,
        train_inputs=found.train_inputs[ends["train"]],
        train_labels=found.train_labels[ends["train"]],
        test_inputs=found.test_inputs[ends["test"]],
        test_labels=found.test_labels[ends["test"]],
        extra={name: values[ends.get(name.partition("_")[0], slice(None))] for name, values in found.extra.items()},
    )


@functools.lru_cache(maxsize=1)
def _loaded(task: str, data: str, options: tuple[tuple[str, Any], ...]) -> Dataset:
    """Read once for the plan and the run."""
    return load_dataset(task, Path(data) if data else None, **dict(options))
