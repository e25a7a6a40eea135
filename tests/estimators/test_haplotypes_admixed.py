"""`HaplotypeModel.sample_admixed` and sexes: alleles follow local ancestry, copies follow sex and position."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from genesim.config.model import HaplotypeConfig
from genesim.data.genotypes import Genotypes, read_genotypes, write_vcf
from genesim.errors import ConditionError, ConfigError, InputError
from genesim.estimators.haplotypes import HaplotypeModel
from genesim.simulate.admixture import codes_at, global_shares

CONFIG = HaplotypeConfig(n_states=6, n_passes=4, minibatch_size=64)
X = 155_270_560
LENGTHS: dict[str, int | None] = {"1": 60_000_000, "X": X, "Y": 59_373_566, "MT": 16_569}
PULSES = [(8, {"YRI": 0.7, "FIN": 0.3})]


def training(contigs: tuple[str, ...] = ("1",), n_donors: int = 80, n: int = 60) -> tuple[Genotypes, pd.DataFrame]:
    """Two ancestries with frequencies far apart (.85 and .15 by turns) and copying of neighbours."""
    stream = np.random.default_rng(0)
    ancestry = np.arange(n_donors) % 2
    sex = np.where(np.arange(n_donors) // 2 % 2, "male", "female")
    parts, rows = [], []
    for contig in contigs:
        length = LENGTHS[contig] or 0
        high = np.random.default_rng(7).integers(0, 2, (2, n))
        high[1] = 1 - high[0]
        frequency = np.where(high, 0.85, 0.15)[ancestry].T[:, :, None]
        parts.append((stream.random((n, n_donors, 2)) < frequency).astype(np.int8))
        rows += [(f"{contig}_{p}", contig, p, "A", "C") for p in np.linspace(0, length - 1, n).astype(int)]
    alleles = np.concatenate(parts)
    variants = pd.DataFrame(rows, columns=["id", "contig", "start", "ref", "alt"]).set_index("id")
    donors = pd.Index([f"D{i}" for i in range(n_donors)], dtype=object)
    table = pd.DataFrame({"ancestry": np.array(["YRI", "FIN"], object)[ancestry], "sex": sex}, index=donors)
    lengths = {contig: LENGTHS[contig] for contig in contigs}
    return Genotypes(alleles, np.ones(alleles.shape[:2], bool), variants, donors, lengths), table


def single_copies(geno: Genotypes, sex: pd.Series) -> Genotypes:
    """The second copy as the first where a donor has one: males called homozygous, as PLINK writes them."""
    alleles = geno.alleles.copy()
    contig, start = geno.variants["contig"].to_numpy(), geno.variants["start"].to_numpy()
    x = (contig == "X") & (start >= 2_699_520) & (start < 154_931_043)
    male = (sex.reindex(geno.donors) == "male").to_numpy()
    one = (x | (contig == "Y"))[:, None] & male | (contig == "MT")[:, None]
    alleles[:, :, 1] = np.where(one, alleles[:, :, 0], alleles[:, :, 1])
    alleles[np.ix_(contig == "Y", ~male)] = -1
    return Genotypes(alleles, (alleles >= 0).all(axis=2), geno.variants, geno.donors, geno.contig_lengths)


@pytest.fixture(scope="module")
def fitted() -> HaplotypeModel:
    geno, table = training()
    return HaplotypeModel.fit(geno, table["ancestry"], config=CONFIG)


def test_allele_frequencies_follow_the_local_ancestry_up_to_the_breakpoints(fitted: HaplotypeModel) -> None:
    geno, tracts = fitted.sample_admixed(300, PULSES, seed=1)
    assert list(tracts.columns) == ["donor", "copy", "contig", "start", "end", "ancestry"]
    start = geno.variants["start"].to_numpy()
    names = fitted.ancestries
    local = codes_at(tracts, start, list(geno.donors), names)
    haplotypes = geno.haplotypes()
    training_geno, table = training()
    for code, (name, other) in enumerate((names, names[::-1])):
        mine = local == code
        truth, wrong = (
            training_geno.subset(donors=(table["ancestry"] == label).to_numpy()).allele_frequency()
            for label in (name, other)
        )
        found = (haplotypes * mine).sum(0) / mine.sum(0)
        assert np.abs(found - truth).mean() < 0.08
        assert np.abs(found - wrong).mean() > 0.5
        # And so at the first variant behind a breakpoint, where a carried-over state would show.
        fresh = np.zeros_like(mine)
        fresh[:, 1:] = mine[:, 1:] & ~mine[:, :-1]
        at = fresh.any(0)
        near = (haplotypes * fresh).sum() / fresh.sum()
        expected = (truth * fresh.sum(0)).sum() / fresh.sum()
        assert at.sum() > 20
        high = truth > 0.5
        for side in (high, ~high):
            rate = haplotypes[:, side][fresh[:, side]].mean()
            assert abs(rate - truth[side].mean()) < 0.08, (name, near, expected)
    shares = global_shares(tracts)
    error = shares["YRI"].std() / np.sqrt(300)
    assert abs(shares["YRI"].mean() - 0.7) < 4 * error
    assert abs(shares["YRI"].mean() - 0.5) > 4 * error


def test_an_admixed_donor_depends_on_its_id_and_the_seed(fitted: HaplotypeModel) -> None:
    geno, tracts = fitted.sample_admixed(6, PULSES, seed=1, donors=list("abcdef"))
    alone, own = fitted.sample_admixed(1, PULSES, seed=1, donors=["c"])
    np.testing.assert_array_equal(alone.alleles[:, 0], geno.alleles[:, 2])
    pd.testing.assert_frame_equal(own, tracts[tracts["donor"] == "c"].reset_index(drop=True))
    assert (fitted.sample_admixed(6, PULSES, seed=2, donors=list("abcdef"))[0].alleles != geno.alleles).any()


def test_global_proportions_may_differ_by_donor(fitted: HaplotypeModel) -> None:
    shares = pd.DataFrame({"YRI": [1.0, 3.0], "FIN": [0.0, 1.0]}, index=["a", "b"])
    tracts = fitted.sample_admixed(2, shares=shares, donors=["a", "b"], generations=2000)[1]
    found = global_shares(tracts)
    assert found.loc["a", "YRI"] == 1
    assert found.loc["b", "YRI"] == pytest.approx(0.75, abs=0.08)
    nobody, none = fitted.sample_admixed(0, PULSES)
    assert nobody.alleles.shape[1] == len(none) == 0
    everyone = fitted.sample_admixed(3, shares={"FIN": 1})[1]
    assert set(everyone["ancestry"]) == {"FIN"}


def test_what_cannot_be_admixed_is_refused(fitted: HaplotypeModel) -> None:
    with pytest.raises(ConditionError, match="'CHB'"):
        fitted.sample_admixed(2, [(3, {"CHB": 1.0})])
    with pytest.raises(ConfigError, match=r"add up to 0\.5"):
        fitted.sample_admixed(2, [(3, {"YRI": 0.5})])
    with pytest.raises(ConfigError, match="both given, or neither"):
        fitted.sample_admixed(2)
    shares = pd.DataFrame({"YRI": [1.0, 0.0]}, index=["a", "b"])
    with pytest.raises(InputError, match="'b'"):
        fitted.sample_admixed(2, shares=shares, donors=["a", "b"])


@pytest.mark.parametrize("method", ["markov", "mosaic", pytest.param("anchmm", marks=pytest.mark.slow)])
def test_males_have_one_copy_outside_par_and_count_once(method: str, tmp_path: Path) -> None:
    contigs = ("1", "X", "Y", "MT") if method == "markov" else ("X",)
    geno, table = training(contigs, n=40)
    called = single_copies(geno, table["sex"])
    config = CONFIG.model_copy(update={"method": method, "n_passes": 2})
    model = HaplotypeModel.fit(called, table["ancestry"], config=config, sex=table["sex"])
    model.save(tmp_path / "m")
    model = HaplotypeModel.load(tmp_path / "m")
    # Males count once: the frequency on chrX is that of 2 female and 1 male copies.
    contig, start = model.variants["contig"].to_numpy(), model.variants["start"].to_numpy()
    middle = (contig == "X") & (start >= 2_699_520) & (start < 154_931_043)
    male = (table["sex"] == "male").to_numpy()
    x = geno.alleles[middle]
    once = (x[:, ~male].sum((1, 2)) + x[:, male, 0].sum(1)) / (2 * (~male).sum() + male.sum())
    np.testing.assert_allclose(model.variants["frequency"].to_numpy()[middle], once)

    labels = model.assign_ancestry(60)
    sex = pd.Series(np.where(np.arange(60) % 2, "male", "female"), index=labels.index)
    drawn = model.sample_for(labels, seed=3, sex=sex)
    boys = (sex == "male").to_numpy()
    assert (drawn.alleles[middle][:, boys, 1] == -2).all()
    assert (drawn.alleles[middle][:, ~boys] >= 0).all()
    assert (drawn.alleles[(contig == "X") & ~middle] >= 0).all()
    assert (drawn.alleles[contig == "Y"][:, boys, 1] == -2).all()
    assert (drawn.alleles[contig == "Y"][:, boys, 0] >= 0).all()
    assert (drawn.alleles[contig == "Y"][:, ~boys] == [-1, -2]).all()
    assert (drawn.alleles[contig == "MT"][:, :, 1] == -2).all()
    np.testing.assert_array_equal(drawn.alleles[contig == "1"], model.sample_for(labels, seed=3).alleles[contig == "1"])
    for name in model.ancestries:
        mine = (labels == name).to_numpy()
        truth = called.subset(donors=(table["ancestry"] == name).to_numpy()).allele_frequency()
        assert np.abs(drawn.subset(donors=mine).allele_frequency() - truth)[contig != "Y"].mean() < 0.15

    write_vcf(drawn, tmp_path / "out.vcf.gz")
    back = read_genotypes(tmp_path / "out.vcf.gz")
    np.testing.assert_array_equal(back.alleles, drawn.subset(variants=back.variants.index).alleles)
    again = HaplotypeModel.fit(back, labels, config=config.model_copy(update={"method": "independent"}), sex=sex)
    assert again.contigs[0].contig == contigs[0]

    mixed, tracts = model.sample_admixed(20, PULSES, seed=1, sex=sex)
    np.testing.assert_array_equal(mixed.alleles == -2, drawn.alleles[:, :20] == -2)
    second = tracts[(tracts["copy"] == 1) & tracts["donor"].isin(sex.index[boys])]
    assert set(second["contig"]) == {"1", "X"}.intersection(contigs)
    on_x = second[second["contig"] == "X"]
    assert ((on_x["end"] <= 2_699_520) | (on_x["start"] >= 154_931_043)).all()
    assert set(tracts["donor"][tracts["contig"] == "Y"]) <= set(sex.index[boys])
    assert (tracts[tracts["contig"].isin(["Y", "MT"])].groupby(["donor", "contig"]).size() == 1).all()


def test_unknown_sexes_and_builds_are_refused_only_where_they_matter() -> None:
    geno, table = training(("1",), n_donors=20, n=10)
    markov = CONFIG.model_copy(update={"method": "markov"})
    unknown = pd.Series("unknown", index=["SIM0001", "SIM0002"])
    HaplotypeModel.fit(geno, table["ancestry"], config=markov).sample(2, sex=unknown)
    x, table = training(("X",), n_donors=20, n=10)
    model = HaplotypeModel.fit(x, table["ancestry"], config=markov)
    with pytest.raises(ConditionError, match="unknown"):
        model.sample(2, sex=unknown)
    model.contig_lengths = {"X": None}
    with pytest.raises(ConfigError, match="GRCh38"):
        model.sample(2, sex=unknown.replace("unknown", "male"))
    par = [(0, 2_000_000)]
    assert (model.sample(2, sex=unknown.replace("unknown", "male"), par=par).alleles[3:, :, 1] == -2).all()
