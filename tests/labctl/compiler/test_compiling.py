"""Ternary layers compile to programs that compute them exactly, and count what was predicted."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labctl.associative import AssociativeGeometry, Counters, Run
from labctl.compiler import CompileError, GoldenArray, Options, TernaryLayer, compile_layer, reference, run_layer
from labctl.errors import LabctlError


@st.composite
def layers(draw):
    pool = draw(st.sampled_from([1, 1, 2, 4]))
    channel = draw(st.sampled_from([None, 1, 4, 9]))
    inputs = draw(st.integers(1, 5)) * (channel or draw(st.integers(1, 9)))
    rows = draw(st.integers(1, 6)) * pool
    sparsity = draw(st.sampled_from([0.0, 0.4, 0.9, 1.0]))
    rng = np.random.default_rng(draw(st.integers(0, 2**31)))
    weights = (rng.random((rows, inputs)) >= sparsity) * rng.choice([-1, 1], (rows, inputs))
    bits, signed = draw(st.integers(1, 5)), draw(st.booleans())
    return TernaryLayer("any", weights.astype(np.int8), bits, signed, pool, draw(st.booleans()), channel)


@st.composite
def settings_of(draw):
    unroll, tile = draw(st.integers(1, 3)), draw(st.sampled_from([None, 1, 2]))
    return Options(unroll, draw(st.sampled_from(["outputs", "inputs"])), draw(st.booleans()), tile)


GEOMETRIES = [
    AssociativeGeometry(16, 96, 32, 2),
    AssociativeGeometry(16, 80, 17, 1),
    AssociativeGeometry(16, 64, 64, 4),
]


def inputs_for(layer, rows, seed=0):
    low, high = layer.input_range
    codes = np.random.default_rng(seed).integers(low, high + 1, (rows, layer.inputs))
    codes[:2] = np.array([low, high])[:, None]  # the bounds of widths are reached
    return codes


@given(layer=layers(), options=settings_of(), geometry=st.sampled_from(GEOMETRIES), seed=st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_any_ternary_layer_is_computed_exactly_and_counts_what_was_predicted(layer, options, geometry, seed):
    compiled = compile_layer(layer, geometry, options)
    array = GoldenArray(geometry)
    array.cells[:] = np.random.default_rng(seed).random(array.cells.shape) < 0.5  # whatever was there before
    codes = inputs_for(layer, geometry.rows, seed)
    np.testing.assert_array_equal(run_layer(compiled, codes, array.perform).sums, reference(layer, codes))
    np.testing.assert_array_equal(run_layer(compiled, codes[:3], array.perform).sums, reference(layer, codes[:3]))
    assert replace(array.counters(), matches=0, written_bits=0) == compiled.counters(times=2)


@given(layer=layers(), options=settings_of())
@settings(max_examples=25, deadline=None)
def test_the_reference_is_the_definition_written_out(layer, options):
    codes = inputs_for(layer, 4).tolist()
    for code, results in zip(codes, reference(layer, np.array(codes)).tolist(), strict=True):
        sums = [sum(int(w) * x for w, x in zip(row, code, strict=True)) for row in layer.weights]
        pools = [max(sums[at : at + layer.pool]) for at in range(0, len(sums), layer.pool)]
        assert results == [max(each, 0) if layer.relu else each for each in pools]
    assert options.unroll


def random_layer(outputs, inputs, **more):
    rng = np.random.default_rng(5)
    weights = (rng.random((outputs, inputs)) > 0.42) * rng.choice([-1, 1], (outputs, inputs))
    return TernaryLayer("random", weights.astype(np.int8), **more)


def test_the_greatest_of_a_pool_may_be_wider_than_each_of_its_sums():
    layer = TernaryLayer("wide", np.array([[-1], [1], [-1], [-1], [1], [1]], np.int8), input_bits=1, pool=2)
    geometry = AssociativeGeometry(8, 96, 32, 2)
    codes = inputs_for(layer, 8)
    result = run_layer(compile_layer(layer, geometry), codes, GoldenArray(geometry).perform)
    np.testing.assert_array_equal(result.sums, reference(layer, codes))


def test_groups_have_no_more_channels_than_the_tracks_hold():
    rng = np.random.default_rng(2)
    layer = TernaryLayer("first", rng.integers(-1, 2, (4, 3 * 49)).astype(np.int8), channel=49)
    geometry = AssociativeGeometry(16, 128, 64, 2)
    compiled, alone = (compile_layer(layer, geometry, Options(unroll)) for unroll in (4, 1))
    assert compiled.statistics == alone.statistics
    codes = inputs_for(layer, geometry.rows)
    array = GoldenArray(geometry)
    np.testing.assert_array_equal(run_layer(compiled, codes, array.perform).sums, reference(layer, codes))


@pytest.mark.parametrize("order", ["outputs", "inputs"])
@pytest.mark.parametrize("unroll", [1, 2])
def test_a_layer_that_does_not_fit_at_once_is_cut_into_tiles(order, unroll):
    layer = random_layer(10, 162, channel=9, relu=True)
    geometry = AssociativeGeometry(32, 28, 24, 1)
    compiled = compile_layer(layer, geometry, Options(unroll, order, output_tile=4))
    array, codes = GoldenArray(geometry), inputs_for(layer, 32)
    np.testing.assert_array_equal(run_layer(compiled, codes, array.perform).sums, reference(layer, codes))
    loaded = [stage.inputs.which for stage in compiled.stages if len(stage.inputs)]
    assert len(compiled.stages) >= 6
    if order == "inputs":
        assert sum(map(len, loaded)) == layer.inputs
        assert any(len(stage.partials) for stage in compiled.stages)
    else:
        assert sum(map(len, loaded)) > layer.inputs
        assert not any(len(stage.partials) for stage in compiled.stages)
    assert all(stage.program.passes for stage in compiled.stages)
    assert replace(array.counters(), matches=0, written_bits=0) == compiled.counters()


def test_statistics_are_those_of_the_programs():
    layer = random_layer(64, 90, channel=9)
    compiled = compile_layer(layer, AssociativeGeometry(64, 128, 64, 2))
    counted, found = compiled.counters(), compiled.statistics
    assert found.operations_without_cse == np.count_nonzero(layer.weights) - 64
    assert 0.4 < found.operations / found.operations_without_cse < 0.7
    assert (found.searches, found.writes, found.shifts) == (counted.searches, counted.writes, counted.shifts)
    assert found.cycles == counted.searches + counted.writes
    assert found.passes == sum(stage.program.passes for stage in compiled.stages)
    assert found.columns <= compiled.geometry.columns


def test_without_common_subexpressions_operations_are_the_terms_less_one_a_sum():
    layer = random_layer(20, 45, channel=9)
    compiled = compile_layer(layer, AssociativeGeometry(64, 128, 64, 2), Options(cse=False))
    assert compiled.statistics.operations == compiled.statistics.operations_without_cse


def test_a_trace_has_a_count_for_every_pass():
    layer = random_layer(2, 9)
    geometry = AssociativeGeometry(8, 30, 32)
    compiled = compile_layer(layer, geometry)
    array = GoldenArray(geometry)
    result = run_layer(compiled, inputs_for(layer, 8), array.perform, trace=True)
    assert [len(each) for each in result.traces] == [stage.program.passes for stage in compiled.stages]
    assert result.counters.matches <= sum(int(each.sum()) for each in result.traces)


def test_predicted_counters_of_a_program_that_winds_over_ports_are_right_too():
    from labctl.compiler import Word, emit, program_of
    from labctl.compiler.counting import counters_of_program

    geometry = AssociativeGeometry(8, 4, 16, 2)
    program = program_of(emit("add", Word(3, 12), Word(16, 14), carry=40))
    array = GoldenArray(geometry)
    array.perform(Run(program))
    heads = np.zeros(4, np.int64)
    predicted = counters_of_program(geometry, program, heads)
    assert predicted == replace(array.counters(), matches=0, written_bits=0)
    assert heads.tolist() == array.heads.tolist()
    assert counters_of_program(geometry, program_of(program.instructions[:0]), heads) == Counters()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: TernaryLayer("l", np.full((2, 2), 2, np.int8)), "layer l: weights must be a matrix of -1, 0 and 1"),
        (
            lambda: TernaryLayer("l", np.zeros((3, 2), np.int8), pool=2),
            "layer l: 3 rows of weights are not in pools of 2",
        ),
        (lambda: TernaryLayer("l", np.zeros((3, 4), np.int8), channel=3), "4 inputs are not in channels of 3"),
        (lambda: TernaryLayer("l", np.zeros((3, 4), np.int8), input_bits=0), "inputs have 1 to 16 bits, not 0"),
        (lambda: Options(unroll=0), "unroll must be 1 or more"),
        (lambda: Options(order="both"), "order must be outputs or inputs"),
        (lambda: Options(output_tile=0), "output_tile must be 1 or more"),
        (
            lambda: compile_layer(random_layer(4, 18, channel=9), AssociativeGeometry(8, 12, 32)),
            "does not fit 12 tracks",
        ),
        (
            lambda: compile_layer(random_layer(4, 18), AssociativeGeometry(8, 64, 6)),
            "a port of this array reaches 6 domains",
        ),
        (
            lambda: compile_layer(TernaryLayer("l", np.zeros((1, 2), np.int8), 16), AssociativeGeometry(8, 64, 12)),
            "its words have up to 16 bits, and a port of this array reaches 12 domains",
        ),
    ],
)
def test_what_cannot_be_compiled_is_said_in_one_sentence(make, said):
    with pytest.raises(CompileError, match=said) as raised:
        make()
    assert isinstance(raised.value, LabctlError)
    assert raised.value.exit_code == 2


def test_codes_that_are_not_the_layers_are_refused():
    layer = random_layer(2, 9)
    compiled = compile_layer(layer, AssociativeGeometry(8, 30, 32))
    perform = GoldenArray(compiled.geometry).perform
    for codes, said in [
        (np.zeros((2, 8), np.int64), "takes whole numbers"),
        (np.zeros((9, 9), np.int64), "9 rows are more than the array's 8"),
        (np.full((2, 9), 16), "takes inputs from 0 to 15"),
    ]:
        with pytest.raises(ValueError, match=said):
            run_layer(compiled, codes, perform)
