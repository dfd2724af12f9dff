"""Packages that only some formats need."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from labctl.errors import ExportError


def needed(module: str, what: str) -> Any:
    """The module; ExportError with what to install where it is missing."""
    try:
        return import_module(module)
    except ImportError as problem:
        package = module.partition(".")[0]
        raise ExportError(f"{what} needs {package}, which is not installed: pip install 'labctl[export]'") from problem
