"""Bench files, right and wrong in every way there is."""
# ruff: noqa: E501 -- what the sentences say is the point, uncut

from __future__ import annotations

from pathlib import Path

import pytest
from benches import write_bench

from labctl.bench.live import load_bench
from labctl.bench.settings import read_bench
from labctl.errors import BenchError

GOOD = """
name = "desk 3"

[instruments.board]
driver = "test_board"
resource_name = "TCPIP::127.0.0.1::5025::SOCKET"
visa_library = "@labctl"

[arrays.main]
instrument = "board"
"""


def reading(text: str, folder: Path) -> str:
    """What is said of a bench file of `text`."""
    path = folder / "bench.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(BenchError) as raised:
        read_bench(path)
    said = str(raised.value)
    assert "\n" not in said
    return said


MISTAKES = {
    "no instruments": (
        ("[instruments.board]", "[devices.board]"),
        "$: object contains unknown field `devices`; there are: name, operator, runs, ",
    ),
    "no arrays": (('[arrays.main]\ninstrument = "board"', ""), "$: object missing required field `arrays`"),
    "a word nobody knows": (
        ('name = "desk 3"', "nmae = 'x'"),
        "$: object contains unknown field `nmae`; there are: name, ",
    ),
    "name is no text": (('name = "desk 3"', "name = 3"), "$.name: expected `str`, got `int`"),
    "instruments are no tables": (
        ("[instruments.board]\n", "[instruments]\nboard = 3\n[x]\n"),
        "$.instruments.board: expected a table, as in [instruments.board]",
    ),
    "no driver": (
        ('driver = "test_board"', ""),
        "$.instruments.board.driver: missing; name a driver, like 'test_board'",
    ),
    "a driver nobody knows": (
        ('"test_board"', '"tset_board"'),
        "$.instruments.board.driver: no driver called 'tset_board'; there are: ",
    ),
    "no resource": (
        ('resource_name = "TCPIP::127.0.0.1::5025::SOCKET"', ""),
        "$.instruments.board: object missing required field `resource_name`",
    ),
    "no resource name": (
        ("TCPIP::127.0.0.1::5025::SOCKET", "COM 3"),
        "$.instruments.board.resource_name: 'COM 3' is not a VISA resource name: write one like",
    ),
    "a key the driver does not know": (
        ("visa_library", "libary"),
        "$.instruments.board: object contains unknown field `libary`; there are: driver, resource_name, timeout, wire_log, visa_library, rows,",
    ),
    "a wrong unit": (
        ('visa_library = "@labctl"', 'timeout = "5 V"'),
        "$.instruments.board.timeout: '5 V' is not in s: write it like '100 ns'",
    ),
    "no unit": (
        ('visa_library = "@labctl"', 'timeout = "5 m"'),
        "$.instruments.board.timeout: '5 m' has no unit: write it like '100 ns'",
    ),
    "no time": (
        ('visa_library = "@labctl"', "timeout = 0"),
        "$.instruments.board: timeout must be more than 0 s, not 0",
    ),
    "forever": (
        ('visa_library = "@labctl"', "timeout = inf"),
        "$.instruments.board.timeout: inf is not a finite quantity in s",
    ),
    "no rows": (('visa_library = "@labctl"', "rows = 0"), "$.instruments.board: rows must be more than 0, not 0"),
    "no read voltage": (
        ('visa_library = "@labctl"', "read_voltage = '0 V'"),
        "$.instruments.board: read_voltage must be more than 0, not 0",
    ),
    "an array of nothing": (('instrument = "board"', ""), "$.arrays.main: object missing required field `instrument`"),
    "an instrument nobody declared": (
        ('instrument = "board"', 'instrument = "baord"'),
        "$.arrays.main.instrument: no instrument called 'baord'; there are: board",
    ),
    "a negative limit": (
        ('instrument = "board"', 'instrument = "board"\nlimits.max_set_voltage = "-1 V"'),
        "$.arrays.main.limits: max_set_voltage must be more than 0, not -1",
    ),
    "a limit that is none": (
        ('instrument = "board"', 'instrument = "board"\nlimits.max_dose = nan'),
        "$.arrays.main.limits.max_dose: nan is not a finite quantity in Vs",
    ),
    "half a pulse": (
        ('instrument = "board"', 'instrument = "board"\ncell_limits.max_pulses = 1.5'),
        "$.arrays.main.cell_limits.max_pulses: expected `int",
    ),
    "a limit nobody knows": (
        ('instrument = "board"', 'instrument = "board"\nlimits.max_volts = 1'),
        "$.arrays.main.limits: object contains unknown field `max_volts`; there are: max_form_voltage, ",
    ),
    "widths that exclude each other": (
        ('instrument = "board"', 'instrument = "board"\nlimits = {min_width = "2 us", max_width = "1 us"}'),
        "$.arrays.main.limits: min_width of 2e-06 s is above max_width of 1e-06 s",
    ),
    "an order with a stranger in it": (
        ('name = "desk 3"', 'safe_state_order = ["smu"]'),
        "$.safe_state_order: no instrument called 'smu'; there are: board",
    ),
    "no time for safety": (
        ('name = "desk 3"', 'safe_state_timeout = "0 s"'),
        "$: safe_state_timeout must be more than 0 s, not 0",
    ),
    "a simulator that is no table": (
        ('name = "desk 3"', 'simulated.board = "yes"'),
        "$.simulated.board: expected a table, as in [simulated.board]",
    ),
    "the same resource twice": (
        (
            "[arrays.main]",
            '[instruments.other]\ndriver = "test_board"\nresource_name = "TCPIP0::127.0.0.1::5025::SOCKET"\nvisa_library = "@labctl"\n[arrays.main]',
        ),
        "$.instruments.other.resource_name: TCPIP0::127.0.0.1::5025::SOCKET is already board's",
    ),
    "the same port by two names": (
        (
            "[arrays.main]",
            '[instruments.one]\ndriver = "serial_board"\nresource_name = "ASRL3::INSTR"\n'
            '[instruments.other]\ndriver = "serial_board"\nresource_name = "ASRL03::INSTR"\n[arrays.main]',
        ),
        "$.instruments.other.resource_name: ASRL03::INSTR is already one's",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_sentence_with_its_path_and_what_would_be_right(mistake: str, tmp_path: Path) -> None:
    (right, wrong), sentence = MISTAKES[mistake]
    assert right in GOOD
    assert reading(GOOD.replace(right, wrong), tmp_path).startswith(f"bench.toml: {sentence}")


def test_a_file_that_is_not_toml_says_where(tmp_path: Path) -> None:
    assert reading(GOOD + "[arrays", tmp_path).startswith(
        "bench.toml: not TOML: Expected ']' at the end of a table decl"
    )


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda _: None, "No such file or directory"),
        (lambda path: path.mkdir(), "Is a directory"),
        (lambda path: path.write_bytes(b"\x89PNG\xff\xfe"), "not a text file"),
    ],
    ids=["missing", "folder", "binary"],
)
def test_what_cannot_be_read_as_text_says_why(make: object, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "bench.toml"
    make(path)  # type: ignore[operator]
    with pytest.raises(BenchError) as raised:
        read_bench(path)
    assert str(raised.value) == f"{path}: cannot be read as a bench file: {reason}"


def test_a_driver_without_settings_of_its_own_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("labctl.bench.settings.load_plugin", lambda *_: object)
    assert reading(GOOD, tmp_path) == (
        "bench.toml: $.instruments.board.driver: 'test_board' has no Settings that extend InstrumentSettings"
    )


def test_the_only_array_needs_no_name_and_an_unknown_one_is_told_the_others(tmp_path: Path) -> None:
    file = read_bench(write_bench(tmp_path))
    assert file.array_settings(None)[0] == "main"
    with pytest.raises(BenchError, match=r"^bench\.toml: \$\.arrays: no array called 'mian'; there are: main$"):
        file.array_settings("mian")
    two = read_bench(write_bench(tmp_path, arrays='[arrays.second]\ninstrument = "board"'))
    with pytest.raises(BenchError, match=r"^bench\.toml: \$\.arrays: say which array: main, second$"):
        two.array_settings(None)


def test_every_value_has_an_origin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABCTL_OPERATOR", "Ada")
    monkeypatch.delenv("LABCTL_RUNS", raising=False)
    path = write_bench(tmp_path, top='operator = "Alessandro"', arrays='limits.max_set_voltage = "3 V"')
    origins = {key: (value, origin) for key, value, origin in read_bench(path).origins()}
    assert origins["operator"] == ("Ada", "LABCTL_OPERATOR")
    assert origins["name"] == ("test bench", "bench.toml")
    assert origins["arrays.main.limits.max_set_voltage"] == (3.0, "bench.toml")
    assert origins["instruments.board.timeout"] == (5.0, "default")
    assert origins["instruments.board.rows"] == (32, "bench.toml")
    assert origins["instruments.board.visa_library"] == (f"{path}@labctl", "bench.toml")
    assert origins["safe_state_timeout"] == (2.0, "default")
    assert all(type(value) in (str, int, float, bool, list, type(None)) for value, _ in origins.values())


def test_runs_go_beside_the_file_or_where_the_environment_says_from_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.delenv("LABCTL_RUNS", raising=False)
    path = write_bench(tmp_path)
    assert read_bench(path).runs_folder == tmp_path / "runs"
    monkeypatch.setenv("LABCTL_RUNS", "mine")
    assert read_bench(path).runs_folder == tmp_path / "here" / "mine"


def test_the_environment_names_the_file_where_nobody_else_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LABCTL_BENCH", raising=False)
    assert read_bench().is_embedded
    monkeypatch.setenv("LABCTL_BENCH", str(write_bench(tmp_path)))
    assert read_bench().settings.name == "test bench"
    assert load_bench().name == "test bench"
    assert read_bench(write_bench(tmp_path, name="other.toml", top='operator = "x"')).settings.operator == "x"


def test_an_embedded_bench_is_known_by_name_where_no_file_is_called_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = read_bench("pcm")
    assert found.is_embedded
    assert found.runs_folder == tmp_path / "runs"
    with load_bench("pcm") as bench, bench.array() as array:
        assert (array.geometry.rows, array.geometry.cols, array.geometry.cell) == (512, 2048, "PCM")
    write_bench(tmp_path, name="pcm")
    assert read_bench("pcm").settings.name == "test bench"


def test_the_wire_log_and_the_simulator_are_found_from_the_files_folder(tmp_path: Path) -> None:
    file = read_bench(write_bench(tmp_path, instrument='wire_log = "wire.log"'))
    assert file.instruments["board"].wire_log == str(tmp_path / "wire.log")
    assert file.instruments["board"].visa_library == f"{tmp_path / 'bench.toml'}@labctl"
