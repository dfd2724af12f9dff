"""The default target end to end: what the network still gets right with its first layer read back from the chip.

    LABCTL_DATA=DIR python benchmarks/weights_accuracy.py [RUN]

RUN is a run file of the default target; without it the embedded chip is programmed. Needs MNIST in DIR/mnist.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np

import labctl
from labctl.data.targets.mnist_network import accuracy_of
from labctl.errors import UsageError
from labctl.learning.datasets.images import MNIST, read_part
from labctl.targets import default_target


def main() -> None:
    try:
        test = read_part(MNIST, "test")
    except UsageError as problem:
        sys.exit(str(problem))
    images, labels = test.images, test.labels
    target = default_target().conductance
    with tempfile.TemporaryDirectory() as out:
        run = Path(sys.argv[1]) if len(sys.argv) > 1 else programmed(target, out)
        with labctl.open_run(run) as tree:
            reached = tree["maps"]["reached"].values
    print(f"MNIST test accuracy, {len(labels):,} images")
    print(f"  first layer as targeted          {accuracy_of(target, images, labels):.2%}")
    print(f"  first layer as read at verify    {accuracy_of(reached, images, labels):.2%}")
    print(f"  RMS error of the conductances    {np.sqrt(np.mean((reached - target) ** 2)) * 1e6:.2f} uS")


def programmed(target: np.ndarray, out: str) -> Path:
    with labctl.load_bench() as bench, bench.array() as array:
        return labctl.run("write_verify", array, target=target, out=out).path


if __name__ == "__main__":
    main()
