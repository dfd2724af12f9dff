"""The truth tables of bit-serial arithmetic by search and tagged write: what one bit of each does, and its passes.

States are looked for in an order in which no row that was just written is found again by a later pass. Roles: a and b
the operands, r a result in columns of its own, c a carry or borrow, f a flag. `c` has to be 0 before the first bit,
which the tables called `first_...` see to by themselves: they do a word's lowest bit, where nothing is carried in.
"""

from __future__ import annotations

from labctl.associative import Pass, Table


def _table(name: str, roles: str, *passes: str) -> Table:
    return Table(name, roles, tuple(Pass(*each.split(">")) for each in passes))


_ALL = (
    # b <- a + b
    _table("add", "abc", "110>-01", "100>-10", "001>-10", "011>-01"),
    _table("first_add", "abc", "--->--0", "11->-01", "100>-1-"),
    _table("add_carry", "bc", "01>10", "11>01"),
    # b <- b - a
    _table("subtract", "abc", "011>-00", "001>-11", "100>-11", "110>-00"),
    _table("first_subtract", "abc", "--->--0", "10->-11", "110>-0-"),
    _table("subtract_borrow", "bc", "11>00", "01>11"),
    # b <- a - b: no order of passes on a, b and c alone is right, so that f marks the rows that are done
    _table(
        "reverse_subtract",
        "abcf",
        "---->---0",
        "001->-1-1",
        "010->--11",
        "0110>-0--",
        "100->-1-1",
        "1100>-0--",
        "101->--0-",
    ),
    # r <- a + b
    _table("add_out", "abrc", "---->--0-", "00-1>--10", "01-0>--1-", "10-0>--1-", "11-1>--1-", "11-0>---1"),
    _table("first_add_out", "abrc", "---->--00", "10-->--1-", "01-->--1-", "11-->---1"),
    _table("add_carry_out", "arc", "--->-0-", "0-1>-10", "1-0>-1-"),
    # b <- b + (1 - a), r <- a + (1 - b): what an unsigned difference with an offset is made of
    _table("add_not", "abc", "010>-01", "000>-10", "101>-10", "111>-01"),
    _table("first_add_not", "abc", "--->--0", "01->-01", "000>-1-"),
    _table("add_not_out", "abrc", "---->--0-", "01-1>--10", "00-0>--1-", "11-0>--1-", "10-1>--1-", "10-0>---1"),
    _table("first_add_not_out", "abrc", "---->--00", "11-->--1-", "00-->--1-", "10-->---1"),
    _table("add_carry_not_out", "brc", "--->-0-", "1-1>-10", "0-0>-1-"),
    # b <- b + 1, where a constant has a 1
    _table("add_one", "bc", "10>01", "00>10"),
    # r <- a - b
    _table("subtract_out", "abrc", "---->--0-", "00-1>--1-", "01-0>--11", "11-1>--1-", "10-0>--1-", "10-1>---0"),
    _table("first_subtract_out", "abrc", "---->--00", "10-->--1-", "01-->--11"),
    _table("subtract_borrow_out", "arc", "--->-0-", "0-1>-1-", "1-0>-1-", "1-1>--0"),
    # r <- -b
    _table("negate_out", "brc", "--->-0-", "0-1>-1-", "1-0>-11"),
    _table("first_negate_out", "brc", "--->-00", "1-->-11"),
    # b <- -b: f marks the rows whose 1 was inverted, so that it is not inverted back
    _table("negate", "bcf", "--->--0", "11->0-1", "010>1--", "10->-1-"),
    # r <- c, beyond both operands
    _table("carry_out", "rc", "-->0-", "-1>10"),
    _table("borrow_out", "rc", "-->0-", "-1>1-"),
    # r <- a, b <- 0
    _table("copy", "ar", "-->-0", "1->-1"),
    _table("clear", "b", "->0"),
    # c <- whether a > b as far as these bits go, from the lowest up; the sign bit counts the other way round
    _table("compare", "abc", "10->--1", "01->--0"),
    _table("compare_sign", "abc", "01->--1", "10->--0"),
    _table("compare_a", "ac", "1->-1"),
    _table("compare_a_sign", "ac", "1->-0"),
    _table("compare_b", "bc", "1->-0"),
    _table("compare_b_sign", "bc", "1->-1"),
    # where c: b <- a, b <- 0
    _table("select", "abc", "1-1>-1-", "0-1>-0-"),
    _table("clear_where", "bc", "-1>0-"),
)

TABLES: dict[str, Table] = {table.name: table for table in _ALL}
"""By name, in the order in which programs of this room number them."""
NUMBER: dict[str, int] = {name: number for number, name in enumerate(TABLES)}
