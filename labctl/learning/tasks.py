"""The tasks that networks are pruned for, and for how long; data sets and networks of the same names go with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

TaskName = Literal["fashion-mnist", "mnist", "spoken-digits", "vessels"]


@dataclass(frozen=True, slots=True)
class Task:
    """network, bits: as published (arXiv 2311.07164). epochs, batch, rate (of the scores): what is usual
    here; published are 65 epochs of Fashion-MNIST and 60 of spoken digits, from a rate of 0.1.

    labels: what the classes are called.
    """

    name: TaskName
    network: str
    bits: int
    epochs: int
    batch: int
    rate: float
    labels: tuple[str, ...]


_DIGITS = tuple("0123456789")
_CLOTHES = ("T-shirt", "trousers", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")

TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task("fashion-mnist", "convolutional", 4, 20, 60, 0.03, _CLOTHES),
        Task("mnist", "convolutional", 4, 20, 60, 0.03, _DIGITS),
        Task("spoken-digits", "recurrent", 3, 60, 30, 0.1, _DIGITS),
        Task("vessels", "unet", 6, 10, 8, 0.05, ("background", "vessel")),
    )
}

BASELINES = {
    "untouched": "random weights, untouched",
    "last_layer": "only the last layer trained",
    "trained_then_written": "trained, then written",
    "pruned_software": "pruned in software",
    "float": "trained in float32",
}
"""What else can be made of such an array, or without one, and what that is called."""
