"""`labctl runs list|find|show|tag|diff|verify|statistics|recover|resume` and `labctl plot`."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from labctl.cli.console import print_json, print_table
from labctl.cli.groups import HelpfulGroup
from labctl.cli.pack import pack
from labctl.cli.run_tables import (
    print_differences,
    print_entries,
    print_run,
    print_verified,
    say_that_it_reads,
    shown_tags,
    verified_values,
)
from labctl.errors import UsageError
from labctl.recording.catalogue import Catalogue, Query, read_tags, resolve_run, tag_run
from labctl.recording.catalogue.times import parse_moment
from labctl.recording.layout import Outcome
from labctl.recording.recover import recover as recover_run

if TYPE_CHECKING:
    from labctl.recording.verify import Verified

_OUTCOMES = [outcome.value for outcome in Outcome if outcome is not Outcome.RUNNING]


class _RunsGroup(HelpfulGroup):
    """Has `resume`, which needs benches and protocols, imported only when it is asked for: a list should be quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*super().list_commands(ctx), "resume"]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name == "resume":
            from labctl.cli.resume import resume_

            return resume_
        return super().get_command(ctx, cmd_name)


@click.group(cls=_RunsGroup)
def runs() -> None:
    """Find, show, compare, verify, resume and recover recorded runs.

    RUN is a run file, its name, the beginning of its name, or `last`.
    """


runs.add_command(pack)


@runs.command("list")
@click.argument("folder", type=click.Path(path_type=Path), required=False)
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only the newest N.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def list_(folder: Path | None, limit: int | None, as_json: bool) -> None:
    """The runs in FOLDER (default: where the bench puts them) and below, newest last."""
    catalogue = _catalogue(folder)
    entries = catalogue.find() if catalogue else []
    print_entries(entries[-limit:] if limit else entries, catalogue, as_json=as_json)


@runs.command()
@click.argument("text", nargs=-1)
@click.option("--chip", help="Serial of the chip; * stands for any text.")
@click.option("--protocol", help="As in write_verify; * stands for any text.")
@click.option("--measurement", help="As in retention; * stands for any text.")
@click.option("--since", metavar="WHEN", help="2026-11-20, 2026-11-20T14:00, 3d or 12h ago, on the clock on the wall.")
@click.option("--until", metavar="WHEN", help="As --since; a date is meant with its day.")
@click.option("--outcome", type=click.Choice(_OUTCOMES), help="How it ended.")
@click.option("--operator", help="Who ran it; * stands for any text.")
@click.option("--tag", "tags", multiple=True, help="A tag it has; may be given again.")
@click.option(
    "--where",
    multiple=True,
    metavar="CONDITION",
    help="A setting or a result compared, as in tolerance<=1uS or fraction_in_window>=98%; may be given again.",
)
@click.option("--folder", type=click.Path(path_type=Path), help="Where to look. Default: where the bench puts runs.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only the newest N.")
@click.option("--paths", is_flag=True, help="Print the files alone, one a line.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def find(
    text: tuple[str, ...],
    since: str | None,
    until: str | None,
    folder: Path | None,
    limit: int | None,
    paths: bool,
    as_json: bool,
    **asked: Any,
) -> None:
    """The runs that fit all that is asked, newest last.

    TEXT is looked for in what a run says of itself, in its tags and its note.
    """
    now = time.time()
    query = Query(
        text=text,
        since=parse_moment(since, now) if since is not None else None,
        until=parse_moment(until, now, is_end=True) if until is not None else None,
        **asked,
    )
    catalogue = _catalogue(folder)
    entries = catalogue.find(query) if catalogue else []
    entries = entries[-limit:] if limit else entries
    if paths and not as_json:
        for entry in entries:
            click.echo(entry.path)
        return
    print_entries(entries, catalogue, as_json=as_json)


@runs.command()
@click.argument("run")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def show(run: str, as_json: bool) -> None:
    """What one run was, and how it ended."""
    print_run(_path(run), as_json=as_json)


@runs.command()
@click.argument("run")
@click.argument("tags", nargs=-1, metavar="[TAG...]")
@click.option("--remove", multiple=True, metavar="TAG", help="Take this tag away; may be given again.")
@click.option("--note", metavar="TEXT", help="Say something of the run; '' takes it back.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def tag(run: str, tags: tuple[str, ...], remove: tuple[str, ...], note: str | None, as_json: bool) -> None:
    """Give a run tags and a note, by which `labctl runs find` finds it; without any, show those it has.

    They stand in a file beside the run, whose own file is never changed.
    """
    path = _path(run)
    is_change = tags or remove or note is not None
    found = tag_run(path, add=tags, remove=remove, note=note) if is_change else read_tags(path)
    if as_json:
        print_json({"run": str(path), "tags": list(found.tags), "note": found.note})
        return
    print_table([("run", path), *shown_tags(found)])


@runs.command()
@click.argument("run")
@click.argument("other")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def diff(run: str, other: str, as_json: bool) -> None:
    """What differs between two runs: settings, provenance, packages, the state of the instruments, results."""
    from labctl.recording.differences import differences

    paths = _path(run), _path(other)
    found = differences(*paths)
    if as_json:
        print_json(found)
        return
    print_differences(found, paths)


@runs.command()
@click.argument("named", nargs=-1, metavar="RUN...|FOLDER")
@click.option("--all", "every", is_flag=True, help="Every run where the bench puts them.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def verify(named: tuple[str, ...], every: bool, as_json: bool) -> int:
    """Check runs: their structure, that their rows agree, their checksums, and whether they are complete.

    A killed run is incomplete, not damaged. The exit code is 1 where any run is damaged.
    """
    from labctl.recording.verify import Verdict

    if not named and not every:
        raise UsageError("write which runs to verify, or --all")
    found = []
    for each in _verified([*named, *([str(_usual_folder())] if every else [])]):
        found.append(each)
        if not as_json:
            print_verified(each)
    if as_json:
        print_json([verified_values(each) for each in found])
    counts = {verdict: sum(each.verdict is verdict for each in found) for verdict in Verdict}
    click.echo(", ".join(f"{count:,} {verdict}" for verdict, count in counts.items()), err=True)
    return 1 if counts[Verdict.DAMAGED] else 0


@runs.command()
@click.argument("run")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def statistics(run: str, as_json: bool) -> None:
    """What a run says of its chip, by the kind of its measurement, with confidence intervals."""
    from labctl.cli.statistics import as_values, print_statistics, statistics_of

    found = statistics_of(_path(run))
    if as_json:
        print_json(as_values(found))
        return
    print_statistics(found)


@runs.command()
@click.argument("run")
@click.option("--to", type=click.Path(path_type=Path), help="The clean copy. Default: RUN with -recovered in its name.")
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
def recover(run: str, to: Path | None, force: bool) -> None:
    """Copy what a killed run recorded into a clean file."""
    path = _path(run)
    target = to or path.with_name(f"{path.stem}-recovered{path.suffix}")
    recover_run(path, target, overwrite=force)
    click.echo(target)


@click.command()
@click.argument("run")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="PNG, SVG or PDF. Default: beside the run.")
def plot(run: str, output: Path | None) -> None:
    """Draw the figure of a run: maps, distributions, convergence."""
    from labctl.analysis.figures import save_figure

    click.echo(save_figure(_path(run), output))


def _path(run: str) -> Path:
    return resolve_run(run, _usual_folder)


def _usual_folder() -> Path:
    """Where the bench puts its runs."""
    from labctl.bench.settings import read_bench  # all that a bench file can hold takes a while to import

    return read_bench().runs_folder


def _catalogue(folder: Path | None) -> Catalogue | None:
    """Of `folder`, or of where the bench puts its runs; None where it has not put any."""
    usual = _usual_folder() if folder is None else folder
    return None if folder is None and not usual.exists() else Catalogue(usual, say_that_it_reads)


def _verified(named: Iterable[str]) -> Iterator[Verified]:
    """Every run that is named, or lies in a folder that is."""
    from labctl.recording.findings import error
    from labctl.recording.verify import Verified, verify

    for name in named:
        if not Path(name).is_dir():
            yield verify(_path(name))
            continue
        catalogue = Catalogue(name, say_that_it_reads)
        damaged = catalogue.damaged
        for path in sorted([*damaged, *(entry.path for entry in catalogue.entries)]):
            is_run = path.suffix == ".h5"
            yield verify(path) if is_run else Verified(path, None, (error(damaged[path]),))
