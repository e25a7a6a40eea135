"""Are the donors whose genotypes a generator was trained on recognised among others by its haplotypes? 1000 Genomes.

    GENESIM_DATA=path/to/data python benchmarks/haplotype_privacy.py --seeds 0 1 2

Five European populations around LCT, real donors: half train, half are held out, relatives of training donors to the
third degree (KING-robust, all variants) left out of the held-out half where the estimate's noise allows to tell them:
one region seldom does. Variants are spread over the region, because neighbours alone do not tell donors apart: with a
run of 600 even the memoriser had an AUC of .53. Each generator draws as many donors, of the same populations. Donors
are the unit: an attack scores a donor by the better of the donor's two haplotypes. The held-out donors are two folds,
one the reference and the other judged, and the other way round.

| attack | score |
| --- | --- |
| `nearest` | least Hamming distance to a simulated haplotype, negative |
| `calibrated` | least distance to a haplotype of the reference donors less that to a simulated one |
| `tract` | longest stretch, in base pairs, that is shared with a simulated haplotype |
| `calibrated_tract` | the same less the longest one shared with the reference donors |
| `white_box` | the model's own log-likelihood less that of a shadow model (anchmm) fitted on the reference donors |

| generator | what it is |
| --- | --- |
| `memoriser` | every training haplotype, 1 % of alleles taken from another one: has to exceed .95 |
| `honest` | the same of the reference donors, who are not judged: has to be about .5 |
| `anchmm` | genesim's model, default configuration |
| `mosaic` | Li and Stephens copying of training haplotypes |
| `independent` | each variant by itself, by population |

The white box has planted models of its own, and is valid by them alone: `memoriser` is there the likelihood of copying
training haplotypes: a mosaic whose panel is all of them, its rates of switching and miscopying Li and Stephens' for a
panel of that size, beside a shadow of its kind, the same of the reference donors. `honest` is an anchmm fitted on half
of the reference donors, beside a shadow fitted on the other half. `--planted-only` runs that memoriser alone, and
writes `haplotype_privacy_planted.csv`.

Writes `haplotype_privacy.csv` (a row a seed, generator and attack; AUC and TPR at 1 % false positives with intervals
by resampling donors) and `haplotype_privacy.json`.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from haplotype_panels import Panel, panels
from record import write_record

from genesim import rng
from genesim.config.model import HaplotypeConfig
from genesim.data.genotypes.record import Genotypes
from genesim.estimators.haplotypes import HaplotypeModel
from genesim.evaluate.donor_privacy import EXPOSED, TOLERANCE
from genesim.metrics.haplotype_privacy import longest_shared_tract_each, nearest_distance
from genesim.metrics.kinship import THIRD_DEGREE, king_robust
from genesim.metrics.membership import Sides, donor_attack, smallest_detectable_auc
from genesim.provenance.atomic import atomic_file

METHODS = ("anchmm", "mosaic", "independent")
NOISE = 0.01


def noisy(haplotypes: np.ndarray, n: int, generator: np.random.Generator) -> np.ndarray:
    """`n` haplotypes, each drawn as often as any other; `NOISE` of their alleles come from another haplotype."""
    first = generator.permutation(np.resize(np.arange(len(haplotypes)), n))
    second = generator.integers(0, len(haplotypes), n)
    swapped = generator.random((n, haplotypes.shape[1])) < NOISE
    return np.where(swapped, haplotypes[second], haplotypes[first]).astype(np.int8)


def of_donors(values: np.ndarray) -> np.ndarray:
    """The better haplotype of each donor."""
    return np.asarray(values, float).reshape(-1, 2).max(axis=1)


def black_box(
    simulated: np.ndarray, members: np.ndarray, others: np.ndarray, reference: np.ndarray, position: np.ndarray
) -> dict[str, Sides]:
    """Donor scores of members and judged others for each attack that sees simulated haplotypes only."""
    found = {}
    near = [[-nearest_distance(x, y) for y in (simulated, reference)] for x in (members, others)]
    long = [[longest_shared_tract_each(x, y, position) for y in (simulated, reference)] for x in (members, others)]
    for name, parts in (("nearest", near), ("tract", long)):
        found[name] = (of_donors(parts[0][0]), of_donors(parts[1][0]))
        gap = [x.astype(float) - y for x, y in parts]
        found[f"calibrated{'_tract' if name == 'tract' else ''}"] = (of_donors(gap[0]), of_donors(gap[1]))
    return found


def white_box(
    model: HaplotypeModel, shadow: HaplotypeModel, train: Genotypes, judged: Genotypes, ancestry: pd.Series | None
) -> Sides:
    """Each donor's log-likelihood under `model` less that under `shadow`, of members and of others."""
    scores = []
    for part in (train, judged):
        labels = None if ancestry is None else ancestry.reindex(part.donors)
        scores.append((model.log_likelihood(part, labels) - shadow.log_likelihood(part, labels)).to_numpy())
    return scores[0], scores[1]


def planted_memoriser(train: Genotypes, reference: Genotypes, judged: Genotypes, seed: int) -> Sides:
    """The white box on a mosaic of all training haplotypes, beside one of the reference donors'."""
    config = HaplotypeConfig(method="mosaic")
    model, shadow = (HaplotypeModel.fit(part, config=config, seed=seed) for part in (train, reference))
    return white_box(model, shadow, train, judged, None)


def folds_of(held: Genotypes, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Reference and judged donors of each fold."""
    order = rng.generator(seed, "benchmark", "folds").permutation(held.n_donors)
    parts = np.sort(order[: held.n_donors // 2]), np.sort(order[held.n_donors // 2 :])
    return [parts, parts[::-1]]


def planted_only(whole: Panel, most: int) -> dict[str, Any]:
    """AUC of the white box on its planted memoriser in one division."""
    kept, _ = unrelated(whole)
    panel = spread(whole, most)
    held, seed = panel.test.subset(donors=list(kept.donors)), panel.seed
    folds = [[held.subset(donors=rows) for rows in fold] for fold in folds_of(held, seed)]
    sides = [planted_memoriser(panel.train, reference, judged, seed) for reference, judged in folds]
    success = donor_attack(sides, rng.generator(seed, "benchmark", "bootstrap", "memoriser", "white_box"))
    return {"seed": seed, "generator": "memoriser", "attack": "white_box", **success.auc._asdict()}


def verdicts(rows: pd.DataFrame, exposed: float, chance: float) -> dict[str, bool]:
    """Whether the black-box attacks, and the white box, have controls as they have to be; by their own controls each.

    Args:
        rows: AUC by generator and attack, one division.
        exposed: AUC that the memoriser has to exceed.
        chance: How far from .5 the honest generator may be where its interval misses .5.
    """
    found = {}
    for kind, part in rows.groupby(np.where(rows["attack"] == "white_box", "white_box", "black_box")):
        honest = part[part["generator"] == "honest"]
        fair = (abs(honest["auc"] - 0.5) <= chance) | ((honest["auc_low"] <= 0.5) & (honest["auc_high"] >= 0.5))
        best = part.loc[part["generator"] == "memoriser", "auc"].max()
        found[str(kind)] = bool(best > exposed and fair.all())
    return found


def spread(panel: Panel, most: int, min_maf: float = 0.01) -> Panel:
    """At most `most` variants of minor allele frequency `min_maf` among training donors, evenly over the region."""
    p = panel.train.allele_frequency()
    rows = np.flatnonzero(np.minimum(p, 1 - p) >= min_maf)
    rows = rows[np.unique(np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(int))]
    train, test = panel.train.subset(variants=rows), panel.test.subset(variants=rows)
    return replace(panel, train=train, test=test, centimorgans=panel.centimorgans[rows])


def unrelated(panel: Panel) -> tuple[Genotypes, dict[str, Any]]:
    """Held-out donors without relatives among the training donors, as far as kinship can be told."""
    both = np.concatenate([panel.train.dosage(), panel.test.dosage()], axis=1).astype(float)
    king = king_robust(both)
    n = panel.train.n_donors
    closest = king.kinship[n:, :n].max(axis=1)
    told = king.noise < THIRD_DEGREE / 2
    kept = closest < THIRD_DEGREE if told else np.ones(len(closest), bool)
    record = {"kinship_noise": round(king.noise, 4), "told": told, "left_out": int((~kept).sum())}
    return panel.test.subset(donors=np.flatnonzero(kept)), record


def audit(whole: Panel, most: int, out: list[dict[str, Any]]) -> dict[str, Any]:
    kept, record = unrelated(whole)
    panel = spread(whole, most)
    seed, position = panel.seed, panel.positions
    held = panel.test.subset(donors=list(kept.donors))
    known = panel.ancestry.reindex(panel.train.donors)
    members = panel.train.haplotypes()
    drawn: dict[str, np.ndarray] = {}
    models: dict[str, HaplotypeModel] = {}
    for method in METHODS:
        config = HaplotypeConfig(method=method)  # type: ignore[arg-type]
        models[method] = HaplotypeModel.fit(panel.train, ancestry=known, config=config, seed=seed)
        drawn[method] = models[method].sample_for(known, seed=rng.seed(seed, "benchmark", method)).haplotypes()
    drawn["memoriser"] = noisy(members, len(members), rng.generator(seed, "benchmark", "memoriser"))
    found: dict[tuple[str, str], list[Sides]] = {}
    for fold, (reference_rows, judged_rows) in enumerate(folds_of(held, seed)):
        reference, judged = held.subset(donors=reference_rows), held.subset(donors=judged_rows)
        rows, others = reference.haplotypes(), judged.haplotypes()
        made = drawn | {"honest": noisy(rows, len(members), rng.generator(seed, "benchmark", "honest", fold))}
        for name, simulated in made.items():
            for attack, sides in black_box(simulated, members, others, rows, position).items():
                found.setdefault((name, attack), []).append(sides)

        def fitted(part: Genotypes) -> HaplotypeModel:
            config = HaplotypeConfig(method="anchmm")
            return HaplotypeModel.fit(part, ancestry=panel.ancestry.reindex(part.donors), config=config, seed=seed)

        shadow = fitted(reference)
        one, other = (fitted(reference.subset(donors=np.arange(start, reference.n_donors, 2))) for start in (0, 1))
        for name, model, beside in (
            ("anchmm", models["anchmm"], shadow),
            ("honest", one, other),
        ):
            found.setdefault((name, "white_box"), []).append(
                white_box(model, beside, panel.train, judged, panel.ancestry)
            )
        sides = planted_memoriser(panel.train, reference, judged, seed)
        found.setdefault(("memoriser", "white_box"), []).append(sides)
    n = panel.train.n_donors, held.n_donors
    for (name, attack), sides in found.items():
        success = donor_attack(sides, rng.generator(seed, "benchmark", "bootstrap", name, attack))
        row: dict[str, Any] = {"seed": seed, "generator": name, "attack": attack, "n_train": n[0], "n_holdout": n[1]}
        for figure in ("auc", "tpr"):
            row |= dict(zip((figure, f"{figure}_low", f"{figure}_high"), getattr(success, figure), strict=True))
        out.append(row)
        print({k: round(v, 3) if isinstance(v, float) else v for k, v in row.items()}, flush=True)
    least = smallest_detectable_auc(*n)
    valid = verdicts(pd.DataFrame([row for row in out if row["seed"] == seed]), EXPOSED, max(TOLERANCE, least - 0.5))
    return {"seed": seed, **record, "smallest_detectable_auc": round(least, 3), "valid": valid}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("GENESIM_DATA", "../shared/data")))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--max-variants", type=int, default=1500, help="spread over the region")
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent)
    parser.add_argument("--planted-only", action="store_true", help="only the planted memoriser of the white box")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    records = []
    if asked.planted_only:
        made = [planted_only(panels(asked.data, ["chr2_lct"], s)[0], asked.max_variants) for s in asked.seeds]
        print(pd.DataFrame(made))
        with atomic_file(asked.out / "haplotype_privacy_planted.csv") as temporary:
            pd.DataFrame(made).round(4).to_csv(temporary, index=False)
        write_record(asked.out / "haplotype_privacy_planted.json", seeds=asked.seeds, max_variants=asked.max_variants)
        return
    for seed in asked.seeds:
        panel = panels(asked.data, ["chr2_lct"], seed)[0]
        records.append(audit(panel, asked.max_variants, rows))
        with atomic_file(asked.out / "haplotype_privacy.csv") as temporary:
            pd.DataFrame(rows).round(4).to_csv(temporary, index=False)
        settings = {"panel": "chr2_lct", "max_variants": asked.max_variants, "noise": NOISE, "divisions": records}
        write_record(asked.out / "haplotype_privacy.json", **settings)


if __name__ == "__main__":
    main()
