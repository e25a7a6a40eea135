"""Are fewer donors recognised where a generator was trained on more of them? OneK1K, 5, 10 and 20 training donors.

The divisions are those of donor_privacy.py: 20 donors held out, the same at every size. The 20 training donors are
taken in disjoint sets of 5, of 10, and whole, so that every size attacks the same donors (the network, which takes
long, is trained on the first set of each size alone). Every generator draws as many cells as 20 donors have, so that
attacks see equally much of it; a larger set also has more cells, as more donors do, unless `--cells` says how many
train, drawn at random from all donors of a set (the attacks have all of a donor's cells still). The audit's planted
generators stand beside every row. Writes donor_privacy_size.csv (a row a generator, division, size, set and attack: AUC
over donors with its interval, floor and null) and donor_privacy_size.json; `--name` changes these names.

    python benchmarks/donor_privacy_size.py --seeds 0 1 2 --steps 1000 --flow-steps 800
    python benchmarks/donor_privacy_size.py --seeds 0 1 2 --methods independent copula --cells 850 \
        --name donor_privacy_cells
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
from cases import onek1k
from donor_privacy import DONOR, LABELS, METHODS, config_of, divide
from record import write_record

import genesim as gs
from genesim import rng
from genesim.provenance.atomic import atomic_file

SIZES = (5, 10, 20)


def sets_of(train: ad.AnnData, size: int, seed: int) -> list[ad.AnnData]:
    """Cells of disjoint sets of `size` training donors."""
    donor = train.obs[DONOR].astype(str)
    order = rng.generator(seed, "benchmark", "sets").permutation(np.unique(donor))
    starts = range(0, len(order) - size + 1, size)
    return [train[donor.isin(order[i : i + size]).to_numpy()].copy() for i in starts]


def thinned(cells: ad.AnnData, most: int | None, seed: int) -> ad.AnnData:
    """At most `most` of the cells, drawn at random."""
    if most is None or cells.n_obs <= most:
        return cells
    order = rng.generator(seed, "benchmark", "cells").permutation(cells.n_obs)
    return cells[np.sort(order[:most])].copy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("GENESIM_DATA", "../shared/data")))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=["independent", "copula", "vae"])
    parser.add_argument("--steps", type=int, default=2500, help="training steps of the network")
    parser.add_argument("--flow-steps", type=int, default=2000, help="training steps of its flow")
    parser.add_argument("--cells", type=int, help="most training cells of a set; none takes all")
    parser.add_argument("--name", default="donor_privacy_size", help="of the results")
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent)
    given = parser.parse_args()
    cells, _ = onek1k(given.data)
    rows: list[dict[str, Any]] = []
    start = time.process_time()
    for method in given.methods:
        config = config_of(method, given.steps, given.flow_steps)
        for seed in given.seeds:
            train, holdout = divide(cells, seed)
            for size in given.sizes:
                for number, part in enumerate(sets_of(train, size, seed)[: 1 if method == "vae" else None]):
                    few = thinned(part, given.cells, seed)
                    model = gs.ExpressionModel.fit(few, labels_key=LABELS, config=config, seed=seed)
                    made = model.sample(train.n_obs, seed=seed)
                    keys = {"donor_key": DONOR, "labels_key": LABELS, "seed": seed}
                    box = model if method == "vae" else None
                    audit = gs.audit_privacy(part, holdout, made, model=box, **keys)
                    key = {"generator": method, "division": seed, "n_donors": size, "set": number}
                    key |= {"n_cells": few.n_obs, "n_holdout": audit.n_holdout}
                    for row in audit.rows:
                        if row.figure == "auc":
                            valid = not audit.why_invalid(row.attack)
                            found = {name: getattr(row, name) for name in ("value", "low", "high", "floor", "null")}
                            rows.append({**key, "attack": row.attack, **found, "valid": valid})
                    print(f"{key}, {time.process_time() - start:.0f} s of CPU\n{audit}", flush=True)
            with atomic_file(given.out / f"{given.name}.csv") as temporary:
                pd.DataFrame(rows).to_csv(temporary, index=False, float_format="%.4f")
            names = ("seeds", "sizes", "methods", "steps", "flow_steps", "cells")
            settings = {name: getattr(given, name) for name in names}
            write_record(given.out / f"{given.name}.json", **settings, done=f"{method}, division {seed}")
    table = pd.DataFrame(rows)
    print(table.pivot_table(index=["generator", "n_donors"], columns="attack", values=["value", "floor"]).round(3))


if __name__ == "__main__":
    main()
