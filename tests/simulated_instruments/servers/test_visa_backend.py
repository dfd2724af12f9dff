"""The PyVISA backend, through PyVISA alone: resources, messages, status codes, attributes, locks, life."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import pyvisa
from pyvisa import constants
from pyvisa.constants import EventMechanism, EventType, ResourceAttribute, StatusCode

SOCKET = "TCPIP0::127.0.0.1::5025::SOCKET"
GPIB = "GPIB0::24::INSTR"


@pytest.fixture
def manager(bench: Path) -> Iterator[pyvisa.ResourceManager]:
    opened = pyvisa.ResourceManager(f"{bench}@labctl")
    yield opened
    opened.close()


@pytest.fixture
def toy(manager: pyvisa.ResourceManager):
    return manager.open_resource("GPIB::24")


@pytest.fixture
def stream(manager: pyvisa.ResourceManager):
    return manager.open_resource("TCPIP::127.0.0.1::5025::SOCKET", read_termination="\n", write_termination="\n")


def status_of(call, *arguments) -> StatusCode:
    with pytest.raises(pyvisa.VisaIOError) as caught:
        call(*arguments)
    return caught.value.error_code


def test_resources_are_those_of_the_bench_file(manager) -> None:
    assert manager.list_resources() == (GPIB,)
    assert manager.list_resources("?*") == (SOCKET, GPIB)
    assert manager.list_resources_info("GPIB?*")[GPIB].interface_type == constants.InterfaceType.gpib


def test_queries_are_answered_by_either_class_of_resource(toy, stream) -> None:
    assert toy.query("*IDN?") == "Toys,Toy,two,1\n"
    assert stream.query("*IDN?") == "Toys,Toy,one,1"
    toy.read_termination = "\n"
    assert toy.query("LEV 5;LEV?") == "5.0"


def test_arrays_travel_as_binary_and_ascii_values(toy, stream) -> None:
    for resource in (toy, stream):
        resource.read_termination = "\n"
        resource.write("FORM INT;FORM:BORD SWAP")
        resource.write_binary_values("MEM ", range(50_000), datatype="H")
        assert resource.query_binary_values("MEM?", datatype="H") == list(range(50_000))
        assert resource.query_ascii_values("FORM ASC;:REAL?") == [0.5, 1.5, 9.91e37]
        assert resource.query("SYST:ERR?") == '0,"No error"'


def test_an_answer_is_read_in_chunks_with_visas_status_codes(toy) -> None:
    toy.write("*IDN?")
    assert toy.read_bytes(4) == b"Toys"
    assert toy.last_status == StatusCode.success_max_count_read
    toy.read_termination = ","
    assert toy.read_raw() == b","
    assert toy.last_status == StatusCode.success_termination_character_read
    assert toy.read() == "Toy"
    toy.read_termination = None
    assert toy.read() == "two,1\n"
    assert toy.last_status == StatusCode.success


def test_a_stream_ends_nowhere_but_at_the_termination_character(stream) -> None:
    stream.write("*IDN?")
    stream.write("*OPC?")
    assert stream.read_bytes(4) == b"Toys"
    assert stream.read() == ",Toy,one,1"
    assert stream.last_status == StatusCode.success_termination_character_read
    assert stream.read() == "1"
    stream.write("*OPC?")
    stream.read_termination = None
    assert status_of(stream.read) == StatusCode.error_timeout
    stream.set_visa_attribute(ResourceAttribute.suppress_end_enabled, False)
    assert stream.query("*OPC?") == "1\n"


def test_a_message_without_its_end_waits_for_it(toy, stream) -> None:
    stream.write("*OPC?", termination="")
    assert status_of(stream.read) == StatusCode.error_timeout
    stream.write("")
    assert stream.read() == "1"
    toy.send_end = False
    toy.write("LEV 4;", termination="")
    toy.send_end = True
    assert (
        toy.query(
            "LEV?",
        )
        == "4.0\n"
    )


def test_reading_with_nothing_to_say_times_out_at_once(toy) -> None:
    toy.timeout = 60_000
    begin = time.monotonic()
    assert status_of(toy.read) == StatusCode.error_timeout
    assert time.monotonic() - begin < 10
    assert toy.query("SYST:ERR?").startswith("-420,")


def test_an_unread_answer_is_interrupted_and_device_clear_drops_it(toy) -> None:
    toy.write("*IDN?")
    assert toy.query("*OPC?") == "1\n"
    assert toy.query("SYST:ERR?").startswith("-410,")
    toy.write("*IDN?")
    toy.clear()
    assert toy.query("SYST:ERR?") == '0,"No error"\n'


def test_writing_without_ever_reading_times_out_as_a_full_socket_does(stream) -> None:
    with pytest.raises(pyvisa.VisaIOError, match="VI_ERROR_TMO"):  # noqa: PT012 -- which write it is, nobody knows
        for _ in range(100):
            stream.write_raw(b"FORM INT;:COUN? 50000\n" * 10_000)


def test_clearing_and_flushing_a_stream_drops_what_was_received(stream) -> None:
    stream.write("*IDN?")
    stream.clear()
    assert stream.query("*OPC?") == "1"
    stream.write("*IDN?")
    stream.flush(constants.BufferOperation.discard_read_buffer)
    assert stream.query("*OPC?") == "1"


def test_a_serial_poll_reads_the_status_byte(toy, stream) -> None:
    assert toy.read_stb() == 0
    toy.write("*CLS;*SRE 4;:FOO")
    assert toy.stb == 4 + 64
    assert toy.read_stb() == 4
    assert status_of(stream.read_stb) == StatusCode.error_nonsupported_operation


def test_service_requests_can_be_waited_for(toy) -> None:
    toy.write("*CLS;*SRE 4")
    assert status_of(toy.wait_on_event, EventType.service_request, 10) == StatusCode.error_not_enabled
    toy.enable_event(EventType.service_request, EventMechanism.queue)
    assert toy.wait_on_event(EventType.service_request, 10, capture_timeout=True).timed_out
    toy.write("FOO")
    answer = toy.wait_on_event(EventType.service_request, 10)
    assert answer.event.event_type == EventType.service_request
    assert toy.wait_on_event(EventType.service_request, 10, capture_timeout=True).timed_out
    assert toy.read_stb() == 4 + 64
    toy.write("*CLS;:FOO")
    toy.wait_for_srq(1000)
    toy.disable_event(EventType.service_request, EventMechanism.queue)


def test_events_there_are_not_are_refused(toy) -> None:
    assert status_of(toy.enable_event, EventType.trig, EventMechanism.queue) == StatusCode.error_invalid_event
    assert (
        status_of(toy.enable_event, EventType.service_request, EventMechanism.handler)
        == StatusCode.error_nonsupported_mechanism
    )


def test_a_trigger_is_trg(toy) -> None:
    toy.assert_trigger()
    assert toy.query("LEV?") == "1.0\n"


def test_attributes_tell_what_the_resource_is(toy, stream) -> None:
    assert toy.resource_name == GPIB
    assert toy.resource_class == "INSTR"
    assert toy.interface_type == constants.InterfaceType.gpib
    assert toy.interface_number == 0
    assert toy.resource_manufacturer_name == "labctl"
    assert toy.resource_info.resource_name == GPIB
    assert stream.get_visa_attribute(ResourceAttribute.tcpip_port) == 5025
    assert stream.get_visa_attribute(ResourceAttribute.tcpip_address) == "127.0.0.1"


def test_attributes_are_set_where_they_can_be(toy) -> None:
    assert toy.timeout == 2000
    toy.timeout = 500
    assert toy.timeout == 500
    del toy.timeout
    assert toy.timeout == float("+inf")
    read_only, foreign = ResourceAttribute.resource_name, ResourceAttribute.tcpip_port
    assert status_of(toy.set_visa_attribute, read_only, "x") == StatusCode.error_attribute_read_only
    assert status_of(toy.set_visa_attribute, foreign, 1) == StatusCode.error_nonsupported_attribute
    assert status_of(toy.get_visa_attribute, foreign) == StatusCode.error_nonsupported_attribute


def test_a_lock_keeps_other_sessions_out(manager, toy) -> None:
    other = manager.open_resource(GPIB)
    with toy.lock_context():
        assert toy.lock_state == constants.AccessModes.exclusive_lock
        assert toy.query("*OPC?") == "1\n"
        assert status_of(other.write, "*CLS") == StatusCode.error_resource_locked
        assert status_of(other.lock_excl, 10) == StatusCode.error_resource_locked
        assert status_of(manager.open_resource, GPIB, constants.AccessModes.exclusive_lock) == (
            StatusCode.error_resource_locked
        )
    assert other.query("*OPC?") == "1\n"
    assert status_of(toy.unlock) == StatusCode.error_session_not_locked


def test_a_shared_lock_is_shared_by_its_key(manager, toy) -> None:
    other, third = manager.open_resource(GPIB), manager.open_resource(GPIB)
    key = toy.lock()
    assert status_of(other.lock, 10) == StatusCode.error_resource_locked
    assert other.lock(10, key) == key
    assert other.query("*OPC?") == "1\n"
    assert status_of(third.write, "*CLS") == StatusCode.error_resource_locked
    toy.close()
    other.unlock()
    assert third.lock_state == constants.AccessModes.no_lock
    third.write("*CLS")


def test_what_is_not_there_cannot_be_opened(manager) -> None:
    assert status_of(manager.open_resource, "GPIB::25") == StatusCode.error_resource_not_found
    assert status_of(manager.open_bare_resource, "nonsense") == StatusCode.error_invalid_resource_name


def test_a_closed_session_is_no_longer_one(manager, toy) -> None:
    toy.close()
    toy.close()
    with pytest.raises(pyvisa.errors.InvalidSession):
        toy.query("*IDN?")
    assert manager.list_opened_resources() == []


def test_instruments_live_as_long_as_their_resource_manager(bench: Path, tmp_path: Path) -> None:
    for expected in ("0.0", "7.0"):
        manager = pyvisa.ResourceManager(f"{bench}@labctl")
        assert pyvisa.ResourceManager(f"{bench}@labctl") is manager
        stream = manager.open_resource(SOCKET, read_termination="\n", write_termination="\n")
        toy = manager.open_resource(GPIB)
        assert stream.query("LEV?") == expected
        assert toy.query("LEV?") == "0.0\n"
        assert stream.query("*ESR?") == "128"
        stream.write("LEV 7")
        toy.write("LEV 7")
        library = manager.visalib  # PyVISA gives the next manager the same one, which has to begin anew
        manager.close()
        assert (tmp_path / "level.txt").read_text() == "7.0"
        with pytest.raises(pyvisa.errors.InvalidSession):
            stream.query("LEV?")
        assert library.resource_manager is None


def test_a_forgotten_resource_manager_saves_its_instruments(bench: Path, tmp_path: Path) -> None:
    stream = pyvisa.ResourceManager(f"{bench}@labctl").open_resource(SOCKET, write_termination="\n")
    stream.write("LEV 3")
    del stream
    gc.collect()
    assert (tmp_path / "level.txt").read_text() == "3.0"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (None, "No such file"),
        ("[simulated.board]", r"\$.simulated.board.simulator: expected text"),
    ],
)
def test_a_mistake_in_the_bench_file_reaches_the_user_as_a_sentence(tmp_path: Path, text, sentence: str) -> None:
    path = tmp_path / "bad.toml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ValueError, match=sentence):
        pyvisa.ResourceManager(f"{path}@labctl")
    path.write_text("")
    pyvisa.ResourceManager(f"{path}@labctl").close()


def test_an_unknown_simulator_is_named_when_its_instrument_is_opened(bench: Path) -> None:
    bench.write_text(bench.read_text().replace('"toy"', '"toi"'))
    manager = pyvisa.ResourceManager(f"{bench}@labctl")
    sentence = r"bench.toml: \$.simulated.gpib.simulator: no simulator called 'toi'; there are: "
    with pytest.raises(ValueError, match=sentence):
        manager.open_resource(GPIB)
    manager.close()


def test_the_default_bench_comes_with_the_package() -> None:
    manager = pyvisa.ResourceManager("@labctl")
    assert manager.list_resources("?*")
    manager.close()


PROGRAM = """
import pyvisa
manager = pyvisa.ResourceManager()
toy = manager.open_resource("TCPIP0::127.0.0.1::5025::SOCKET", write_termination="\\n")
toy.read_termination = "\\n"
print(toy.query("*IDN?"))
toy.write("LEV 2.5")
"""


def test_a_program_that_knows_only_pyvisa_talks_to_it_unchanged(bench: Path, plugin: Path, tmp_path: Path) -> None:
    """It closes nothing, so the state is saved as the interpreter exits."""
    environment = os.environ | {"PYVISA_LIBRARY": f"{bench}@labctl", "PYTHONPATH": str(plugin)}
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (result.stdout, result.stderr) == ("Toys,Toy,one,1\n", "")
    assert (tmp_path / "level.txt").read_text() == "2.5"


def test_a_serial_port_is_a_stream_that_ends_at_the_line_feed(bench: Path) -> None:
    bench.write_text(bench.read_text().replace("GPIB0::24::INSTR", "ASRL3::INSTR"))
    manager = pyvisa.ResourceManager(f"{bench}@labctl")
    toy = manager.open_resource("ASRL3", read_termination="\n", write_termination="\n", baud_rate=115200)
    toy.write("*IDN?")
    assert toy.query("*OPC?") == "Toys,Toy,two,1"
    assert toy.bytes_in_buffer == 2
    assert toy.read() == "1"
    assert toy.baud_rate == 115200
    manager.close()
