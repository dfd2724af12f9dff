"""Lua for an instrument: scripts see its tables and nothing else, and they end."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from ..scpi.errors import ScpiError
from .errors import RUNTIME, SYNTAX, ScriptError
from .prelude import PRELUDE
from .tables import Function, Table, Value

MEMORY = 64 * 1024 * 1024  # bytes of scripts' variables, a half of which has to be free once they are tidied up
INSTRUCTIONS = 100_000_000  # of Lua's machine that one message may take: about a second
PATIENCE = 10.0  # s that one message may take on this machine, besides what it makes the instrument do
_EVERY = 1_000  # instructions between two looks at whether to go on
_GROWTH = 4  # times MEMORY that may come between two looks, as of a string that doubles: more is refused on the spot

_PLACE = re.compile(r"TSP:(\d+): (.*)", re.DOTALL)
_LONGEST = 180  # of what is passed on of Lua's own texts


class Sandbox:
    """An interpreter with `tables` as its global names.

    write: takes the lines that `print` makes, without their ends. number: how `print` shows one. report: takes
    errors that do not end a script. `run` and `load` are for one thread at a time; `abort` is for any.
    """

    def __init__(
        self,
        tables: Mapping[str, Any],
        write: Callable[[str], None],
        number: Callable[[float], str],
        report: Callable[[ScpiError], None],
        instructions: int = INSTRUCTIONS,
    ) -> None:
        import lupa.lua51 as lua51  # here, as it takes longer to load than anything that does not run scripts

        self._lua = lua51
        self._report = report
        self._instructions = instructions
        self._spent = 0
        self._begun = self._elsewhere = 0.0
        self._stopped = ""
        self._aborted = threading.Event()
        self._defect: BaseException | None = None
        self._seen: dict[Any, tuple[Any, Any]] = {}  # what Lua has of ours, kept alive with it
        runtime = self._runtime = lua51.LuaRuntime(
            encoding="latin-1",
            source_encoding="latin-1",
            unpack_returned_tuples=True,
            register_eval=False,
            register_builtins=False,
            attribute_filter=_hidden,
            max_memory=0,
        )
        self._write, self._number = write, number
        doors = (self._get, self._set, self._call, self._print, self._show, self._check, self._reason)
        found = runtime.execute(PRELUDE, lambda: doors, _EVERY, MEMORY / 1024)
        self._proxy, self._method, self._run, self._load, define, self._tidy_up = found
        for name, value in tables.items():
            define(name, self._given(value))

    def run(self, text: str) -> None:
        """Carry out one chunk. Raises ScriptError: -285 where it is none, -286 where it could not go on."""
        self._carry_out(self._run, text)

    def load(self, text: str, name: str, at_once: bool) -> None:
        """Keep a script under `name`, empty for the anonymous one, and perhaps run it. Raises ScriptError."""
        self._carry_out(self._load, text, name, at_once)

    def abort(self) -> None:
        """End what is running, at the next look."""
        self._aborted.set()

    @property
    def aborted(self) -> bool:
        return self._aborted.is_set()

    def _carry_out(self, how: Any, *arguments: Any) -> None:
        self._spent, self._stopped, self._defect = 0, "", None
        self._begun, self._elsewhere = time.monotonic(), 0.0
        self._aborted.clear()
        self._runtime.set_max_memory(self._runtime.get_memory_used() + _GROWTH * MEMORY)
        try:
            kind, problem = how(*arguments)
        except (self._lua.LuaError, MemoryError) as beyond:  # what Lua itself could not catch
            kind, problem = "runtime", str(beyond)
        finally:
            self._runtime.set_max_memory(0)  # between scripts nothing could catch it
        if self._runtime.get_memory_used() > MEMORY:
            self._tidy_up()
        if self._defect is not None:
            raise self._defect
        if kind == "syntax":
            raise _script_error(SYNTAX, "TSP Syntax error", problem)
        if kind:
            raise _script_error(RUNTIME, "TSP Runtime error", problem)

    # -- doors: what Lua calls, none of which may raise -----------------------------------------------------------

    def _check(self, instructions: int, is_full: bool) -> bool:
        """Whether to stop, that many instructions later. is_full: there is little memory left."""
        self._spent += instructions
        if self._aborted.is_set():
            self._stopped = "script aborted"
        elif is_full:
            self._stopped = "not enough memory"
        elif time.monotonic() - self._begun - self._elsewhere > PATIENCE:
            self._stopped = f"script stopped after {PATIENCE:g} s"
        elif self._spent >= self._instructions:
            self._stopped = f"script stopped after {self._instructions} instructions"
        return bool(self._stopped)

    def _reason(self) -> str | None:
        return self._stopped or None

    def _get(self, table: Table, key: Value) -> tuple[Any, ...]:
        return self._guarded(lambda: table.get(key))

    def _set(self, table: Table, key: Value, value: Value) -> tuple[Any, ...]:
        return self._guarded(lambda: table.set(key, value))

    def _call(self, function: Function, *arguments: Value) -> tuple[Any, ...]:
        return self._guarded(lambda: function(arguments))

    def _print(self, line: str) -> tuple[Any, ...]:
        return self._guarded(lambda: self._write(line))

    def _show(self, value: float) -> tuple[Any, ...]:
        return self._guarded(lambda: self._number(value))

    def _guarded(self, work: Callable[[], Value]) -> tuple[Any, ...]:
        """(True, results), or (False, why the script ends)."""
        left = time.monotonic()
        try:
            result = work()
            results = result if isinstance(result, tuple) else (result,)
            return True, *[self._given(each) for each in results]
        except ScriptError as error:
            return False, error.detail
        except ScpiError as error:
            self._report(error)
            return (True,)
        except KeyError as problem:
            return False, str(problem.args[0])
        except BaseException as defect:  # noqa: BLE001 -- raised again once Lua, through which it cannot go, has ended
            self._defect = defect
            self._aborted.set()
            return False, "the firmware failed"
        finally:
            self._elsewhere += time.monotonic() - left

    def _given(self, value: Value) -> Any:
        """What a script gets for `value`: tables and functions once each, so that they compare as equal."""
        if not isinstance(value, (Table, Function)):
            return value
        if id(value) not in self._seen:
            make = self._proxy if isinstance(value, Table) else self._method
            self._seen[id(value)] = value, make(value)
        return self._seen[id(value)][1]


def _hidden(_object: object, name: object, _is_setting: bool) -> str:
    raise AttributeError(f"{name!r} is not for scripts")


def _script_error(number: int, kind: str, problem: str) -> ScriptError:
    found = _PLACE.fullmatch(problem)
    line, what = (found[1], found[2]) if found else ("1", problem)
    return ScriptError(number, f"{kind} at line {line}: {what[:_LONGEST]}")
