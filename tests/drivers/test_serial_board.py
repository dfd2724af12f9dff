"""The serial board's driver on every kind of port, against the same chip on the VISA board."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from boards import DAC, ServedBoard, ServedSerialBoard, batch_of, served_board

import labctl
from labctl.array import Capability, Operation, PulseBatch
from labctl.drivers.parts import Parts
from labctl.drivers.serial_board import SerialBoard
from labctl.errors import BenchError, InstrumentError, LimitError, LinkError
from labctl.simulated_instruments.servers.pseudo_terminal import PtyServer
from labctl.steps import Step

CELLS = 1024
STEP = 2.0**-22
"""s: of a float64 that counts since 1970."""


@pytest.fixture
def board(tmp_path: Path) -> Iterator[ServedSerialBoard]:
    with served_board(tmp_path, ServedSerialBoard) as served:
        yield served


# -- what it is ---------------------------------------------------------------------------------------------------


def test_it_learns_what_it_drives(board: ServedSerialBoard) -> None:
    with board.driver() as driver:
        assert (driver.geometry.rows, driver.geometry.cols, driver.geometry.cell) == (32, 32, "1T1R RRAM")
        assert driver.chip_serial == "T-1"
        assert driver.dac == DAC
        assert float(driver.adc.values(driver.adc.top)) == pytest.approx(16e-6 / 0.2)
        assert (driver.limits.max_form_voltage, driver.limits.max_gate_voltage) == (4.5, 3.3)
        assert (driver.limits.min_read_voltage, driver.limits.max_read_voltage) == (0.05, 0.5)
        assert Capability.PULSE_AND_VERIFY | Capability.SEQUENCE in driver.capabilities
        assert driver.sequence == 1


def test_a_snapshot_has_the_identity_and_every_setting(board: ServedSerialBoard) -> None:
    with board.driver(read_voltage=0.1, current_range=4e-6, temperature=350.0) as driver:
        driver.pulse(batch_of([1]))
        assert dict(driver.snapshot()) == {
            "idn": "labctl,SB-512,T-1,1.0",
            "chip_serial": "T-1",
            "sequence": 1,
            "read_voltage": 0.1,
            "current_range": 4e-6,
            "temperature": 350.0,
            "output": True,
            "virtual_time": True,
        }
    assert not board.board.firmware.output
    with board.driver() as driver:
        assert driver.snapshot()["temperature"] == 350.0  # left as it is where the bench file says nothing


def test_settings_beyond_the_board_are_refused_on_connecting(board: ServedSerialBoard) -> None:
    with pytest.raises(InstrumentError, match=r"-222.*above 0.5 V"):
        board.driver(read_voltage=0.6).connect()
    with pytest.raises(InstrumentError, match=r"-222.*above 600 K"):
        board.driver(temperature=1000.0).connect()
    with pytest.raises(BenchError, match="32 rows and 32 columns where the bench file says 64 and 32"):
        board.driver(rows=64).connect()
    with pytest.raises(ValueError, match="read_voltage must be more than 0"):
        SerialBoard.Settings(driver="serial_board", resource_name="ASRL1::INSTR", read_voltage=0.0)


def test_what_is_expected_of_it_without_asking_is_what_it_is(board: ServedSerialBoard) -> None:
    with board.driver(read_voltage=0.25) as driver:
        nominal = type(driver).nominal(driver.settings)
        assert replace(nominal.geometry, cell=driver.geometry.cell) == driver.geometry
        assert nominal.dac == driver.dac
        assert nominal.adc.step == pytest.approx(driver.adc.step)
        assert nominal.adc.offset == pytest.approx(driver.adc.offset)
        assert nominal.capabilities == driver.capabilities


def test_a_refused_batch_leaves_the_ones_before_it_applied_and_the_count_right(board: ServedSerialBoard) -> None:
    with board.driver() as driver:
        with pytest.raises(InstrumentError, match="-222"):
            driver.pulse(batch_of([1]), batch_of([2], 4.9), batch_of([3]))
        assert set(np.flatnonzero(board.pulses)) == {1}
        assert driver.sequence == 2
        driver.pulse(batch_of([3]))
        assert set(np.flatnonzero(board.pulses)) == {1, 3}


def test_a_read_that_the_board_refuses_leaves_it_usable(board: ServedSerialBoard) -> None:
    with board.driver() as driver:
        for repeats in (0, -1, 10_001):
            with pytest.raises(InstrumentError, match="-222"):
                driver.read(np.array([1], np.uint32), repeats=repeats)
        assert driver.read(np.array([1], np.uint32)).codes.shape == (1, 1)


def test_outputs_that_somebody_else_switched_off_stay_off(board: ServedSerialBoard) -> None:
    with board.driver() as driver:
        driver.pulse(batch_of([1]))
        board.board.firmware.output = False
        for _ in range(2):
            with pytest.raises(InstrumentError, match='-221,"Settings conflict;outputs are off"'):
                driver.pulse(batch_of([2]))
        assert board.pulses.sum() == 1
        driver.safe_state()
        driver.pulse(batch_of([2]))
        assert board.pulses.sum() == 2


# -- the same run on every port -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Way:
    """How a bench file reaches a board: the tables of its instrument and of what is simulated in the process."""

    instrument: str
    simulated: str = ""


_HERE = 'chip = "T-1"\nrows = 32\ncols = 32\n'


@contextlib.contextmanager
def reached(how: str, folder: Path) -> Iterator[Way]:
    if how == "scpi in process":
        resource = 'resource_name = "TCPIP0::127.0.0.1::5025::SOCKET"\n'
        yield Way(
            f'driver = "test_board"\nvisa_library = "@labctl"\n{resource}',
            f'simulator = "test_board"\n{resource}{_HERE}',
        )
    elif how == "frames in process":
        resource = 'resource_name = "ASRL1::INSTR"\n'
        yield Way(
            f'driver = "serial_board"\nserial_library = "@labctl"\n{resource}',
            f'simulator = "serial_board"\n{resource}{_HERE}',
        )
    elif how == "scpi over TCP":
        with served_board(folder) as board:
            yield Way(f'driver = "test_board"\nvisa_library = "@py"\nresource_name = "{board.resource_name}"\n')
    elif how == "frames over socket://":
        with served_board(folder, ServedSerialBoard) as board:
            yield Way(f'driver = "serial_board"\nresource_name = "{board.resource_name}"\n')
    else:
        with served_board(folder, ServedSerialBoard) as board:
            port = PtyServer(board.board.wire)
            port.start()
            try:
                yield Way(f'driver = "serial_board"\nresource_name = "{port.resource_name}"\nbaud_rate = 921600\n')
            finally:
                port.close()


RUNS: dict[str, dict[str, Any]] = {
    "forming": {"cells": 200},
    "write_verify": {"target": np.linspace(2e-6, 38e-6, CELLS).reshape(32, 32), "tolerance": "1 uS"},
    "read": {"repeats": 3},
    "iv": {"cells": 50},
    "retention": {"cells": 20, "group": 8, "times": [0.01, 1.0, 20.0, 3600.0], "levels": ["5 uS", "15 uS"]},
}


def everything(how: str, folder: Path) -> tuple[list[xr.DataTree], np.ndarray]:
    """Every run's file, one after another on one chip, and products of what is left."""
    trees = []
    with reached(how, folder) as way:
        tables = f"[instruments.board]\n{way.instrument}rows = 32\ncols = 32\n[arrays.main]\ninstrument = 'board'\n"
        simulated = f"[simulated.board]\n{way.simulated}" if way.simulated else ""
        (folder / "bench.toml").write_text(tables + simulated)
        with labctl.load_bench(folder / "bench.toml") as bench, bench.array() as array:
            for protocol, settings in RUNS.items():
                result = labctl.run(protocol, array, out=folder, seed=3, all_cells=True, **settings)
                with labctl.open_run(result.path) as tree:
                    trees.append(tree.load())
            products = array.multiply(np.random.default_rng(1).uniform(-0.2, 0.2, (70, 32)).astype(np.float32))
    return trees, products


@pytest.fixture(scope="module")
def in_process(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[xr.DataTree], np.ndarray]:
    return everything("scpi in process", tmp_path_factory.mktemp("scpi"))


@pytest.mark.parametrize(
    "how",
    [
        "scpi over TCP",
        "frames in process",
        "frames over socket://",
        pytest.param("frames over a pty", marks=pytest.mark.skipif(os.name == "nt", reason="no pseudo-terminals")),
    ],
)
def test_the_same_runs_on_the_same_chip_give_the_same_files(
    how: str, tmp_path: Path, in_process: tuple[list[xr.DataTree], np.ndarray]
) -> None:
    """Every value of every group, to the last bit; of the attributes all but where, how and when."""
    trees, products = everything(how, tmp_path)
    np.testing.assert_array_equal(products, in_process[1])
    for found, expected in zip(trees, in_process[0], strict=True):
        assert set(found.groups) == set(expected.groups)
        for group in expected.groups:
            one, other = found[group].to_dataset(), expected[group].to_dataset()
            told = [name for name in other.data_vars if other[name].dtype == object]
            xr.testing.assert_equal(one.drop_vars(told), other.drop_vars(told))
            for name in set(told) - {"snapshot_after", "checksums"}:
                assert wherever(one[name].item()) == wherever(other[name].item())
        for name in ("protocol", "outcome", "chip_serial", "settings", "seed", "measurement"):
            assert str(found.attrs.get(name)) == str(expected.attrs.get(name))


def wherever(text: str) -> Any:
    """What a text of a run file tells, but for how long it took here."""
    try:
        told = json.loads(text)
    except ValueError:
        return text
    return (
        {key: told[key] for key in told if key not in ("elapsed_s", "safe_state")} if isinstance(told, dict) else told
    )


# -- messages that are too long for the board -----------------------------------------------------------------------


@pytest.mark.parametrize("max_payload", [256, 700, 2100, 5000])
def test_what_goes_in_parts_is_what_goes_whole(tmp_path: Path, max_payload: int) -> None:
    amplitudes = np.random.default_rng(3).integers(45_000, 58_000, CELLS).astype(np.uint16)
    everywhere = np.arange(CELLS, dtype=np.uint32)

    def session(kind: type[ServedBoard], **options: object) -> tuple[list[Any], list[Any], np.ndarray, np.ndarray]:
        with served_board(tmp_path, kind, **options) as board, board.driver() as driver:
            batch = PulseBatch(Operation.FORM, everywhere, amplitudes, 2e-6, 1.5)
            readouts = list(driver.pulse_and_verify(batch))
            readouts += [driver.read(), driver.read(repeats=3), driver.read(everywhere[::3], repeats=40)]
            readouts += driver.pulse_and_verify(batch_of(everywhere[::2], 2.0, Operation.RESET), batch_of([1, 900]))
            readouts.append(driver.read(everywhere[5:], voltage=0.1))
            driver.pulse(batch_of(range(0, 1000, 7), 4.0))
            assert driver.sequence == 5
            return [each.codes for each in readouts], [each.time for each in readouts], board.pulses, board.reads

    codes, times, pulses, reads = session(ServedSerialBoard, max_payload=max_payload)
    whole = session(ServedBoard)
    np.testing.assert_array_equal(pulses, whole[2])
    np.testing.assert_array_equal(reads, whole[3])
    np.testing.assert_allclose(times, whole[1], rtol=0, atol=2 * STEP)
    # A part begins at a moment rounded to that step: only a cell that moves just then can tell.
    differing = np.concatenate([(one != other).ravel() for one, other in zip(codes, whole[0], strict=True)])
    assert np.mean(differing) < 1e-3


def test_products_go_in_parts_and_a_vector_that_fits_no_frame_is_told(tmp_path: Path) -> None:
    inputs = np.full((40, 32), 0.1, np.float32)
    with served_board(tmp_path, ServedSerialBoard, max_payload=600) as board, board.driver() as driver:
        assert driver.multiply(inputs).shape == (40, 32)
        assert board.board.firmware.work == 10  # 4 vectors of 32 floats each time
    with (
        served_board(tmp_path, ServedSerialBoard, max_payload=256, cols=64) as board,
        board.driver() as driver,
        pytest.raises(InstrumentError, match="messages of 256 bytes are too short"),
    ):
        driver.multiply(inputs)


@pytest.mark.parametrize("max_payload", [256, 300, 999, 4096, 1 << 20, None])
@pytest.mark.parametrize("count", [0, 1, 37, 500, 1023, 1024])
def test_parts_are_all_of_it_in_order_and_fit(max_payload: int | None, count: int) -> None:
    parts, room = Parts(max_payload, 1024), (max_payload or 1 << 30)
    batch = parts.of_batch(count)
    assert [index for part in batch for index in range(part.start, part.stop)] == list(range(count))
    for part in batch:
        size = part.stop - part.start
        listed = 0 if size == 1024 else 128 if 32 * size > 1024 else 4 * size
        assert 32 + 2 * size + listed <= room
    whole = count == 1024
    reads = list(parts.of_read(count, 7, whole))
    order = [(index, turn) for part, times in reads for turn in range(times) for index in range(part.start, part.stop)]
    assert [index for index, _ in order] == list(range(count)) * 7
    for part, times in reads:
        size = part.stop - part.start
        assert 8 + 2 * size * times <= room
        assert size == 1024 or 20 + 4 * size <= room


# -- in a run -----------------------------------------------------------------------------------------------------


def bench_of(folder: Path, board: ServedBoard, driver: str, library: str = "") -> Path:
    path = folder / "bench.toml"
    path.write_text(
        f'[instruments.board]\ndriver = "{driver}"\nresource_name = "{board.resource_name}"\n{library}\n'
        "rows = 32\ncols = 32\n[arrays.main]\ninstrument = 'board'\n[arrays.main.limits]\nmax_form_voltage = 4.3\n"
    )
    return path


@pytest.mark.parametrize(
    ("kind", "driver", "library"),
    [(ServedBoard, "test_board", 'visa_library = "@py"'), (ServedSerialBoard, "serial_board", "")],
    ids=["scpi", "frames"],
)
def test_a_board_that_reboots_in_a_run_stops_it_with_the_reason_and_no_further_pulse(
    tmp_path: Path, kind: type[ServedBoard], driver: str, library: str
) -> None:
    with served_board(tmp_path, kind, state="chip.h5") as board:
        pulsed = None

        def reboot(step: Step) -> None:
            nonlocal pulsed
            if step.phase != "forming" or pulsed is not None:
                return
            board.restart()
            pulsed = board.pulses

        with (
            pytest.raises(LinkError, match="the board has been restarted, its settings are lost") as raised,
            labctl.load_bench(bench_of(tmp_path, board, driver, library)) as bench,
            bench.array() as array,
        ):
            labctl.run("forming", array, out=tmp_path, cells=60, progress=reboot)
        assert pulsed is not None
        assert pulsed.any()
        np.testing.assert_array_equal(board.pulses, pulsed)
        assert not board.board.firmware.output
        with labctl.open_run(raised.value.run_path) as tree:  # type: ignore[attr-defined]
            assert tree.attrs["outcome"] == "failed"
            assert "the board has been restarted" in tree["provenance"]["message"].item()


def test_the_bench_limits_it_and_leases_it(tmp_path: Path, board: ServedSerialBoard) -> None:
    path = bench_of(tmp_path, board, "serial_board")
    with labctl.load_bench(path) as bench, bench.array() as array:
        with pytest.raises(LimitError):
            array.pulse(batch_of([1], 4.4))
        with labctl.load_bench(path) as other, pytest.raises(LinkError, match="in use by"):
            other.array().connect()
        array.pulse(batch_of([1], 4.2))
    assert board.pulses.sum() == 1
    assert not board.board.firmware.output
