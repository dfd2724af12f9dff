"""The page of one run."""

from __future__ import annotations

from pathlib import Path

from labctl.analysis.figures import draw
from labctl.analysis.report.charts import charts_of
from labctl.analysis.report.content import Block, Page, Picture, Section, Text
from labctl.analysis.report.doubts import doubts
from labctl.analysis.report.key_figures import cards, statistics_table
from labctl.analysis.report.maps import maps_of
from labctl.analysis.report.material import Run, opened_run
from labctl.analysis.report.network import network
from labctl.analysis.report.outliers import outliers
from labctl.analysis.report.pictures import picture
from labctl.analysis.report.provenance import around, provenance
from labctl.analysis.report.sentences import sentence
from labctl.analysis.report.subject import on_what, what_was_done
from labctl.analysis.report.timeline import timeline
from labctl.analysis.report.words import moment


def run_page(path: Path) -> Page:
    """Of the run at `path`, whatever became of it. Raises RecordingError for what is no run file."""
    with opened_run(path) as run:
        return Page(
            title=run.summary.title,
            subtitle=_subtitle(run),
            state=run.summary.outcome.value,
            sentence=sentence(run),
            doubts=doubts(run),
            cards=cards(run),
            sections=_sections(run),
            source=run.path.name,
        )


def _subtitle(run: Run) -> str:
    chip = f"chip {run.attribute('chip_serial')}" if run.attribute("chip_serial") else ""
    parts = (chip, moment(run.attribute("wall_time_start") or run.summary.started), run.attribute("operator"))
    return " · ".join(part for part in parts if part)


def _sections(run: Run) -> list[Section]:
    maps, table, worst = maps_of(run), statistics_table(run), outliers(run)
    charts: list[Block] = [*charts_of(run)]
    nothing: list[Block] = [Text(f"No statistics: {run.why}.")] if not table else []
    return [
        Section("network", "What the network reaches", network(run)),
        Section("maps", "Maps", [maps] if maps else []),
        Section("charts", "What was measured", [*charts, _still(run), *([table] if table else nothing)]),
        Section("outliers", "Outliers", [worst] if worst else []),
        Section("done", "What was done", what_was_done(run)),
        Section("bench", "On what", on_what(run)),
        Section("around", "Around the array", around(run)),
        Section("timeline", "What happened when", timeline(run)),
        Section("provenance", "Provenance", provenance(run)),
    ]


def _still(run: Run) -> Picture:
    """The figure that `labctl plot` draws, for who cannot have the page draw its own."""
    figure = draw(run.tree)
    figure.suptitle("")  # the page says it
    title = f"{run.summary.title}, chip {run.attribute('chip_serial')}: maps and distributions of the run"
    return picture(figure, title)
