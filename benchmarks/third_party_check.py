"""One row of the table of other people's software against labctl."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Check:
    """client: whose software. what: which part of it. passed, failed, skipped: how many of its checks. detail: why."""

    client: str
    what: str
    passed: int
    failed: int
    skipped: int
    detail: str = ""
