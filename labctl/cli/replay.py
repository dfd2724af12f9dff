"""`labctl replay`: a wire log shown, replayed in place of the instrument, or said again to one."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from labctl.cli.console import print_json, report
from labctl.errors import InstrumentError, LinkError, NoWireLogError, ReplayError, SafeStateError, UsageError
from labctl.links.conversation import Said, conversation, troubled
from labctl.links.messages import pieces_of, shorten, shown, side_by_side
from labctl.links.wire_log import read_lines

if TYPE_CHECKING:
    from labctl.bench.resending import Compared
    from labctl.bench.settings import BenchFile, WiredSettings
    from labctl.links.replay import Recording

_DIRECTIONS = {">": "sent", "<": "received", "=": "opened", "!": "failed", "?": "unreadable"}
_PIPED_WIDTH = 100  # columns where there is no terminal
_LEAST_WIDTH = 20
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
    chosen = _Chosen(logs[0], connection, showing["from_line"], showing["to_line"])
    if against is not None:
        return _resent(chosen, against, instrument, yes, showing["as_json"])
    found = troubled(chosen.said()) if showing["errors"] else ((each,) for each in chosen.said())
    if showing["as_json"]:
        print_json([_as_values(each) for group in found for each in group])
    elif showing["errors"]:
        _show_counted(found)
    else:
        _show(each for group in found for each in group)
    return 0


# -- which of it -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Chosen:
    """The part of a log that the options name; None: all of it."""

    log: Path
    connection: int | None
    from_line: int | None
    to_line: int | None

    def said(self) -> Iterator[Said]:
        """Raises NoWireLogError, at its end where nothing of the log was chosen."""
        is_empty, lines, connections = True, 0, 0
        for each in conversation(read_lines(self.log)):
            lines, connections = each.line.number, each.connection
            if self._has(each):
                is_empty = False
                yield each
        if is_empty:
            of_it = f"it has {_count(lines, 'line')} in {_count(connections, 'connection')}"
            options = {"--connection": self.connection, "--from": self.from_line, "--to": self.to_line}
            given = " ".join(f"{name} {value}" for name, value in options.items() if value is not None)
            why = f"no line of it is chosen by {given}" if lines and given else "is empty"
            raise NoWireLogError(f"{self.log}: {why}: {of_it}")

    def _has(self, each: Said) -> bool:
        is_after = self.from_line is None or self.from_line <= each.line.number
        is_before = self.to_line is None or each.line.number <= self.to_line
        return is_after and is_before and self.connection in (None, each.connection)


# -- shown -----------------------------------------------------------------------------------------------------------


def _show(said: Iterable[Said]) -> None:
    connection, width = 0, _width()
    for each in said:
        _show_beginning(each, connection)
        click.echo(_line(each, width))
        connection = each.connection


def _show_counted(found: Iterable[tuple[Said, ...]]) -> None:
    """Trouble, whatever came several times in a row once and with how often; no cause is cut short."""
    connection, width = 0, _width()
    for _, alike in groupby(found, key=lambda group: [_kind(each) for each in group]):
        first = last = next(alike)
        times = 1
        for times, last in enumerate(alike, 2):  # noqa: B007 -- the last of them are told
            pass
        _show_beginning(first[0], connection)
        connection = first[-1].connection
        for each in first[:-1]:
            click.echo(_line(each, width))
        counted = f" ({times} times, up to line {last[-1].line.number})" if times > 1 else ""
        click.echo(f"{_line(first[-1], width)}{counted}")


def _show_beginning(each: Said, connection: int) -> None:
    """Of the connection that `each` is of, where it is not the one of the line before."""
    if each.connection != connection:
        text = f"connection {each.connection}, {_moment(each.line.seconds - each.since)}"
        click.secho(shorten(text, _width()), bold=_bold())


def _kind(each: Said) -> tuple[str, bytes, str, str]:
    return each.line.direction, each.line.data, each.trouble, str(each.line.facts.get("text", ""))


def _line(each: Said, width: int) -> str:
    line = each.line
    return f"{line.number:>6} {each.since:>12.6f} {line.direction} {_told(each, width - 22)}"


def _told(each: Said, width: int) -> str:
    """What a line says; shortened to `width` but for what went wrong."""
    line = each.line
    if line.direction == "?":
        return f"line {line.number} {each.trouble}"
    if line.direction == "!":
        return ": ".join(filter(None, (each.trouble, str(line.facts.get("text", "")))))
    if line.direction == "=":
        return _opening(line.facts, width)
    text = shown(line.data)
    says_it = line.direction == "<" and len(text) <= width and (line.data.endswith(b"\n") or each.trouble in text)
    if each.trouble and not says_it:
        return f"{shorten(text, max(width - len(each.trouble) - 3, _LEAST_WIDTH))} ({each.trouble})"
    return shorten(text, width)


def _opening(facts: Mapping[str, Any], width: int) -> str:
    """The details that the log has of it."""
    through = f"by {facts['through']}" if facts.get("through") else ""
    details = [" ".join(filter(None, (facts.get("spoken", ""), through)))]
    details += [f"{name} {facts[name]}" for name in ("labctl", "process") if facts.get(name)]
    told = ", ".join(filter(None, details))
    parts = ["opened", "again" if facts.get("again") else "", facts.get("resource_name", ""), told and f"({told})"]
    return shorten(" ".join(filter(None, parts)), width)


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
    further = recording.further()
    if further:
        are = "connections were" if further > 1 else "connection was"
        click.echo(
            f"labctl: {recording.spec.log}: {further} further {are} not played (--connection "
            f"{recording.connections + 1} begins there)",
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


def _resent(chosen: _Chosen, path: Path, name: str | None, yes: bool, as_json: bool) -> int:
    """1 where an answer is another one."""
    from labctl.bench.live import close_after
    from labctl.bench.resending import check_sendable, resend
    from labctl.bench.settings import read_bench

    file = read_bench(path)
    name = _instrument(file, chosen.log, name)
    settings = file.wired[name]
    check_sendable(chosen.said(), settings, chosen.log, name)
    _ask(name, settings, yes)
    messages = 0
    differing: list[dict[str, Any]] = []
    try:
        for each in resend(chosen.said(), settings, str(path)):
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
    from labctl.bench.replays import check_name, owner

    if name is None:
        return owner(log.absolute(), file.wired, "--instrument")
    check_name(name, file.wired, file.made_of)
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


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def _bold() -> bool:
    return not os.environ.get("NO_COLOR")


def _moment(seconds: float) -> str:
    return (
        dt.datetime.fromtimestamp(seconds, dt.UTC).isoformat(sep=" ", timespec="milliseconds").replace("+00:00", " UTC")
    )
