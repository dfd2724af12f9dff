"""Every table, on every state of its columns, on the golden array, against whole-number arithmetic."""

import numpy as np
import pytest

from labctl.associative import AssociativeGeometry, Load, Program, Read, Run, instructions, planes_of, values_of
from labctl.compiler import NUMBER, TABLES, GoldenArray, program_of
from labctl.compiler.truth import after


@pytest.mark.parametrize("name", TABLES)
def test_a_table_does_to_every_state_what_arithmetic_says(name):
    table = TABLES[name]
    roles = table.roles
    rows = 1 << len(roles)
    states = np.arange(rows)[:, None] >> np.arange(len(roles)) & 1
    columns = np.arange(len(roles), dtype=np.uint32) * 4
    array = GoldenArray(AssociativeGeometry(rows, len(roles), 4))
    program = Program(tuple(TABLES.values()), instructions([(NUMBER[name], 1, columns.tolist(), [0] * len(roles))]))
    array.perform(Load(columns, planes_of(states, 1, rows)), Run(program))
    found = values_of(array.perform(Read(columns))[0], 1, rows, signed=False)
    for state, bits in zip(states.tolist(), found.tolist(), strict=True):
        expected = after(name, dict(zip(roles, state, strict=True)))
        assert {r: b for r, b in zip(roles, bits, strict=True) if r != "f"} == {
            r: b for r, b in expected.items() if r != "f"
        }, state


def test_tables_are_numbered_in_the_order_in_which_programs_carry_them():
    assert [TABLES[name] for name in NUMBER] == list(program_of(instructions([])).tables)
    assert list(NUMBER.values()) == list(range(len(TABLES)))
