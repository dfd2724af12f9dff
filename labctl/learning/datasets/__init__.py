"""The data sets of the learning protocols, read from a user's folder; nothing is downloaded and nothing is cached.

from labctl.learning.datasets import load_dataset

data = load_dataset("fashion-mnist")                                     # from the folder that LABCTL_DATA names
data = load_dataset("spoken-digits", Path("sets"), split="speaker:theo")
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from labctl.errors import UsageError
from labctl.learning.datasets.dataset import Dataset

__all__ = ["Dataset", "load_dataset"]

_LOADERS = {
    "fashion-mnist": "labctl.learning.datasets.images:load_fashion_mnist",
    "mnist": "labctl.learning.datasets.images:load_mnist",
    "spoken-digits": "labctl.learning.datasets.spoken_digits:load_spoken_digits",
    "text": "labctl.learning.datasets.text:load_text",
    "vessels": "labctl.learning.datasets.vessels:load_vessels",
}


def load_dataset(task: str, data: Path | None = None, **options: Any) -> Dataset:
    """The data set of `task`: fashion-mnist, mnist, spoken-digits, text or vessels.

    data: the folder that holds it; without, the one that the environment variable LABCTL_DATA names. options: those
    of the task's own loader; docs/data-sets.md lists them. Raises UsageError, in one sentence, where the files are
    missing, are not the published ones, or an option does not fit.
    """
    if task not in _LOADERS:
        raise UsageError(f"there is no task {task!r}: choose one of {', '.join(_LOADERS)}")
    module, function = _LOADERS[task].split(":")
    load: Callable[..., Dataset] = getattr(import_module(module), function)
    known = [name for name in inspect.signature(load).parameters if name != "data"]
    for name in options:
        if name not in known:
            raise UsageError(f"{task} has no option {name!r}: it has {', '.join(known)}")
    return load(data, **options)
