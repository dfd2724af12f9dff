"""`labctl associate`: ternary networks on an associative array, which computes by search and tagged write."""

from __future__ import annotations

import click

from labctl.cli.groups import LazyGroup

_COMMANDS = {
    "selftest": ("labctl.cli.associate.selftest:selftest", "Do arithmetic on every row, and compare it with numpy's."),
    "compile": ("labctl.cli.associate.compiling:compile_", "Compile ternary layers to programs; say what they take."),
    "run": ("labctl.cli.associate.running:run", "Run a ternary network on the array, and judge it."),
    "cost": ("labctl.cli.associate.cost:cost", "What a network takes here and on crossbars with converters."),
    "characterize": ("labctl.cli.associate.characterise:characterize", "Measure what an associative chip is like."),
    "align": ("labctl.cli.associate.alignment:align", "Check the positions of all nanowires; realign those astray."),
    "train": ("labctl.cli.associate.training:train", "Train a network with ternary weights, in software."),
}


@click.group(cls=LazyGroup, lazy=_COMMANDS)
def associate() -> None:
    """Ternary networks on an associative array of racetrack memory.

    Without a bench, on a simulated board whose chip has no faults (`--bench racetrack-ideal`), new each time;
    `characterize` and `align` on one with faults (`--bench racetrack`).
    """
