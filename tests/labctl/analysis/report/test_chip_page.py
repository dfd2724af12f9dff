"""The page of a chip says what its record says."""

from __future__ import annotations

import numpy as np
import pytest
from benches import write_bench
from pages import ReadPage

import labctl
from labctl.analysis.report import chip_page, render
from labctl.analysis.report.packing import unpack
from labctl.chips import ChipRecord, Exclusion, chip_record
from labctl.chips.exclusions import exclude


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> ChipRecord:
    """A chip that was formed and programmed, with a row that somebody excluded."""
    folder = tmp_path_factory.mktemp("chip")
    with (
        labctl.load_bench(write_bench(folder, rows=16, cols=16, simulated='state = "chip.h5"')) as bench,
        bench.array() as array,
    ):
        labctl.run("forming", array, out=folder)
        labctl.run("write_verify", array, target=np.full((16, 16), 2e-5), out=folder)
    exclude(folder, "T-1", Exclusion(because='bonded <badly> & "loose"', rows=(3,), cells=((5, 6),)))
    return chip_record("T-1", folder)


@pytest.fixture(scope="module")
def page(record: ChipRecord) -> ReadPage:
    return ReadPage(render(chip_page(record)))


def test_a_page_of_a_chip_is_well_made(page: ReadPage) -> None:
    assert page.problems == []
    assert page.loaded == []
    ids = [each["id"] for _, each in page.tags if "id" in each]
    assert len(ids) == len(set(ids))
    assert all(each["alt"] for each in page.all("img"))


def test_its_maps_are_those_of_the_record(page: ReadPage, record: ChipRecord) -> None:
    layers = {each["name"]: each for each in page.data["maps"][0]["layers"]}
    found = {name: unpack(each["packed"]) for name, each in layers.items()}
    assert np.array_equal(found["pulses"], record.pulses)
    assert np.array_equal(found["defects"], record.defects)
    assert np.array_equal(found["excluded"].astype(bool), record.excluded)
    for name, values in (("conductance", record.conductance), ("dose", record.dose)):
        assert np.nanmax(np.abs(found[name] - values)) <= layers[name]["packed"]["scale"] * 0.501


def test_it_tells_yield_runs_and_exclusions_with_their_reasons(page: ReadPage, record: ChipRecord) -> None:
    assert f"{record.forming_yield.tried:,} cells tried" in page.text
    assert [row[0] for row in page.rows if row and row[0].endswith(".h5")] == [each.path.name for each in record.runs]
    (people,) = (row for row in page.rows if row[1:2] == ['bonded <badly> & "loose"'])
    assert people[0] == "cells 5,6; rows 3"
    excluded = [row for row in page.rows if len(row) == 5 and row[:2] == ["3", "0"]]
    assert 'bonded <badly> & "loose"' in excluded[0][2]
    assert f"{int(record.excluded.sum())} cells are left alone" in page.text
