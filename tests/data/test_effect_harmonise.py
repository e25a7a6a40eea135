"""External tables: reading, and bringing them to a study's variants, with every decision counted."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genesim.config.effect_prior import HarmonisePolicy
from genesim.data.effect_harmonise import Harmonised, harmonise
from genesim.data.effect_table import EffectTable, effect_table, read_effect_table
from genesim.errors import InputError, JoinError

COMPLEMENT = str.maketrans("ACGT", "TGCA")
PLAIN = [("A", "G"), ("A", "C"), ("C", "T"), ("G", "T"), ("T", "G"), ("G", "A")]
GENES = pd.Index(["ENSG00000000001", "g2"], dtype=object)


def study(alleles: list[tuple[str, str]], step: int = 100) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "contig": "22",
            "start": step * np.arange(len(alleles)),
            "ref": [a for a, _ in alleles],
            "alt": [b for _, b in alleles],
            "frequency": np.linspace(0.1, 0.3, len(alleles)),
        },
        index=pd.Index([f"v{i}" for i in range(len(alleles))], dtype=object),
    )


def table_of(variants: pd.DataFrame, gene: str = "g2", **columns: object) -> pd.DataFrame:
    """A table of the study's own variants, beta its row's number + 1."""
    names = zip(variants["contig"], variants["start"], variants["ref"], variants["alt"], strict=True)
    beta = np.arange(len(variants)) + 1.0
    ids = [f"chr{c}_{s + 1}_{r}_{a}" for c, s, r, a in names]
    return pd.DataFrame({"variant": ids, "gene": gene, "beta": beta, "se": 0.5, **columns})


def match(frame: pd.DataFrame, variants: pd.DataFrame, **policy: object) -> Harmonised:
    return harmonise(effect_table(frame), variants, GENES, policy=HarmonisePolicy(**policy))


def betas(found: Harmonised) -> dict[int, float]:
    return dict(zip(found.matched["variant"], found.matched["beta"], strict=True))


worlds = st.lists(st.sampled_from(PLAIN), min_size=1, max_size=12)


@settings(max_examples=25, deadline=None)
@given(alleles=worlds, turned=st.integers(0, 2**12 - 1), other=st.integers(0, 2**12 - 1), order=st.randoms())
def test_swaps_strands_and_order_do_not_change_what_is_found(alleles, turned, other, order) -> None:
    """Alleles swapped with the sign, complemented, rows permuted: the same harmonised effects."""
    variants = study(alleles)
    plain = match(table_of(variants), variants)
    assert betas(plain) == {i: i + 1.0 for i in range(len(alleles))}
    assert (plain.report.matched, plain.report.flipped, plain.report.strand_flipped) == (len(alleles), 0, 0)
    bits = np.arange(len(alleles))
    swap, strand = ((turned >> bits) & 1).astype(bool), ((other >> bits) & 1).astype(bool)
    changed = variants.copy()
    changed["ref"] = np.where(swap, variants["alt"], variants["ref"])
    changed["alt"] = np.where(swap, variants["ref"], variants["alt"])
    for column in ("ref", "alt"):
        changed[column] = [b.translate(COMPLEMENT) if s else b for b, s in zip(changed[column], strand, strict=True)]
    frame = table_of(changed)
    frame["beta"] *= np.where(swap, -1, 1)
    rows = list(range(len(frame)))
    order.shuffle(rows)
    found = match(frame.iloc[rows], variants)
    assert betas(found) == betas(plain)
    assert (found.report.flipped, found.report.strand_flipped) == (swap.sum(), strand.sum())
    # Flipping twice is the identity: the harmonised table, written by the study's alleles, is found as it is.
    again = match(table_of(variants).assign(beta=[betas(found)[i] for i in range(len(alleles))]), variants)
    assert betas(again) == betas(found)


def test_palindromes_are_dropped_unless_frequencies_tell_the_strand() -> None:
    variants = study([("A", "T"), ("C", "G"), ("A", "T"), ("G", "C"), ("A", "G")])
    variants["frequency"] = [0.2, 0.2, 0.45, 0.2, 0.2]
    frame = table_of(variants, af=[0.22, 0.78, 0.45, 0.5, 0.9])
    found = match(frame, variants)
    assert betas(found) == {4: 5.0}
    assert found.report.palindromes_dropped == 4
    found = match(frame, variants, palindromes="frequency")
    assert betas(found) == {0: 1.0, 1: -2.0, 4: 5.0}  # v1's ALT frequency is of the other allele: turned
    assert (found.report.palindromes_kept, found.report.palindromes_dropped) == (2, 2)
    assert betas(match(frame, variants, palindromes="keep")) == {i: i + 1.0 for i in range(5)}
    assert betas(match(frame.drop(columns="af"), variants, palindromes="frequency")) == {4: 5.0}


def test_alleles_that_do_not_fit_are_counted_by_reason() -> None:
    variants = pd.concat(
        [study([("A", "G"), ("A", "C"), ("A", "AT"), ("C", "T")]), study([("A", "G")]).set_axis(["w"])]
    ).assign(start=[0, 100, 200, 300, 500])
    both = pd.concat([variants, variants.iloc[[4]].assign(ref="T", alt="C").set_axis(["x"])])  # w and x: one place
    names = ["22_1_A_C", "22_101_T_G", "22_201_AT_A", "22_301_C_<DEL>", "22_9_A_G", "22_501_C_T", "3_1_A_G"]
    frame = pd.DataFrame({"variant": names, "gene": "g2", "beta": 1.0, "se": 1.0})
    frame[["contig", "position", "ref", "alt"]] = frame["variant"].str.split("_", expand=True).to_numpy()
    found = match(frame.drop(columns="variant"), both)
    r = found.report
    assert betas(found) == {1: 1.0, 5: -1.0}  # T>G is A>C of the other strand; C>T is T>C swapped, before any strand
    assert (r.allele_mismatch, r.indels_swapped, r.not_plain, r.not_in_genotypes) == (1, 1, 1, 2)
    assert (r.n_variants, r.matched, r.strand_flipped, r.flipped) == (7, 2, 1, 1)
    assert r.n_variants == r.matched + r.allele_mismatch + r.indels_swapped + r.not_plain + r.not_in_genotypes
    # Two variants of one place that both fit on the other strand: neither is taken.
    twins = study([("A", "C"), ("C", "A"), ("A", "G")]).assign(start=[0, 0, 100])
    frame = pd.DataFrame({"variant": ["22_1_T_G", "22_101_A_G"], "gene": "g2", "beta": 1.0, "se": 1.0})
    found = match(frame, twins)
    assert (found.report.strand_ambiguous, found.report.matched) == (1, 1)
    indel = study([("A", "AT"), ("CG", "C")])
    assert betas(match(table_of(indel), indel)) == {0: 1.0, 1: 2.0}


def test_genes_types_duplicates_and_gaps_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    variants = study(PLAIN)
    frame = table_of(variants, gene="ENSG00000000001.7", cell_type="T")
    more = [
        frame.iloc[[0]],  # an equal row
        frame.iloc[[1]].assign(beta=9.0),  # a contradiction
        frame.iloc[[2]].assign(gene="ENSG00000000009.1"),
        frame.iloc[[3]].assign(cell_type="neutrophil"),
        frame.iloc[[4]].assign(se=np.nan, cell_type="B"),
    ]
    given = effect_table(pd.concat([frame, *more]))
    with caplog.at_level(logging.INFO, logger="genesim"):
        found = harmonise(given, variants, GENES, cell_types=["T", "B"])
    r = found.report
    assert set(found.matched["gene"]) == {"ENSG00000000001"}
    assert (r.duplicates_merged, r.duplicates_conflicting) == (1, 2)
    assert (r.genes_unknown, r.rows_of_unknown_genes, r.rows_of_unknown_types, r.rows_incomplete) == (1, 1, 1, 1)
    assert r.rows_kept == 5
    assert sum(record.name == "genesim" for record in caplog.records) == 1
    assert "match rate 1.000" in caplog.text
    named = pd.DataFrame({"gene_id": ["ENSG00000000001.3"]}, index=["GENE1"])
    assert set(harmonise(effect_table(frame), variants, named).matched["gene"]) == {"GENE1"}


def test_scores_of_several_tracks_keep_the_largest_and_ids_serve() -> None:
    variants = study(PLAIN)
    frame = pd.DataFrame({"variant": ["v0", "v0", "v3", "nobody"], "score": [0.1, -0.7, 0.2, 3.0]})
    found = harmonise(effect_table(frame), variants, GENES)
    assert dict(zip(found.matched["variant"], found.matched["score"], strict=True)) == {0: -0.7, 3: 0.2}
    assert (found.report.by_id, found.report.not_in_genotypes) == (2, 1)
    with pytest.raises(InputError, match="sign of its effect"):
        effect_table(frame.assign(gene="g2", beta=1.0, se=1.0).drop(columns="score"))


def random_snps(n: int, seed: int, span: int) -> pd.DataFrame:
    draw = np.random.default_rng(seed)
    pairs = np.array([("A", "G"), ("G", "A"), ("C", "T"), ("T", "C"), ("A", "C"), ("G", "T")], object)
    chosen = pairs[draw.integers(0, len(pairs), n)]
    start = np.sort(draw.choice(span, n, replace=False))
    index = pd.Index([f"v{i}" for i in range(n)], dtype=object)
    return pd.DataFrame({"contig": "22", "start": start, "ref": chosen[:, 0], "alt": chosen[:, 1]}, index=index)


def test_another_build_is_refused_and_the_right_one_is_not() -> None:
    lengths = {"22": 100_000}
    dense = random_snps(20_000, 0, 99_000)
    right = effect_table(table_of(dense.iloc[::3]))
    assert harmonise(right, dense, GENES, contig_lengths=lengths).report.mismatch_rate == 0
    shifted = dense.assign(start=dense["start"] + 37).iloc[::3]
    with pytest.raises(JoinError, match=r"REF/ALT mismatch rate \d+%.*lift"):
        harmonise(effect_table(table_of(shifted)), dense, GENES)
    with pytest.raises(JoinError, match=r"beyond the end of their contig.*lift"):
        harmonise(
            effect_table(table_of(dense.assign(start=dense["start"] + 50_000))), dense, GENES, contig_lengths=lengths
        )
    sparse = random_snps(2000, 1, 30_000_000)
    with pytest.raises(JoinError, match=r"REF/ALT mismatch rate.*lift"):
        harmonise(effect_table(table_of(sparse.assign(start=sparse["start"] + 1))), sparse, GENES)
    # A sparse array beside a dense table of one build: most of the table is absent, and that is no other build.
    few = dense.iloc[::150]
    assert harmonise(effect_table(table_of(dense)), few, GENES).report.matched == len(few)
    with pytest.raises(JoinError, match="none of its"):
        harmonise(effect_table(table_of(dense.assign(contig="3"))), dense, GENES)


def test_the_reference_genome_tells_another_build(tmp_path: Path) -> None:
    draw = np.random.default_rng(3)
    bases = draw.choice(list("ACGT"), 50_000)
    (tmp_path / "g.fa").write_text(f">chr22\n{''.join(bases)}\n")
    variants = random_snps(1000, 2, 49_000)
    variants["ref"] = bases[variants["start"]]
    variants["alt"] = [{"A": "G", "G": "A", "C": "T", "T": "C"}[b] for b in variants["ref"]]
    fasta = tmp_path / "g.fa"
    right = harmonise(effect_table(table_of(variants)), variants, GENES, fasta=fasta)
    assert right.report.reference_mismatch_rate == 0
    moved = variants.assign(start=variants["start"] + 11)
    with pytest.raises(JoinError, match=r"neither allele in g\.fa"):
        harmonise(effect_table(table_of(moved)), moved, GENES, fasta=fasta)
    with pytest.raises(JoinError, match="indexed FASTA"):
        harmonise(effect_table(table_of(variants)), variants, GENES, fasta=tmp_path / "none.fa")


def same(a: EffectTable, b: EffectTable) -> None:
    pd.testing.assert_frame_equal(a.rows, b.rows)


def test_every_format_and_naming_gives_the_same_table(tmp_path: Path) -> None:
    variants = study(PLAIN)
    plain = table_of(variants, pip=0.5, cell_type="T")
    plain.to_csv(tmp_path / "a.tsv", sep="\t", index=False)
    plain.to_csv(tmp_path / "a.csv.gz", index=False)
    plain.to_parquet(tmp_path / "a.parquet")
    read = read_effect_table(tmp_path / "a.tsv")
    same(read, read_effect_table(tmp_path / "a.csv.gz"))
    same(read, read_effect_table(tmp_path / "a.parquet"))
    assert read.sha256 != read_effect_table(tmp_path / "a.parquet").sha256
    catalogue = pd.DataFrame(
        {
            "molecular_trait_id": "ENSG1",
            "chromosome": "22",
            "position": variants["start"] + 1,
            "ref": variants["ref"],
            "alt": variants["alt"],
            "variant": plain["variant"].to_numpy(),
            "pvalue": 0.05,
            "beta": plain["beta"].to_numpy(),
            "se": 0.5,
            "ac": 20,
            "an": 100,
            "gene_id": "g2",
        }
    )
    rows = effect_table(catalogue).rows
    assert set(rows["gene"]) == {"g2"}
    assert (rows["frequency"] == 0.2).all()
    gtex = pd.DataFrame({"variant_id": plain["variant"] + "_b38", "gene_id": "g2", "slope": 1.0, "slope_se": 0.5})
    assert (effect_table(gtex).rows["start"] == variants["start"].to_numpy()).all()
    renamed = effect_table(gtex.rename(columns={"slope": "x"}), columns={"x": "beta"})
    same(renamed, effect_table(gtex))
    from_p = effect_table(gtex.drop(columns="slope_se").assign(pval_nominal=0.0455003))
    np.testing.assert_allclose(from_p.rows["se"], 0.5, rtol=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"se": -1.0}, "column 'se' is -1.0 in row 1.*above 0"),
        ({"weight": -1.0}, "column 'weight' is -1.0 in row 1"),
        ({"pip": 1.5}, "column 'pip' is 1.5"),
        ({"beta": np.inf}, "column 'beta' is inf"),
        ({"beta": "strong"}, "'strong' in row 1, which is no number"),
        ({"variant": "22_1_<DEL>_A"}, "without position and alleles"),
    ],
)
def test_values_without_a_meaning_are_refused(change: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        effect_table(table_of(study(PLAIN)).assign(**change), "effects")


def test_files_that_cannot_be_tables_are_refused(tmp_path: Path) -> None:
    frame = table_of(study(PLAIN))
    with pytest.raises(InputError, match="beta and se"):
        effect_table(frame.drop(columns="se"))
    with pytest.raises(InputError, match="has no column gene"):
        effect_table(frame.drop(columns="gene"))
    with pytest.raises(InputError, match="variant, or contig"):
        effect_table(frame.drop(columns="variant"))
    with pytest.raises(InputError, match="cannot be read"):
        read_effect_table(tmp_path / "absent.tsv")
    (tmp_path / "a.xlsx").write_bytes(b"PK")
    with pytest.raises(InputError, match="suffix"):
        read_effect_table(tmp_path / "a.xlsx")
    frame.to_csv(tmp_path / "a.tsv.gz", sep="\t", index=False)
    whole = (tmp_path / "a.tsv.gz").read_bytes()
    (tmp_path / "cut.tsv.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="cut"):
        read_effect_table(tmp_path / "cut.tsv.gz")
