"""Generators of haplotypes compared in one run with held-out real ones: genesim, its baselines and peers.

    python benchmarks/haplotypes.py --data ../shared/data --seeds 0 1 2

Each generator learns from the training haplotypes and draws as many, of the same populations. Writes to `--out`:
`haplotypes.csv` (a row a panel, population, method and seed), `haplotypes_summary.csv` (mean and SD over seeds),
`haplotypes_bars.csv` (what was asked on the 10,000-SNP set, beside the floor and the resampled training set),
`haplotypes.png` and `haplotypes.json` (command, commit, versions, settings, what was skipped and why). See
benchmarks/README.md for every column. Fits and scores are kept in `--cache`. `--tune` divides the training donors
in two and never reads the held-out ones: use it for every choice of a setting.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

# Threads of OpenMP that wait for cores which others hold made the classifier 30 times slower. Before numpy loads it.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
from fits import digest, sources
from haplotype_figure import FREQUENCIES_OF, figure
from haplotype_fits import (
    FLOOR,
    GENESIM,
    HELD_OUT,
    MODEL_SOURCES,
    PEERS,
    RESAMPLED,
    SWEEP,
    Drawn,
    drawn,
    reason_to_skip,
)
from haplotype_imputation import beagle, imputation_r2, impute
from haplotype_panels import MAKERS, Panel, panels
from haplotype_scores import (
    Reference,
    drawn_rows,
    fidelity_scores,
    floor_scores,
    other_sites,
    training_scores,
)
from haplotype_tables import bars, summary
from record import write_record

from genesim.config.model import HaplotypeConfig
from genesim.console import setup

DEFAULT = (HELD_OUT, FLOOR, RESAMPLED, *GENESIM, *PEERS)
VERSION = 1  # raise it when the scripts' scores change
METRIC_SOURCES = ("metrics/haplotype*.py", "metrics/three_point.py", "metrics/distribution.py")
ALL = "all"


class Scorer:
    """Scores of one panel, of everyone and of each population; the real side is computed once."""

    def __init__(self, panel: Panel, cache: Path, populations: bool) -> None:
        self.panel, self.cache = panel, cache
        self.sets = {part: panel.haplotypes(part) for part in ("train", "test")}
        self.codes = {part: panel.codes(part) for part in ("train", "test")}
        self.names = {ALL: None} | ({name: code for code, name in enumerate(panel.labels)} if populations else {})
        self.references: dict[str, Reference] = {}

    def _rows(self, codes: np.ndarray, population: str) -> np.ndarray:
        code = self.names[population]
        return np.arange(len(codes)) if code is None else np.flatnonzero(codes == code)

    def _reference(self, population: str) -> Reference:
        if population not in self.references:
            parts = [self.sets[part][self._rows(self.codes[part], population)] for part in ("train", "test")]
            self.references[population] = Reference(*parts, self.panel.positions, self.panel.seed)
        return self.references[population]

    def _imputed(self, found: Drawn) -> dict[str, dict[str, float]]:
        """Imputation r2 of every population's held-out donors from the whole synthetic panel."""
        held_out, train = self.sets["test"], self.panel.train
        dosage, typed = impute(found.haplotypes, held_out, train.variants, self.panel.centimorgans, self.panel.seed)
        scores = {}
        for population in self.names:
            rows = self._rows(self.codes["test"], population)
            scores[population] = imputation_r2(dosage[rows[::2] // 2], typed, held_out[rows])
        return scores

    def _likelihood(self, found: Drawn, rows: np.ndarray) -> dict[str, float]:
        """Nats a held-out haplotype: mixed over labels by the training mix, and given its own label."""
        if found.log_likelihood is None or found.mix is None:
            return {}
        values = found.log_likelihood[rows]
        mixed = np.logaddexp.reduce(values + np.log(found.mix), axis=1)
        own = values[np.arange(len(rows)), self.codes["test"][rows]] if values.shape[1] > 1 else values[:, 0]
        return {"test_ll": float(mixed.mean()), "test_ll_given_population": float(own.mean())}

    def _one(self, method: str, found: Drawn, population: str) -> dict[str, float]:
        reference = self._reference(population)
        rows = self._rows(found.codes, population)
        synthetic = found.haplotypes[rows[drawn_rows(len(rows), reference.n, self.panel.seed, "synthetic")]]
        if method == HELD_OUT or found.positions is not None:
            positions = self.panel.positions if found.positions is None else found.positions
            return other_sites(reference, reference.test if method == HELD_OUT else synthetic, positions)
        # The floor's own rows, not those of `synthetic`, which would be another subsample of the training set.
        scores = fidelity_scores(reference, reference.train if method == FLOOR else synthetic)
        scores |= floor_scores(reference) if method == FLOOR else training_scores(reference, synthetic)
        return scores | self._likelihood(found, self._rows(self.codes["test"], population))

    def rows(self, method: str, found: Drawn, with_beagle: bool) -> list[dict[str, Any]]:
        """A row a population, from the cache where it has them."""
        panel = self.panel
        sets = self.sets | {"drawn": found.haplotypes, "codes": found.codes}
        sets |= {} if found.log_likelihood is None else {"likelihood": found.log_likelihood}
        settings = [VERSION, method in (FLOOR, HELD_OUT), panel.seed, list(self.names), with_beagle]
        name = digest(sets, [*settings, sources(METRIC_SOURCES), _scripts()])
        path = self.cache / f"haplotype_scores_{name}.json"
        if not path.is_file():
            self.cache.mkdir(parents=True, exist_ok=True)
            can_impute = with_beagle and method != HELD_OUT and found.positions is None
            imputed = self._imputed(found) if can_impute else {}
            scores = {p: self._one(method, found, p) | imputed.get(p, {}) for p in self.names}
            partial = path.with_suffix(".partial")
            partial.write_text(json.dumps(scores))
            partial.replace(path)
        scores = json.loads(path.read_text())
        shape = {"n_variants": panel.train.n_variants}
        return [
            {"panel": panel.name, "population": population, "method": method, "seed": panel.seed}
            | {"n_haplotypes": self._reference_size(population)}
            | shape
            | scores[population]
            | (found.figures if population == ALL else {})
            for population in self.names
        ]

    def _reference_size(self, population: str) -> int:
        return min(len(self._rows(self.codes[part], population)) for part in ("train", "test"))


def _scripts() -> str:
    """Contents of the scripts that decide a score."""
    folder = Path(__file__).resolve().parent
    return "".join((folder / f"haplotype_{name}.py").read_text() for name in ("scores", "imputation"))


def arguments() -> argparse.Namespace:
    """What the command line says; unknown names end the program."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("GENESIM_DATA", "../shared/data")))
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent, help="folder of the results")
    parser.add_argument("--cache", type=Path, default=Path(".cache/benchmarks"), help="folder of finished fits")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--panels", nargs="+", choices=list(MAKERS), default=list(MAKERS))
    parser.add_argument("--methods", nargs="+", default=list(DEFAULT), help=f"of {', '.join([*DEFAULT, *SWEEP])}")
    parser.add_argument("--sweep", action="store_true", help="also anchmm with other sizes, on the first panel")
    parser.add_argument("--variants", type=Path, help="JSON of further genesim generators: name to config changes")
    parser.add_argument("--anchmm", type=json.loads, default={}, help="JSON of changes to every anchmm's config")
    parser.add_argument("--tune", action="store_true", help="divide the training donors; the held-out stay unread")
    parser.add_argument("--max-variants", type=int, help="a contiguous run of so many, from the middle")
    parser.add_argument("--region", help="start-end in base pairs, 1-based")
    parser.add_argument("--no-populations", action="store_true", help="everyone together only")
    parser.add_argument("--no-imputation", action="store_true", help="without Beagle")
    asked = parser.parse_args()
    further = json.loads(asked.variants.read_text()) if asked.variants else {}
    asked.settings = {name: GENESIM[name] for name in GENESIM} | SWEEP | further | PEERS
    for name, changes in asked.settings.items():
        if name not in PEERS and changes.get("method", "anchmm") == "anchmm":
            asked.settings[name] = asked.anchmm | changes
            HaplotypeConfig.model_validate(asked.settings[name])
    asked.methods = list(dict.fromkeys([*asked.methods, *further, *(SWEEP if asked.sweep else ())]))
    unknown = [
        name for name in asked.methods if name not in asked.settings and name not in (FLOOR, HELD_OUT, RESAMPLED)
    ]
    if unknown:
        parser.error(f"unknown methods {', '.join(unknown)}; known: {', '.join([*DEFAULT, *SWEEP, *further])}")
    return asked


def main() -> None:
    asked = arguments()
    setup()
    asked.out.mkdir(parents=True, exist_ok=True)
    with_beagle = not asked.no_imputation and beagle() is not None
    skipped = {} if with_beagle else {"imputation": "not asked for" if asked.no_imputation else "Beagle is absent"}
    rows: list[dict[str, Any]] = []
    frequencies: dict[str, np.ndarray] = {}
    for seed in asked.seeds:
        for number, name in enumerate(asked.panels):
            limits = {"tune": asked.tune, "max_variants": asked.max_variants, "region": asked.region}
            (panel,) = panels(asked.data, [name], seed, **limits)
            scorer = Scorer(panel, asked.cache, not asked.no_populations)
            for method in asked.methods:
                reason = reason_to_skip(method, panel)
                if method in SWEEP and number:
                    reason = "the sweep is made on the first panel"
                if reason is not None:
                    skipped[f"{panel.name}, {method}"] = reason
                    continue
                clock = time.perf_counter()
                found = drawn(asked.cache, panel, method, asked.settings.get(method, {}))
                rows += scorer.rows(method, found, with_beagle)
                if number == 0 and method in (HELD_OUT, *FREQUENCIES_OF):
                    frequencies.setdefault(method, found.haplotypes.mean(0))
                mine = rows[-len(scorer.names)]
                shown = {
                    k: round(mine[k], 4) for k in ("ld_rmse", "three_point_r", "impute_r2", "aa_t_train") if k in mine
                }
                print(panel.name, seed, method, shown, f"{time.perf_counter() - clock:.0f} s", flush=True)
            # Every panel's end leaves whole files behind.
            table = pd.DataFrame(rows)
            table.to_csv(asked.out / "haplotypes.csv", index=False, float_format="%.6g")
            summary(table).to_csv(asked.out / "haplotypes_summary.csv", index=False, float_format="%.5g")
            bars(table, f"chr15_10k{'_tune' if asked.tune else ''}").to_csv(
                asked.out / "haplotypes_bars.csv", index=False, float_format="%.5g"
            )
    figure(table, frequencies, asked.out / "haplotypes.png")
    used = {name: asked.settings[name] for name in asked.methods if name in asked.settings}
    code = {"model": sources(MODEL_SOURCES), "metrics": sources(METRIC_SOURCES)}
    default = HaplotypeConfig().model_dump(mode="json")
    write_record(
        asked.out / "haplotypes.json", methods=used, default=default, skipped=skipped, sources=code, version=VERSION
    )


if __name__ == "__main__":
    main()
