"""`labctl.analysis` is light to import, and says what it has."""

from __future__ import annotations

import subprocess
import sys

import pytest

from labctl import analysis


def test_importing_it_imports_nothing_heavy() -> None:
    heavy = ("xarray", "scipy", "matplotlib", "dask", "pandas")
    code = f"import sys, labctl.analysis; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_every_name_is_what_it_says() -> None:
    for name in analysis.__all__:
        assert getattr(analysis, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'anything'"):
        _ = analysis.anything
