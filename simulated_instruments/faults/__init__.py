"""Faults of cables, boards and chips, done to simulated instruments on purpose: seeded, logged and replayable.

A plan (`docs/faults.md`) says what is to go wrong when; a `FaultyWire` around an instrument's wire does it. The same
plan, seed and traffic give the same faults, and the log of what was done is itself a plan that does it again.
"""

from .kinds import Fault
from .plan import FaultPlan, PlanError, read_plan
from .record import Injected, as_plan
from .wire import FaultyWire

__all__ = ["Fault", "FaultPlan", "FaultyWire", "Injected", "PlanError", "as_plan", "read_plan"]
