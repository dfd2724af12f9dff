"""Word operations on the golden array against whole numbers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labctl.associative import AssociativeGeometry, Load, Read, Run, planes_of, values_of, word_columns
from labctl.compiler import OPERATIONS, GoldenArray, Word, emit, program_of
from labctl.compiler.words import add_constant

ROWS, DOMAINS = 64, 32
EXPECTED = {
    "add": lambda a, b: b + a,
    "subtract": lambda a, b: b - a,
    "reverse_subtract": lambda a, b: a - b,
    "add_out": lambda a, b, _r: a + b,
    "subtract_out": lambda a, b, _r: a - b,
    "copy": lambda a, _r: a,
    "negate_out": lambda a, _r: -a,
    "negate": lambda b: -b,
    "clear": lambda b: 0 * b,
    "extend": lambda a, _b: a,
    "relu": lambda b: np.maximum(b, 0),
    "compare": lambda a, b, _r: (a > b).astype(np.int64),
    "max": lambda a, b: np.maximum(a, b),
}


@st.composite
def shapes(draw):
    return [(draw(st.integers(1, 9)), draw(st.booleans())) for _ in range(3)]


@pytest.mark.parametrize("operation", OPERATIONS)
@given(shape=shapes(), seed=st.integers(0, 2**31))
@settings(max_examples=15, deadline=None)
def test_a_word_operation_does_what_whole_numbers_do_modulo_the_width_of_its_result(operation, shape, seed):
    shape = shape[: OPERATIONS[operation].words]
    if operation == "max":  # b is wide enough for both
        a, b = shape
        shape = [a, (max(a[0], b[0]) + 2, a[1] or b[1])]
    if operation == "reverse_subtract" and not shape[0][1]:
        shape = [(shape[1][0] + 1, False), shape[1]]
    if operation == "compare":
        shape[2] = (1, False)
    if operation == "extend":
        shape = [shape[0], (shape[0][0] + shape[1][0], False)]
    words = [
        Word(0 if operation == "extend" else DOMAINS * place, bits, signed)
        for place, (bits, signed) in enumerate(shape)
    ]
    rng = np.random.default_rng(seed)
    values = [rng.integers(-(1 << w.bits - 1) if w.signed else 0, 1 << w.bits - w.signed, ROWS) for w in words]
    array = GoldenArray(AssociativeGeometry(ROWS, 5, DOMAINS, 1))
    rubbish = rng.integers(0, 2, (2, array.associative.row_bytes)).astype(np.uint8)
    array.perform(Load(np.array([96, 128], np.uint32), rubbish))  # what carry and flag held does not matter
    for word, numbers in reversed([*zip(words, values, strict=True)]):
        array.perform(Load(word_columns([word.first], word.bits), planes_of(numbers[:, None], word.bits, ROWS)))
    result = words[-1]
    array.perform(Run(program_of(emit(operation, *words, carry=96, flag=128))))
    planes = array.perform(Read(word_columns([result.first], result.bits)))[0]
    found = values_of(planes, result.bits, ROWS, signed=False)[:, 0]
    wanted = EXPECTED[operation](*values) % (1 << result.bits)
    np.testing.assert_array_equal(found, wanted)


@given(bits=st.integers(1, 9), constant=st.integers(-600, 600))
@settings(max_examples=60, deadline=None)
def test_a_constant_is_added_modulo_the_width_of_the_word(bits, constant):
    array = GoldenArray(AssociativeGeometry(ROWS, 2, DOMAINS, 1))
    numbers = np.random.default_rng(bits).integers(0, 1 << bits, ROWS)
    columns = word_columns([0], bits)
    array.perform(Load(columns, planes_of(numbers[:, None], bits, ROWS)))
    array.perform(Run(program_of(add_constant(Word(0, bits), constant, DOMAINS))))
    found = values_of(array.perform(Read(columns))[0], bits, ROWS, signed=False)[:, 0]
    np.testing.assert_array_equal(found, (numbers + constant) % (1 << bits))


def test_what_cannot_be_is_said_in_one_sentence():
    with pytest.raises(ValueError, match="no operation 'divide'"):
        emit("divide", Word(0, 4), carry=9)
    with pytest.raises(ValueError, match="add is of 2 words"):
        emit("add", Word(0, 4), carry=9)
    with pytest.raises(ValueError, match="negate needs a flag column"):
        emit("negate", Word(0, 4), carry=9)
