"""The command line. This module imports click alone: a command's own module is imported when it is called."""

from __future__ import annotations

import sys
from typing import Any

import click

from labctl.cli.groups import LazyGroup

_COMMANDS = {
    "program-array": ("labctl.cli.arrays:program_array", "Program cells to target conductances, and verify."),
    "form-array": ("labctl.cli.arrays:form_array", "Form pristine cells."),
    "read-array": ("labctl.cli.arrays:read_array", "Read every cell."),
    "characterize": ("labctl.cli.characterise:characterize", "Measure what a chip's cells are like."),
    "prune": ("labctl.cli.prune:prune", "Prune a random network on the array, and judge it on the board."),
    "infer": ("labctl.cli.infer:infer", "Judge again the network that a pruning run left on its array."),
    "train": ("labctl.cli.train:train", "Train a network on the array, in mixed precision."),
    "associate": ("labctl.cli.associate:associate", "Compile ternary networks, and run them on an associative array."),
    "bench": ("labctl.cli.benches:bench", "Make, check and show bench files."),
    "sim": ("labctl.cli.sim:sim", "Serve simulated instruments to any program."),
    "replay": ("labctl.cli.replay:replay", "Show a wire log, or let it answer for the instrument."),
    "who": ("labctl.cli.who:who", "List who holds which instrument."),
    "runs": ("labctl.cli.runs:runs", "Find, show, compare, verify, resume and recover recorded runs."),
    "watch": ("labctl.cli.watch:watch", "Follow a run that is going on, in this terminal."),
    "plot": ("labctl.cli.runs:plot", "Draw the figures of a run."),
    "report": ("labctl.cli.report:report", "Write a page about a run or a chip, to open in a browser or print."),
    "chip": ("labctl.cli.chip:chip", "Show what a chip's runs say of its cells, and exclude bad ones."),
    "import": ("labctl.cli.exchange:import_", "Make a run file of a measurement from elsewhere."),
    "export": (
        "labctl.cli.exchange:export",
        "Write runs as tables for other programs, or as a simulator's device model.",
    ),
    "calibrate": ("labctl.cli.calibrate:calibrate", "Fit a chip from its runs: chip.toml, for a twin."),
    "compare": ("labctl.cli.calibrate:compare", "Compare a run with another, or with a twin's."),
    "plugins": ("labctl.cli.plugins:plugins", "List drivers, protocols, simulators and servers."),
}


@click.group(
    cls=LazyGroup,
    lazy=_COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Results go to stdout, progress and messages to stderr. Exit codes: 0 ok, 1 the run failed, 2 usage, "
    "3 link or instrument, 4 limit, 130 interrupted.",
)
@click.version_option(package_name="labctl", message="labctl %(version)s")
def cli() -> None:
    """Program, read and characterise memory-array test chips, and record every pulse.

    Without a bench file the commands work on an embedded simulated test board with a 512 x 512 RRAM chip;
    `train` on one with 512 x 2048 phase-change cells, `associate` on one with racetracks.
    """


def main(arguments: list[str] | None = None) -> None:
    """Run a command and leave with its exit code; a fault is one sentence, never a traceback."""
    sys.exit(_run(arguments))


def _run(arguments: list[str] | None) -> int:
    """The exit code of the command; what went wrong has been said."""
    try:
        result: Any = cli.main(arguments, prog_name="labctl", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except click.exceptions.NoArgsIsHelpError as asked:
        asked.show()
        return 2
    except click.ClickException as problem:
        problem.show()
        return problem.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("labctl: interrupted", err=True)
        return 130
    except SystemExit:  # click's way to say that nobody reads our output any more
        return 0
    except Exception as problem:  # noqa: BLE001 -- the last line between a fault and the user
        from labctl.cli.console import report

        return report(problem)
