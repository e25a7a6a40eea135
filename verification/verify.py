"""`python verification/verify.py [NAME ...]`: known parameters recovered, each with a plot that reads right or wrong.

Every check runs twice: as it is, which must pass, and with one parameter of the data wrong, which must fail. Writes
`plots/NAME.png` and `verification.csv`; exits 1 where a check did not go as it must.
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from pathlib import Path

import effect_checks
import expression_checks
import haplotype_checks
from check import CHECKS

MODULES = (expression_checks, haplotype_checks, effect_checks)  # their checks are in `CHECKS` once they are imported
FOLDER = Path(__file__).resolve().parent
COLUMNS = ["name", "claim", "statistic", "value", "low", "high", "passed", "wrong_value", "wrong_rejected", "seconds"]


def verify(name: str, factor: float = 1.0, plots: Path | None = None) -> tuple[float, float, float, bool]:
    """Value, bounds and verdict of one check; its plot goes into `plots`.

    Args:
        name: One of `CHECKS`.
        factor: 1, or how wrong one parameter is made.
        plots: Folder of the plot; None draws none.
    """
    outcome = CHECKS[name].run(factor)
    if plots is not None:
        plots.mkdir(parents=True, exist_ok=True)
        outcome.figure.savefig(plots / f"{name}.png", metadata={"Software": None})
    return outcome.statistic, outcome.low, outcome.high, outcome.passed


def row(name: str, plots: Path) -> dict[str, object]:
    """One row of the table: the honest check and its wrong one."""
    check = CHECKS[name]
    start = time.perf_counter()
    value, low, high, passed = verify(name, plots=plots)
    wrong, *_, missed = verify(name, check.wrong)
    seconds = round(time.perf_counter() - start, 1)
    numbers = [f"{number:.4g}" for number in (value, low, high)]
    values = [name, check.claim, check.statistic, *numbers, passed, f"{wrong:.4g}", not missed, seconds]
    return dict(zip(COLUMNS, values, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"all, or some of {', '.join(CHECKS)}")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder of verification.csv and plots/")
    given = parser.parse_args()
    if unknown := set(given.names) - set(CHECKS):
        parser.error(f"no check is called {', '.join(sorted(unknown))}; there are {', '.join(CHECKS)}")
    path = given.out / "verification.csv"
    rows = {}
    if path.exists():
        with open(path, newline="", encoding="utf-8") as file:
            rows = {old["name"]: old for old in csv.DictReader(file) if old["name"] in CHECKS}
    given.out.mkdir(parents=True, exist_ok=True)
    bad = []
    for name in given.names or CHECKS:
        rows[name] = row(name, given.out / "plots")
        good = rows[name]["passed"] and rows[name]["wrong_rejected"]
        bad += [] if good else [name]
        told = "{name:<18} {statistic} {value} in [{low}, {high}]; wrong: {wrong_value}; {seconds} s".format(
            **rows[name]
        )
        print("right" if good else "WRONG", told, flush=True)
        with open(path, "w", newline="", encoding="utf-8") as file:  # each time: the suite takes a while
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows[name] for name in CHECKS if name in rows)
    sys.exit(f"not as it must be: {', '.join(bad)}" if bad else 0)


if __name__ == "__main__":
    main()
