"""Laws of random effects: sizes, places, types and heritability, each against a law that is wrong."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from genesim import rng
from genesim.config.effects import RandomEffects
from genesim.errors import ConfigError
from genesim.simulate.effect_sizes import _correlated_sizes, _unit_size, genetic_variance, random_effects

TYPES = ["B", "NK", "T"]
DF = 2.5
UNIT = {
    "normal": stats.norm(),
    "laplace": stats.laplace(scale=0.5**0.5),
    "t": stats.t(DF, scale=((DF - 2) / DF) ** 0.5),
}


@pytest.fixture(scope="module")
def variants() -> pd.DataFrame:
    stream = np.random.default_rng(0)
    n = 400
    return pd.DataFrame(
        {"contig": "1", "start": np.arange(n) * 5000, "frequency": stream.uniform(0.06, 0.94, n)},
        index=pd.Index([f"rs{i}" for i in range(n)], dtype=object),
    )


@pytest.fixture(scope="module")
def genes() -> pd.DataFrame:
    names = [f"g{i:03d}" for i in range(150)]
    return pd.DataFrame({"contig": "1", "tss": 200_000 + 10_000 * np.arange(150)}, index=pd.Index(names, name="gene"))


def test_sizes_follow_their_law_and_no_other() -> None:
    for name, law in UNIT.items():
        stream = np.random.default_rng(3)
        asked = RandomEffects(law=name, degrees_of_freedom=DF)  # type: ignore[arg-type]
        drawn = np.array([_unit_size(asked, stream) for _ in range(6000)])
        assert law.var() == pytest.approx(1)
        for other, cdf in UNIT.items():
            p = stats.kstest(drawn, cdf.cdf).pvalue
            assert p > 1e-3 if other == name else p < 1e-4, (name, other)


@pytest.mark.parametrize("law", ["normal", "laplace", "t"])
def test_correlated_sizes_keep_their_law_and_correlation(law: str) -> None:
    stream = np.random.default_rng(4)
    asked = RandomEffects(law=law, effect_correlation=0.6, degrees_of_freedom=DF)  # type: ignore[arg-type]
    drawn = np.array([_correlated_sizes(asked, 0.6, 3, stream) for _ in range(6000)])
    assert stats.kstest(drawn[:, 1], UNIT[law].cdf).pvalue > 1e-3
    # Rank correlation: of a fat tail the product moment is too noisy.
    tau = stats.kendalltau(drawn[:, 0], drawn[:, 2]).statistic
    assert np.sin(np.pi / 2 * tau) == pytest.approx(0.6, abs=0.04)  # holds for elliptical laws


def test_the_genetic_variance_equals_the_slow_oracle() -> None:
    stream = np.random.default_rng(1)
    for k, size in ((1, 2.0), (2, 1.5), (3, 1.0), (9, 0.3)):
        delta, p = size * stream.normal(size=k), stream.uniform(0.1, 0.9, k)
        copies = stream.random((400_000, 2, k)) < p
        value = np.log2(np.exp2(copies @ delta).mean(axis=1))
        assert genetic_variance(delta, p) == pytest.approx(value.var(), rel=0.02)
    # One variant by hand; half of the fold change as slope would be wrong for a large effect.
    p, delta = 0.2, -3.0
    genotype = np.array([0.0, np.log2((1 + 2.0**delta) / 2), delta])
    weight = np.array([(1 - p) ** 2, 2 * p * (1 - p), p**2])
    exact = weight @ genotype**2 - (weight @ genotype) ** 2
    assert genetic_variance(np.array([delta]), np.array([p])) == pytest.approx(exact)
    assert abs(2 * p * (1 - p) * (delta / 2) ** 2 / exact - 1) > 0.2


@pytest.mark.parametrize("n_causal", [1, 3, 8])
def test_h2_is_the_declared_share_of_variance(n_causal: int, variants: pd.DataFrame, genes: pd.DataFrame) -> None:
    sd, h2 = 0.4, 0.3
    law = RandomEffects(share_of_genes=0.3, n_causal=n_causal, h2=h2, law="laplace", shared=0.5)
    drawn = random_effects(law, genes, variants, TYPES, 0, donor_sd=sd)
    for _, mine in drawn.groupby("gene"):
        found = []
        for name in TYPES:
            here = mine[mine["cell_type"].isin(["*", name])]
            if len(here):
                p = variants.loc[here["variant"], "frequency"].to_numpy()
                found.append(genetic_variance(here["log2_afc"].to_numpy(), p))
        variance = np.mean(found)
        assert variance / (variance + sd**2) == pytest.approx(h2, abs=1e-6)


def test_defaults_draw_what_they_always_drew(variants: pd.DataFrame, genes: pd.DataFrame) -> None:
    """The slow oracle is the loop as it was before laws, decay and correlation came."""
    law = RandomEffects(share_of_genes=0.4, n_causal=2, sd_log2_afc=0.7, window=60_000, min_maf=0.1)
    common = variants[np.minimum(variants["frequency"], 1 - variants["frequency"]) >= 0.1]
    near = {
        gene: common.index[(common["start"] - tss).abs() <= law.window].to_numpy() for gene, tss in genes["tss"].items()
    }
    eligible = sorted(gene for gene, names in near.items() if len(names) >= 2)
    rows = []
    for gene in sorted(
        rng.generator(5, "effects", "genes").choice(eligible, round(0.4 * len(eligible)), replace=False)
    ):
        stream = rng.generator(5, "effects", str(gene))
        for variant in stream.choice(near[gene], 2, replace=False):
            size = stream.normal()
            acts_in = "*" if stream.random() < law.shared else stream.choice(np.array(TYPES, object))
            rows.append((gene, variant, acts_in, 0.7 * size))
    drawn = random_effects(law, genes, variants, TYPES, 5)
    assert drawn[["gene", "variant", "cell_type", "log2_afc"]].values.tolist() == [list(row) for row in rows]
    assert (drawn["log2_afc_slope"] == 0).all()


def test_causal_variants_gather_at_the_tss_as_declared(variants: pd.DataFrame, genes: pd.DataFrame) -> None:
    def distances(decay: float | None) -> np.ndarray:
        law = RandomEffects(share_of_genes=1, window=150_000, tss_decay=decay)
        parts = [random_effects(law, genes, variants, TYPES, seed) for seed in range(4)]
        drawn = pd.concat(parts)
        tss = genes.loc[drawn["gene"], "tss"].to_numpy()
        return np.abs(variants.loc[drawn["variant"], "start"].to_numpy() - tss)

    bins = np.arange(0, 155_000, 30_000)
    expected = {}
    every = np.abs(variants["start"].to_numpy() - 900_000)
    every = every[every <= 150_000]
    for name, weight in {"decay": np.exp(-every / 40_000), "even": np.ones(len(every))}.items():
        share, _ = np.histogram(every, bins, weights=weight)
        expected[name] = share / share.sum()
    for decay, right, wrong in ((40_000, "decay", "even"), (None, "even", "decay")):
        seen, _ = np.histogram(distances(decay), bins)
        assert stats.chisquare(seen, expected[right] * seen.sum()).pvalue > 1e-3
        assert stats.chisquare(seen, expected[wrong] * seen.sum()).pvalue < 1e-6


def test_a_tiny_decay_takes_the_nearest_variants(variants: pd.DataFrame, genes: pd.DataFrame) -> None:
    law = RandomEffects(share_of_genes=1, window=150_000, tss_decay=1.0, n_causal=3)
    drawn = random_effects(law, genes, variants, TYPES, 0)
    distance = np.abs(variants.loc[drawn["variant"], "start"].to_numpy() - genes.loc[drawn["gene"], "tss"].to_numpy())
    assert len(drawn) == 3 * len(genes)
    assert distance.max() <= 60_000


def test_dynamic_effects_are_the_declared_share_and_leave_the_rest_alone(
    variants: pd.DataFrame, genes: pd.DataFrame
) -> None:
    plain = RandomEffects(share_of_genes=1)
    moving = RandomEffects(share_of_genes=1, dynamic={"share": 0.3, "sd_log2_afc": 0.8, "shape": "peak"})  # type: ignore[arg-type]
    before, after = (random_effects(law, genes, variants, TYPES, 1) for law in (plain, moving))
    pd.testing.assert_frame_equal(before.iloc[:, :4], after.iloc[:, :4])
    moves = after["log2_afc_slope"] != 0
    assert stats.binomtest(int(moves.sum()), len(after), 0.3).pvalue > 1e-3
    assert stats.binomtest(int(moves.sum()), len(after), 0.6).pvalue < 1e-6
    assert set(after.loc[moves, "shape"]) == {"peak"}
    assert set(after.loc[~moves, "shape"]) == {""}
    assert stats.kstest(after.loc[moves, "log2_afc_slope"] / 0.8, "norm").pvalue > 1e-3


def test_too_few_variants_are_told(variants: pd.DataFrame, genes: pd.DataFrame) -> None:
    with pytest.raises(ConfigError, match="no gene has 50 common variants"):
        random_effects(RandomEffects(n_causal=50, window=20_000), genes, variants, TYPES, 0)
