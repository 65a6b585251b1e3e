"""Translate the models of the sweep: `python -m benchmarks.translate`, or `nox -s tests-translate`."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from benchmarks.translate.catalog import ROOT, SETS, catalog
from benchmarks.translate.sweep import faults, lost, merged, read, run_model, sweep, write

COVERAGE = ROOT / "docs" / "translate" / "coverage.json"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the sweep; 1 where a model that passed no longer does, or a verdict is none of the three."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.translate", description=__doc__, allow_abbrev=False)
    parser.add_argument("models", nargs="*", help="names, such as resnet18 or timm/resnet18; all if left out")
    parser.add_argument("--set", action="append", default=[], choices=SETS, help="models of this set")
    parser.add_argument("--write-only", action="store_true", help="written, loaded and tried at two sizes; no proof")
    parser.add_argument("--json", type=Path, default=COVERAGE, help="the table that the results go to")
    parser.add_argument("--keep", type=Path, help="a folder for the generated files")
    parser.add_argument("--fresh", action="store_true", help="forget a sweep that was stopped")
    parser.add_argument("--accept", action="store_true", help="store results that are worse than before, too")
    options = parser.parse_args(arguments)
    progress = options.json.with_suffix(".written.jsonl" if options.write_only else ".running.jsonl")
    progress.parent.mkdir(parents=True, exist_ok=True)
    if options.fresh:
        progress.unlink(missing_ok=True)
    if options.keep is not None:
        options.keep.mkdir(parents=True, exist_ok=True)
    entries = catalog(options.set, options.models)
    results = sweep(entries, progress, lambda entry: run_model(entry, write_only=options.write_only, keep=options.keep))
    print(", ".join(f"{count} {verdict}" for verdict, count in Counter(item["verdict"] for item in results).items()))
    if options.write_only:
        return any(item["verdict"] not in ("written and equal", "refused", "not run") for item in results)
    before = read(options.json)
    worse, wrong = lost(before, results), faults(results)
    if worse:
        print(f"passed before, and no longer: {', '.join(worse)}")
    if wrong:
        print(f"neither same function nor refused nor not run: {', '.join(wrong)}")
    if not worse or options.accept:
        write(options.json, merged(before, results))
        progress.unlink(missing_ok=True)
    return 1 if worse or wrong else 0


if __name__ == "__main__":
    sys.exit(main())
