"""Every fault of an associative chip is as frequent as its parameter says, and a function of what was done."""

from __future__ import annotations

import dataclasses
from statistics import NormalDist

import numpy as np
import pytest

from labctl import associative
from labctl.associative import Pass, Table
from labctl.proportions import wilson_interval
from labctl.simulated_instruments.cells.racetrack_parameters import RacetrackParameters
from labctl.simulated_instruments.cells.racetrack_trials import Uniforms
from labctl.simulated_instruments.chips.associative import AssociativeChip

ROWS = 65_536
IDEAL = RacetrackParameters.named("racetrack_ideal")
ADD = Table("add", "abc", (Pass("110", "-01"), Pass("100", "-10"), Pass("001", "-10"), Pass("011", "-01")))
FAULTY = {"shift_error": 2e-3, "transverse_misread": 1e-3, "sense_noise": 0.2, "write_error": 1e-3, "read_error": 1e-3}
ONE = np.ones(1, np.uint8)
NONE = np.empty(0, np.uint32)


def chip_with(rows=ROWS, tracks=4, domains=16, ports=2, serial="F-1", **overrides):
    return AssociativeChip.buy(serial, IDEAL.changed(**overrides), rows, tracks, domains, ports)


def column(*places):
    return np.array(places, np.uint32)


def ones_of(plane, rows=ROWS):
    return np.unpackbits(plane, count=rows, bitorder="little").astype(bool)


def agree(count, n, probability):
    low, high = wilson_interval(int(count), n, 0.9999)
    return low <= probability <= high


def test_shifts_go_too_far_or_not_far_enough():
    parameters = dataclasses.replace(IDEAL, shift_over=3e-3, shift_under=1e-3)
    chip = AssociativeChip.buy("F-2", parameters, ROWS, 8, 16, 2)
    for track in range(8):
        chip.shift(track, 1)
    ahead = chip.offsets
    assert agree((ahead == 1).sum(), ahead.size, 3e-3)
    assert agree((ahead == -1).sum(), ahead.size, 1e-3)
    assert set(np.unique(ahead)) == {-1, 0, 1}
    for track in range(8):
        chip.shift(track, -1)
    back = chip.offsets - ahead
    assert agree((back == -1).sum(), back.size, 3e-3)
    assert agree((back == 1).sum(), back.size, 1e-3)


def test_position_errors_accumulate():
    chip = chip_with(shift_error=0.02)
    for _ in range(50):
        chip.shift(0, 1)
        chip.shift(0, -1)
    offsets = chip.offsets[0].astype(float)
    deviation = offsets.var() / 2.0  # of a walk of 100 steps, each with probability 0.02
    assert deviation == pytest.approx(1.0, abs=5 * np.sqrt(3 / ROWS))
    assert not chip.offsets[1:].any()


def test_misaligned_nanowires_show_the_neighbouring_column():
    chip = chip_with(tracks=1)
    rng = np.random.default_rng(3)
    planes = rng.integers(0, 256, (16, ROWS // 8)).astype(np.uint8)
    every = np.arange(16, dtype=np.uint32)
    chip.load(every, planes)
    tags = rng.integers(0, 256, ROWS // 8).astype(np.uint8)
    chip.set_tags(tags)
    chip.realign(0, 1)
    assert not (chip.check(np.zeros(1, np.uint16))[0] != ones_of(tags)).any()
    np.testing.assert_array_equal(chip.read(column(4))[0], planes[4] & ~tags | planes[5] & tags)
    chip.search(NONE, np.empty(0, np.uint8))
    chip.write(column(4), ONE)  # lands in the neighbour where the nanowire is ahead
    chip.set_tags(tags)
    chip.realign(0, -1)
    found = chip.read(column(4, 5))
    np.testing.assert_array_equal(found[0], planes[4] | ~tags)
    np.testing.assert_array_equal(found[1], planes[5] | tags)
    assert chip.counters.realignments == 2


def test_a_nanowire_goes_no_further_than_its_end():
    chip = chip_with(rows=100)
    chip.search(NONE, np.empty(0, np.uint8))
    for _ in range(11):
        chip.realign(2, 1)
    assert (chip.offsets[2] == 8).all()
    chip.write(column(47), ONE)
    assert ones_of(chip.read(column(47))[0], 100).all()


def test_verified_positions_are_put_right():
    chip = chip_with(shift_error=1e-3)
    chip.verify_every = 1
    for _ in range(40):
        chip.shift(0, 1)
        chip.shift(0, -1)
    assert chip.counters.checks == 80
    assert chip.counters.realignments >= 80
    assert np.count_nonzero(chip.offsets) < 5  # those of which a realignment of the last check failed: 65e3 * 1e-6
    chip.verify_every = 8
    for _ in range(2):
        chip.shift(1, 7)
        chip.shift(1, -7)
    assert chip.counters.checks == 80 + 28 // 8


@pytest.mark.parametrize("displacement", [-3, 1])
def test_transverse_reads_are_misread(displacement):
    rate = 0.02
    chip = chip_with(transverse_misread=rate)
    chip.search(NONE, np.empty(0, np.uint8))
    chip.realign(0, displacement)
    seeming = chip.check(np.zeros(20, np.uint16))
    right = sum(
        share
        for errors, share in _read_errors(rate)
        if _seeming(displacement, errors) == displacement
    )  # fmt: skip
    assert 0.97 < right < 0.99
    assert agree((seeming == displacement).sum(), seeming.size, right)


def _read_errors(rate):
    one = {0: 1 - rate, 1: rate / 2, -1: rate / 2}
    return [((first, second), one[first] * one[second]) for first in one for second in one]


def _seeming(displacement, errors):
    """From the pattern itself: which displacements have counts nearest to those read, the least of them."""

    def counts(place):
        return [sum((place + 1 + shift + domain) % 8 < 4 for domain in range(4)) for shift in (0, 2)]

    read = [min(4, max(0, count + error)) for count, error in zip(counts(displacement), errors, strict=True)]
    distance = {place: sum(abs(a - b) for a, b in zip(counts(place), read, strict=True)) for place in range(-4, 4)}
    return min(sorted(distance, key=abs), key=lambda place: distance[place])


def test_writes_fail():
    chip = chip_with(write_error=2e-3)
    chip.search(NONE, np.empty(0, np.uint8))
    places = np.arange(0, 64, 16, dtype=np.uint32)
    chip.write(places, np.ones(4, np.uint8))
    kept = ~np.stack([ones_of(plane) for plane in chip.read(places)])
    assert agree(kept.sum(), kept.size, 2e-3)
    chip.load(column(1), np.full((1, ROWS // 8), 255, np.uint8))
    assert agree((~ones_of(chip.read(column(1))[0])).sum(), ROWS, 2e-3)


def test_writes_of_what_is_there_already_cannot_fail():
    chip = chip_with(write_error=1.0)
    chip.load(column(0), np.full((1, ROWS // 8), 255, np.uint8))
    assert not chip.read(column(0)).any()


def test_bits_are_misread():
    chip = chip_with(read_error=3e-3)
    planes = np.random.default_rng(4).integers(0, 256, (4, ROWS // 8)).astype(np.uint8)
    chip.load(column(0, 1, 2, 3), planes)
    first, second = chip.read(column(0, 1, 2, 3)), chip.read(column(0, 1, 2, 3))
    for found in (first, second):
        assert agree(np.bitwise_count(found ^ planes).sum(), planes.size * 8, 3e-3)
    assert np.bitwise_count(first ^ second).sum() > planes.size * 8 * 4e-3  # misreads are not of cells


@pytest.mark.parametrize("threshold", [0.2, 0.5, 0.85, 1.3, 2.5])
def test_match_lines_are_taken_for_matches_and_mismatches(threshold):
    noise = 0.3
    chip = chip_with(sense_noise=noise)
    rng = np.random.default_rng(5)
    bits = rng.integers(0, 2, (ROWS, 3))
    chip.load(column(0, 16, 32), associative.planes_of(bits, 1, ROWS))
    chip.sense_threshold = threshold
    chip.search(column(0, 16, 32), np.array([1, 0, 1], np.uint8))
    mismatches = (bits != [1, 0, 1]).sum(axis=1)
    tagged = ones_of(chip.tag_plane())
    for count in range(4):
        rows = mismatches == count
        assert agree(tagged[rows].sum(), rows.sum(), NormalDist(count, noise).cdf(threshold))


def test_without_noise_the_threshold_says_how_many_mismatches_match():
    chip = chip_with(rows=64)
    bits = np.arange(64)[:, np.newaxis] >> np.arange(3) & 1
    chip.load(column(0, 16, 32), associative.planes_of(bits, 1, 64))
    for threshold, allowed in [(0.0, -1), (0.5, 0), (1.0, 0), (1.5, 1), (2.5, 2), (9.0, 3)]:
        chip.sense_threshold = threshold
        assert chip.search(column(0, 16, 32), np.zeros(3, np.uint8)) == (bits.sum(axis=1) <= allowed).sum()
    chip.sense_threshold = 1.5  # programs are sensed with it too
    codes = Table("t", "abc", (Pass("000", "---"),)).codes
    program = associative.instructions([(0, 1, [0, 16, 32], [0] * 3)])
    assert chip.execute([codes], program, trace=True).tolist() == [(bits.sum(axis=1) <= 1).sum()]


def test_heat_turns_domains_over():
    rate, seconds = 1e-6, 2e5
    chip = chip_with(retention_rate=rate)
    chip.wait(1e9)
    chip.wait(1e9 + seconds)
    flipped = np.bitwise_count(chip.read(column(0, 1, 17))).sum()
    assert agree(flipped, 3 * ROWS, (1 - np.exp(-2 * rate * seconds)) / 2)
    chip.wait(1e9 + 50 * seconds)  # many turns of each
    flipped = np.bitwise_count(chip.read(column(0, 1, 17))).sum()
    assert agree(flipped, 3 * ROWS, (1 - np.exp(-2 * rate * 50 * seconds)) / 2)


def test_a_very_long_time_costs_no_more_than_it_takes_to_forget(mocker):
    chip = chip_with(retention_rate=1e-3)
    drawn = mocker.spy(Uniforms, "of")
    chip.wait(0.0)
    chip.wait(1e12)
    assert agree(np.bitwise_count(chip.read(column(0))).sum(), ROWS, 0.5)
    assert sum(call.args[-1] for call in drawn.call_args_list) < 50 * 2 * ROWS


def test_when_one_looks_does_not_matter_for_what_heat_does():
    patient, curious = (chip_with(rows=5000, retention_rate=1e-4) for _ in range(2))
    for chip in (patient, curious):
        chip.wait(50.0)
    for time in np.linspace(60.0, 5000.0, 40):
        curious.wait(float(time))
        curious.read(column(3))
    for chip in (patient, curious):
        chip.wait(6000.0)
    np.testing.assert_array_equal(patient.read(column(3)), curious.read(column(3)))
    np.testing.assert_array_equal(patient.read(column(4)), curious.read(column(4)))


def test_a_clock_that_goes_backwards_makes_no_cell_younger():
    chip = chip_with(rows=5000, retention_rate=1e-3)
    chip.wait(1000.0)
    chip.wait(2000.0)
    aged = chip.read(column(5))
    chip.wait(10.0)
    np.testing.assert_array_equal(chip.read(column(5)), aged)
    chip.wait(500.0)
    assert (chip.read(column(5)) != aged).any()


def test_single_operations_age_cells_no_more_than_they_take():
    rate, passed = 1e4, 0.0
    chip = chip_with(retention_rate=rate)
    for _ in range(2000):  # each of less than a step of a time of day as a float
        chip.wait(1.75e9 + passed)
        chip.read(column(0))
        passed, chip.busy_seconds = passed + chip.busy_seconds, 0.0
    flipped = np.bitwise_count(chip.read(column(1))).sum()
    assert agree(flipped, ROWS, (1 - np.exp(-2 * rate * passed)) / 2)


def test_cells_are_stuck_after_their_life():
    lifetime, writes = 100.0, 60
    parameters = dataclasses.replace(IDEAL, lifetime=lifetime, lifetime_shape=2.0)
    chip = AssociativeChip.buy("F-3", parameters, ROWS, 2, 4, 1)
    chip.search(NONE, np.empty(0, np.uint8))
    for turn in range(writes):
        chip.write(column(2), ONE * (turn % 2))
    stuck = np.zeros(ROWS, bool)
    for bit in (0, 1):
        chip.load(column(2), np.full((1, ROWS // 8), 255 * bit, np.uint8))
        stuck |= ones_of(chip.read(column(2))[0]) != bit
    shares = 1 - np.exp(-((np.array([writes, writes + 2]) / lifetime) ** 2))
    assert wilson_interval(int(stuck.sum()), ROWS, 0.9999)[1] >= shares[0]
    assert wilson_interval(int(stuck.sum()), ROWS, 0.9999)[0] <= shares[1]
    assert chip.column_writes.tolist() == [0, 0, writes + 2, 0, 0, 0, 0, 0]
    assert not chip.read(column(1)).any()


@pytest.mark.parametrize("lifetime", [1e-6, 3.0])
def test_a_column_that_is_worn_out_costs_nothing_more(mocker, lifetime):
    chip = chip_with(rows=1000, lifetime=lifetime)
    for turn in range(20):
        chip.load(column(0), np.full((1, 125), 255 * (turn % 2), np.uint8))
    held = chip.read(column(0))
    drawn = mocker.spy(Uniforms, "of")
    chip.load(column(0), ~held)
    np.testing.assert_array_equal(chip.read(column(0)), held)
    assert drawn.call_count == 0


def test_heat_turns_no_stuck_cell_over():
    parameters = dataclasses.replace(IDEAL, lifetime=20.0, retention_rate=1e-3)
    chip = AssociativeChip.buy("F-5", parameters, 4096, 1, 8, 1)
    for turn in range(200):  # ten times their life
        chip.load(column(0), np.full((1, 512), 255 * (turn % 2), np.uint8))
    chip.wait(1e9)
    before = chip.read(column(0))
    chip.wait(1e9 + 1e3)
    np.testing.assert_array_equal(chip.read(column(0)), before)
    assert chip.read(column(1)).any()


def test_programs_wear_cells_like_single_writes():
    parameters = dataclasses.replace(IDEAL, lifetime=20.0, lifetime_shape=1.5)
    program, single = (AssociativeChip.buy("F-4", parameters, 1000, 3, 4, 1) for _ in range(2))
    for _ in range(6):
        _run(program, [0, 4, 8], bits=2)
        _step_by_step(single, [0, 4, 8], bits=2)
    _same(program, single)
    assert program.column_writes.sum() == 6 * 2 * 8


@pytest.mark.parametrize("verify_every", [0, 1, 3])
def test_a_program_and_its_single_operations_are_the_same(verify_every):
    program, single, cut = (chip_with(rows=3000, tracks=3, **FAULTY) for _ in range(3))
    planes = np.random.default_rng(6).integers(0, 256, (48, 375)).astype(np.uint8)
    for chip in (program, single, cut):
        chip.verify_every = verify_every
        chip.load(np.arange(48, dtype=np.uint32), planes)
    _run(program, [0, 16, 32], bits=8, times=12)
    for _ in range(12):
        _step_by_step(single, [0, 16, 32], bits=8)
        _run(cut, [0, 16, 32], bits=8)
    _same(program, single, cut)


def _run(chip, begins, bits, times=1):
    chip.execute([ADD.codes], associative.instructions([(0, bits, begins, [1, 1, 0])] * times))


def _step_by_step(chip, begins, bits):
    """ADD as searches and writes; all columns that a pass names come under their ports first, as in a program."""
    for bit in range(bits):
        columns = [begins[0] + bit, begins[1] + bit, begins[2]]
        for each in ADD.passes:
            named = [role for role in range(3) if each.key[role] != "-" or each.then[role] != "-"]
            for track, role in [(columns[role] // chip.domains, role) for role in named]:
                chip.shift(track, int(columns[role] % chip.domains % chip.reach - chip.heads[track]))
            for word, operation in ((each.key, chip.search), (each.then, chip.write)):
                where = [role for role in range(3) if word[role] != "-"]
                bits_of = np.array([int(word[role]) for role in where], np.uint8)
                operation(column(*(columns[role] for role in where)), bits_of)


def _same(chip, *others):
    every = np.arange(chip.columns, dtype=np.uint32)
    counters, offsets, tags = dataclasses.replace(chip.counters), chip.offsets, chip.tag_plane()
    writes, planes = chip.column_writes, chip.read(every)
    for other in others:
        assert counters == other.counters
        np.testing.assert_array_equal(offsets, other.offsets)
        np.testing.assert_array_equal(tags, other.tag_plane())
        np.testing.assert_array_equal(writes, other.column_writes)
        np.testing.assert_array_equal(planes, other.read(every))


def test_chips_differ_and_a_chip_is_always_the_same():
    planes = []
    for serial in ("F-5", "F-5", "F-6"):
        chip = chip_with(rows=2000, serial=serial, **FAULTY)
        _run(chip, [0, 16, 32], bits=8, times=5)
        planes.append(chip.read(column(*range(48))))
    np.testing.assert_array_equal(planes[0], planes[1])
    assert (planes[0] != planes[2]).any()


def test_no_variate_is_drawn_where_nothing_can_go_wrong(mocker):
    drawn = mocker.spy(Uniforms, "_fill")
    chip = chip_with(rows=1000)
    chip.verify_every = 2
    chip.wait(1e9)
    chip.wait(2e9)
    _run(chip, [0, 16, 32], bits=8, times=3)
    chip.check(np.arange(3, dtype=np.uint16))
    assert not drawn.called
    _run(chip_with(rows=1000, read_error=0.1), [0, 16, 32], bits=8)
    assert drawn.called
