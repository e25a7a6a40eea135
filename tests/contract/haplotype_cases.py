"""Haplotypes under the laws: 20 donors of three ancestries (one a single donor), missing and absent alleles."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import jax
import numpy as np
import pandas as pd
from contract_case import Case, Pair, step_report

from genesim.config.model import HaplotypeConfig
from genesim.data.genotypes.record import Genotypes
from genesim.estimators.haplotypes import HaplotypeModel
from genesim.models.haplotypes.anchmm import AncHmm
from genesim.train.step import em_step
from genesim.types import Condition, Minibatch

N_DONORS, N_VARIANTS = 20, 14
CONFIG = HaplotypeConfig(n_states=3, n_passes=3, minibatch_size=16)


def genotypes() -> Genotypes:
    """Phased genotypes; variant 0 is monomorphic, donor D3 is haploid, some alleles are missing."""
    random = np.random.default_rng(0)
    templates = random.integers(0, 2, (3, N_VARIANTS))
    alleles = templates[random.integers(0, 3, (N_DONORS, 2))].transpose(2, 0, 1).astype(np.int8)
    alleles ^= (random.random(alleles.shape) < 0.1).astype(np.int8)
    alleles[0] = 0
    alleles[random.random(alleles.shape) < 0.05] = -1
    alleles[:, 3, 1] = -2
    variants = pd.DataFrame(
        {"contig": "22", "start": 1000 * np.arange(N_VARIANTS), "ref": "A", "alt": "C"},
        index=pd.Index([f"rs{i}" for i in range(N_VARIANTS)], dtype=object),
    )
    donors = pd.Index([f"D{i}" for i in range(N_DONORS)], dtype=object)
    return Genotypes(alleles, np.ones(alleles.shape[:2], bool), variants, donors, {"22": 50_000})


def ancestry() -> pd.Series:
    """YRI and FIN in turn; the last donor is alone of its ancestry."""
    labels = np.array(["YRI", "FIN"] * (N_DONORS // 2), object)
    labels[-1] = "LWK"
    return pd.Series(labels, index=[f"D{i}" for i in range(N_DONORS)])


def extreme_haplotypes(n: int = 16) -> dict[str, np.ndarray]:
    """Training haplotypes [haplotype, variant] that a contig may come down to."""
    random = np.random.default_rng(1)
    usual = random.integers(0, 2, (n, N_VARIANTS)).astype(np.int8)
    worlds = {"all reference": 0 * usual, "all alternative": 0 * usual + 1, "all missing": 0 * usual - 1}
    worlds |= {"all absent": 0 * usual - 2, "one called haplotype": np.full_like(usual, -1)}
    worlds["one called haplotype"][0] = usual[0]
    return worlds


class HaplotypeCase(Case):
    """A method of `HaplotypeModel`."""

    def inputs(self) -> dict[str, Any]:
        return {"geno": genotypes(), "ancestry": ancestry()}

    def fit(self, inputs: dict[str, Any], seed: int) -> HaplotypeModel:
        config = CONFIG.model_copy(update={"method": self.method})
        return HaplotypeModel.fit(**inputs, config=config, seed=seed)

    def answers(self, model: HaplotypeModel, inputs: dict[str, Any]) -> dict[str, Any]:
        found = {"likelihood": model.log_likelihood(**inputs), "filled": model.impute(**inputs)}
        return found | {"variants": model.variants, "mix": model.ancestry_mix, "arrays": self.chain(model).arrays()}

    @staticmethod
    def chain(model: HaplotypeModel) -> Any:
        return model.contigs[0].chain

    def draw(self, model: HaplotypeModel, seed: int) -> dict[str, Any]:
        return {"donors": model.sample_for(ancestry(), seed=seed)}

    def save(self, model: HaplotypeModel, directory: Path) -> None:
        model.save(directory)

    def load(self, directory: Path) -> HaplotypeModel:
        return HaplotypeModel.load(directory)

    def padding(self, model: HaplotypeModel) -> Iterator[Pair]:
        few = ancestry().iloc[4:9]
        whole = model.sample_for(ancestry(), seed=3)
        yield Pair("donors beside fewer others", whole.alleles[:, 4:9], model.sample_for(few, seed=3).alleles)
        geno = genotypes()
        plain = model.log_likelihood(geno, ancestry())
        part = model.log_likelihood(geno.subset(donors=list(few.index)), few)
        yield Pair("likelihoods beside fewer others", plain[few.index].to_numpy(), part.to_numpy(), 1e-5)


class ClosedFormCase(HaplotypeCase):
    """A baseline fitted by counting."""

    exempt: ClassVar = {"training": "fitted without a training loop"}

    def extremes(self, model: HaplotypeModel) -> Iterator[tuple[str, Any]]:
        for name, alleles in extreme_haplotypes().items():
            codes, centimorgans = np.zeros(len(alleles), int), np.zeros(N_VARIANTS)
            codes[0] = 1  # alone
            fitted = self.spec.build(alleles, codes, 2, centimorgans)
            yield name, fitted
            yield f"{name}, likelihood", fitted.log_likelihood(np.maximum(alleles, -1), codes)


class AncHmmCase(HaplotypeCase):
    """The learned chain."""

    def n_trainings(self) -> int:
        return 1  # contigs

    def minibatch(self, alleles: np.ndarray) -> Minibatch:
        n = len(alleles)
        condition = Condition(np.arange(n)[:, None] % 2, np.zeros((n, 0), np.float32), np.zeros(n, np.float32))
        return Minibatch(alleles, condition, np.ones(n, np.float32))

    def padding(self, model: HaplotypeModel) -> Iterator[Pair]:
        yield from super().padding(model)
        alleles = np.concatenate([genotypes().haplotypes()[:13], extreme_haplotypes(3)["all alternative"]])
        whole = self.minibatch(alleles)
        weight = np.where(np.arange(16) < 13, 1.0, 0.0).astype("f")
        padded = Minibatch(whole.values, whole.condition, weight)
        short = jax.tree.map(lambda leaf: np.asarray(leaf)[:13], padded)
        plain = self.chain(model).expect(short)
        yield Pair("statistics with padding", plain, self.chain(model).expect(padded), 1e-5)
        other = CONFIG.model_copy(update={"minibatch_size": 5, "window_size": 4})
        chunked = self.spec.restore(self.chain(model).arrays(), other, 3)
        yield Pair("statistics in chunks and windows", plain, chunked.expect(padded), 1e-5)

    def extremes(self, model: HaplotypeModel) -> Iterator[tuple[str, Any]]:
        worlds = extreme_haplotypes()
        codes = np.arange(16) % 2
        first = self.spec.build(jax.random.key(0), worlds["one called haplotype"], codes, 2, CONFIG)
        step = em_step(first, 16)
        run, expect = jax.jit(step.step), jax.jit(lambda state, data: step.finish(state).expect(data))
        for name, alleles in worlds.items():
            state, minibatch = step.init(), self.minibatch(alleles)
            for n in range(3):
                yield f"{name}, statistics of pass {n}", expect(state, minibatch)
                state, info = run(state, minibatch, jax.random.key(0))
                yield f"{name}, parameters after pass {n}", state.parameters
                yield f"{name}, pass {n}", step_report(info)
            start: AncHmm = self.spec.build(jax.random.key(0), alleles, codes, 2, CONFIG)
            yield f"{name}, initialisation", start


CASES: dict[tuple[str, str], type[Case]] = {
    ("haplotypes", "anchmm"): AncHmmCase,
    ("haplotypes", "mosaic"): ClosedFormCase,
    ("haplotypes", "markov"): ClosedFormCase,
    ("haplotypes", "independent"): ClosedFormCase,
}
