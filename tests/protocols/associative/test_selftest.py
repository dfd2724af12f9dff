"""The self-test finds nothing wrong on a chip without faults, and every bit that is; it goes on where it was killed."""

import numpy as np
import pytest
from associative_benches import write_associative_bench
from computed_runs import SHAPE, steps_of
from killed_runs import after_step, killed_run, resumed

import labctl
from labctl.associative import AssociativeGeometry, Read
from labctl.compiler import TABLES, GoldenArray
from labctl.errors import SettingsError, UsageError
from labctl.protocols.associative.arithmetic import KINDS, operands, work
from labctl.protocols.associative.selftest import SelfTestSettings, associative_selftest

ROWS = SHAPE["rows"]


def _run(bench, **settings):
    with labctl.load_bench(bench) as live, live.array() as array:
        return labctl.run("associative_selftest", array, seed=5, **settings)


@pytest.fixture
def bench(tmp_path):
    return write_associative_bench(tmp_path, **SHAPE)


@pytest.mark.parametrize("bits", [2, 7, 15])
def test_every_table_and_word_operation_is_right_on_a_chip_without_faults(bench, bits):
    summary = _run(bench, operations=2 * len(KINDS) * ROWS, bits=bits).summary

    assert (summary["operations"], summary["mismatches"]) == (2 * len(KINDS) * ROWS, 0)
    assert {name: kind["operations"] for name, kind in summary["kinds"].items()} == dict.fromkeys(KINDS, 2 * ROWS)
    assert (summary["tables"], summary["table_rows"], summary["table_mismatches"]) == (
        len(TABLES),
        len(TABLES) * ROWS,
        0,
    )
    assert summary["counters"]["searches"] > 0
    assert summary["board_seconds"] > 0


def test_its_file_holds_a_step_a_program_with_the_counters_of_each(bench):
    result = _run(bench, operations=1, bits=4)
    with labctl.open_run(result.path) as tree:
        passes, searches, writes = (steps_of(tree, name) for name in ("passes", "searches", "writes"))
        kinds = steps_of(tree, "kind")
    assert len(passes) == len(TABLES) + len(KINDS)
    assert kinds[len(TABLES) :].tolist() == list(range(len(KINDS)))
    assert passes.sum() == result.summary["passes"]
    assert searches.sum() == result.summary["counters"]["searches"]
    assert ((np.maximum(searches, writes) <= passes) & (passes <= searches + writes)).all()


def test_a_chip_that_makes_mistakes_has_them_counted(tmp_path):
    bench = write_associative_bench(tmp_path, **SHAPE, write_error=0.001)
    result = _run(bench, operations=40 * ROWS, kinds=("add", "compare"))

    kinds = result.summary["kinds"]
    assert result.summary["mismatches"] == kinds["add"]["mismatches"] + kinds["compare"]["mismatches"] > 0
    # of the 17 bits that are loaded and about as many that are written for a sum, one in a thousand fails
    assert 0.005 < kinds["add"]["mismatches"] / kinds["add"]["operations"] < 0.05
    with labctl.open_run(result.path) as tree:
        wrong_bits = tree["results"]["wrong_bits"].values
        assert steps_of(tree, "mismatches").sum() == result.summary["mismatches"] + result.summary["table_mismatches"]
    assert wrong_bits[0].sum() >= kinds["add"]["mismatches"]
    assert wrong_bits[1].tolist() == [kinds["compare"]["mismatches"]] + [-1] * 8  # it has one bit


def summary_of(steps):
    """What a protocol returns after its last step."""
    while True:
        try:
            next(steps)
        except StopIteration as ended:
            return ended.value


class _FlipsReadBits(GoldenArray):
    """Reads the given row of the lowest column wrong, whatever it holds."""

    capabilities = associative_selftest.needs
    chip_serial = "FLIPS"
    row = 3

    def perform(self, *actions):
        results = list(super().perform(*actions))
        for place, action in enumerate(actions):
            if isinstance(action, Read):
                results[place][0, self.row // 8] ^= 1 << self.row % 8
        return tuple(results)


def test_one_bit_that_is_wrong_each_time_is_found_each_time():
    array = _FlipsReadBits(AssociativeGeometry(32, 8, 16))
    steps = associative_selftest.steps(array, SelfTestSettings(operations=1, bits=4), np.random.default_rng(0), None)
    summary = summary_of(steps)
    assert {kind["mismatches"] for kind in summary["kinds"].values()} == {1}
    assert (summary["mismatches"], summary["table_mismatches"]) == (len(KINDS), len(TABLES))
    assert summary["wrong_bits"].values[:, 0].tolist() == [1] * len(KINDS)
    assert set(summary["wrong_bits"].values[:, 1:].ravel().tolist()) == {0, -1}


def test_a_layer_is_run_whole_beside_the_words(bench):
    weights = np.random.default_rng(2).choice([-1, 0, 1], size=(10, 24))
    summary = _run(bench, operations=0, layer={"name": "drawn", "weights": weights, "pool": 2}).summary
    layer = summary["layer"]
    assert (layer["inputs"], layer["outputs"], layer["sums"], layer["mismatches"]) == (24, 5, 5 * ROWS, 0)
    assert summary["operations"] == 0
    assert summary["passes"] > layer["passes"] > 0


def test_a_run_that_was_killed_goes_on_after_its_last_program(bench, tmp_path):
    settings = {"operations": 2 * len(KINDS) * ROWS, "bits": 5}
    done = len(TABLES) + len(KINDS) + 3
    path = killed_run(bench, tmp_path, after_step(done), "associative_selftest", **settings)
    result = resumed(bench, path)

    assert (result.summary["operations"], result.summary["mismatches"]) == (2 * len(KINDS) * ROWS, 0)
    with labctl.open_run(path) as tree:
        own = tree["steps"]["asked_by"].values == 0
        kinds, searches = steps_of(tree, "kind")[own], steps_of(tree, "searches")[own]
    assert kinds[len(TABLES) :].tolist() == list(range(len(KINDS))) * 2
    assert searches.sum() == result.summary["counters"]["searches"]


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"kinds": ("add", "divide")}, "some of add, add_out, .*, not add, divide"),
        ({"bits": 1}, "bits must be 2 to 24, not 1"),
        ({"bits": 16}, "add of 16 bits wants 4 tracks of 17 domains or more; this array has 24 of 16"),
        ({"layer": {"weights": [[1, 2]]}}, "weights must be a matrix of -1, 0 and 1"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(bench, settings, told):
    with pytest.raises((SettingsError, UsageError), match=told):
        _run(bench, **settings)


def test_an_array_with_fewer_tracks_than_a_table_has_columns_is_refused(tmp_path):
    bench = write_associative_bench(tmp_path, rows=16, tracks=3, domains=8)
    with pytest.raises(SettingsError, match="the truth tables take up to 4 tracks, and this array has 3"):
        _run(bench, operations=0)


def test_words_lie_anywhere_and_signed_ones_are_as_long_as_unsigned_ones():
    rng, geometry = np.random.default_rng(0), AssociativeGeometry(8, 16, 32, 2)
    drawn = [work("max", 6, geometry, rng) for _ in range(100)]
    assert {each.signed for each in drawn} == {False, True}
    assert len({word.first for each in drawn for word in each.operands}) > 100
    for signed in (False, True):
        values = operands("max", 6, 5000, signed, rng)
        assert (values.min(), values.max()) == ((-32, 31) if signed else (0, 63))
