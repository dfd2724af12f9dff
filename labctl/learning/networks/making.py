"""Making a network by its name."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from importlib.util import find_spec

from labctl.errors import UsageError
from labctl.learning.networks.network import Network
from labctl.learning.networks.perceptron import Perceptron
from labctl.learning.tasks import TASKS


def make_network(
    task: str,
    network: str | None,
    bits: int | None,
    shape: Sequence[int],
    classes: int,
    *,
    full_precision: bool = False,
) -> Network:
    """The network called `network` for samples of `shape`, of bits `bits`; None for those published with the task.

    "convolutional", "recurrent", "unet" ("unet-16" for base width 16), or widths, "784-512-10"; "perceptron" has 512
    between the sample's values and the classes. Raises UsageError for another name, for samples it does not take,
    and where it needs torch that is not installed.
    """
    if task not in TASKS:
        raise UsageError(f"there is no task {task!r}: choose one of {', '.join(TASKS)}")
    name = network or TASKS[task].network
    bits = TASKS[task].bits if bits is None else bits
    values = math.prod(shape)
    if name == "perceptron":
        name = f"{values}-512-{classes}"
    if re.fullmatch(r"\d+(-\d+)+", name):
        widths = [int(width) for width in name.split("-")]
        if (widths[0], widths[-1]) != (values, classes):
            raise UsageError(f"the network {name} does not go from {values} values to {classes} classes")
        return Perceptron(widths, bits, full_precision=full_precision)
    base = re.fullmatch(r"unet(?:-(\d+))?", name)
    if name not in ("convolutional", "recurrent") and not base:
        raise UsageError(
            f"no network is called {name!r}: there are convolutional, recurrent, unet, unet-BASE, perceptron, and "
            "widths as in 784-512-10"
        )
    if find_spec("torch") is None:
        raise UsageError(f"the network {name} needs torch: pip install 'labctl[learn]'")
    if base:
        from labctl.learning.networks.unet import UNet

        return UNet(shape, classes, bits, base=int(base[1] or 32), full_precision=full_precision)
    if name == "recurrent":
        from labctl.learning.networks.recurrent import Recurrent

        return Recurrent(shape, classes, bits, full_precision=full_precision)
    from labctl.learning.networks.convolutional import Convolutional

    return Convolutional(shape, classes, bits, full_precision=full_precision)
