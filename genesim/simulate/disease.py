"""The liability of a disease: polygenic risk, age, sex and chance; whoever is above the threshold is a case.

Liability-threshold model (Falconer 1965, Ann Hum Genet 29:51): L = risk + a z(age) + s code(sex) + e, of variance 1.
Risk is sum_j w_j (x_j - 2 p_j), its weights scaled so that sum_j 2 p_j (1 - p_j) w_j^2 = h2_liability: at the training
frequencies and in linkage equilibrium. Risk, age and sex are not exactly normal, so the threshold is not the normal
quantile: it is solved for over 20,000 reference people (drawn under Hardy-Weinberg), whose chance e is integrated out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from genesim import rng
from genesim.config.disease import Disease
from genesim.config.population import Population
from genesim.data.genotypes import Genotypes
from genesim.errors import ConditionError, ConfigError
from genesim.simulate.donor_effects import age_scores, draw_ages, sex_codes
from genesim.simulate.dosage import centred_dosage, common_variants

_N_REFERENCE = 20_000
_BLOCK = 1000


@dataclass(frozen=True)
class Liability:
    """A disease, planned: whose liability is what.

    Attributes:
        variants: Index variant; contig, position (1-based), ref, alt, weight (of one ALT allele), training_frequency.
        age, sex: Effects per SD of age and of male over female.
        sd_chance: SD of what is neither risk nor age nor sex.
        threshold: Liability above which a donor is a case.
        seed: Decides each donor's chance.
    """

    variants: pd.DataFrame
    age: float
    sex: float
    sd_chance: float
    threshold: float
    seed: int

    def risk(self, genotypes: Genotypes) -> Float[np.ndarray, " donor"]:
        """Polygenic risk of those causal variants that the genotypes have."""
        here = self.variants[self.variants.index.isin(genotypes.variants.index)]
        dosage = centred_dosage(genotypes, here.index, here["training_frequency"].to_numpy())
        return here["weight"].to_numpy() @ dosage

    def scores(
        self, risk: Float[np.ndarray, " donor"], people: pd.DataFrame, population: Population, ids: pd.Index
    ) -> pd.DataFrame:
        """`risk`, `liability` and `case` (bool) of people with the columns `sex` and, where it counts, `age`.

        Args:
            ids: What each one's chance is drawn by.
        """
        fixed = risk + self.sex * sex_codes(people["sex"], self.sex != 0)
        if self.age and population.age is not None:
            fixed = fixed + self.age * age_scores(people["age"].to_numpy(), population.age)
        chance = [rng.generator(self.seed, "disease", "chance", str(name)).normal() for name in ids]
        liability = fixed + self.sd_chance * np.array(chance)
        columns = {"risk": risk, "liability": liability, "case": liability > self.threshold}
        return pd.DataFrame(columns, index=people.index)


def _male_share(population: Population) -> float:
    female, male = (population.sex.get(level, 0.0) for level in ("female", "male"))
    return male / (female + male) if female + male else 0.0


def _threshold(disease: Disease, variants: pd.DataFrame, population: Population, sd_chance: float, seed: int) -> float:
    from scipy.optimize import brentq
    from scipy.special import ndtr

    fixed = np.zeros(_N_REFERENCE)
    weight, p = variants["weight"].to_numpy(), variants["training_frequency"].to_numpy()
    for first in range(0, _N_REFERENCE, _BLOCK):
        stream = rng.generator(seed, "disease", "reference", first)
        n = min(_BLOCK, _N_REFERENCE - first)
        fixed[first : first + n] = weight @ (stream.binomial(2, p[:, None], (len(p), n)) - 2 * p[:, None])
    stream = rng.generator(seed, "disease", "reference")
    if disease.age and population.age is not None:
        ages = draw_ages(population.age, _N_REFERENCE, stream)
        fixed += disease.age * age_scores(ages, population.age)
    fixed += disease.sex * (np.where(stream.random(_N_REFERENCE) < _male_share(population), 0.5, -0.5))

    def excess(threshold: float) -> float:
        return float(ndtr((fixed - threshold) / sd_chance).mean()) - disease.prevalence

    return float(brentq(excess, fixed.min() - 40 * sd_chance, fixed.max() + 40 * sd_chance))


def plan_disease(disease: Disease, variants: pd.DataFrame, population: Population, seed: int) -> Liability:
    """Choose causal variants and weights, and find the threshold; it depends on the arguments only.

    Args:
        variants: Index variant id; contig, start (0-based), ref, alt, frequency of ALT in training.

    Raises:
        ConditionError: A declared variant is unknown, or does not vary.
        ConfigError: Fewer common variants than causal ones.
    """
    frequency = variants["frequency"]
    if disease.weights:
        for name in disease.weights:
            if name not in variants.index or not 0 < frequency[name] < 1:
                raise ConditionError(
                    f"the weight of {name!r} is of an unknown variant, or one that does not vary",
                    where="scenario.disease.weights",
                    remedy="use variants of the haplotype models",
                )
        chosen = pd.Index(list(disease.weights), dtype=object)
        raw = np.array(list(disease.weights.values()))
    else:
        common = common_variants(variants, disease.min_maf)
        if len(common) < disease.n_causal:
            raise ConfigError(
                f"{len(common)} variants have a MAF >= {disease.min_maf:g}, {disease.n_causal} are to be causal",
                where="scenario.disease",
                remedy="lower n_causal or min_maf",
            )
        stream = rng.generator(seed, "disease", "variants")
        chosen = pd.Index(stream.choice(np.array(sorted(common), object), disease.n_causal, replace=False))
        # Sizes of equal expected variance: the rarer, the larger.
        raw = stream.normal(size=disease.n_causal) / np.sqrt(2 * frequency[chosen] * (1 - frequency[chosen])).to_numpy()
    site = variants.loc[chosen]
    p = site["frequency"].to_numpy(np.float64)
    variance = float((2 * p * (1 - p) * raw**2).sum())
    table = pd.DataFrame(
        {
            "contig": site["contig"].to_numpy(object),
            "position": site["start"].to_numpy() + 1,
            "ref": site["ref"].to_numpy(object),
            "alt": site["alt"].to_numpy(object),
            "weight": raw * np.sqrt(disease.h2_liability / variance),
            "training_frequency": p,
        },
        index=chosen.rename("variant"),
    )
    male = _male_share(population)
    rest = 1 - disease.h2_liability - disease.age**2 - disease.sex**2 * male * (1 - male)
    sd_chance = float(np.sqrt(rest))
    threshold = _threshold(disease, table, population, sd_chance, seed)
    return Liability(table, disease.age, disease.sex, sd_chance, threshold, seed)


def status(case: Bool[np.ndarray, " donor"]) -> np.ndarray:
    """Text of who is a case."""
    return np.where(case, "case", "control").astype(object)
