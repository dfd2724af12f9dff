"""An associative chip without faults does what the golden model does, and counts it alike."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labctl import associative
from labctl.associative import AssociativeGeometry, Load, Pass, Program, Read, ReadTags, Run, Table
from labctl.compiler.golden import GoldenArray
from labctl.simulated_instruments.cells.racetrack_parameters import RacetrackParameters
from labctl.simulated_instruments.chips.associative import INSTRUCTION, AssociativeChip

IDEAL = RacetrackParameters.named("racetrack_ideal")
GEOMETRY = AssociativeGeometry(rows=70, tracks=3, domains=8, ports=2)
EVERY_COLUMN = np.arange(GEOMETRY.columns, dtype=np.uint32)
ADD = Table("add", "abc", (Pass("110", "-01"), Pass("100", "-10"), Pass("001", "-10"), Pass("011", "-01")))
TAKE = Table("take", "abc", (Pass("011", "-00"), Pass("001", "-11"), Pass("100", "-11"), Pass("110", "-00")))
SUM = Table(
    "sum",
    "abcr",
    (
        Pass("---0", "---0"),
        Pass("----", "---0"),
        Pass("0010", "--01"),
        Pass("0100", "--01"),
        Pass("1000", "--01"),
        Pass("1110", "--11"),
        Pass("1100", "--10"),
    ),
)


def chip_of(geometry=GEOMETRY, parameters=IDEAL, serial="A-1"):
    return AssociativeChip.buy(serial, parameters, geometry.rows, geometry.tracks, geometry.domains, geometry.ports)


def counters(chip):
    return associative.Counters(**dataclasses.asdict(chip.counters))


def random_planes(geometry, seed=1):
    rng = np.random.default_rng(seed)
    return associative.planes_of(rng.integers(0, 2, (geometry.rows, geometry.columns)), 1, geometry.rows)


words = st.text("01-", min_size=4, max_size=4)
tables = st.lists(st.builds(Pass, words, words), max_size=5).map(lambda passes: Table("t", "abcd", tuple(passes)))
places = st.integers(2, GEOMETRY.columns - 3)
lines = st.tuples(
    st.integers(0, 1), st.integers(0, 3), st.lists(places, min_size=4, max_size=4),
    st.lists(st.integers(-1, 1), min_size=4, max_size=4),
)  # fmt: skip


@given(st.tuples(tables, tables), st.lists(lines, max_size=4))
def test_any_program_does_what_the_golden_model_does(tables, lines):
    program = Program(tables, associative.instructions(lines))
    chip, golden = chip_of(), GoldenArray(GEOMETRY)
    planes = random_planes(GEOMETRY)
    chip.load(EVERY_COLUMN, planes)
    golden.perform(Load(EVERY_COLUMN, planes))
    codes = [table.codes for table in program.tables]
    try:
        expected = golden.perform(Run(program, trace=True))[0]
    except ValueError:
        with pytest.raises(ValueError, match="not under its ports"):
            chip.execute(codes, program.instructions)
        return
    np.testing.assert_array_equal(chip.execute(codes, program.instructions, trace=True), expected.trace)
    np.testing.assert_array_equal(chip.tag_plane(), golden.perform(ReadTags())[0])
    np.testing.assert_array_equal(chip.read(EVERY_COLUMN), golden.perform(Read(EVERY_COLUMN))[0])
    np.testing.assert_array_equal(chip.heads, golden.heads)
    assert counters(chip) == golden.counters()


@given(st.lists(st.tuples(st.lists(places, max_size=5, unique=True), st.integers(0, 31)), max_size=8))
def test_single_operations_do_what_the_golden_model_does(operations):
    chip, golden = chip_of(), GoldenArray(GEOMETRY)
    planes = random_planes(GEOMETRY)
    chip.load(EVERY_COLUMN, planes)
    golden.perform(Load(EVERY_COLUMN, planes))
    for turn, (named, bits) in enumerate(operations):
        columns = np.array(named, np.uint32)
        key = np.array([bits >> place & 1 for place in range(len(named))], np.uint8)
        action = (associative.Search, associative.Write)[turn % 2](columns, key)
        try:
            expected = golden.perform(action)[0]
        except ValueError:
            with pytest.raises(ValueError, match="not under its ports"):
                (chip.search, chip.write)[turn % 2](columns, key)
            continue
        assert (chip.search, chip.write)[turn % 2](columns, key) == expected
    np.testing.assert_array_equal(chip.read(EVERY_COLUMN), golden.perform(Read(EVERY_COLUMN))[0])
    assert counters(chip) == golden.counters()


@pytest.mark.parametrize(
    ("table", "truth"),
    [
        (ADD, lambda a, b, c: (a, (a + b + c) & 1, (a + b + c) >> 1)),
        (TAKE, lambda a, b, c: (a, (b - a - c) & 1, int(b - a - c < 0))),
        (SUM, lambda a, b, c: (a, b, (a + b + c) >> 1, (a + b + c) & 1)),
    ],
)
def test_one_bit_arithmetic_in_every_state(table, truth):
    geometry = AssociativeGeometry(rows=16, tracks=4, domains=2)
    states = [[row >> place & 1 for place in range(4)] for row in range(16)]
    chip = chip_of(geometry)
    columns = np.array([0, 2, 4, 6], np.uint32)
    chip.load(columns, associative.planes_of(np.array(states), 1, 16))
    roles = len(table.roles)
    steps = associative.instructions([(0, 1, columns[:roles].tolist(), [0] * roles)])
    chip.execute([table.codes], steps)
    found = associative.values_of(chip.read(columns), 1, 16, signed=False)
    expected = [[*truth(*state[:3]), *state[3:]][:4] for state in states]
    assert found.tolist() == expected


@settings(max_examples=20)
@given(st.integers(1, 1500), st.integers(0, 2**32))
def test_words_are_added_in_all_rows(rows, seed):
    rng = np.random.default_rng(seed)
    geometry = AssociativeGeometry(rows, tracks=3, domains=8, ports=2)
    a, b = rng.integers(0, 128, (2, rows))
    chip = chip_of(geometry)
    begins = associative.word_columns([0, 8], 8)
    chip.load(begins, associative.planes_of(np.stack([a, b], axis=1), 8, rows))
    matches = chip.execute([ADD.codes], associative.instructions([(0, 8, [0, 8, 16], [1, 1, 0])]), trace=True)
    sums = associative.values_of(chip.read(begins[8:]), 8, rows, signed=False)[:, 0]
    np.testing.assert_array_equal(sums, a + b)
    assert matches.shape == (32,)
    assert counters(chip).matches == matches.sum()


def test_where_a_program_is_cut_makes_no_difference():
    program = associative.instructions([(0, 4, [0, 8, 16], [1, 1, 0]), (0, 4, [4, 12, 16], [1, 1, 0])] * 30)
    whole, cut = chip_of(), chip_of()
    for chip in (whole, cut):
        chip.load(EVERY_COLUMN, random_planes(GEOMETRY))
    at_once = whole.execute([ADD.codes], program, trace=True)
    pieces = [cut.execute([ADD.codes], piece, trace=True) for piece in np.array_split(program, 7)]
    np.testing.assert_array_equal(at_once, np.concatenate(pieces))
    assert counters(whole) == counters(cut)
    assert whole.busy_seconds == cut.busy_seconds


def test_operations_take_their_times():
    chip = chip_of()
    chip.search(np.array([3], np.uint32), np.ones(1, np.uint8))
    assert chip.busy_seconds == pytest.approx(3 * IDEAL.shift_time + IDEAL.search_time)
    chip.busy_seconds = 0.0
    chip.write(np.array([3], np.uint32), np.ones(1, np.uint8))
    chip.check(np.array([0, 1], np.uint16))
    assert chip.busy_seconds == pytest.approx(IDEAL.write_time + 4 * IDEAL.transverse_read_time)


def test_the_default_chip_is_fresh_and_costs_little():
    chip = AssociativeChip.buy("A-2")
    assert (chip.rows, chip.tracks, chip.domains, chip.ports, chip.columns) == (65_536, 128, 64, 2, 8192)
    assert not chip.read(np.array([0, 8191], np.uint32)).any()
    assert chip.search(np.array([77], np.uint32), np.zeros(1, np.uint8)) == 65_536


COLUMN = np.array([3], np.uint32)
BIT = np.ones(1, np.uint8)


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (lambda chip: chip.search(np.array([24], np.uint32), BIT), "column 24 is not one of 24"),
        (lambda chip: chip.search(np.array([0, 1], np.uint32), np.ones(2, np.uint8)), "two columns of track 0"),
        (lambda chip: chip.search(COLUMN, np.array([2], np.uint8)), "1 bits, each 0 or 1"),
        (lambda chip: chip.write(COLUMN, np.ones(2, np.uint8)), "1 bits, each 0 or 1"),
        (lambda chip: chip.search(np.array([3, 3], np.uint32), np.ones(2, np.uint8)), "must be distinct"),
        (lambda chip: chip.write(np.array([3, 3], np.uint32), np.ones(2, np.uint8)), "must be distinct"),
        (lambda chip: chip.load(COLUMN, np.zeros((1, 8), np.uint8)), "planes must be 1 of 9 bytes"),
        (lambda chip: chip.load(np.array([3, 3], np.uint32), np.zeros((2, 9), np.uint8)), "must be distinct"),
        (lambda chip: chip.read(np.array([99], np.uint32)), "column 99 is not one of 24"),
        (lambda chip: chip.set_tags(np.zeros(3, np.uint8)), "a plane of 9 bytes"),
        (lambda chip: chip.shift(0, 4), "cannot go to 4: it has 0 to 3"),
        (lambda chip: chip.shift(3, 1), "track 3 is not one of 3"),
        (lambda chip: chip.check(np.array([5], np.uint16)), "track 5 is not one of 3"),
        (lambda chip: chip.realign(0, 9), "cannot be realigned by 9"),
        (lambda chip: chip.realign(7, 1), "track 7 is not one of 3"),
        (lambda chip: setattr(chip, "verify_every", -1), "verified every 0 or more shifts"),
        (lambda chip: setattr(chip, "sense_threshold", float("nan")), "a finite number"),
        (lambda chip: chip.execute([np.full((1, 4), 16, np.uint8)], np.zeros(0, INSTRUCTION)), "masks and bits"),
        (lambda chip: chip.execute([], np.zeros(1, INSTRUCTION)), "table 0 is not one of 0"),
        (lambda chip: chip.execute([], np.zeros(1, np.uint8)), "instructions are"),
        (
            lambda chip: chip.execute([ADD.codes], associative.instructions([(0, 9, [0, 8, 16], [1, 1, 1])])),
            "column 24 is not one of 24",
        ),
        (
            lambda chip: chip.execute([ADD.codes], associative.instructions([(0, 1, [0], [0])])),
            "column 4294967295 is not one of 24",
        ),
        (
            lambda chip: chip.execute([ADD.codes], associative.instructions([(0, 1, [0, 8, 9], [0] * 3)])),
            "two columns of track 1 are not under its ports",
        ),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_is_done(asked, told):
    chip = chip_of()
    with pytest.raises(ValueError, match=told):
        asked(chip)
    assert counters(chip) == associative.Counters()


@pytest.mark.parametrize(
    "shape",
    [(0, 1, 2, 1), (1, 0, 2, 1), (1, 1, 3, 2), (1, 1, 0, 1), (1 << 21, 1, 1, 1), (1 << 20, 1 << 14, 64, 2)],
)
def test_impossible_chips_cannot_be_bought(shape):
    with pytest.raises(ValueError, match="a chip"):
        AssociativeChip.buy("A-3", IDEAL, *shape)


def test_overrides_of_the_parameters():
    changed = RacetrackParameters.named("racetrack").changed(shift_error=0.01, read_error=0.5)
    assert (changed.shift_over, changed.shift_under, changed.read_error) == (0.005, 0.005, 0.5)
    assert IDEAL.changed(shift_error=0.25).shift_under == 0.125
    for wrong, told in [
        ({"shift_error": 1.5}, "at most 1"), ({"write_error": -0.1}, "from 0 to 1"),
        ({"sense_noise": -1.0}, "0 or more and finite"), ({"colour": 1.0}, "colour is not one of"),
    ]:  # fmt: skip
        with pytest.raises(ValueError, match=told):
            IDEAL.changed(**wrong)
