"""What digital machines take for the same network, counted by hand."""

from __future__ import annotations

import pytest

from labctl.errors import SettingsError
from labctl.learning.accounts import Figures, digital
from labctl.learning.networks import Layer

FIGURES = Figures.named("digital")
LAYERS = (Layer("conv", 9, 16, 100), Layer("fc", 400, 10, 1))
MULTIPLY_ADDS = 9 * 16 * 100 + 400 * 10


def test_a_gpu_takes_its_power_while_it_computes_and_its_idle_power_while_it_waits_for_launches() -> None:
    figures = FIGURES.changed(
        {
            "gpu_power": 100,
            "gpu_idle_power": 10,
            "gpu_rate": 1e12,
            "gpu_utilisation": 0.5,
            "gpu_launch": 1e-5,
            "gpu_launches_per_layer": 2,
            "gpu_batch": 8,
        }
    )
    account = digital(LAYERS, figures, "gpu")
    computing, waiting = MULTIPLY_ADDS / 0.5e12, 2 * 2 * 1e-5 / 8
    assert account.energy == pytest.approx(100 * computing + 10 * waiting)
    assert account.latency == pytest.approx(computing + waiting)
    assert account.name == "GPU, batches of 8"


def test_a_cpu_takes_its_power_for_the_multiply_adds_at_a_share_of_the_peak() -> None:
    figures = FIGURES.changed({"cpu_power": 50, "cpu_rate": 1e11, "cpu_utilisation": 0.25})
    account = digital(LAYERS, figures, "cpu")
    assert account.energy == pytest.approx(50 * MULTIPLY_ADDS / 0.25e11)


def test_backwards_there_is_a_product_for_the_weights_and_behind_the_first_layer_one_for_the_inputs() -> None:
    counts = {
        direction: digital(LAYERS, FIGURES, "cpu", direction).operations["multiply-add"]
        for direction in ("forwards", "backwards", "both")
    }
    assert counts == {
        "forwards": MULTIPLY_ADDS,
        "backwards": 9 * 16 * 100 + 2 * 400 * 10,
        "both": 2 * 9 * 16 * 100 + 3 * 400 * 10,
    }


def test_a_dedicated_design_takes_arithmetic_operands_weights_and_activations() -> None:
    (layer,) = layers = (Layer("fc", 100, 10, 2),)
    account = digital(layers, FIGURES, "dedicated")
    pj = {name: energy * 1e12 for name, (energy, _) in account.parts.items()}
    assert layer.inputs * layer.outputs * layer.products == 2000
    assert pj == pytest.approx(
        {
            "multiply-adds": 2000 * (3.7 + 0.9),
            "local memory": 2000 * 2 * 5.0,  # half of a 64-bit access of 10 pJ for each operand
            "weight memory": 1000 * 50.0,
            "buffers": 2 * 110 * 10.0,
            "norm and activation": 20 * (3.7 + 0.9 + 0.1),
        }
    )


def test_weights_that_do_not_fit_a_dedicated_design_come_from_outside() -> None:
    large = (Layer("fc", 1024, 1024, 1),)  # 32 Mbit
    parts = digital(large, FIGURES, "dedicated").parts
    assert parts["external memory"][0] == pytest.approx(1024 * 1024 * 32 * 20.3e-12)
    assert "weight memory" not in parts
    shared = digital(large, FIGURES.changed({"dedicated_batch": 100}), "dedicated").parts
    assert shared["external memory"][0] == pytest.approx(parts["external memory"][0] / 100)


def test_a_platform_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(SettingsError, match="no platform 'tpu': choose one of gpu, cpu, dedicated"):
        digital(LAYERS, FIGURES, "tpu")  # type: ignore[arg-type]
