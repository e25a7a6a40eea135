"""The bundle of a run: gathered, approved, released, copied elsewhere, and broken by one flipped bit at a time.

    python benchmarks/release.py --results results/demo --flips 500

writes `release.csv`: one row a kind of file, with how many bits were flipped, how many were found and how many of
those named the file; and `release.json`: seconds of CPU and sizes. `results/demo` is what `make demo` leaves.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
from record import write_record

import genesim as gs
from genesim.errors import ArtefactError

HERE = Path(__file__).resolve().parent


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, required=True, help="results folder of a whole run")
    parser.add_argument("--flips", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bundle, copied = Path(folder) / "bundle", Path(folder) / "elsewhere" / "copy"
        clock = time.process_time()
        found = gs.prepare_release(asked.results, out=bundle)
        prepare_seconds = time.process_time() - clock
        said = {"name": "Ann Example", "role": "benchmark", "statement": "A bundle to be broken."}
        gs.approve_release(bundle, bundle_hash=found.bundle_hash, accept_unanswered=True, **said)
        head = gs.finish_release(bundle).head
        shutil.copytree(bundle, copied)
        shutil.rmtree(bundle)
        clock = time.process_time()
        gs.check_bundle(copied, head)
        check_seconds = time.process_time() - clock
        files = sorted(path for path in copied.rglob("*") if path.is_file())
        draw = np.random.default_rng(asked.seed)
        counts: dict[str, Counter[str]] = {}
        for i in range(asked.flips):
            path = files[i % len(files)]  # every file alike, however small
            good = path.read_bytes()
            bad = bytearray(good)
            bad[draw.integers(len(bad))] ^= 1 << int(draw.integers(8))
            path.write_bytes(bytes(bad))
            row = counts.setdefault(path.suffix or path.name, Counter())
            row["flipped"] += 1
            try:
                gs.check_bundle(copied)
            except ArtefactError as error:
                row["found"] += 1
                row["named"] += path.relative_to(copied).as_posix() in str(error)
            path.write_bytes(good)
        gs.check_bundle(copied, head)
        size = sum(path.stat().st_size for path in files)
    table = pd.DataFrame([{"kind": kind, **counts[kind]} for kind in sorted(counts)]).fillna(0)
    table.to_csv(HERE / "release.csv", index=False, lineterminator="\n")
    write_record(
        HERE / "release.json",
        flips=asked.flips,
        seed=asked.seed,
        n_files=len(files),
        n_bytes=size,
        prepare_cpu_seconds=round(prepare_seconds, 1),
        check_cpu_seconds=round(check_seconds, 2),
    )
    print(table.to_string(index=False))


if __name__ == "__main__":
    main()
