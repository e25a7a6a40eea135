"""`EffectModel` from cells and genotypes to tables, draws, predictions and files."""

from __future__ import annotations

from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from genesim.config.model import EffectConfig
from genesim.data.genotypes.record import Genotypes
from genesim.errors import ArtefactError, ConditionError, H5adError, InputError, JoinError, TrainingError
from genesim.estimators.effects import EffectModel

N_DONORS, N_VARIANTS, N_GENES = 60, 60, 16
CONFIG = EffectConfig(window=30_000, n_factors=1, min_cells=2)


def genotypes_of(alleles: np.ndarray, prefix: str = "D") -> Genotypes:
    n = alleles.shape[0]
    variants = pd.DataFrame(
        {
            "contig": "22",
            "start": np.arange(n) * 1000,
            "ref": pd.Series(["A"] * n, dtype=object).to_numpy(),
            "alt": pd.Series(["G"] * n, dtype=object).to_numpy(),
        },
        index=pd.Index([f"v{i}" for i in range(n)], dtype=object),
    )
    donors = pd.Index([f"{prefix}{i}" for i in range(alleles.shape[1])], dtype=object)
    return Genotypes(alleles, np.ones(alleles.shape[:2], bool), variants, donors)


@pytest.fixture(scope="module")
def geno() -> Genotypes:
    rng = np.random.default_rng(0)
    frequency = rng.uniform(0.2, 0.5, N_VARIANTS)[:, None, None]
    alleles = (rng.random((N_VARIANTS, N_DONORS, 2)) < frequency).astype(np.int8)
    alleles[5, :4] = -1
    return genotypes_of(alleles)


@pytest.fixture(scope="module")
def genes() -> pd.DataFrame:
    return pd.DataFrame(
        {"contig": "chr22", "tss": np.linspace(0, 59_000, N_GENES).astype(int)},
        index=[f"g{i}" for i in range(N_GENES)],
    )


def cells_of(geno: Genotypes, permuted: bool = False) -> ad.AnnData:
    """Cells of two types; g0 follows v2 (log2 aFC 1.5) in both, g15 follows v55 (-1.5) in type T only."""
    rng = np.random.default_rng(1)
    copies = np.where(geno.alleles < 0, 0, geno.alleles)
    if permuted:
        copies = copies[:, rng.permutation(N_DONORS)]
    donor = np.repeat(np.arange(N_DONORS), 16)
    kind = np.tile(["T"] * 8 + ["B"] * 8, N_DONORS)
    rate = np.tile(rng.lognormal(0, 0.5, N_GENES), (len(donor), 1))
    rate = rate * rng.lognormal(0, 0.1, (N_DONORS, N_GENES))[donor]
    rate[:, 0] *= (2.0 ** (1.5 * copies[2])).mean(1)[donor]
    rate[:, 15] *= np.where(kind == "T", (2.0 ** (-1.5 * copies[55])).mean(1)[donor], 1.0)
    counts = rng.poisson(3 * rate * rng.lognormal(0, 0.3, (len(donor), 1)))
    obs = pd.DataFrame(
        {"donor": [f"D{i}" for i in donor], "cell_type": kind}, index=[f"c{i}" for i in range(len(donor))]
    )
    var = pd.DataFrame(index=[f"g{i}" for i in range(N_GENES)])
    return ad.AnnData(sparse.csr_matrix(counts.astype(np.float32)), obs=obs, var=var)


@pytest.fixture(scope="module")
def model(geno: Genotypes, genes: pd.DataFrame) -> EffectModel:
    return EffectModel.fit(cells_of(geno), geno, genes, labels_key="cell_type", config=CONFIG)


def test_planted_effects_are_found_with_their_sign_and_size(model: EffectModel) -> None:
    table = model.table()
    assert set(table["cell_type"]) == {"all", "T", "B"}
    top = table[table["pip"] > 0.8].set_index(["gene", "variant", "cell_type"])
    assert {("g0", "v2", "T"), ("g0", "v2", "B"), ("g0", "v2", "all"), ("g15", "v55", "T")} <= set(top.index)
    assert ("g15", "v55", "B") not in top.index
    assert abs(top.loc[("g0", "v2", "all"), "log2_afc"] - 1.5) < 0.4
    assert abs(top.loc[("g15", "v55", "T"), "log2_afc"] + 1.5) < 0.4
    hit = top.loc[("g0", "v2", "all")]
    assert hit["low"] < hit["effect"] < hit["high"]
    assert tuple(hit[["contig", "position", "ref", "alt", "credible_set"]]) == (
        "22",
        2001,
        "A",
        "G",
        1,
    )
    called = model.egenes()
    called = called[called["is_egene"]]
    assert set(called.loc[called["cell_type"] == "T", "gene"]) == {"g0", "g15"}
    assert set(called.loc[called["cell_type"] == "B", "gene"]) == {"g0"}


def test_donors_differ_by_what_was_planted(model: EffectModel, geno: Genotypes) -> None:
    sd = model.donor_sd
    assert list(sd.index) == [f"g{i}" for i in range(N_GENES)]
    assert set(sd.columns) == {"all", "B", "T"}
    plain = sd.loc[[f"g{i}" for i in range(1, 15)], ["B", "T"]].to_numpy()
    assert plain.mean() == pytest.approx(0.1 / np.log(2), abs=0.05)
    copies = np.where(geno.alleles < 0, 0, geno.alleles)
    for gene, variant, delta, types in (("g0", 2, 1.5, ["B", "T"]), ("g15", 55, -1.5, ["T"])):
        factor = (2.0 ** (delta * copies[variant])).mean(1)
        variance = (factor.var() / factor.mean() ** 2 + 1) * np.exp(0.1**2) - 1
        np.testing.assert_allclose(sd.loc[gene, types], np.sqrt(np.log1p(variance)) / np.log(2), rtol=0.25)
    assert sd.loc["g15", "B"] < 0.6 * sd.loc["g15", "T"]


def test_permuted_donors_give_no_egenes(geno: Genotypes, genes: pd.DataFrame) -> None:
    model = EffectModel.fit(cells_of(geno, permuted=True), geno, genes, labels_key="cell_type", config=CONFIG)
    assert not model.egenes()["is_egene"].any()
    assert model.egenes()["n_credible_sets"].sum() <= 3


def test_draws_are_coherent_and_seeded(model: EffectModel) -> None:
    first, again, other = model.sample(3), model.sample(3), model.sample(4)
    pd.testing.assert_frame_equal(first, again)
    assert not first.equals(other)
    assert list(first.columns) == ["gene", "variant", "cell_type", "log2_afc", "lfsr"]
    assert first["lfsr"].between(0, 1).all()
    assert set(first["cell_type"]) == {"T", "B"}
    assert not first.duplicated(["gene", "variant", "cell_type"]).any()
    drawn = [model.sample(s).query("gene == 'g15' and variant == 'v55'") for s in range(30)]
    assert np.mean([(d["cell_type"] == "T").any() for d in drawn]) > 0.9
    sizes = np.concatenate([d.loc[d["cell_type"] == "T", "log2_afc"] for d in drawn])
    assert abs(sizes.mean() + 1.5) < 0.4
    assert sizes.std() > 0.02


def test_predictions_follow_alleles_even_when_swapped(model: EffectModel, geno: Genotypes) -> None:
    alleles = np.zeros((N_VARIANTS, 3, 2), np.int8)
    alleles[2] = [[0, 0], [0, 1], [1, 1]]
    new = genotypes_of(alleles, "N")
    out = model.predict(new)
    assert out.mean.shape == (3, N_GENES)
    assert out.n_absent_variants == 0
    assert out.mean["g0"].is_monotonic_increasing
    assert out.mean["g0"].iloc[2] - out.mean["g0"].iloc[0] == pytest.approx(1.5, abs=0.4)
    assert (out.low <= out.mean).all(None)
    assert (out.mean <= out.high).all(None)
    swapped = Genotypes(
        (1 - alleles).astype(np.int8),
        new.phased,
        new.variants.rename(columns={"ref": "alt", "alt": "ref"})[["contig", "start", "ref", "alt"]],
        new.donors,
    )
    pd.testing.assert_frame_equal(model.predict(swapped).mean, out.mean)
    fewer = model.predict(new.subset(variants=np.arange(10)))
    assert fewer.n_absent_variants > 0
    with pytest.raises(ConditionError, match="NK"):
        model.predict(new, cell_type="NK")


def test_haploid_alternate_counts_as_homozygous(model: EffectModel) -> None:
    alleles = np.zeros((N_VARIANTS, 2, 2), np.int8)
    alleles[2] = [[1, 1], [1, -2]]
    out = model.predict(genotypes_of(alleles, "N")).mean
    assert out["g0"].iloc[0] == pytest.approx(out["g0"].iloc[1])


def test_round_trip(model: EffectModel, geno: Genotypes, tmp_path: Path) -> None:
    pd.testing.assert_frame_equal(EffectModel.load(model.save(tmp_path / "sd")).donor_sd, model.donor_sd)
    model.save(tmp_path / "m")
    back = EffectModel.load(tmp_path / "m")
    pd.testing.assert_frame_equal(back.table(), model.table())
    pd.testing.assert_frame_equal(back.egenes(), model.egenes())
    pd.testing.assert_frame_equal(back.sample(1), model.sample(1))
    pd.testing.assert_frame_equal(back.predict(geno).high, model.predict(geno).high)
    assert back.config == model.config
    (tmp_path / "m" / "model.json").write_text("{}")
    with pytest.raises(ArtefactError):
        EffectModel.load(tmp_path / "m")


def test_bulk_on_each_scale_agrees(geno: Genotypes, genes: pd.DataFrame, tmp_path: Path) -> None:
    cells = cells_of(geno)
    sums = pd.DataFrame(cells.X.toarray()).groupby(cells.obs["donor"].to_numpy(), sort=False).sum()
    counts = ad.AnnData(sums.to_numpy(), obs=pd.DataFrame(index=sums.index), var=cells.var)
    share = sums.to_numpy() / sums.to_numpy().sum(1, keepdims=True)
    natural = ad.AnnData(share * 1e4, counts.obs, counts.var)
    logged = ad.AnnData(np.log2(natural.X + 1), counts.obs, counts.var)
    sizes = []
    for data, scale in ((counts, "counts"), (natural, "linear"), (logged, "log2")):
        model = EffectModel.fit(data, geno, genes, bulk=True, scale=scale, config=CONFIG)
        table = model.table().set_index(["gene", "variant"])
        assert table.loc[("g0", "v2"), "pip"] > 0.9
        assert set(model.sample(0)["cell_type"]) == {"*"}
        sizes.append(table.loc[("g0", "v2"), "effect"])
    assert np.ptp(sizes) < 0.1
    natural.write_h5ad(tmp_path / "bulk.h5ad")
    whole = (tmp_path / "bulk.h5ad").read_bytes()
    from_path = EffectModel.fit(str(tmp_path / "bulk.h5ad"), geno, genes, bulk=True, scale="linear", config=CONFIG)
    from_path_table = from_path.table().set_index(["gene", "variant"])
    assert from_path_table.loc[("g0", "v2"), "effect"] == pytest.approx(sizes[1])
    (tmp_path / "cut.h5ad").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(H5adError, match="cut"):
        EffectModel.fit(str(tmp_path / "cut.h5ad"), geno, genes, bulk=True, scale="linear", config=CONFIG)
    with pytest.raises(H5adError, match="negative"):
        EffectModel.fit(
            ad.AnnData(-natural.X, counts.obs, counts.var),
            geno,
            genes,
            bulk=True,
            scale="linear",
            config=CONFIG,
        )


def test_bad_joins_say_what_to_do(geno: Genotypes, genes: pd.DataFrame) -> None:
    cells = cells_of(geno)
    with pytest.raises(JoinError, match="donor_key"):
        EffectModel.fit(cells, genotypes_of(geno.alleles, "X"), genes, config=CONFIG)
    with pytest.raises(JoinError, match="contig"):
        EffectModel.fit(cells, geno, genes.assign(contig="3"), config=CONFIG)
    with pytest.raises(TrainingError, match="window"):
        EffectModel.fit(cells, geno, genes.assign(tss=genes["tss"] + 10**7), config=CONFIG)
    with pytest.raises(InputError, match="contig"):
        EffectModel.fit(cells, geno, config=CONFIG)
    covariates = pd.DataFrame({"age": 1.0}, index=[f"D{i}" for i in range(5)])
    with pytest.raises(JoinError, match="covariates"):
        EffectModel.fit(cells, geno, genes, covariates=covariates, config=CONFIG)
    covariates = pd.DataFrame({"age": np.r_[np.nan, np.ones(N_DONORS - 1)]}, index=[f"D{i}" for i in range(N_DONORS)])
    with pytest.raises(InputError, match="age"):
        EffectModel.fit(cells, geno, genes, covariates=covariates, config=CONFIG)
