"""The example of `docs/reports.md` runs as it stands."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from pages import ReadPage

PAGE = Path(__file__).parents[4] / "docs" / "reports.md"


def test_the_example_writes_a_report(programmed: Path) -> None:
    (code,) = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=programmed.parent, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "formed cells" in done.stdout
    assert ReadPage.of(programmed.parent / "report.html").problems == []
