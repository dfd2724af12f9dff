"""An instrument of scripts over its wire: what Lua may do, what it may not, and that it always ends."""

from __future__ import annotations

import struct
import threading
import time
from collections.abc import Iterator

import pytest
import pyvisa
from hypothesis import given, settings
from hypothesis import strategies as st

from labctl.simulated_instruments.instruments.clocks import VirtualClock, WallClock
from labctl.simulated_instruments.servers.tcp import TcpServer
from labctl.simulated_instruments.tsp import Attribute, Function, Table, TspInstrument
from labctl.simulated_instruments.tsp.buffers import Buffer
from labctl.simulated_instruments.tsp.tables import number, one_of, stored


class Lamp:
    level = 1.0
    on = 0


def lamp(real: bool = False) -> TspInstrument:
    """An instrument with a lamp."""
    instrument = TspInstrument(("Example", "Model 1", "7", "1.0"), WallClock() if real else VirtualClock())
    state = Lamp()

    def fail() -> None:
        raise RuntimeError("a fuse")

    buffer = Buffer(10)
    table = Table(
        {
            "level": stored(state, "level", number(0, 10)),
            "on": stored(state, "on", one_of(0, 1)),
            "watts": Attribute(lambda: state.level * 2),
            "add": Function(lambda *values: sum(values), 1, 3),
            "two": Function(lambda: (1, "two")),
            "keep": Function(lambda value: buffer.add(value, 0.5, instrument.now()), 1, 1),
            "fail": Function(fail),
            "buffer": buffer,
            "RED": 3,
        }
    )
    instrument.power_on({"lamp": table}, on_reset=lambda: setattr(state, "level", 1.0))
    return instrument


class Talk:
    def __init__(self, instrument: TspInstrument, stream: bool = False) -> None:
        self.instrument = instrument
        self.conversation = instrument.connect(stream)

    def ask(self, *lines: str) -> list[str]:
        for line in lines:
            self.conversation.write(line.encode("latin-1") + b"\n")
        found = []
        while self.conversation.pending:
            data, _ = self.conversation.read(1 << 20)
            found.append(bytes(data).decode("latin-1").rstrip("\n"))
        return found

    def error(self) -> str:
        (line,) = self.ask("print(errorqueue.next())")
        code, text, *_ = line.split("\t")
        return f"{float(code):.0f} {text}"


@pytest.fixture
def talk() -> Talk:
    return Talk(lamp())


def test_lines_are_lua_and_print_answers(talk: Talk) -> None:
    assert talk.ask("x = 20 + 1", "print(x * 2, 'volts', x > 3, nil)") == ["4.20000e+01\tvolts\ttrue\tnil"]
    assert talk.ask("for i = 1, 3 do print(i) end") == ["1.00000e+00", "2.00000e+00", "3.00000e+00"]
    assert talk.ask("format.asciiprecision = 3 print(1/3)") == ["3.33e-01"]
    assert talk.error() == "0 Queue Is Empty"


def test_attributes_are_the_instrument_s(talk: Talk) -> None:
    assert talk.ask("lamp.level = 2.5", "print(lamp.level, lamp.watts, lamp.RED)") == [
        "2.50000e+00\t5.00000e+00\t3.00000e+00"
    ]
    assert talk.ask("print(lamp.two())", "print(lamp.add(1, 2, 3))") == ["1.00000e+00\ttwo", "6.00000e+00"]
    talk.ask("reset()")
    assert talk.ask("print(lamp.level)") == ["1.00000e+00"]


@pytest.mark.parametrize(
    ("chunk", "error"),
    [
        ("lamp.level = 11", "1102 Parameter too big"),
        ("lamp.level = -1", "1101 Parameter too small"),
        ("lamp.level = 'high'", "-104 Data type error"),
        ("lamp.level = 0/0", "-104 Data type error"),
        ("lamp.on = 0.5", "-224 Illegal parameter value"),
        ("lamp.add()", "-109 Missing parameter"),
        ("lamp.add(1, 2, 3, 4)", "-108 Parameter not allowed"),
        ("print(", "-285 TSP Syntax error at line 1: unexpected symbol near '<eof>'"),
        ("print(lamp.colour.name)", "-286 TSP Runtime error at line 1: attempt to index field 'colour' (a nil value)"),
        (
            "lamp.colour = 1",
            "-286 TSP Runtime error at line 1: attempt to assign to 'colour', which is not an attribute",
        ),
        ("lamp.watts = 1", "-286 TSP Runtime error at line 1: attempt to assign to 'watts', which can only be read"),
        ("error('out of order')", "-286 TSP Runtime error at line 1: out of order"),
        ("*FOO", "-113 Undefined header;*FOO"),
    ],
)
def test_what_is_wrong_is_in_the_queue_with_its_number(talk: Talk, chunk: str, error: str) -> None:
    assert talk.ask(chunk) == []
    assert talk.error() == error
    assert talk.error() == "0 Queue Is Empty"


def test_an_error_of_the_instrument_does_not_end_a_script_and_one_of_lua_does(talk: Talk) -> None:
    assert talk.ask("lamp.level = 11 print('on')") == ["on"]
    assert talk.ask("lamp.level() print('on')") == []


def test_a_script_is_kept_and_run_by_name(talk: Talk) -> None:
    assert talk.ask("loadscript blink", "for i = 1, 2 do", "  print(lamp.RED + i)", "end", "endscript") == []
    assert talk.ask("blink()", "blink.run()") == ["4.00000e+00", "5.00000e+00"] * 2
    assert talk.ask("loadandrunscript\r", "print('now')\r", "endscript\r") == ["now"]
    assert talk.ask("script.run()") == ["now"]
    assert talk.ask("print(script.user.scripts.blink.name)", "script.delete('blink')", "print(blink)") == [
        "blink",
        "nil",
    ]
    assert talk.ask("loadscript bad", "x = = 1", "endscript") == []
    assert talk.error().startswith("-285 TSP Syntax error at line 1:")


def test_common_commands_and_the_status_byte(talk: Talk) -> None:
    assert talk.ask("*IDN?") == ["Example, Model 1, 7, 1.0"]
    talk.ask("*CLS", "*ESE 16", "*SRE 32")
    assert talk.ask("*ESE?", "*SRE?", "*OPC?") == ["16", "32", "1"]
    talk.ask("nonsense()")
    assert talk.conversation.status_byte() == 64 + 32 + 4
    assert talk.conversation.status_byte() == 32 + 4
    assert talk.ask("print(status.standard.event)") == ["1.60000e+01"]
    talk.conversation.write(b"print(1)\n")
    assert talk.conversation.status_byte() & 16
    talk.conversation.clear()
    assert not talk.conversation.status_byte() & 16


def test_every_line_is_an_answer_of_its_own_with_an_end(talk: Talk) -> None:
    talk.conversation.write(b"print(1) print('two')", end=True)
    assert talk.conversation.read(5) == (b"1.000", False)
    assert talk.conversation.read(100) == (b"00e+00\n", True)
    assert talk.conversation.read(100) == (b"two\n", True)
    assert talk.conversation.read(100) == (b"", False)
    assert talk.error() == "-420 Query UNTERMINATED"


def test_buffers_are_printed_as_text_and_as_floats_of_either_order(talk: Talk) -> None:
    talk.ask("lamp.buffer.collecttimestamps = 1", "lamp.buffer.appendmode = 1")
    talk.ask("for i = 1, 3 do lamp.keep(i) delay(0.5) end")
    assert talk.ask("print(lamp.buffer.n, lamp.buffer[2])") == ["3.00000e+00\t2.00000e+00"]
    assert talk.ask("printbuffer(1, 3, lamp.buffer, lamp.buffer.timestamps)") == [
        "1.00000e+00, 0.00000e+00, 2.00000e+00, 5.00000e-01, 3.00000e+00, 1.00000e+00"
    ]
    for kind, order, code in (("REAL32", "LITTLEENDIAN", "<3f"), ("REAL64", "BIGENDIAN", ">3d")):
        talk.ask(f"format.data = format.{kind} format.byteorder = format.{order}")
        talk.conversation.write(b"printbuffer(1, 3, lamp.buffer.readings)\n")
        data, end = talk.conversation.read(1000)
        assert end
        assert bytes(data) == b"#0" + struct.pack(code, 1, 2, 3) + b"\n"
    talk.ask("format.data = format.ASCII", "lamp.buffer.collecttimestamps = 0")
    assert talk.error() == "-221 Settings conflict"
    talk.ask("for i = 1, 8 do lamp.keep(i) end")
    assert talk.error() == "-225 Out of memory"


def test_time_passes_on_the_bench_s_clock(talk: Talk) -> None:
    began = time.monotonic()
    assert talk.ask("timer.reset() delay(3600) print(timer.measure.t())") == ["3.60000e+03"]
    assert time.monotonic() - began < 2


REACHES = [
    *("os", "io", "debug", "package", "require", "dofile", "loadfile", "load", "getfenv", "setfenv", "coroutine"),
    *("python", "newproxy", "module", "string.dump", "_G.debug", "getmetatable('').__index", "getmetatable(lamp)"),
]


@pytest.mark.parametrize("name", REACHES)
def test_nothing_of_the_machine_is_in_reach(talk: Talk, name: str) -> None:
    (answer,) = talk.ask(f"local ok, found = pcall(function() return {name} end) print(ok and found or nil)")
    assert answer in ("nil", "false")


def test_nothing_is_repeated_in_no_time(talk: Talk) -> None:
    assert talk.ask("print(#string.rep('', 1e15))") == ["0.00000e+00"]


def test_bytecode_is_not_loaded(talk: Talk) -> None:
    assert talk.ask(r"print((loadstring('\27Lua')))") == ["nil"]
    assert talk.ask("print(loadstring('return 6 * 7')())") == ["4.20000e+01"]


ENDLESS = [
    "while true do end",
    "while true do pcall(function() while true do end end) end",
    "xpcall(function() while true do end end, function() while true do end end)",
    "local function f() return f() end f()",
    "local s = 'x' while true do s = s .. s end",
    "x = {} while true do x[#x + 1] = {} end",
    "print(string.rep('x', 1e9))",
    "print(string.find(string.rep('a', 40), string.rep('a*', 40) .. 'b'))",
    "table.insert({}, -2^31, 1)",
    "loadstring('while true do end')()",
    "setmetatable(_G, {__index = function(t, k) return t[k] end}) print(nothing)",
    "string.gsub('aaa', 'a', function() while true do end end)",
    "table.sort({3, 2, 1}, function() while true do end end)",
    "print(tostring(setmetatable({}, {__tostring = function() while true do end end})))",
    "error(setmetatable({}, {__tostring = function() while true do end end}))",
]


@pytest.mark.parametrize("chunk", ENDLESS)
def test_what_has_no_end_is_ended_and_the_instrument_goes_on(chunk: str) -> None:
    talk = Talk(lamp())
    began = time.monotonic()
    talk.ask(chunk)
    assert time.monotonic() - began < 20
    assert talk.error().startswith("-286 TSP Runtime error at line 1: ")
    assert talk.ask("x = nil setmetatable(_G, nil)", "print(lamp.RED)") == ["3.00000e+00"]


def test_a_device_clear_ends_a_script_that_waits() -> None:
    talk = Talk(lamp(real=True))
    writing = threading.Thread(target=talk.conversation.write, args=(b"print('begun') delay(60) print('over')\n",))
    began = time.monotonic()
    writing.start()
    while not talk.conversation.pending and time.monotonic() - began < 10:
        time.sleep(0.01)
    talk.conversation.clear()
    writing.join(20)
    assert time.monotonic() - began < 20
    assert talk.conversation.pending == 0
    assert talk.error() == "-286 TSP Runtime error at line 1: script aborted"


def test_a_defect_of_the_firmware_is_not_hidden_from_whoever_runs_it(talk: Talk) -> None:
    with pytest.raises(RuntimeError, match="a fuse"):
        talk.ask("pcall(lamp.fail)")
    assert talk.ask("print(1)") == ["1.00000e+00"]


def test_a_script_cannot_get_at_what_python_raised(talk: Talk) -> None:
    assert talk.ask("local ok, why = pcall(function() lamp.colour = 1 end) print(ok, type(why))") == ["false\tstring"]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.one_of(st.text(st.characters(max_codepoint=255), max_size=60), st.sampled_from(ENDLESS[6:9]),
                          st.sampled_from(["loadscript", "endscript", "*CLS", "*SRE x", "print(lamp)", "abort"])),
                max_size=8))  # fmt: skip
def test_no_line_brings_it_down(lines: list[str]) -> None:
    talk = Talk(lamp())
    talk.ask(*lines, "\n")
    talk.conversation.clear()
    assert talk.ask("*IDN?") == ["Example, Model 1, 7, 1.0"]


def test_too_long_a_line_is_dropped_whole(talk: Talk) -> None:
    for _ in range(40):
        talk.conversation.write(b"x" * 65_536)
    talk.conversation.write(b"\n")
    assert talk.error() == "-363 Input buffer overrun;a line of more than 1048576 bytes"


@pytest.fixture
def served() -> Iterator[str]:
    with TcpServer(lamp()) as server:
        yield server.resource_name


def test_it_is_served_as_any_instrument_is(served: str) -> None:
    manager = pyvisa.ResourceManager("@py")
    with manager.open_resource(served, read_termination="\n", write_termination="\n", timeout=5000) as opened:
        assert isinstance(opened, pyvisa.resources.MessageBasedResource)
        assert opened.query("print(lamp.RED)") == "3.00000e+00"
        opened.write("for i = 1, 20000 do print(i) end")
        assert [float(opened.read()) for _ in range(20_000)] == list(range(1, 20_001))
        opened.write("loadandrunscript\nlamp.level = 4\nprint(lamp.level)\nendscript")
        assert opened.read() == "4.00000e+00"
    manager.close()
