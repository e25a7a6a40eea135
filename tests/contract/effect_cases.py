"""cis effects under the laws: 24 donors, 10 variants (one without variance, one missing a call), 4 genes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import anndata as ad
import jax.numpy as jnp
import numpy as np
import pandas as pd
from contract_case import Case, Pair
from scipy import sparse

from genesim.config.model import EffectConfig
from genesim.data.genotypes.record import Genotypes
from genesim.estimators.effects import EffectModel
from genesim.models.effects.baselines import susie_coefficients
from genesim.models.effects.problem import EffectProblem, orthonormal_covariates
from genesim.models.effects.scan import build_batch

N_DONORS, N_VARIANTS, N_GENES = 24, 10, 4
CONFIG = EffectConfig(window=20_000, n_factors=0, min_cells=1)
SHAPE = (8, 64)
"""Genes and variants of one padded batch, as the estimator makes them."""


def genotypes() -> Genotypes:
    """Unlinked variants; v9 does not vary, one allele of v5 is missing."""
    random = np.random.default_rng(0)
    alleles = (random.random((N_VARIANTS, N_DONORS, 2)) < 0.4).astype(np.int8)
    alleles[9] = 0
    alleles[5, 0, 0] = -1
    variants = pd.DataFrame(
        {"contig": "22", "start": 1000 * np.arange(N_VARIANTS), "ref": "A", "alt": "G"},
        index=pd.Index([f"v{i}" for i in range(N_VARIANTS)], dtype=object),
    )
    donors = pd.Index([f"D{i}" for i in range(N_DONORS)], dtype=object)
    return Genotypes(alleles, np.ones(alleles.shape[:2], bool), variants, donors)


def cells() -> ad.AnnData:
    """Four cells a donor; g0 follows v2."""
    random = np.random.default_rng(1)
    donor = np.repeat(np.arange(N_DONORS), 4)
    rate = np.full((len(donor), N_GENES), 20.0)
    rate[:, 0] *= (2.0 ** (2.0 * genotypes().alleles[2])).mean(1)[donor]
    obs = pd.DataFrame({"donor": [f"D{i}" for i in donor]}, index=[f"c{i}" for i in range(len(donor))])
    var = pd.DataFrame(index=[f"g{i}" for i in range(N_GENES)])
    return ad.AnnData(sparse.csr_matrix(random.poisson(rate).astype("f")), obs=obs, var=var)


@dataclass(frozen=True)
class Regression:
    """Arguments of `build_batch`: genes x donors, and the window of each gene."""

    response: np.ndarray
    weight: np.ndarray
    dosage: np.ndarray
    windows: tuple[np.ndarray, ...]

    def problem(self, shape: tuple[int, int] = SHAPE) -> EffectProblem:
        present = (self.weight > 0).any(0)
        basis = orthonormal_covariates(np.zeros((len(present), 0)), present)
        genes = np.arange(len(self.windows))
        return build_batch(genes, shape, self.response, self.weight, basis, self.windows, self.dosage.__getitem__)


def regression() -> Regression:
    random = np.random.default_rng(2)
    dosage = np.maximum(genotypes().alleles, 0).sum(2).astype(float)
    response = random.normal(size=(N_GENES, N_DONORS))
    response[0] += 2 * dosage[2]
    windows = (np.arange(10), np.arange(3), np.arange(5, 10), np.array([9]))
    return Regression(response, np.ones((N_GENES, N_DONORS)), dosage, windows)


def extreme_regressions() -> Iterator[tuple[str, Regression]]:
    usual = regression()
    response, weight, dosage, windows = usual.response, usual.weight, usual.dosage, usual.windows
    yield "constant response", Regression(0 * response + 3, weight, dosage, windows)
    yield "huge response", Regression(1e6 * response, weight, dosage, windows)
    yield "no noise", Regression(0 * response + dosage[2], weight, dosage, windows)
    yield "variants that do not vary", Regression(response, weight, 0 * dosage + 2, windows)
    yield "equal variants", Regression(response, weight, dosage[np.full(10, 2)], windows)
    yield "one donor", Regression(response, weight * (np.arange(N_DONORS) == 0), dosage, windows)
    yield "uneven weights", Regression(response, weight * 10.0 ** -np.arange(N_DONORS), dosage, windows)


def padded_and_plain(solve: Callable[[EffectProblem], Any]) -> Iterator[Pair]:
    """The same regressions in a larger batch: more genes, more variants, donors who are absent."""
    usual = regression()
    absent = np.zeros((N_GENES, 3))
    wider = Regression(
        np.hstack([usual.response, absent + 5]),
        np.hstack([usual.weight, absent]),
        np.hstack([usual.dosage, np.full((N_VARIANTS, 3), 1.0)]),
        usual.windows,
    )
    plain, padded = solve(usual.problem()), solve(wider.problem((11, 96)))
    yield Pair("genes, variants and absent donors as padding", plain, padded, 1e-4)


class SusieCase(Case):
    """`EffectModel`."""

    exempt: ClassVar = {"training": "iterates inside one compiled function, without the training loop"}

    def inputs(self) -> dict[str, Any]:
        genes = pd.DataFrame({"contig": "22", "tss": np.linspace(0, 9000, N_GENES).astype(int)})
        genes.index = [f"g{i}" for i in range(N_GENES)]
        return {"expression": cells(), "geno": genotypes(), "genes": genes}

    def fit(self, inputs: dict[str, Any], seed: int) -> EffectModel:
        return EffectModel.fit(**inputs, config=CONFIG, seed=seed)

    def answers(self, model: EffectModel, inputs: dict[str, Any]) -> dict[str, Any]:
        predicted = model.predict(inputs["geno"])
        return {"table": model.table(0.0), "egenes": model.egenes(), "predicted": predicted, "genes": model.genes}

    def draw(self, model: EffectModel, seed: int) -> dict[str, Any]:
        drawn = model.sample(seed, credible_only=False)
        return {"effects": drawn, "strongest": drawn.loc[drawn["gene"] == "g0", "log2_afc"].abs().max()}

    def save(self, model: EffectModel, directory: Path) -> None:
        model.save(directory)

    def load(self, directory: Path) -> EffectModel:
        return EffectModel.load(directory)

    def solve(self, problem: EffectProblem) -> Any:
        """As `fit_genes` calls it, so that both share one compilation."""
        return self.spec.build(problem, n_effects=CONFIG.n_effects, genes_at_once=1)

    def padding(self, model: EffectModel) -> Iterator[Pair]:
        def solve(problem: EffectProblem) -> Any:
            posterior = self.solve(problem)
            found = {"coefficients": susie_coefficients(posterior), "present": posterior.present}
            return {name: np.asarray(x)[:N_GENES, :N_VARIANTS] for name, x in found.items()}

        yield from padded_and_plain(solve)
        geno = genotypes()
        few = model.predict(geno.subset(donors=["D3", "D4"]))
        yield Pair("donors beside fewer others", model.predict(geno).mean.loc[["D3", "D4"]], few.mean, 1e-12)

    def extremes(self, model: EffectModel) -> Iterator[tuple[str, Any]]:
        for name, world in extreme_regressions():
            yield name, self.solve(world.problem())


class CoefficientCase(Case):
    """A baseline that turns an `EffectProblem` into coefficients, and keeps nothing."""

    exempt: ClassVar = {
        "draw": "gives coefficients, draws nothing",
        "storage": "keeps nothing between a problem and its coefficients",
        "training": "fitted without a training loop",
    }

    def inputs(self) -> Regression:
        return regression()

    def fit(self, inputs: Regression, seed: int) -> Any:
        return self.spec.build(inputs.problem())

    def answers(self, model: Any, inputs: Regression) -> dict[str, Any]:
        return {"coefficients": self.spec.build(inputs.problem())}

    def padding(self, model: Any) -> Iterator[Pair]:
        yield from padded_and_plain(lambda problem: np.asarray(self.spec.build(problem))[:N_GENES, :N_VARIANTS])

    def extremes(self, model: Any) -> Iterator[tuple[str, Any]]:
        for name, world in extreme_regressions():
            yield name, jnp.asarray(self.spec.build(world.problem()))


CASES: dict[tuple[str, str], type[Case]] = {
    ("effects", "susie"): SusieCase,
    ("effects", "top_variant"): CoefficientCase,
    ("effects", "ridge"): CoefficientCase,
    ("effects", "zero"): CoefficientCase,
}
