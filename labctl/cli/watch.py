"""`labctl watch`."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import click

from labctl.bench.settings import read_bench
from labctl.cli.console import QuantityType, print_json
from labctl.errors import NoRunError, RecordingError, UsageError
from labctl.recording.catalogue import resolve_run
from labctl.recording.follow import Follower, Sight, newest_live
from labctl.recording.layout import Outcome

if TYPE_CHECKING:
    from rich.console import Console

    from labctl.cli.watching import Map

_LEAST_EVERY_S = 0.05
_NICE = 10  # the run goes first where both want the processor
_GRACE_S = 2.0  # for which a file may be gone or unreadable while it is being closed or replaced


class _Show(Protocol):
    def __call__(self, sight: Sight) -> None: ...


@click.command()
@click.argument("run", required=False)
@click.option("--every", type=QuantityType("s"), default="0.5 s", show_default=True, help="How often to look.")
@click.option(
    "--of",
    type=click.Choice(["error", "conductance", "pulses"]),
    help="What the map is of. Default: the error, if any.",
)
@click.option("--wait", is_flag=True, help="Wait for a run that has not begun, or for a stopped one to be resumed.")
@click.option("--once", is_flag=True, help="Look once, and do not follow.")
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON a look.")
def watch(run: str | None, every: float, of: Map | None, wait: bool, once: bool, as_json: bool) -> int:
    """Follow a run that is going on: its convergence, and a map of the array.

    RUN is a run file, its name, or `last`; of a folder (default: where the bench puts its runs) it is the newest run
    that is going on. The run does not notice. Ends with the run: exit code 0 if it finished, 1 if it did not.
    """
    if every < _LEAST_EVERY_S:
        raise UsageError(f"--every: must be at least {_LEAST_EVERY_S:g} s, not {every:g} s")
    if hasattr(os, "nice"):
        os.nice(_NICE)
    path = _found(run, every, wait)
    with _shown(of, as_json=as_json, once=once) as show:
        sight = _follow(Follower(path), show, every, wait=wait, once=once)
    return 0 if sight.outcome in (Outcome.LIVE, Outcome.FINISHED) else 1


def _follow(follower: Follower, show: _Show, every: float, *, wait: bool, once: bool) -> Sight:
    """Look again and again until the run is over; the last sight of it."""
    sight: Sight | None = None
    readable = due = time.monotonic()
    while True:
        try:
            sight = follower.look(float("inf") if once else every / 2)
            readable = time.monotonic()
        except RecordingError:
            if sight is None or time.monotonic() - readable > _GRACE_S:
                raise
        else:
            show(sight)
            is_stopped = sight.is_over and sight.outcome is not Outcome.FINISHED
            if once or (sight.is_over and not (wait and is_stopped)):
                return sight
        due = max(due + every, time.monotonic())
        time.sleep(max(0.0, due - time.monotonic()))


def _found(run: str | None, every: float, wait: bool) -> Path:
    """The file that `run` means; with `wait`, once there is one."""
    while True:
        try:
            return _named(run)
        except NoRunError:
            if not wait:
                raise
        time.sleep(every)


def _named(run: str | None) -> Path:
    folder = read_bench().runs_folder if run is None else Path(run)
    if run is not None and not folder.is_dir():
        return resolve_run(run, lambda: read_bench().runs_folder)
    live = newest_live(folder)
    if live is None:
        raise NoRunError(f"no run is going on in {folder}: --wait waits for one")
    return live


@contextmanager
def _shown(of: Map | None, *, as_json: bool, once: bool) -> Iterator[_Show]:
    """How sights are shown: as a picture on a terminal, else as lines."""
    if as_json:
        yield _json_line
        return
    from rich.console import Console

    from labctl.cli.watching import as_line

    console = Console(highlight=False)
    if console.is_terminal and not console.is_dumb_terminal and not console.options.ascii_only:
        with _pictures(console, of, once=once) as show:
            yield show
        return
    last = None

    def line(sight: Sight) -> None:
        nonlocal last
        changed = (sight.commit, sight.behind)
        if changed != last:
            click.echo(as_line(sight))
            sys.stdout.flush()
        last = changed

    yield line


@contextmanager
def _pictures(console: Console, of: Map | None, *, once: bool) -> Iterator[_Show]:
    """On a screen of its own, which follows the size of the terminal; the last picture stays behind."""
    from rich.console import ConsoleDimensions
    from rich.live import Live

    from labctl.cli.watching import Picture

    last: Sight | None = None
    live = Live(console=console, screen=True, auto_refresh=False)

    def picture(sight: Sight) -> None:
        nonlocal last
        last = sight
        # of the window as it is now, whatever LINES and COLUMNS say, which some program may have exported
        console.size = ConsoleDimensions(*os.get_terminal_size(console.file.fileno()))
        if not once:
            live.start()
            live.update(Picture(sight, of), refresh=True)

    try:
        yield picture
    finally:
        live.stop()
        if last is not None:
            console.print(Picture(last, of, spare=2))


def _json_line(sight: Sight) -> None:
    from labctl.cli.watching import as_values

    print_json(as_values(sight), one_line=True)
