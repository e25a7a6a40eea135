"""Case/control sampling: candidates are drawn one after another until there are enough of either status.

A candidate's genotypes on a contig depend on the seed, the contig, its id and its ancestry only. So every job that
draws one contig can find the same donors by itself: it draws the candidates, some hundred at a time, on the contigs
that hold causal variants, keeps their risk alone, and then draws its own contig for those who were taken. Memory holds
one block of candidates on one contig; the price is time, about n_cases / prevalence candidates a job.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd

from genesim import rng
from genesim.config.disease import Disease
from genesim.config.population import Population
from genesim.console import log
from genesim.errors import ConfigError
from genesim.simulate.disease import Liability
from genesim.simulate.donor_effects import draw_ages

BLOCK = 256
_PATIENCE = 20
"""How many times the expected number of candidates are drawn before giving up."""


def candidates(population: Population, weights: Mapping[str, float], block: int, seed: int) -> pd.DataFrame:
    """One block of people: index `candidate`; `ancestry`, `sex` and, where it has a law, `age`.

    Unlike donors without sampling, whose counts follow the shares exactly, each is drawn by itself: cases need not
    be of the shares of the population.
    """
    stream = rng.generator(seed, "population", "candidates", block)
    ids = [f"{population.prefix}_candidate{block * BLOCK + i + 1:07d}" for i in range(BLOCK)]
    table = pd.DataFrame(index=pd.Index(ids, dtype=object, name="candidate"))
    for column, shares in (("ancestry", weights), ("sex", population.sex)):
        share = np.array(list(shares.values()), float)
        table[column] = stream.choice(np.array(list(shares), object), BLOCK, p=share / share.sum())
    if population.age is not None:
        table["age"] = draw_ages(population.age, BLOCK, stream)
    return table


def take(
    population: Population,
    weights: Mapping[str, float],
    disease: Disease,
    liability: Liability,
    risk_of: Callable[[pd.DataFrame], np.ndarray],
    seed: int,
) -> pd.DataFrame:
    """The donors: exactly as many cases and controls as asked for, in the order that their ids are shuffled into.

    Args:
        weights: Share of each ancestry.
        risk_of: Polygenic risk of a block of candidates.

    Returns:
        Index donor; `ancestry`, `sex`, `age` where it has a law, and `candidate`, the id that the donor's genotypes
        and chance are drawn by.

    Raises:
        ConfigError: Cases or controls stay too few among 20 times the candidates expected to be needed.
    """
    n_donors = population.n_donors or 0
    n_cases = disease.cases_of(n_donors)
    wanted = {True: n_cases, False: n_donors - n_cases}
    expected = max(wanted[True] / disease.prevalence, wanted[False] / (1 - disease.prevalence))
    most = int(np.ceil((_PATIENCE * expected + BLOCK) / BLOCK))
    kept: dict[bool, list[pd.DataFrame]] = {True: [], False: []}
    left = dict(wanted)
    block = 0
    while any(left.values()):
        if block >= most:
            status = "cases" if left[True] else "controls"
            raise ConfigError(
                f"{block * BLOCK} candidates hold {n_donors - sum(left.values())} of the {n_donors} donors: {status} "
                "are rarer than the prevalence says",
                where="scenario.disease",
                remedy="ask for fewer, or for an ancestry whose allele frequencies are those of the training cohort",
            )
        people = candidates(population, weights, block, seed)
        case = liability.scores(risk_of(people), people, population, people.index)["case"].to_numpy()
        for value in (True, False):
            found = people[case == value].iloc[: left[value]]
            kept[value].append(found)
            left[value] -= len(found)
        block += 1
    chosen = pd.concat([*kept[True], *kept[False]])
    log.info("case/control sampling: %d of %d candidates", len(chosen), block * BLOCK)
    order = rng.generator(seed, "population", "taken").permutation(len(chosen))
    chosen = chosen.iloc[order].reset_index()
    width = max(4, len(str(n_donors)))
    ids = [f"{population.prefix}{i:0{width}d}" for i in range(1, n_donors + 1)]
    names = ["ancestry", "sex", *(["age"] if population.age is not None else []), "candidate"]
    return chosen[names].set_index(pd.Index(ids, name="donor", dtype=object))
