"""Where does a trained residual (L1) of mean effects earn its place, and what does it gain on held-out conditions?

    python benchmarks/perturbation_residual.py --data ../shared/data --seeds 0 1 2

Real screens are those of `perturbation_regimes.py`. Every row of `perturbation_residual.csv` is a regime and seed:
squared error, Pearson's r and MAE of nested held-out conditions without and with a residual, the gain of squared
error as a share with its standard error, and whether the gate is open. The nested conditions are part of nothing that
predicts them, but they decide the gate. So `planted` screens have others besides (`new_before`, `new_after`: squared
error against the truth without noise, as the gate decided): doubles of 10 genes of which 30 were measured, where the
product of two places moves a program that neither moves (`synergy`), where effects add up (`additive`) and where
there are none (`nothing`). Seeds decide folds, networks and planted screens; regimes of few groups have the same
folds for every seed.
"""

from __future__ import annotations

import argparse
import os
import time
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from perturbation_regimes import screens
from record import write_record

from genesim import rng
from genesim.config.model import PerturbationConfig
from genesim.estimators.perturbation import PerturbationModel
from genesim.models.perturbation.candidates import Candidates
from genesim.models.perturbation.heldout import hold_out
from genesim.models.perturbation.library import EffectLibrary
from genesim.models.perturbation.nested import Recipe, Verdict, tried
from genesim.models.perturbation.stack import fit_stack
from genesim.provenance.atomic import atomic_file

N_GENES, N_SINGLE, N_DOUBLE, NOISE = 80, 10, 30, 0.1
PLANTED = {"synergy": (1.0, 1.0), "additive": (1.0, 0.0), "nothing": (0.0, 0.0)}


def recipe(seed: int) -> Recipe:
    """That of the default configuration."""
    config = PerturbationConfig()
    return Recipe(
        config.n_components, config.ridge, config.n_folds, config.residual_programs, config.residual_steps, seed
    )


def decided(library: EffectLibrary, regime: str, seed: int, *priors: Any) -> tuple[Verdict, dict[str, Any]] | None:
    """What nested cross-validation finds; None where it cannot be asked."""
    how = recipe(seed)
    held = hold_out(library, regime, how.n_components, how.ridge, how.n_folds, seed, *priors)
    if held is None:
        return None
    stack, _ = fit_stack(held, regime)
    start = time.process_time()
    verdict = tried(library, regime, held, stack, how, *priors)
    gate = verdict.gate
    if not gate.n:
        return None
    row: dict[str, Any] = {
        "n": gate.n,
        "open": gate.open,
        "before": gate.before,
        "after": gate.after,
        "gain_share": 1 - gate.after / gate.before,
        "gain_share_se": gate.standard_error / gate.before,
        "steps": verdict.residual.n_steps if verdict.residual is not None else 0,
    }
    for name, record in zip(("before", "after"), verdict.scores, strict=True):
        row |= {f"{metric}_{name}": record[metric] for metric in ("pearson_delta", "mae")}
    return verdict, row | {"cpu_s": time.process_time() - start}


def planted(kind: str, seed: int) -> tuple[EffectLibrary, np.ndarray, np.ndarray]:
    """A measured screen, and doses and true effects of the doubles that were not measured."""
    size, synergy = PLANTED[kind]
    draw = rng.generator(seed, "benchmark", "planted residual")
    programs = np.linalg.qr(draw.normal(size=(N_GENES, 5)))[0].T * np.sqrt(N_GENES)
    place = size * 0.25 * draw.normal(size=(N_SINGLE, 4))
    pairs = np.array(list(combinations(range(N_SINGLE), 2)))
    doubles = np.zeros((len(pairs), N_SINGLE))
    doubles[np.arange(len(pairs))[:, None], draw.permutation(pairs)] = 1
    dose = np.vstack([np.eye(N_SINGLE), doubles])
    first = dose * place[:, 0]
    product = (first.sum(1) ** 2 - (first**2).sum(1)) / 2
    truth = dose @ place @ programs[:4] + synergy * 4 * product[:, None] * programs[4]
    effect = truth + NOISE * draw.normal(size=truth.shape)
    n = N_SINGLE + N_DOUBLE
    se, context = np.full((n, N_GENES), NOISE), np.zeros(n, np.int64)
    unknown = np.full(N_SINGLE, -1)
    library = EffectLibrary(context, dose[:n], effect[:n], se, effect[:n], se, unknown, shrinks=True).shrunken()
    return library, dose[n:], truth[n:]


def planted_row(kind: str, seed: int) -> dict[str, Any]:
    """As `decided`, with the squared error of doubles that were never measured."""
    library, dose, truth = planted(kind, seed)
    found = decided(library, "combination", seed)
    assert found is not None
    verdict, row = found
    how = recipe(seed)
    made = Candidates(library, how.n_components, how.ridge)
    plain = np.stack([verdict.stack.weight @ made.all(0, d) for d in dose])
    better = plain.copy()
    if verdict.residual is not None:
        words, nothing = verdict.residual.vocabulary, np.zeros(N_GENES, bool)
        for i, d in enumerate(dose):
            better[i] += verdict.residual.of(words.told(made, (), 0, d, plain[i]), nothing)
    new = {"new_before": ((plain - truth) ** 2).mean(), "new_after": ((better - truth) ** 2).mean()}
    return {"dataset": f"planted {kind}", "regime": "combination", "seed": seed, **row, **new}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("GENESIM_DATA", "../shared/data")))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--sets", nargs="+", default=["planted", "norman", "kang", "mcfaline", "papalexi"])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    given = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for seed in given.seeds:
        if "planted" in given.sets:
            rows += [planted_row(kind, seed) for kind in PLANTED]
            write(rows, given)
        for name, how in screens(given.data):
            if name not in given.sets:
                continue
            model = PerturbationModel.fit(**{"perturbation_key": "condition", **how}, seed=seed)
            learned = model.learned
            for regime in model.stacks:
                # With one covariate both strata of a new context have the folds of a new level.
                if len(learned.library.covariates) == 1 and regime == "new_context" and name != "papalexi":
                    continue
                found = decided(learned.library, regime, seed, *model.priors.placed(learned.components, learned.groups))
                if found is not None:
                    rows.append({"dataset": name, "regime": regime, "seed": seed, **found[1]})
                    print(rows[-1], flush=True)
            write(rows, given)


def write(rows: list[dict[str, Any]], given: argparse.Namespace) -> None:
    """The table so far: a run cut short has whole screens."""
    target = given.out / "perturbation_residual.csv"
    with atomic_file(target) as temporary:
        pd.DataFrame(rows).to_csv(temporary, index=False, float_format="%.4g")
    write_record(target.with_suffix(".json"), seeds=given.seeds, sets=given.sets)


if __name__ == "__main__":
    main()
