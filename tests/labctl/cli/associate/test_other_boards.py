"""A command whose protocol the board cannot do says so, before anything else is worked out for its array."""

import pytest

from labctl.cli import main


@pytest.mark.parametrize(
    ("arguments", "needs"),
    [
        (["program-array", "--bench", "racetrack"], "write_verify needs PULSE"),
        (["characterize", "iv", "--bench", "racetrack-ideal"], "iv needs READ"),
        (["associate", "selftest", "--bench", "pcm"], "associative_selftest needs ASSOCIATE"),
        (["associate", "align", "--bench", "rram"], "associative_alignment needs ASSOCIATE"),
    ],
)
def test_what_a_board_cannot_do_is_said_in_a_sentence(arguments, needs, capsys):
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--dry-run"])
    told = capsys.readouterr().err
    assert ended.value.code == 3
    assert told.startswith(f"labctl: {needs}")
    assert told.endswith(", which this board does not have\n")
