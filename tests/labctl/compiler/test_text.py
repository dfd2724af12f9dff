"""Programs as text: round trips, what a person writes, and what is wrong with it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labctl.associative import AssociativeGeometry, Pass, Program, Run, Table, instructions
from labctl.compiler import (
    GoldenArray,
    Options,
    ProgramTextError,
    TernaryLayer,
    Word,
    assemble,
    compile_layer,
    disassemble,
    emit,
    expand,
    program_of,
)

TEXT = """
program two bits   # by hand
table add a b c
    110 > -01
    100 > -10
    001 > -10
    011 > -01
table clear b
    - > 0
do
clear 1: 32
add 2: 0+ 20-1 32
"""


@st.composite
def programs(draw):
    words = st.text("01-", min_size=4, max_size=4)
    tables = []
    for number in range(draw(st.integers(1, 4))):
        roles = draw(st.integers(1, 4))
        passes = draw(st.lists(st.tuples(words, words), max_size=5))
        each = tuple(Pass(key[:roles], then[:roles]) for key, then in passes)
        tables.append(Table(f"t{number}", "abcd"[:roles], each))
    rows = []
    for number in draw(st.lists(st.integers(0, len(tables) - 1), max_size=10)):
        roles = len(tables[number].roles)
        columns = draw(st.lists(st.integers(0, 2**32 - 1), min_size=roles, max_size=roles))
        steps = draw(st.lists(st.integers(-128, 127), min_size=roles, max_size=roles))
        rows.append((number, draw(st.integers(0, 65535)), columns, steps))
    return Program(tuple(tables), instructions(rows), draw(st.sampled_from(["", "a program"])))


@given(program=programs())
@settings(max_examples=60, deadline=None)
def test_any_program_comes_back_from_its_text(program):
    again = assemble(disassemble(program))
    assert again.digest == program.digest
    assert (again.name, again.tables) == (program.name, program.tables)


def test_a_compiled_layer_comes_back_from_its_text():
    weights = np.array([[1, -1, 0, 1], [1, -1, 1, 0], [-1, 1, 1, 1]], np.int8)
    compiled = compile_layer(TernaryLayer("small", weights), AssociativeGeometry(8, 16, 32))
    program = compiled.stages[0].program
    assert assemble(disassemble(program)).digest == program.digest


def test_a_text_written_by_hand_does_what_it_says():
    program = assemble(TEXT)
    assert (program.name, program.passes) == ("two bits", 9)
    assert program.instructions["steps"].tolist() == [[0, 0, 0, 0], [1, -1, 0, 0]]
    array = GoldenArray(AssociativeGeometry(4, 3, 16))
    array.cells[0] = True
    array.perform(Run(program))
    assert array.cells[20].all()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("do\nadd 8: 0", "line 2 of the program: there is no table add"),
        ("table add a b\n11 > 0\ndo", "line 2 of the program: table add: '0' is not 2 of 0, 1 and -"),
        ("110 > 001\ndo", "line 1 of the program: '110 > 001' is no pass"),
        ("table t a\ntable t b\ndo", "line 2 of the program: there is a table t already"),
        ("table t a\n1 > 0\ndo\nt 8: 1 2", "line 4 of the program: t has 1 roles, not 2"),
        ("table t a\n1 > 0\ndo\nt 8: x", "line 4 of the program: 'x' is no column"),
        ("table t a\n1 > 0\ndo\nt 8: 1+200", "line 4 of the program: .* too large"),
        ("table t a\n1 > 0\ndo\nt 99999: 1", "line 4 of the program: .* too large"),
        ("table t a\n1 > 0\ndo\nt", "line 4 of the program: 't' is no instruction"),
        ("table t\ndo", "line 1 of the program: a table has a name and roles"),
        ("table t a\n1 > 0", "no line `do`"),
    ],
)
def test_what_is_wrong_with_a_text_is_said_with_its_line(text, said):
    with pytest.raises(ProgramTextError, match=said):
        assemble(text)


def test_a_program_whose_tables_share_a_name_has_no_text():
    table = Table("t", "a", ())
    with pytest.raises(ValueError, match="names of their own"):
        disassemble(Program((table, table), instructions([])))


@pytest.mark.parametrize("name", ["a\nb", "a\n\ndo\nx", "a # b", "a\x85table t a", "  a\t b "])
def test_a_name_of_any_text_spoils_no_program(name):
    program = Program((Table("t", "a", (Pass("1", "0"),)),), instructions([(0, 1, [3], [0])]), name)
    again = assemble(disassemble(program))
    assert again.digest == program.digest
    assert again.name.split() == name.replace("#", " ").split()


@pytest.mark.parametrize("role", "# ")
def test_a_program_with_a_role_that_reads_as_something_else_has_no_text(role):
    table = Table("t", f"a{role}", (Pass("10", "01"),))
    with pytest.raises(ValueError, match="no role of its tables"):
        disassemble(Program((table,), instructions([(0, 1, [3, 4], [0, 0])])))


def test_expanded_a_program_is_every_shift_search_and_write():
    geometry = AssociativeGeometry(4, 3, 16)
    program = assemble(TEXT)
    lines = expand(program, geometry).splitlines()
    array = GoldenArray(geometry)
    array.perform(Run(program))
    counted = array.counters()
    assert sum(line.startswith("search") for line in lines) == counted.searches
    assert sum(line.startswith("write") for line in lines) == counted.writes
    assert sum(abs(int(line.split()[-1])) for line in lines if line.startswith("shift")) == counted.shifts
    assert lines[:2] == ["tag all    # clear, bit 0", "write 32=0"]
    assert "search 0=1 20=1 32=0    # add, bit 0" in lines
    assert expand(program, geometry, limit=1).splitlines()[-1] == "... and 8 more passes"
    long = program_of(emit("add", Word(0, 8), Word(20, 8), carry=40))
    assert "shift track 0 by +1" in expand(long, geometry)


def test_without_common_subexpressions_the_text_is_longer():
    weights = np.tile(np.array([[1, 1, -1, 1]], np.int8), (4, 1))
    layer = TernaryLayer("same", weights)
    geometry = AssociativeGeometry(8, 16, 32)
    with_cse, without = (compile_layer(layer, geometry, Options(cse=cse)) for cse in (True, False))
    assert len(disassemble(with_cse.stages[0].program)) < len(disassemble(without.stages[0].program))
