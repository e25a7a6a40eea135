"""Liability: prevalence, share of polygenic risk, direction of risk alleles; each against what would be wrong."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from genesim.config.disease import Disease
from genesim.config.population import AgeLaw, Population
from genesim.data.genotypes import Genotypes
from genesim.errors import ConditionError, ConfigError
from genesim.simulate.ascertain import BLOCK, candidates, take
from genesim.simulate.disease import Liability, plan_disease
from genesim.simulate.donor_effects import draw_ages

N, M = 20_000, 60


@pytest.fixture(scope="module")
def genotypes() -> Genotypes:
    stream = np.random.default_rng(0)
    p = stream.uniform(0.05, 0.95, M)
    variants = pd.DataFrame(
        {"contig": np.where(np.arange(M) < 50, "1", "X"), "start": np.arange(M) * 1000, "ref": "A", "alt": "G"},
        index=pd.Index([f"rs{i}" for i in range(M)], dtype=object),
    )
    alleles = (stream.random((M, N, 2)) < p[:, None, None]).astype(np.int8)
    donors = pd.Index([f"d{i}" for i in range(N)], dtype=object)
    return Genotypes(alleles, np.ones((M, N), bool), variants.assign(frequency=p), donors, {})


POPULATION = Population(age=AgeLaw(), sex={"female": 3, "male": 1})


@pytest.fixture(scope="module")
def people(genotypes: Genotypes) -> pd.DataFrame:
    stream = np.random.default_rng(1)
    sex = np.where(stream.random(N) < 0.25, "male", "female").astype(object)
    return pd.DataFrame({"sex": sex, "age": draw_ages(AgeLaw(), N, stream)}, index=genotypes.donors)


def scores(asked: Disease, genotypes: Genotypes, people: pd.DataFrame) -> tuple[Liability, pd.DataFrame]:
    plan = plan_disease(asked, genotypes.variants, POPULATION, 3)
    return plan, plan.scores(plan.risk(genotypes), people, POPULATION, people.index)


@pytest.mark.parametrize(
    "asked",
    [
        Disease(prevalence=0.02, h2_liability=0.5, n_causal=15),
        Disease(prevalence=0.2, h2_liability=0.85, n_causal=1),  # three genotypes: nothing like a normal
        Disease(prevalence=0.1, h2_liability=0.2, age=0.5, sex=1.0),
        Disease(prevalence=0.6, h2_liability=0.0),
    ],
)
def test_prevalence_and_shares_of_liability_are_the_declared_ones(
    asked: Disease, genotypes: Genotypes, people: pd.DataFrame
) -> None:
    _, table = scores(asked, genotypes, people)
    n_cases = int(table["case"].sum())
    assert stats.binomtest(n_cases, N, asked.prevalence).pvalue > 1e-4
    assert stats.binomtest(n_cases, N, asked.prevalence * 1.3).pvalue < 1e-3
    assert table["liability"].var() == pytest.approx(1, abs=0.05)
    assert table["risk"].var() == pytest.approx(asked.h2_liability, abs=0.03)


def test_a_normal_threshold_would_miss_a_monogenic_disease(genotypes: Genotypes, people: pd.DataFrame) -> None:
    rare = genotypes.variants["frequency"][:50].idxmin()
    plan, table = scores(Disease(prevalence=0.05, h2_liability=0.9, weights={str(rare): 1.0}), genotypes, people)
    assert stats.binomtest(int(table["case"].sum()), N, 0.05).pvalue > 1e-4
    wrong = (table["liability"] > stats.norm.isf(0.05)).sum()
    assert stats.binomtest(int(wrong), N, 0.05).pvalue < 1e-6
    assert plan.threshold != pytest.approx(stats.norm.isf(0.05), abs=0.05)


def test_risk_alleles_are_commoner_in_cases_and_protective_ones_rarer(
    genotypes: Genotypes, people: pd.DataFrame
) -> None:
    weights = {"rs1": 1.0, "rs2": -1.0}
    plan, table = scores(Disease(prevalence=0.1, h2_liability=0.3, weights=weights), genotypes, people)
    case = table["case"].to_numpy()
    for name, sign in (("rs1", 1), ("rs2", -1), ("rs7", 0)):
        alleles = genotypes.subset(variants=[name]).alleles[0]
        counts = [[int((alleles[c] == a).sum()) for a in (1, 0)] for c in (case, ~case)]
        log_or = np.log(counts[0][0] * counts[1][1] / (counts[0][1] * counts[1][0]))
        error = np.sqrt(sum(1 / n for row in counts for n in row))
        if sign:
            assert sign * log_or > 6 * error
        else:
            assert abs(log_or) < 4 * error
    ratio = plan.variants["weight"]
    assert ratio["rs1"] == pytest.approx(-ratio["rs2"])


def test_age_and_sex_shift_liability_as_declared(genotypes: Genotypes, people: pd.DataFrame) -> None:
    _, table = scores(Disease(h2_liability=0.2, age=0.4, sex=0.8), genotypes, people)
    z = (people["age"] - 50) / (60 / np.sqrt(12))
    male = (people["sex"] == "male").astype(float)
    design = np.column_stack([np.ones(N), z, male])
    found, *_ = np.linalg.lstsq(design, table["liability"].to_numpy(), rcond=None)
    assert found[1] == pytest.approx(0.4, abs=0.03)
    assert found[2] == pytest.approx(0.8, abs=0.06)


def test_chance_belongs_to_the_person_not_to_the_company(genotypes: Genotypes, people: pd.DataFrame) -> None:
    plan, table = scores(Disease(), genotypes, people)
    few = people.index[[5, 17]]
    again = plan.scores(plan.risk(genotypes.subset(donors=few)), people.loc[few], POPULATION, few)
    pd.testing.assert_frame_equal(again, table.loc[few])


def test_causal_variants_are_common_autosomal_ones(genotypes: Genotypes) -> None:
    plan = plan_disease(Disease(n_causal=40), genotypes.variants, POPULATION, 0)
    assert set(plan.variants["contig"]) == {"1"}
    with pytest.raises(ConfigError, match="are to be causal"):
        plan_disease(Disease(n_causal=51), genotypes.variants, POPULATION, 0)
    with pytest.raises(ConditionError, match="'nope'"):
        plan_disease(Disease(weights={"nope": 1.0}), genotypes.variants, POPULATION, 0)


def _threshold_of(prevalence: float) -> Liability:
    empty = pd.DataFrame({"weight": [], "training_frequency": []})
    return Liability(empty, 0.0, 0.0, 1e-9, float(stats.norm.isf(prevalence)), 0)


def test_sampling_takes_exact_numbers_in_the_candidates_order() -> None:
    population = Population(n_donors=40, age=AgeLaw(), sex={"female": 1, "male": 1})
    asked = Disease(prevalence=0.05, n_cases=25)
    seen: list[pd.DataFrame] = []

    def risk_of(block: pd.DataFrame) -> np.ndarray:
        seen.append(block)
        return np.random.default_rng(len(seen)).normal(size=len(block))

    donors = take(population, {"X": 3, "Y": 1}, asked, _threshold_of(0.05), risk_of, 7)
    assert list(donors.columns) == ["ancestry", "sex", "age", "candidate"]
    pool = pd.concat(seen)
    risk = np.concatenate([np.random.default_rng(i + 1).normal(size=BLOCK) for i in range(len(seen))])
    case = risk > stats.norm.isf(0.05)
    expected = set(pool.index[case][:25]) | set(pool.index[~case][:15])
    assert set(donors["candidate"]) == expected
    assert len(seen) * BLOCK >= 25 / 0.05 * 0.5
    # Ids are shuffled: the status cannot be read off the order.
    order = np.isin(donors["candidate"], pool.index[case])
    assert 0 < order[:20].sum() < 20
    first = pd.concat([candidates(population, {"X": 3, "Y": 1}, b, 7) for b in range(4)])
    share = float((first["ancestry"] == "X").mean())
    assert stats.binomtest(round(share * len(first)), len(first), 0.75).pvalue > 1e-3
    assert stats.binomtest(round(share * len(first)), len(first), 0.6).pvalue < 1e-6


def test_sampling_gives_up_where_there_are_no_cases() -> None:
    population = Population(n_donors=10)
    asked = Disease(prevalence=0.5, n_cases=5)
    with pytest.raises(ConfigError, match="rarer than the prevalence"):
        take(population, {"X": 1}, asked, _threshold_of(0.5), lambda block: np.full(len(block), -5.0), 0)
