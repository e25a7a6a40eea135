"""What does it cost to give fewer training donors away? Learned haplotypes that more training haplotypes share each.

    GENESIM_DATA=path/to/data python benchmarks/haplotype_privacy_states.py --seeds 0 1 2
    python benchmarks/haplotype_privacy_states.py --panel chr2_edar --per-state 4 8 16 \
        --name haplotype_privacy_states_edar

The divisions, attacks and planted controls are those of haplotype_privacy.py (whose record says that they are as they
have to be). `models.haplotypes.haplotypes_per_state` (8 by default) is the number of training haplotypes a learned one
stands for at the least. Privacy and fidelity of each model stand in one row: AUC over donors of the attacks on its
output and of its own likelihood beside a shadow of its kind; errors of LD, joint moments of three variants and allele
frequencies on held-out haplotypes, with the floor (training haplotypes) and the null (independent variants) in rows of
their own. `--panel` takes another panel of haplotype_panels.py, whose controls were not planted. Writes
`haplotype_privacy_states.csv` (a row a seed and model) and `.json`; `--name` changes these names.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from haplotype_panels import MAKERS, Panel, panels
from haplotype_privacy import black_box, folds_of, spread, unrelated, white_box
from record import write_record

from genesim import rng
from genesim.config.model import HaplotypeConfig
from genesim.data.genotypes.record import Genotypes
from genesim.estimators.haplotypes import HaplotypeModel
from genesim.evaluate.haplotypes import evaluate_haplotypes
from genesim.evaluate.score_table import ScoreTable
from genesim.metrics.membership import Sides, donor_attack
from genesim.provenance.atomic import atomic_file

FIDELITY = ("ld_rmse", "three_point_correlation", "allele_frequency_rmse_within_ancestry")


def compared(panel: Panel, per_state: int, most: int) -> list[dict[str, Any]]:
    """A row of the model in one division, and its floor and null."""
    kept, _ = unrelated(panel)
    panel = spread(panel, most)
    seed, held = panel.seed, panel.test.subset(donors=list(kept.donors))
    members, known = panel.train.haplotypes(), panel.ancestry.reindex(panel.train.donors)

    def fitted(part: Genotypes, method: str = "anchmm") -> HaplotypeModel:
        config = HaplotypeConfig(method=method, haplotypes_per_state=per_state)  # type: ignore[arg-type]
        return HaplotypeModel.fit(part, ancestry=panel.ancestry.reindex(part.donors), config=config, seed=seed)

    model = fitted(panel.train)
    drawn = model.sample_for(known, seed=rng.seed(seed, "benchmark", "anchmm")).haplotypes()
    null = fitted(panel.train, "independent").sample_for(known, seed=rng.seed(seed, "benchmark", "independent"))
    found: dict[str, list[Sides]] = {}
    for reference_rows, judged_rows in folds_of(held, seed):
        reference, judged = held.subset(donors=reference_rows), held.subset(donors=judged_rows)
        sides = black_box(drawn, members, judged.haplotypes(), reference.haplotypes(), panel.positions)
        sides["white_box"] = white_box(model, fitted(reference), panel.train, judged, panel.ancestry)
        for attack, both in sides.items():
            found.setdefault(attack, []).append(both)
    key = {"seed": seed, "haplotypes_per_state": per_state}
    row: dict[str, Any] = {**key, "generator": "anchmm"}
    for attack, folds in found.items():
        auc = donor_attack(folds, rng.generator(seed, "benchmark", "bootstrap", "anchmm", attack)).auc
        row |= {attack: auc.value, f"{attack}_low": auc.low, f"{attack}_high": auc.high}
    labels = {
        name: np.repeat(panel.ancestry.reindex(part.donors).astype(str).to_numpy(), 2)
        for name, part in (("test", held), ("train", panel.train))
    }
    scores = ScoreTable(
        evaluate_haplotypes(
            held.haplotypes(),
            drawn,
            members,
            null.haplotypes(),
            position=panel.positions,
            ancestry_test=labels["test"],
            ancestry_simulated=labels["train"],
            ancestry_train=labels["train"],
            ancestry_null=labels["train"],
            seed=seed,
        )
    )
    rows = [row, {**key, "generator": "floor"}, {**key, "generator": "independent"}]
    for metric in FIDELITY:
        score = scores[metric]
        for part, value in zip(rows, (score.value, score.floor, score.null), strict=True):
            part[metric] = value
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("GENESIM_DATA", "../shared/data")))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--per-state", type=int, nargs="+", default=[4, 8, 16, 32, 64])
    parser.add_argument("--panel", default="chr2_lct", choices=list(MAKERS))
    parser.add_argument("--name", default="haplotype_privacy_states", help="of the results")
    parser.add_argument("--max-variants", type=int, default=1500, help="spread over the region")
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent)
    asked = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for seed in asked.seeds:
        panel = panels(asked.data, [asked.panel], seed)[0]
        for per_state in asked.per_state:
            rows += compared(panel, per_state, asked.max_variants)
            print({k: round(v, 3) if isinstance(v, float) else v for k, v in rows[-3].items()}, flush=True)
        with atomic_file(asked.out / f"{asked.name}.csv") as temporary:
            pd.DataFrame(rows).round(4).to_csv(temporary, index=False)
        settings = {name: getattr(asked, name) for name in ("panel", "seeds", "per_state", "max_variants")}
        write_record(asked.out / f"{asked.name}.json", done=f"division {seed}", **settings)


if __name__ == "__main__":
    main()
