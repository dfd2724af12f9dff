"""What one bit of every table has to do, by whole-number arithmetic: what its passes are checked against."""

from __future__ import annotations

from collections.abc import Callable, Mapping

Bits = Mapping[str, int]
Truth = Callable[[int, int, int], dict[str, int]]


def _sum(to: str, a_sign: int, b_sign: int, c_sign: int) -> Truth:
    """`to` and the carry, of weight c_sign * 2, of a_sign * a + b_sign * b + c_sign * c."""

    def truth(a: int, b: int, c: int) -> dict[str, int]:
        total = a_sign * a + b_sign * b + c_sign * c
        return {to: total & 1, "c": c_sign * (total - (total & 1)) // 2}

    return truth


_TRUTHS: dict[str, Truth] = {
    "add": _sum("b", 1, 1, 1),
    "add_carry": _sum("b", 0, 1, 1),
    "add_not": lambda a, b, c: _sum("b", 1, 1, 1)(1 - a, b, c),
    "add_not_out": lambda a, b, c: _sum("r", 1, 1, 1)(a, 1 - b, c),
    "add_carry_not_out": lambda _a, b, c: _sum("r", 0, 1, 1)(0, 1 - b, c),
    "add_one": lambda _a, b, c: _sum("b", 1, 1, 1)(1, b, c),
    "subtract": _sum("b", -1, 1, -1),
    "subtract_borrow": _sum("b", 0, 1, -1),
    "reverse_subtract": _sum("b", 1, -1, -1),
    "add_out": _sum("r", 1, 1, 1),
    "add_carry_out": _sum("r", 1, 0, 1),
    "subtract_out": _sum("r", 1, -1, -1),
    "subtract_borrow_out": _sum("r", 1, 0, -1),
    "negate_out": _sum("r", 0, -1, -1),
    # of ~b + (1 - c), where c says that a 1 has been met: the bits above the lowest 1 are inverted
    "negate": lambda _a, b, c: {"b": b ^ c, "c": b | c},
    "carry_out": lambda _a, _b, c: {"r": c, "c": 0},
    "borrow_out": lambda _a, _b, c: {"r": c, "c": c},
    "copy": lambda a, _b, _c: {"r": a},
    "clear": lambda _a, _b, _c: {"b": 0},
    "compare": lambda a, b, c: {"c": c if a == b else int(a > b)},
    "compare_sign": lambda a, b, c: {"c": c if a == b else int(a < b)},
    "compare_a": lambda a, _b, c: {"c": a | c},
    "compare_a_sign": lambda a, _b, c: {"c": c & (1 - a)},
    "compare_b": lambda _a, b, c: {"c": c & (1 - b)},
    "compare_b_sign": lambda _a, b, c: {"c": b | c},
    "select": lambda a, b, c: {"b": a if c else b},
    "clear_where": lambda _a, b, c: {"b": 0 if c else b},
}


def after(name: str, bits: Bits) -> dict[str, int]:
    """The bits of the roles after the table `name` was done on `bits`, by role; the flag f may be anything after.

    Tables called `first_...` do what those without it do where c is 0, whatever c was.
    """
    plain = name.removeprefix("first_")
    carry = 0 if plain != name else bits.get("c", 0)
    changed = _TRUTHS[plain](bits.get("a", 0), bits.get("b", 0), carry)
    return {role: changed.get(role, carry if role == "c" else bit) for role, bit in bits.items()}
