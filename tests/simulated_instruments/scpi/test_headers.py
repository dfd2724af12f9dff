"""The command tree: every spelling of a header finds its command, and nothing else does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labctl.simulated_instruments.scpi.errors import ScpiError
from labctl.simulated_instruments.scpi.headers import Tree, parse_pattern


def make_tree(*patterns: str) -> Tree[str]:
    tree: Tree[str] = Tree()
    for pattern in patterns:
        tree.add(pattern, pattern)
    return tree


def number_of(tree: Tree[str], header: str) -> int:
    with pytest.raises(ScpiError) as caught:
        tree.resolve(tree.root, header)
    return caught.value.number


@pytest.mark.parametrize(
    "header",
    [
        "PULS:WIDT",
        "PULSE:WIDTH",
        "puls:WIDTH",
        ":Pulse:Widt",
        "SOUR:PULS:WIDT",
        ":source:puls:width",
        "PULS1:WIDT1",
    ],
)
def test_short_long_any_case_and_optional_nodes_are_the_same_command(header: str) -> None:
    tree = make_tree("[:SOURce]:PULSe:WIDTh")
    assert tree.resolve(tree.root, header).leaf == "[:SOURce]:PULSe:WIDTh"


@pytest.mark.parametrize("header", ["PUL:WIDT", "PULSES:WIDT", "PULS", "WIDT", "PULS:WIDT:X", "SOUR", "*IDN"])
def test_other_spellings_are_undefined_headers(header: str) -> None:
    assert number_of(make_tree("[:SOURce]:PULSe:WIDTh"), header) == -113


def test_a_mnemonic_of_more_than_twelve_characters_is_too_long() -> None:
    assert number_of(make_tree("PULSe"), "ABCDEFGHIJKLM") == -112
    assert number_of(make_tree("PULSe"), "ABCDEFGHIJKL") == -113


def test_numeric_suffixes_reach_the_leaf_with_one_as_default() -> None:
    tree = make_tree("CHANnel<1:4>[:SLOT<2:3>]:LEVel")
    assert tree.resolve(tree.root, "CHAN3:SLOT2:LEV").suffixes == (3, 2)
    assert tree.resolve(tree.root, "CHANNEL:LEV").suffixes == (1, 2)
    assert tree.resolve(tree.root, "CHAN4:LEV1").suffixes == (4, 2)


@pytest.mark.parametrize("header", ["CHAN0:LEV", "CHAN5:LEV", "CHAN2:LEV2", "CHAN" + "9" * 5000 + ":LEV"])
def test_a_suffix_out_of_range_says_so(header: str) -> None:
    assert number_of(make_tree("CHANnel<1:4>:LEVel"), header) == -114


def test_a_path_leads_on_from_the_parent_of_the_last_header() -> None:
    tree = make_tree("SOURce<1:2>:VOLTage:LEVel", "SOURce<1:2>:VOLTage:RANGe", "OUTPut", "*CLS")
    first = tree.resolve(tree.root, "SOUR2:VOLT:LEV")
    second = tree.resolve(first.path, "RANG")
    assert (second.leaf, second.suffixes) == ("SOURce<1:2>:VOLTage:RANGe", (2,))
    common = tree.resolve(second.path, "*CLS")
    assert common.path == second.path
    assert tree.resolve(common.path, ":OUTP").leaf == "OUTPut"
    with pytest.raises(ScpiError):
        tree.resolve(common.path, "OUTP")


@pytest.mark.parametrize("pattern", ["", "pulse", "[:SOURce]", "PULSe<1>", "[:SOURce:PULSe", "PULSe?", "PULSe::X"])
def test_a_malformed_pattern_is_refused_when_it_is_declared(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"pattern|must be sent"):
        make_tree(pattern)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("PULSe", "PULSe"),
        ("[:SOURce]:PULSe", "PULSe"),
        ("VOLTage", "VOLTmeter:RANGe"),
        ("CHANnel<1:4>:A", "CHANnel<1:2>:B"),
    ],
)
def test_commands_that_answer_to_the_same_header_are_refused(first: str, second: str) -> None:
    with pytest.raises(ValueError, match=r"collides|other forms"):
        make_tree(first, second)


words = st.sampled_from(["SOURce", "VOLTage", "CHANnel", "LEVel", "RANGe", "ON"])
nodes = st.lists(
    st.tuples(words, st.one_of(st.none(), st.integers(1, 12)), st.booleans()),
    max_size=4,
    unique_by=lambda node: node[0],
)


@given(nodes, st.data())
def test_any_pattern_is_found_by_any_of_its_spellings(nodes: list, data: st.DataObject) -> None:
    pattern, header, expected = "", "", []
    for word, top, optional in [*nodes, ("REQuired", None, False)]:
        node = word + (f"<1:{top}>" if top else "")
        pattern += f"[:{node}]" if optional else f":{node}"
        sent = not optional or data.draw(st.booleans())
        suffix = data.draw(st.integers(1, top)) if top and sent else 1
        if top:
            expected.append(suffix)
        if sent:
            short = "".join(letter for letter in word if letter.isupper())
            header += ":" + data.draw(st.sampled_from([short, short.lower(), word, word.upper()]))
            header += str(suffix) if suffix > 1 or data.draw(st.booleans()) else ""
    tree = make_tree(pattern)
    found = tree.resolve(tree.root, header)
    assert (found.leaf, found.suffixes) == (pattern, tuple(expected))


def test_a_pattern_keeps_what_it_says_of_each_node() -> None:
    source, level = parse_pattern("[:SOURce<1:2>]:LEVel")
    assert (source.short, source.long, source.suffixes, source.optional) == (
        "SOUR",
        "SOURCE",
        range(1, 3),
        True,
    )
    assert (level.short, level.long, level.suffixes, level.optional) == ("LEV", "LEVEL", None, False)
