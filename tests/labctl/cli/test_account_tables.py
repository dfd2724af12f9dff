"""A cost account as a person sees it."""

from __future__ import annotations

import json
import re

import pytest

from labctl.cli.account_tables import print_account
from labctl.learning.accounts import Figures, OnArray, Written, compare_inference, compare_training
from labctl.learning.networks import Layer

LAYERS = (Layer("fc1", 784, 512, 1), Layer("fc2", 512, 10, 1))


def test_a_recorded_account_is_printed_with_shares_machines_publications_and_what_it_rests_on(
    capsys: pytest.CaptureFixture[str],
) -> None:
    values = compare_inference(OnArray(LAYERS, 4), Figures.named("pruning"), "fashion-mnist").as_values()
    print_account(json.loads(json.dumps(values)))
    out = capsys.readouterr().out
    assert re.match(r"512 x 512 1T1R RRAM macro.*: [\d.]+ nJ and [\d.]+ us for a sample\n", out)
    shares = [float(each) for each in re.findall(r"^\w[\w -]*? +[\d.]+ \wJ +([\d.]+)%", out, re.MULTILINE)]
    assert len(shares) == 8
    assert sum(shares) == pytest.approx(100, abs=0.5)
    assert re.search(r"^GPU, batches of 1 .* [\d,]+ times +99\.99\d\d%$", out, re.MULTILINE)
    assert re.search(r"^published: arXiv:2311.07164 +5\.59 times +82\.1%, relative to: not known", out, re.MULTILINE)
    assert re.search(r"^gpu_power +400 W +[\d.]+ times +[\d.]+ times +\[published\]", out, re.MULTILINE)
    assert re.search(r"^gpu_rate +9\.75e\+12 1/s ", out, re.MULTILINE)
    assert max(map(len, out.splitlines())) < 130


def test_where_the_array_takes_more_that_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    figures = Figures.named("pruning_board")
    print_account(compare_training(OnArray(LAYERS, 4), figures, 60000, Written()).as_values(), what="the run")
    out = capsys.readouterr().out
    assert " for the run\n" in out
    assert re.search(r"^CPU .* 1/[\d,.]+ of it +nothing: it takes more", out, re.MULTILINE)
    assert "published:" not in out
