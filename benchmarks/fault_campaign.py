"""Real runs on boards whose wires fail: thousands of seeded faults, with the chip's own pulse counter as referee.

    OMP_NUM_THREADS=1 python benchmarks/fault_campaign.py [--faults 10000] [--workers 4] [--json]
    python benchmarks/fault_campaign.py --replay 1234        # one round again, told at length

Each round is one run (form, write and verify, read, I-V) on an 8 x 8 chip under a plan of one to four kinds of faults
(`fault_rounds.py`). It must either complete with the same outcomes, event by event, as without faults, or stop with a
reason in its file and in safe state. Whatever happens: no pulse beyond those that the file acknowledges or marks as
unknown, no acknowledged step that is missing, nothing past its deadline. What is none of this is a violation, listed
with the number of its round.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import shutil
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from fault_rounds import FAULTLESS, LINKS, Round, Verdict, play

_BATCH = 64  # rounds given out at once


def sentence(number: int, links: tuple[str, ...], folder: Path) -> Verdict:
    """The verdict on round `number`; its folder stays where there is a problem."""
    what = Round.of(number, links)
    place = folder / str(number)
    verdict, _ = play(what, place, _reference(what, str(folder)))
    if not verdict.problems:
        shutil.rmtree(place, ignore_errors=True)
    return verdict


@cache
def _without_faults(link: str, protocol: str, chip: str, sickness: str, folder: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(dir=folder) as name:
        verdict, found = play(Round(0, link, protocol, chip, sickness, sick=True), Path(name), None)
    if found is None or verdict.problems or verdict.reason:
        raise RuntimeError(f"{protocol} without faults: {verdict.reason} {verdict.problems}")
    return found


def _reference(what: Round, folder: str) -> dict[str, Any]:
    """The same run without faults of the wire; a sick chip's is that of the same sick chip on another link."""
    link = "in_process" if not what.link.startswith("serial") else "serial_in_process"
    return _without_faults(link, what.protocol, what.chip, what.plan if what.sick else FAULTLESS, folder)


def campaign(
    faults: int, workers: int = 4, links: tuple[str, ...] = LINKS, folder: Path | None = None
) -> dict[str, Any]:
    """Rounds from 1 on, until that many faults have been injected."""
    started = time.monotonic()
    verdicts: list[Verdict] = []
    with tempfile.TemporaryDirectory() as name:
        place = folder or Path(name)
        if workers == 1:
            while sum(each.kinds.total() for each in verdicts) < faults:
                verdicts.append(sentence(len(verdicts) + 1, links, place))
        else:
            with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
                while sum(each.kinds.total() for each in verdicts) < faults:
                    numbers = range(len(verdicts) + 1, len(verdicts) + 1 + _BATCH)
                    verdicts += pool.map(sentence, numbers, [links] * _BATCH, [place] * _BATCH)
    return summary(verdicts, time.monotonic() - started)


def summary(verdicts: list[Verdict], seconds: float) -> dict[str, Any]:
    ended = Counter(each.ended for each in verdicts)
    kinds = sum((each.kinds for each in verdicts), Counter[str]())
    return {
        "faults": kinds.total(),
        "runs": len(verdicts),
        "double_pulses": sum(each.double_pulses for each in verdicts),
        "lost_records": sum(each.lost_records for each in verdicts),
        "hangs": sum(each.hung for each in verdicts),
        "completed": ended["completed"],
        "stopped_honestly": ended["stopped_honestly"],
        "violations": [
            {"round": each.number, "link": each.link, "protocol": each.protocol, "problems": each.problems}
            for each in verdicts
            if each.problems
        ],
        "runs_by_link": dict(sorted(Counter(each.link for each in verdicts).items())),
        "completed_by_link": dict(sorted(Counter(each.link for each in verdicts if each.ended == "completed").items())),
        "faults_by_kind": dict(sorted(kinds.items())),
        "longest_run_s": round(max(each.seconds for each in verdicts), 2),
        "seconds": round(seconds, 1),
    }


def replay(number: int, links: tuple[str, ...], folder: Path) -> None:
    """One round again, in `folder`, with its plan and what was injected."""
    what = Round.of(number, links)
    print(f"round {number}: {what.protocol} on {what.chip} by {what.link}\n\n{what.plan}")
    shutil.rmtree(folder / str(number), ignore_errors=True)
    logged = replace(what, plan=f'log = "injected.toml"\n{what.plan}')
    verdict, _ = play(logged, folder / str(number), _reference(what, str(folder)))
    print((folder / str(number) / "injected.toml").read_text(encoding="utf-8"))
    print(verdict.reason or "completed", *verdict.problems, sep="\n")
    print(f"everything is in {folder / str(number)}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", type=int, default=10_000, help="go on until so many have been injected")
    parser.add_argument("--workers", type=int, default=4, help="runs at a time; they mostly wait")
    parser.add_argument("--links", nargs="+", default=list(LINKS), choices=LINKS)
    parser.add_argument("--replay", type=int, metavar="ROUND", help="play one round again")
    parser.add_argument("--folder", type=Path, help="where rounds with a problem stay; a temporary one otherwise")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    links = tuple(options.links)
    if options.folder:
        options.folder.mkdir(parents=True, exist_ok=True)
    if options.replay is not None:
        replay(options.replay, links, options.folder or Path(tempfile.mkdtemp()))
        return 0
    result = campaign(options.faults, options.workers, links, options.folder)
    if options.json:
        print(json.dumps(result))
    else:
        for name, found in result.items():
            if name == "violations":
                print(f"{name:20} {len(found)}")
                for each in found[:40]:
                    print(
                        f"  round {each['round']} ({each['protocol']} by {each['link']}): {'; '.join(each['problems'])}"
                    )
            else:
                print(f"{name:20} {found}")
    return 1 if result["violations"] else 0


if __name__ == "__main__":
    sys.exit(main())
