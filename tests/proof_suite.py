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

import proof_structures  # noqa: F401 it enters its pairs in the table of honest ones
from proof_faults import FAULTS, Fault, outcome
from proof_faults import Outcome as FaultOutcome
from proof_honest import HONEST
from proof_pairs import Outcome
from proof_pairs import outcome as pair_outcome
from proof_wrong import WRONG

FILE = Path(__file__).resolve().parent.parent / "docs" / "parity" / "proof.json"
LEAST = {"wrong": 40, "honest": 90, "faults": 100}
CALLED_DIFFERENT = {
    "weight norm that is folded": "its weight was computed once and rounded to float32: in float64 it is another",
    "a batch norm that is folded": "its weights were computed once and rounded to float32: in float64 they are others",
}
"""Honest pairs that may be called different, each with its reason: at most two."""
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


def counted(wrong: Sequence[Outcome], honest: Sequence[Outcome], of_faults: Sequence[FaultOutcome]) -> dict[str, Any]:
    """All counts, ready for JSON."""
    networks = list(dict.fromkeys(fault.network for fault in FAULTS))
    return {
        "with": {
            **{package: version(package) for package in ("torch", "jax", "flax")},
            "machine": f"{platform.machine()}, CPU",
        },
        "wrong": _by_kind(wrong, passed=True),
        "honest": _by_kind(honest, passed=False),
        "called_different": [
            {"name": result.case.name, "reason": CALLED_DIFFERENT.get(result.case.name, ""), "said": result.words}
            for result in honest
            if not result.passed
        ],
        "faults": [
            {
                "network": network,
                "faults": len(own),
                **{
                    name: sum(getattr(result, name) for result in own)
                    for name in ("caught", "located", "right", "wrong")
                },
            }
            for network in networks
            if (own := [result for result in of_faults if result.fault.network == network])
        ],
        "not_explained": [
            f"{result.fault.network}, {result.fault.name}"
            for result in of_faults
            if not result.right and not result.wrong
        ],
    }


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
    return text


def table(counts: dict[str, Any]) -> str:
    """The counts as a table in Markdown, and the names of what is not as it should be."""
    lines = ["| | pairs | passed wrongly or called different |", "|---|---|---|"]
    for section, name, word in (("wrong", "passed", "Wrong"), ("honest", "called different", "Honest")):
        rows = counts[section]
        lines += [f"| {word}: {row['kind']} | {row['pairs']} | {row[name]} |" for row in rows]
        lines.append(f"| **{word}** | **{sum(row['pairs'] for row in rows)}** | **{sum(row[name] for row in rows)}** |")
    lines += [
        "",
        "| faults in | faults | caught | located | explained rightly | wrongly |",
        "|---|---|---|---|---|---|",
    ]
    names = ("faults", "caught", "located", "right", "wrong")
    lines += [f"| {row['network']} | {' | '.join(str(row[name]) for name in names)} |" for row in counts["faults"]]
    sums = [sum(row[name] for row in counts["faults"]) for name in names]
    lines.append(f"| **all** | {' | '.join(f'**{number}**' for number in sums)} |")
    lines += ["", *(f"Called different: {pair['name']}: {pair['reason']}." for pair in counts["called_different"])]
    return "\n".join(lines).rstrip()


def main() -> None:
    """Run all of it; the exit code is 1 where a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--store", action="store_true", help="write the counts for the pages")
    options = parser.parse_args()
    start = time.process_time()
    wrong, honest, of_faults = pairs(WRONG), pairs(HONEST), faults(FAULTS)
    counts = counted(wrong, honest, of_faults)
    text = failures(wrong, honest, of_faults)
    right = sum(result.right for result in of_faults)
    if right < EXPLAINED:
        text.append(f"{right} faults explained rightly, expected at least {EXPLAINED}")
    sys.stdout.write(f"{table(counts)}\n\n{time.process_time() - start:.0f} s of CPU time\n" + "\n".join(text) + "\n")
    if options.store:
        FILE.write_text(json.dumps(counts, indent=1) + "\n", encoding="utf-8")
    raise SystemExit(bool(text))


if __name__ == "__main__":
    main()
