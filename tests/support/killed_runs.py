"""Runs that a kill has ended, though the process of the test lives on: their file is as the kill would have left it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benches import write_bench
from boards import ServedBoard

import labctl


class Killed(BaseException):
    """What ends the run instead of the kill."""


Blow = Callable[[Any, Callable[[], None]], None]
"""Arms a connected array so that the kill, which it is given, strikes at some moment."""


def bench_for(board: ServedBoard, folder: Path, **bench: Any) -> Path:
    rows, cols = board.board.firmware.chip.pulse_counts.shape
    return write_bench(folder, rows=rows, cols=cols, resource=board.resource_name, library="@py", **bench)


def killed_run(bench: Path, folder: Path, blow: Blow, protocol: Any, **settings: Any) -> Path:
    """The file of a run of `protocol` that was killed when `blow` struck; only its bytes at that moment are left."""
    kept = folder / "as_it_was"

    def kill() -> None:
        (path,) = (folder / "runs").glob("*.h5")
        shutil.copyfile(path, kept)
        raise Killed

    try:
        with labctl.load_bench(bench) as live, live.array() as array:
            progress = blow(array, kill)
            if callable(protocol):
                protocol(array)
            else:
                labctl.run(protocol, array, out=folder / "runs", seed=3, progress=progress, **settings)
    except Killed:
        pass
    else:
        raise AssertionError("the run ended before it was killed")
    (path,) = (folder / "runs").glob("*.h5")
    kept.replace(path)
    return path


def after_step(number: int) -> Any:
    """Once so many steps are recorded."""

    def blow(array: Any, kill: Callable[[], None]) -> Callable[[Any], None]:  # noqa: ARG001
        seen = [0]

        def progress(step: Any) -> None:  # noqa: ARG001
            seen[0] += 1
            if seen[0] == number:
                kill()

        return progress

    return blow


def at_exchange(number: int, *, applied: bool) -> Any:
    """At the so manieth exchange of pulses, which the board has carried out, or has not received."""

    def blow(array: Any, kill: Callable[[], None]) -> None:
        driver, seen = array.driver, [0]

        def struck(work: Callable[..., Any]) -> Callable[..., Any]:
            def call(*given: Any, pulses: Any = None) -> Any:
                options = {} if pulses is None else {"pulses": pulses}
                seen[0] += pulses is None or len(pulses) > 0
                if seen[0] != number or pulses == []:
                    return work(*given, **options)
                if applied:
                    work(*given, **options)
                kill()
                raise AssertionError

            return call

        driver.pulse, driver.pulse_and_verify = struck(driver.pulse), struck(driver.pulse_and_verify)
        with_pulses = struck(driver.multiply_lines)
        driver.multiply_lines = lambda *given, pulses=(): with_pulses(*given, pulses=list(pulses))

    return blow


def after_settling() -> Any:
    """Of a run that is resumed, at the first exchange that the protocol asks for."""

    def blow(array: Any, kill: Callable[[], None]) -> None:
        driver = array.driver

        def call(*batches: Any) -> Any:  # noqa: ARG001
            kill()

        driver.pulse = driver.pulse_and_verify = call

    return blow


def resumed(bench: Path, path: Path, **options: Any) -> Any:
    with labctl.load_bench(bench) as live, live.array() as array:
        return labctl.resume(path, array, **options)
