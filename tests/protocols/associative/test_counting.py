"""Steps say what the array did since the step before; a run that is resumed goes on adding."""

from labctl.associative import COUNTERS, AssociativeGeometry, Counters, Shift
from labctl.compiler import GoldenArray
from labctl.protocols.associative.counting import COUNTER_VARIABLES, Counting


def test_a_step_counts_what_was_done_since_the_one_before():
    array = GoldenArray(AssociativeGeometry(8, 4, 16))
    array.perform(Shift(0, 5))
    counting = Counting(array)
    array.perform(Shift(1, 3))
    first = counting.step()
    array.perform(Shift(1, -2))
    array.perform(Shift(2, 4))
    second = counting.step()

    assert (first["shifts"], second["shifts"], counting.total.shifts) == (3, 6, 9)
    assert set(first) == set(COUNTERS) == {variable.name for variable in COUNTER_VARIABLES}


def test_what_was_counted_before_a_run_was_resumed_counts_on_an_array_switched_on_anew():
    array = GoldenArray(AssociativeGeometry(8, 4, 16))
    before = Counting(array)
    array.perform(Shift(1, 3))
    before.step()
    after = Counting(GoldenArray(AssociativeGeometry(8, 4, 16)), before.state())
    assert after.step() == Counters().as_values()
    assert after.total == before.total == Counters(shifts=3)
