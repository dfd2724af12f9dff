"""Making a trainable network by its name."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from labctl.errors import UsageError
from labctl.learning.trainable.network import TrainableNetwork
from labctl.learning.trainable.tasks import TRAINING_TASKS


def make_trainable(task: str, network: str | None, shape: Sequence[int], classes: int) -> TrainableNetwork:
    """The network called `network` for samples of `shape`; None for the usual one of the task.

    "convolutional", "gan" and "lstm" ("gan-64", "lstm-64" for so many units), or widths, "784-250-10"; "perceptron" has
    250 between the sample's values and the classes. Raises UsageError for another name, and for samples it does not
    take.
    """
    if task not in TRAINING_TASKS:
        raise UsageError(f"there is no task {task!r} to train for: choose one of {', '.join(TRAINING_TASKS)}")
    name = network or TRAINING_TASKS[task].network
    if (task == "gan") != bool(re.match("gan", name)) or (task == "text") != bool(re.match("lstm", name)):
        raise UsageError(f"the network {name} is not one for the task {task}: {_SUITED[task]}")
    values = math.prod(shape)
    if name == "perceptron":
        name = f"{values}-250-{classes}"
    if re.fullmatch(r"\d+(-\d+)+", name):
        from labctl.learning.trainable.perceptron import Perceptron

        widths = [int(width) for width in name.split("-")]
        if (widths[0], widths[-1]) != (values, classes):
            raise UsageError(f"the network {name} does not go from {values} values to {classes} classes")
        return Perceptron(widths)
    if name == "convolutional":
        from labctl.learning.trainable.convolutional import Convolutional

        return Convolutional(shape, classes)
    units = re.fullmatch(r"gan(?:-(\d+))?", name)
    if units:
        from labctl.learning.trainable.gan import UNITS, Gan

        return Gan(shape, int(units[1] or UNITS))
    units = re.fullmatch(r"lstm(?:-(\d+))?", name)
    if not units:
        raise UsageError(f"no network is called {name!r}: {_SUITED[task]}")
    from labctl.learning.trainable.lstm import Lstm

    return Lstm(classes, int(units[1] or 128))


_PICTURES = "there are perceptron, convolutional, and widths as in 784-250-10"
_SUITED = {
    "fashion-mnist": _PICTURES,
    "gan": "there are gan and gan-UNITS, as in gan-128",
    "mnist": _PICTURES,
    "text": "there are lstm and lstm-UNITS, as in lstm-128",
}
