"""Variants beyond the panel: numbers, spectra and frequencies against their laws; truth against the genotypes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from genesim.config.new_variants import DeNovo, LossOfFunction, RareVariants, Spectrum
from genesim.data.genotypes import Genotypes, read_genotypes, write_vcf
from genesim.data.ploidy import set_ploidy
from genesim.errors import ConfigError, JoinError
from genesim.simulate.loss_of_function import STOPS
from genesim.simulate.new_variants import add_new_variants
from genesim.simulate.pedigree import simulate_pedigree
from genesim.simulate.pedigree_table import first_cousins, founders_of
from genesim.simulate.rare_variants import expected_new, frequency_grid, learned_weights, neutral_weights, rare_counts

LENGTH = 1_000_000


def genotypes(n_donors: int = 50, contigs: tuple[str, ...] = ("1",), step: int = 997) -> Genotypes:
    stream = np.random.default_rng(0)
    rows = [(f"{c}_{p}", c, p, "A", "C") for c in contigs for p in range(0, LENGTH, step)]
    variants = pd.DataFrame(rows, columns=["id", "contig", "start", "ref", "alt"]).set_index("id")
    alleles = stream.integers(0, 2, (len(rows), n_donors, 2)).astype(np.int8)
    donors = pd.Index([f"d{i}" for i in range(n_donors)], dtype=object)
    lengths: dict[str, int | None] = dict.fromkeys(contigs, 2 * LENGTH)
    if "X" in lengths:
        lengths["X"] = 155_270_560
    return Genotypes(alleles, np.ones(alleles.shape[:2], bool), variants, donors, lengths)


def check(made: Genotypes, truth: pd.DataFrame, before: Genotypes) -> None:
    """Sorted, no position twice, old variants untouched, carriers as the truth says."""
    start = made.variants["start"].to_numpy()
    for contig in made.variants["contig"].unique():
        here = start[(made.variants["contig"] == contig).to_numpy()]
        assert (np.diff(here) > 0).all()
    old = made.subset(variants=before.variants.index)
    np.testing.assert_array_equal(old.alleles, before.alleles)
    assert made.n_variants == before.n_variants + len(truth)
    new = made.subset(variants=truth["variant"].tolist())
    assert (new.variants["start"].to_numpy() + 1 == truth["position"].to_numpy()).all()
    for alleles, row in zip(new.alleles, truth.itertuples(), strict=True):
        carriers = {f"{made.donors[d]}:{c}" for d, c in np.argwhere(alleles == 1)}
        assert carriers == set(row.carriers.split(";"))
        assert row.n_carriers == len(carriers) > 0
        assert row.ref != row.alt


def poisson_p(count: int, mean: float) -> float:
    return float(min(stats.poisson.cdf(count, mean), stats.poisson.sf(count - 1, mean)) * 2)


def test_de_novo_numbers_are_poisson_of_the_rate_and_transitions_of_the_share() -> None:
    geno = genotypes(100, step=9_973)
    made, truth = add_new_variants(geno, de_novo=DeNovo(rate=2e-5), seed=1)
    check(made, truth, geno)
    span = int(geno.variants["start"].max()) + 1
    assert poisson_p(len(truth), 200 * 2e-5 * span) > 1e-3
    assert poisson_p(len(truth), 200 * 2.4e-5 * span) < 1e-6
    assert (truth["n_carriers"] == 1).all()
    assert set(truth["reference"]) == {"drawn"}
    per_copy = truth["carriers"].value_counts().reindex([f"d{i}:{c}" for i in range(100) for c in (0, 1)], fill_value=0)
    dispersion = per_copy.var() / per_copy.mean()
    assert stats.chi2(199).sf(199 * dispersion) > 1e-3
    assert stats.chi2(199).cdf(199 * dispersion) > 1e-3
    pair = truth["ref"] + truth["alt"]
    transitions = int(pair.isin(["AG", "GA", "CT", "TC"]).sum())
    assert stats.binomtest(transitions, len(truth), 0.67).pvalue > 1e-3
    assert stats.binomtest(transitions, len(truth), 1 / 3).pvalue < 1e-9
    transversions = pair[~pair.isin(["AG", "GA", "CT", "TC"])].value_counts()
    assert len(transversions) == 8
    gc = int(truth["ref"].isin(["G", "C"]).sum())
    assert stats.binomtest(gc, len(truth), 0.41).pvalue > 1e-3


def test_three_kinds_do_not_shift_each_other_and_a_seed_decides() -> None:
    geno = genotypes()
    one = add_new_variants(geno, de_novo=DeNovo(rate=1e-6), seed=1)[1]
    again, other = (add_new_variants(geno, de_novo=DeNovo(rate=1e-6), seed=seed)[1] for seed in (1, 2))
    pd.testing.assert_frame_equal(one, again)
    assert not one.equals(other)
    nothing, empty = add_new_variants(geno, de_novo=DeNovo(rate=1e-15), seed=1)
    assert len(empty) == 0
    np.testing.assert_array_equal(nothing.alleles, geno.alleles)
    rare = RareVariants(theta=1e-4, panel_haplotypes=1000)
    both = add_new_variants(geno, de_novo=DeNovo(rate=1e-6), rare=rare, seed=1)[1]
    pd.testing.assert_frame_equal(both[both["kind"] == "de_novo"].reset_index(drop=True), one)


@pytest.fixture(scope="module")
def fasta(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A megabase in two halves, rich in CpG and N at the end."""
    path = tmp_path_factory.mktemp("fasta") / "ref.fa"
    stream = np.random.default_rng(0)
    bases = stream.choice(np.array(list("ACGT")), LENGTH + 1000)
    bases[-100_000:] = "N"
    text = "".join(bases)
    path.write_text(">chr1\n" + "\n".join(text[i : i + 60] for i in range(0, len(text), 60)) + "\n")
    return path


def test_with_a_reference_ref_bases_are_its_own_and_cpg_mutates_more(fasta: Path) -> None:
    geno = genotypes(100, step=9_973)
    sequence = "".join(fasta.read_text().splitlines()[1:])
    law = DeNovo(rate=1e-5, spectrum=Spectrum(cpg_factor=10))
    made, truth = add_new_variants(geno, de_novo=law, fasta=fasta, seed=1)
    check(made, truth, geno)
    at = truth["position"].to_numpy() - 1
    assert [sequence[p] for p in at] == truth["ref"].tolist()
    assert set(truth["reference"]) == {"fasta"}
    span = int(geno.variants["start"].max()) + 1
    known = span - sequence[:span].count("N")
    assert poisson_p(len(truth), 200 * 1e-5 * known) > 1e-3
    cpg = np.array([sequence[p : p + 2] == "CG" or sequence[p - 1 : p + 1] == "CG" for p in at])
    pair = truth["ref"] + truth["alt"]
    transition = pair.isin(["AG", "GA", "CT", "TC"]).to_numpy()
    share = 1 / 8  # of the bases of a random sequence are in a CpG
    weight = (10 * 0.67 + 0.33) * share
    assert stats.binomtest(int(cpg.sum()), len(cpg), weight / (weight + 1 - share)).pvalue > 1e-3
    assert stats.binomtest(int(transition[cpg].sum()), int(cpg.sum()), 6.7 / 7.03).pvalue > 1e-3
    assert stats.binomtest(int(transition[~cpg].sum()), int((~cpg).sum()), 0.67).pvalue > 1e-3
    with pytest.raises(ConfigError, match="FASTA"):
        add_new_variants(geno, de_novo=law)
    with pytest.raises(JoinError, match="2"):
        add_new_variants(genotypes(2, ("2",)), de_novo=law, fasta=fasta)


def test_a_pedigree_s_children_mutate_and_their_descendants_inherit() -> None:
    pedigree = first_cousins(12)
    table = founders_of(pedigree)
    whole = genotypes(len(table), ("1", "X"))
    founders = Genotypes(whole.alleles, whole.phased, whole.variants, table.index, whole.contig_lengths)
    alleles = founders.alleles.copy()
    own = (founders.variants["contig"] == "X").to_numpy()[:, None] & (table["sex"] == "male").to_numpy()
    alleles[:, :, 1] = np.where(own, alleles[:, :, 0], alleles[:, :, 1])
    par = [(0, 100_000)]
    founders = set_ploidy(
        Genotypes(alleles, founders.phased, founders.variants, founders.donors, founders.contig_lengths),
        table["sex"],
        par,
    )
    fast = pd.DataFrame({"contig": ["1", "1", "X", "X"], "pos": [1, LENGTH] * 2, "cM": [0, 100.0] * 2})
    geno, ibd = simulate_pedigree(founders, pedigree, fast, seed=1, par=par)
    made, truth = add_new_variants(geno, de_novo=DeNovo(rate=3e-6), pedigree=pedigree, ibd=ibd, seed=2)
    check(made, truth, geno)
    roles = truth["carriers"].str.split(";").map(lambda c: {name.split(":")[0].split("_")[1] for name in c})
    sex = pedigree.set_index("donor")["sex"]
    assert not any(role & {"grandfather", "grandmother", "wife", "husband"} for role in roles)
    grown = truth[[bool(r & {"son", "daughter"}) for r in roles]]
    autosomal = grown[grown["contig"] == "1"]
    inherited = autosomal["n_carriers"] == 2
    assert stats.binomtest(int(inherited.sum()), len(inherited), 0.5).pvalue > 1e-3
    counted = truth[(truth["contig"] == "1")]
    copies = 4 * 2 * 12  # son, daughter and two cousins, twelve families
    assert poisson_p(len(counted), copies * 3e-6 * int(geno.variants["start"].max() + 1)) > 1e-3
    # Nobody carries what neither parent carries, unless the mutation is the child's own.
    new = made.subset(variants=truth["variant"].tolist())
    has = pd.DataFrame((new.alleles == 1).any(axis=2), columns=new.donors)
    for row in pedigree[pedigree["father"] != ""].itertuples():
        orphan = has[row.donor] & ~has[row.father] & ~has[row.mother]
        assert (truth["n_carriers"][orphan] <= 2).all()
    males = truth[(truth["contig"] == "X") & (truth["position"] > 100_000)]
    second = males["carriers"].str.split(";").explode()
    assert not any(sex[name.split(":")[0]] == "male" and name.endswith(":1") for name in second)


def _panel(n: int, seed: int) -> tuple[Genotypes, Genotypes]:
    """A panel and 40 new donors of one msprime population that grew (an excess of rare variants)."""
    msprime = pytest.importorskip("msprime", reason="the workflow extra is not installed")
    demography = msprime.Demography()
    demography.add_population(initial_size=50_000, growth_rate=0.005)
    demography.add_population_parameters_change(time=400, initial_size=7_000, growth_rate=0, population=0)
    trees = msprime.sim_ancestry(
        n + 40, demography=demography, sequence_length=2e6, recombination_rate=1e-8, random_seed=seed
    )
    trees = msprime.sim_mutations(trees, rate=2e-8, model=msprime.BinaryMutationModel(), random_seed=seed)
    alleles = trees.genotype_matrix().astype(np.int8).reshape(trees.num_sites, -1, 2)
    position = trees.tables.sites.position.astype(int)
    keep = np.append(True, np.diff(position) > 0)
    alleles, position = alleles[keep], position[keep]
    variants = pd.DataFrame({"contig": "1", "start": position, "ref": "A", "alt": "C"})
    variants.index = pd.Index([f"s{p}" for p in position], dtype=object)
    donors = pd.Index([f"d{i}" for i in range(alleles.shape[1])], dtype=object)
    whole = Genotypes(alleles, np.ones(alleles.shape[:2], bool), variants, donors, {"1": 2_000_000})
    panel, held = (whole.subset(donors=which) for which in (np.arange(n), np.arange(n, n + 40)))
    seen = (panel.alleles == 1).any(axis=(1, 2))
    return panel.subset(variants=seen), held


def test_new_sites_and_their_spectrum_are_those_of_people_whom_the_panel_lacks() -> None:
    panel, held = _panel(150, 3)
    known = held.variants.index.isin(panel.variants.index)
    truly = (held.alleles[~known] == 1).sum(axis=(1, 2))
    truly = np.bincount(truly[truly > 0], minlength=4)
    base = held.subset(variants=known)
    made, truth = add_new_variants(base, rare=RareVariants(), panel=panel, seed=1)
    check(made, truth, base)
    drawn = np.bincount(truth["n_carriers"], minlength=4)
    n = truly[1:].sum()
    assert abs(drawn[1:].sum() - n) < 4 * np.sqrt(2 * n) + 0.05 * n
    table = np.array([[drawn[1], drawn[2:].sum()], [truly[1], truly[2:].sum()]])
    assert stats.chi2_contingency(table).pvalue > 1e-3
    # A constant-size population fitted to the common variants would foretell far too few.
    counts, size = rare_counts(panel, np.arange(panel.n_variants), np.ones(panel.n_donors, bool))
    assert size == 300
    common = counts[30:].sum() / (1 / np.arange(30, 151) + 1 / (300 - np.arange(30, 151))).sum()
    grid = frequency_grid(380)
    assert expected_new(neutral_weights(common, grid), grid, 300, 80).sum() < n - 6 * np.sqrt(n)


def test_expectations_are_fu_s_and_the_harmonic_jackknife_in_a_constant_population() -> None:
    grid = frequency_grid(450)
    found = expected_new(neutral_weights(7.0, grid), grid, 400, 50)
    assert found.sum() == pytest.approx(7.0 * (1 / np.arange(400, 450)).sum(), rel=0.01)
    assert found[0] == pytest.approx(7.0 * 50 / 450, rel=0.01)
    assert found[1] == pytest.approx(7.0 / 2 * (50 * 49) / (450 * 449), rel=0.01)
    neutral = 1000 * (1 / np.arange(1, 200) + 1 / (400 - np.arange(1, 200)))
    counts = np.append(0, np.append(neutral, 5.0)).round().astype(int)
    learned = expected_new(learned_weights(counts, 400, grid), grid, 400, 50)
    np.testing.assert_allclose(learned[:3], 1000 / 7.0 * found[:3], rtol=0.02)
    with pytest.raises(ConfigError, match="one copy"):
        learned_weights(np.array([0, 0, 5, 1]), 400, grid)


@pytest.mark.parametrize("n_panel", [60, 150])
def test_expectations_hold_over_many_populations(n_panel: int) -> None:
    """Summed over populations; 60 donors foretell what 40 more bring as well."""
    foretold, came = np.zeros(2), np.zeros(2)
    for seed in range(10, 17):
        panel, held = _panel(n_panel, seed)
        fresh = held.subset(variants=~held.variants.index.isin(panel.variants.index))
        copies = (fresh.alleles == 1).sum(axis=(1, 2))
        came += [(copies == 1).sum(), (copies > 1).sum()]
        counts, size = rare_counts(panel, np.arange(panel.n_variants), np.ones(panel.n_donors, bool))
        grid = frequency_grid(size + 80)
        expected = expected_new(learned_weights(counts, size, grid), grid, size, 80)
        foretold += [expected[0], expected[1:].sum()]
    assert foretold[0] == pytest.approx(came[0], rel=0.08)
    assert foretold[1] == pytest.approx(came[1], rel=0.3)


def test_rare_variants_stay_within_an_ancestry() -> None:
    panel, held = _panel(100, 5)
    label = pd.Series(np.where(np.arange(100) < 50, "A", "B"), index=panel.donors)
    mine = pd.Series(np.where(np.arange(40) < 20, "A", "B"), index=held.donors)
    truth = add_new_variants(
        held, rare=RareVariants(), panel=panel, panel_ancestry=label, ancestry=mine, regions=None, seed=1
    )[1]
    several = truth[truth["n_carriers"] > 1]
    assert len(several) > 5
    for carriers in several["carriers"]:
        assert len({mine[name.split(":")[0]] for name in carriers.split(";")}) == 1
    with pytest.raises(ConfigError, match="both or neither"):
        add_new_variants(held, rare=RareVariants(), panel=panel, ancestry=mine)


GTF = "".join(
    f'chr1\tx\tCDS\t{first}\t{last}\t.\t{strand}\t0\tgene_id "{gene}"; transcript_id "{gene}.t"; gene_name "{gene}";\n'
    for gene, strand, exons in (
        ("PLUS", "+", [(1001, 1300), (2001, 2300), (4001, 4300)]),
        ("MINUS", "-", [(11_001, 11_300), (12_001, 12_300), (14_001, 14_300)]),
        ("SINGLE", "+", [(21_001, 21_900)]),
    )
    for first, last in exons
)


@pytest.mark.parametrize("with_fasta", [True, False])
def test_loss_of_function_alleles_end_their_genes(fasta: Path, tmp_path: Path, with_fasta: bool) -> None:
    bases = list("".join(fasta.read_text().splitlines()[1:]))
    for start, end in ((1300, 2000), (2300, 4000)):
        bases[start : start + 2], bases[end - 2 : end] = "GT", "AG"
    for start, end in ((11_300, 12_000), (12_300, 14_000)):
        bases[start : start + 2], bases[end - 2 : end] = "CT", "AC"
    sequence = "".join(bases)
    path = tmp_path / "ref.fa"
    path.write_text(">1\n" + sequence + "\n")
    gtf = tmp_path / "a.gtf"
    gtf.write_text(GTF)
    geno = genotypes(400)
    law = LossOfFunction(genes={"PLUS": 0.05, "MINUS": 0.1, "SINGLE": 0.02}, diversity=20)
    made, truth = add_new_variants(
        geno, loss_of_function=law, annotation=gtf, fasta=path if with_fasta else None, seed=3
    )
    check(made, truth, geno)
    for gene, frequency in law.genes.items():
        carriers = int(truth["n_carriers"][truth["gene"] == gene].sum())
        assert stats.binomtest(carriers, 800, frequency).pvalue > 1e-3
        assert stats.binomtest(carriers, 800, 4 * frequency).pvalue < 1e-6
    assert set(truth["kind"]) == set(law.kinds)
    assert not truth["kind"][truth["gene"] == "SINGLE"].str.startswith("splice").any()
    introns = {"PLUS": [(1300, 2000), (2300, 4000)], "MINUS": [(11_300, 12_000), (12_300, 14_000)]}
    complement = str.maketrans("ACGT", "TGCA")
    for row in truth.itertuples():
        start = row.position - 1
        if with_fasta:
            assert sequence[start : start + len(row.ref)] == row.ref
        if row.kind == "frameshift_variant":
            assert (len(row.alt) - len(row.ref)) % 3 != 0
            assert row.ref[0] == row.alt[0]
        elif row.kind.startswith("splice"):
            donor = row.kind == "splice_donor_variant"
            left = donor == (row.gene == "PLUS")
            assert any(start in ((a, a + 1) if left else (b - 2, b - 1)) for a, b in introns[row.gene])
            assert row.ref in ("GT" if donor else "AG") if row.gene == "PLUS" else row.ref in ("CA" if donor else "TC")
        elif with_fasta:
            changed = sequence[:start] + row.alt + sequence[start + 1 :]
            exons = [(1000, 1300), (2000, 2300), (4000, 4300)]
            shift = {"PLUS": 0, "MINUS": 10_000, "SINGLE": 0}[row.gene]
            exons = [(20_999 + 1, 21_900)] if row.gene == "SINGLE" else [(a + shift, b + shift) for a, b in exons]
            stops = []
            for text in (sequence, changed):
                coding = "".join(text[a:b] for a, b in exons)
                coding = coding[::-1].translate(complement) if row.gene == "MINUS" else coding
                stops.append(sum(coding[i : i + 3] in STOPS for i in range(0, len(coding), 3)))
            assert stops[1] == stops[0] + 1
    write_vcf(made, tmp_path / "out.vcf.gz")
    back = read_genotypes(tmp_path / "out.vcf.gz")
    assert back.n_variants == made.n_variants
    np.testing.assert_array_equal(back.alleles, made.alleles)


def test_what_is_not_given_is_asked_for(tmp_path: Path) -> None:
    geno = genotypes(4)
    with pytest.raises(ConfigError, match="annotation"):
        add_new_variants(geno, loss_of_function=LossOfFunction(genes={"g": 0.1}))
    with pytest.raises(ConfigError, match="panel"):
        add_new_variants(geno, rare=RareVariants())
    crowded = pd.DataFrame({"contig": ["1"], "start": [0], "end": [20]})
    with pytest.raises(ConfigError, match="free positions"):
        add_new_variants(geno, de_novo=DeNovo(rate=1.0), regions=crowded)
    with pytest.raises(JoinError, match="'7'"):
        add_new_variants(geno, de_novo=DeNovo(), regions=pd.DataFrame({"contig": ["7"], "start": [0], "end": [9]}))
