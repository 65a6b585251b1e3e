"""Run the whole suite of the proof and print its table: `nox -s tests-proof`, which stores it for the pages too.

Wrong pairs are aimed at the comparison itself, honest pairs have hard numerics or another structure, and faults of
known cause are put into four networks. `--store` writes what was counted to docs/parity/proof.json.
"""

from __future__ import annotations

import argparse
import collections
import json
import platform
import sys
import time
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from proof_cases import HONEST, WRONG
from proof_faults import FAULTS, Fault, outcome
from proof_faults import Outcome as FaultOutcome
from proof_pairs import Outcome
from proof_pairs import outcome as pair_outcome

FILE = Path(__file__).resolve().parent.parent / "docs" / "parity" / "proof.json"
LEAST = {"wrong": 40, "honest": 90, "faults": 100}
CALLED_DIFFERENT = {
    "a batch norm that is folded": "its weights were computed once and rounded to float32: in float64 they are others",
}
"""Honest pairs that may be called different, each with its reason; two at most."""
EXPLAINED = 75


def tenth(cases: Sequence[Any]) -> list[Any]:
    """Every tenth, which is what every session of tests runs."""
    return list(cases[3::10])


def pairs(cases: Iterable[Any]) -> list[Outcome]:
    """What is said of pairs."""
    return [pair_outcome(case) for case in cases]


def faults(some: Iterable[Fault]) -> list[FaultOutcome]:
    """What is said of faults; each that is not as it should be is written out at once."""
    outcomes = []
    for fault in some:
        result = outcome(fault)
        outcomes.append(result)
        if not (result.caught and result.located and result.right):
            words = "explained wrongly" if result.wrong else "not explained"
            words = words if result.located else "not located" if result.caught else "not caught"
            sys.stdout.write(f"{fault.network}, {fault.name}: {words}; {' / '.join(result.causes)}\n")
            sys.stdout.flush()
    return outcomes


def counted(wrong: Sequence[Outcome], honest: Sequence[Outcome]) -> dict[str, Any]:
    """The counts of pairs, ready for JSON."""
    return {
        "with": _versions(),
        "wrong": _by_kind(wrong, passed=True),
        "honest": _by_kind(honest, passed=False),
        "called_different": [
            {"name": result.case.name, "reason": CALLED_DIFFERENT.get(result.case.name, ""), "said": result.words}
            for result in honest
            if not result.passed
        ],
    }


def faults_counted(outcomes: Sequence[FaultOutcome]) -> dict[str, Any]:
    """The counts of faults, network by network, ready for JSON."""
    names = ("caught", "located", "right", "wrong")
    rows = []
    for network in dict.fromkeys(fault.network for fault in FAULTS):
        own = [result for result in outcomes if result.fault.network == network]
        rows.append(
            {
                "network": network,
                "faults": len(own),
                **{name: sum(getattr(result, name) for result in own) for name in names},
            }
        )
    silent = [result.fault for result in outcomes if not result.right and not result.wrong]
    return {
        "with": _versions(),
        "networks": rows,
        "not_explained": [f"{fault.network}, {fault.name}" for fault in silent],
    }


def _versions() -> dict[str, str]:
    packages = {package: version(package) for package in ("torch", "jax", "flax")}
    return packages | {"machine": f"{platform.machine()}, CPU"}


def _by_kind(outcomes: Sequence[Outcome], *, passed: bool) -> list[dict[str, Any]]:
    kinds = collections.Counter(result.case.kind for result in outcomes)
    missed = collections.Counter(result.case.kind for result in outcomes if result.passed is passed)
    name = "passed" if passed else "called different"
    return [{"kind": kind, "pairs": count, name: missed[kind]} for kind, count in kinds.items()]


def failures(wrong: Sequence[Outcome], honest: Sequence[Outcome], of_faults: Sequence[FaultOutcome]) -> list[str]:
    """What is not as it should be, in sentences."""
    text = [f"wrong pair passed: {result.case.kind}, {result.case.name}" for result in wrong if result.passed]
    text += [
        f"honest pair called different: {result.case.kind}, {result.case.name}: {result.verdict}; {result.words}"
        for result in honest
        if not result.passed and result.case.name not in CALLED_DIFFERENT
    ]
    for result in of_faults:
        where = f"{result.fault.network}, {result.fault.name}"
        if not (result.caught and result.located):
            text.append(f"fault {'not located' if result.caught else 'not caught'}: {where}")
        if result.wrong:
            text.append(f"fault explained wrongly: {where}: {' / '.join(result.claims)}")
    right = sum(result.right for result in of_faults)
    if of_faults and right < EXPLAINED:
        text.append(f"{right} faults explained rightly, expected at least {EXPLAINED}")
    return text


def pair_table(counts: dict[str, Any]) -> str:
    """The counts of pairs as a table in Markdown, and the names of those that are not as they should be."""
    lines = ["| pairs | how many | not as they should be |", "|---|---|---|"]
    for section, name in (("wrong", "passed"), ("honest", "called different")):
        rows = counts[section]
        lines += [f"| {section}: {row['kind']} | {row['pairs']} | {row[name]} |" for row in rows]
        pairs, over = (sum(row[key] for row in rows) for key in ("pairs", name))
        lines.append(f"| **all {section} ones** | **{pairs}** | **{over} {name}** |")
    different = [f"Called different: {pair['name']}: {pair['reason']}." for pair in counts["called_different"]]
    return "\n".join([*lines, "", *different]).rstrip()


def fault_table(counts: dict[str, Any]) -> str:
    """The counts of faults as a table in Markdown."""
    names = ("faults", "caught", "located", "right", "wrong")
    lines = ["| network | faults | caught | located | explained rightly | wrongly |", "|---|---|---|---|---|---|"]
    rows = counts["networks"]
    lines += [f"| {row['network']} | {' | '.join(str(row[name]) for name in names)} |" for row in rows]
    totals = [sum(row[name] for row in rows) for name in names]
    return "\n".join([*lines, f"| **all** | {' | '.join(f'**{total}**' for total in totals)} |"])


def main() -> None:
    """Run all of it; the exit code is 1 where a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--store", action="store_true", help="write the counts for the pages")
    parser.add_argument("--only", choices=["pairs", "faults"], help="one part; the faults take most of the time")
    options = parser.parse_args()
    start = time.process_time()
    wrong = honest = of_faults = ()
    stored = json.loads(FILE.read_text(encoding="utf-8")) if FILE.is_file() else {}
    if options.only != "faults":
        wrong, honest = pairs(WRONG), pairs(HONEST)
        stored["pairs"] = counted(wrong, honest)
        sys.stdout.write(f"{pair_table(stored['pairs'])}\n\n")
    if options.only != "pairs":
        of_faults = faults(FAULTS)
        stored["faults"] = faults_counted(of_faults)
        sys.stdout.write(f"{fault_table(stored['faults'])}\n\n")
    text = failures(wrong, honest, of_faults)
    sys.stdout.write(f"{time.process_time() - start:.0f} s of CPU time\n" + "".join(f"{line}\n" for line in text))
    if options.store:
        FILE.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")
    raise SystemExit(bool(text))


if __name__ == "__main__":
    main()
