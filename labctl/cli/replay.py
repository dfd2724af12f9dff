"""`labctl replay`: a wire log shown, replayed in place of the instrument, or said again to one."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from labctl.cli.console import print_json, report
from labctl.errors import InstrumentError, LinkError, ReplayError, SafeStateError, UsageError
from labctl.links.conversation import Said, conversation, troubled
from labctl.links.messages import pieces_of, shorten, shown, side_by_side
from labctl.links.wire_log import read_lines

if TYPE_CHECKING:
    from labctl.bench.resending import Compared
    from labctl.bench.settings import BenchFile, WiredSettings
    from labctl.links.replay import Recording

_DIRECTIONS = {">": "sent", "<": "received", "=": "opened", "!": "failed"}
_PIPED_WIDTH = 100  # columns where there is no terminal
_MOST_SHOWN = 20  # answers that differ
_COMMAND = "labctl.replayed_command"


class _BeforeCommand(click.Command):
    """Its own arguments end at `--`; what follows is another command."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if "--" in args:
            at = args.index("--")
            ctx.meta[_COMMAND] = args[at + 1 :]
            args = args[:at]
        return super().parse_args(ctx, args)

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        return [*super().collect_usage_pieces(ctx), "[-- COMMAND ...]"]


@click.command(cls=_BeforeCommand)
@click.argument("logs", metavar="LOG...", type=click.Path(path_type=Path), nargs=-1, required=True)
@click.option(
    "--connection",
    type=click.IntRange(1),
    metavar="N",
    help="Only this connection of the log, or from it on; the first is 1.",
)
@click.option("--from", "from_line", type=click.IntRange(1), metavar="LINE", help="Show from this line of the log on.")
@click.option("--to", "to_line", type=click.IntRange(1), metavar="LINE", help="Show up to this line of the log.")
@click.option("--errors", is_flag=True, help="Show what went wrong alone, each with the message it came of.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
@click.option(
    "--instrument", metavar="NAME", help="Whose log it is. Default: whose wire_log or address it is, or the only one."
)
@click.option("--pace", is_flag=True, help="With a COMMAND: take the time that it took.")
@click.option(
    "--against", metavar="BENCH", type=click.Path(path_type=Path), help="Send what was sent to its instrument again."
)
@click.option("--yes", is_flag=True, help="With --against: do not ask before sending to a real instrument.")
def replay(
    logs: tuple[Path, ...],
    connection: int | None,
    against: Path | None,
    instrument: str | None,
    pace: bool,
    yes: bool,
    **showing: Any,
) -> int:
    """Show a wire log, or let it answer for the instrument.

    A LOG alone is printed as a conversation. With `-- COMMAND ...` any labctl command is run while the log answers
    instead of the instrument; where the command sends something else than was recorded it stops there, and both
    messages are shown. With --against, what was sent is sent again, and the answers are compared.
    """
    command: list[str] | None = click.get_current_context().meta.get(_COMMAND)
    _refuse_idle_options(command, against, len(logs), {**showing, "instrument": instrument, "pace": pace, "yes": yes})
    if command is not None:
        return _replayed(logs, command, instrument, connection, pace)
    said = (each for each in conversation(read_lines(logs[0])) if connection in (None, each.connection))
    if against is not None:
        return _resent(said, logs[0], against, instrument, yes, showing["as_json"])
    _show(_chosen(said, **showing), showing["as_json"])
    return 0


# -- shown -----------------------------------------------------------------------------------------------------------


def _chosen(
    said: Iterable[Said], from_line: int | None, to_line: int | None, errors: bool, as_json: bool
) -> Iterator[Said]:
    del as_json
    for each in troubled(said) if errors else said:
        if (from_line or 0) <= each.line.number and (to_line is None or each.line.number <= to_line):
            yield each


def _show(said: Iterable[Said], as_json: bool) -> None:
    if as_json:
        print_json([_as_values(each) for each in said])
        return
    width = _width()
    connection = 0
    for each in said:
        line = each.line
        if each.connection != connection:
            connection = each.connection
            click.secho(shorten(f"connection {connection}, {_moment(line.seconds - each.since)}", width), bold=_bold())
        click.echo(f"{line.number:>6} {each.since:>12.6f} {line.direction} {_told(each, width - 22)}")


def _told(each: Said, width: int) -> str:
    line = each.line
    if line.direction in "<>":
        return shown(line.data, width)
    if line.direction == "!":
        return shorten(f"{each.trouble}: {line.facts.get('text', '')}", width)
    facts = line.facts
    through = f" by {facts['through']}" if facts.get("through") else ""
    again = " again" if facts.get("again") else ""
    return shorten(
        f"opened{again} {facts.get('resource_name', '')} ({facts.get('spoken', '')}{through}, labctl "
        f"{facts.get('labctl', '')}, process {facts.get('process', '')})",
        width,
    )


def _as_values(each: Said) -> dict[str, Any]:
    line = each.line
    found = {
        "line": line.number,
        "connection": each.connection,
        "time": line.seconds,
        "direction": _DIRECTIONS[line.direction],
        "trouble": each.trouble,
    }
    if line.direction not in "<>":
        return {**found, **{name: value for name, value in line.facts.items() if name != "wire_log"}}
    blocks = [{"bytes": piece.size, "sha256": piece.sha256} for piece in pieces_of(line.data) if piece.sha256]
    return {**found, "bytes": len(line.data), "text": shown(line.data), "blocks": blocks}


# -- replayed --------------------------------------------------------------------------------------------------------


def _replayed(
    logs: Sequence[Path], command: list[str], instrument: str | None, connection: int | None, pace: bool
) -> int:
    """The command's exit code; 3 where it ended well and yet parted from the recording."""
    from labctl.bench.replays import VARIABLE
    from labctl.cli import _run
    from labctl.links.replay import watched

    if not command:
        raise UsageError("say which command to run after --, as in `labctl replay wire.log -- read-array`")
    name = f"{instrument}=" if instrument else ""
    options = (f",connection={connection}" if connection else "") + (",pace" if pace else "")
    entries = os.pathsep.join(f"{name}{log}{options}" for log in logs)
    with _environment(VARIABLE, entries), watched() as recordings:
        code = _run(command)
    if code == 0:
        if not recordings:
            raise ReplayError(f"{command[0]} asked nothing of the instrument that {logs[0]} answers for")
        for recording in recordings:
            code = max(code, _judged(recording))
    return code


def _judged(recording: Recording) -> int:
    """Say how far it was played: 3 where not as far as it goes."""
    if recording.parted is not None:
        return report(recording.parted)
    rest = recording.rest()
    log = recording.spec.log
    if rest.first is not None:
        return report(
            ReplayError(
                f"{log}: line {rest.first.number}: the recording goes on with {shown(rest.first.data, 60)}, and "
                f"{rest.unsent} messages in all that were not sent"
            )
        )
    if rest.connections:
        further = recording.connections + 1
        click.echo(
            f"labctl: {log}: {rest.connections} further connections were not played (--connection {further} begins "
            "there)",
            err=True,
        )
    return 0


@contextlib.contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


# -- said again --------------------------------------------------------------------------------------------------------


def _resent(said: Iterable[Said], log: Path, path: Path, name: str | None, yes: bool, as_json: bool) -> int:
    """1 where an answer is another one."""
    from labctl.bench.live import close_after
    from labctl.bench.resending import resend
    from labctl.bench.settings import WiredSettings, read_bench

    file = read_bench(path)
    name = _instrument(file, log, name)
    settings = file.instruments[name]
    assert isinstance(settings, WiredSettings)
    _ask(name, settings, yes)
    first = next(iter(said), None)  # a log that is none is told before anything is sent
    messages = 0
    differing: list[dict[str, Any]] = []
    try:
        for each in resend(chain([first] if first else [], said), settings, str(path)):
            messages += 1
            if not each.is_same:
                differing.append(_difference(each, shown_now=not as_json and len(differing) < _MOST_SHOWN))
    except BaseException as problem:
        close_after(problem, lambda: _make_safe(path, name))
        raise
    _show_compared(messages, differing, as_json)
    _make_safe(path, name)
    return 1 if differing else 0


def _make_safe(path: Path, name: str) -> None:
    """Raises SafeStateError."""
    from labctl.bench.live import load_bench

    try:
        with load_bench(path) as live:
            live.connect(name)  # leaving puts it in safe state
    except (LinkError, InstrumentError) as problem:
        raise SafeStateError(f"NOT in safe state: {name}: {problem}") from None


def _show_compared(messages: int, differing: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        print_json({"messages": messages, "same": messages - len(differing), "different": differing})
    else:
        if len(differing) > _MOST_SHOWN:
            click.echo(f"... and {len(differing) - _MOST_SHOWN} further answers that differ (--json has them all)")
        click.echo(f"{messages:,} messages sent, {messages - len(differing):,} answered as recorded")


def _difference(each: Compared, shown_now: bool) -> dict[str, Any]:
    """What is the matter with one answer, as JSON values; and said at once where `shown_now`."""
    if shown_now:
        width = _width()
        click.echo(f"{each.sent.number:>6} > {shown(each.sent.data, width - 9)}")
        for line in side_by_side(each.recorded, each.answer, ("recorded", "answered now"), width):
            click.echo(line)
        click.echo()
    return {
        "line": each.sent.number,
        "sent": shown(each.sent.data),
        "recorded": shown(each.recorded),
        "answered": shown(each.answer),
    }


def _instrument(file: BenchFile, log: Path, name: str | None) -> str:
    from labctl.bench.replays import owner
    from labctl.bench.settings import WiredSettings

    wired = {each: settings for each, settings in file.instruments.items() if isinstance(settings, WiredSettings)}
    if name is None:
        return owner(log.absolute(), wired, "--instrument")
    if name not in wired:
        raise UsageError(f"--instrument: no instrument with a wire is called {name!r}; there are: {', '.join(wired)}")
    return name


def _ask(name: str, settings: WiredSettings, yes: bool) -> None:
    """What was recorded may have been pulses, and nothing checks them against this bench's limits."""
    if yes or settings.is_in_process:
        return
    question = f"Send what was recorded to {name!r} at {settings.address}, pulses included and without limits?"
    if not sys.stdin.isatty():
        raise UsageError(f"{question} There is no terminal to answer from: say --yes")
    click.confirm(question, abort=True, err=True)


# -- both --------------------------------------------------------------------------------------------------------------


def _refuse_idle_options(command: list[str] | None, against: Path | None, logs: int, given: dict[str, Any]) -> None:
    if command is not None and against is not None:
        raise UsageError("either a command after -- or --against, not both")
    if logs > 1 and (command is None or given["instrument"]):
        raise UsageError("name one LOG: several are for a command after --, each for the instrument it belongs to")
    if command is not None:
        idle, why = ["from_line", "to_line", "errors", "as_json", "yes"], "does nothing with a command after --"
    elif against is not None:
        idle, why = ["from_line", "to_line", "errors", "pace"], "does nothing with --against"
    else:
        idle, why = ["instrument", "pace", "yes"], "does nothing where a log is only shown"
    for option in idle:
        if given[option]:
            raise UsageError(f"--{option.removesuffix('_line').removeprefix('as_')}: {why}")


def _width() -> int:
    return shutil.get_terminal_size((_PIPED_WIDTH, 24)).columns


def _bold() -> bool:
    return not os.environ.get("NO_COLOR")


def _moment(seconds: float) -> str:
    return (
        dt.datetime.fromtimestamp(seconds, dt.UTC).isoformat(sep=" ", timespec="milliseconds").replace("+00:00", " UTC")
    )
