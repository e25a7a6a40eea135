"""Dosage of genes by donor, from annotated genotypes."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pysam
import pytest

import genesim as gs
from genesim.errors import ConfigError, GenesimError, InputError, JoinError, VcfError

VEP = "Allele|Consequence|SYMBOL|Gene|EXON|NMD|LoF|LoF_filter|HGVSp"
ANN = (
    "Functional annotations: 'Allele | Annotation | Annotation_Impact | Gene_Name | Gene_ID | Feature_Type | "
    "Feature_ID | Transcript_BioType | Rank | HGVS.c | HGVS.p | cDNA | CDS | AA | Distance | ERRORS'"
)
COMPLETE = gs.DosageRules(nmd_efficiency=1.0)


def csq(allele: str, terms: str, symbol: str = "AAA", **values: str) -> str:
    known = {"Allele": allele, "Consequence": terms, "SYMBOL": symbol, "Gene": f"E{symbol}", **values}
    return "CSQ=" + "|".join(known.get(name, "") for name in VEP.split("|"))


STOP = csq("T", "stop_gained", EXON="2/5")


def vcf(tmp_path: Path, records: list[str], donors: str = "d1", header: str | None = None) -> Path:
    """A VCF; records are "POS REF ALT INFO FORMAT call call ..." with an optional FILTER after ALT as "F=..."."""
    lines = ["##fileformat=VCFv4.2", header or f'##INFO=<ID=CSQ,Number=.,Type=String,Description="Format: {VEP}">']
    lines.append("\t".join(["#CHROM POS ID REF ALT QUAL FILTER INFO FORMAT".replace(" ", "\t"), *donors.split()]))
    for record in records:
        position, ref, alt, info, *calls = record.split(" ")
        filters = "PASS"
        if info.startswith("F="):
            filters, info, *calls = info[2:], *calls
        lines.append("\t".join(["1", position, ".", ref, alt, ".", filters, info, *calls]))
    path = tmp_path / "x.vcf"
    path.write_text("\n".join(lines) + "\n")
    return path


def row(found: gs.GeneDosage, gene: str = "AAA", donor: str = "d1") -> pd.Series:
    (one,) = [r for _, r in found.table.iterrows() if r["gene"] == gene and r["donor"] == donor]
    return one


@pytest.mark.parametrize(
    ("call", "dosage", "zygosity"),
    [
        ("0|1", 0.5, "heterozygous"),
        ("0/1", 0.5, "heterozygous"),
        ("1/1", 0.0, "homozygous"),
        ("1", 0.0, "hemizygous"),
        ("./1", 0.5, "heterozygous"),
    ],
)
def test_complete_decay_of_one_and_of_both_alleles(tmp_path: Path, call: str, dosage: float, zygosity: str) -> None:
    found = row(gs.dosage_from_vcf(vcf(tmp_path, [f"10 C T {STOP} GT {call}"]), rules=COMPLETE))
    assert (found["dosage"], found["function"], found["zygosity"]) == (dosage, dosage, zygosity)
    assert (found["mechanism"], found["variants"], found["phased"]) == ("nmd", "1:10:C:T", True)


def test_default_efficiency_and_its_range(tmp_path: Path) -> None:
    found = row(gs.dosage_from_vcf(vcf(tmp_path, [f"10 C T {STOP} GT 0|1"])))
    assert found["dosage"] == pytest.approx(0.6)
    assert found["function"] == 0.5
    with pytest.raises(ConfigError, match="nmd_efficiency"):
        gs.DosageRules(nmd_efficiency=1.2)


@pytest.mark.parametrize(
    "values",
    [{"EXON": "5/5"}, {"EXON": "2/5", "NMD": "NMD_escaping_variant"}, {"EXON": "2/5", "LoF_filter": "END_TRUNC"}],
)
def test_what_escapes_decay_keeps_its_mrna_and_loses_its_protein(tmp_path: Path, values: dict[str, str]) -> None:
    found = row(gs.dosage_from_vcf(vcf(tmp_path, [f"10 C T {csq('T', 'stop_gained', **values)} GT 0|1"])))
    assert (found["dosage"], found["function"], found["mechanism"]) == (1.0, 0.5, "nmd_escape")


@pytest.mark.parametrize(
    ("calls", "expected"),
    [
        (("0|1", "1|0"), (0.0, 0.0, 0.0, 0.0, "compound_heterozygous", True)),
        (("0|1", "0|1"), (0.5, 0.5, 0.5, 0.5, "heterozygous", True)),
        (("0/1", "0|1"), (0.25, 0.0, 0.5, 0.25, "phase_unknown", False)),
        (("0/1", "0/1"), (0.25, 0.0, 0.5, 0.25, "phase_unknown", False)),
        (("1/1", "0/1"), (0.0, 0.0, 0.0, 0.0, "homozygous", True)),
        (("0/0", "0/1"), (0.5, 0.5, 0.5, 0.5, "heterozygous", True)),
    ],
)
def test_two_alleles_of_a_gene_by_phase(tmp_path: Path, calls: tuple[str, str], expected: tuple) -> None:
    path = vcf(tmp_path, [f"10 C T {STOP} GT {calls[0]}", f"20 C T {STOP} GT {calls[1]}"])
    found = row(gs.dosage_from_vcf(path, rules=COMPLETE))
    assert tuple(found[["dosage", "low", "high", "function", "zygosity", "phased"]]) == expected


def test_phase_sets_are_not_phased_to_each_other(tmp_path: Path) -> None:
    same = [f"10 C T {STOP} GT:PS 0|1:10", f"20 C T {STOP} GT:PS 1|0:10"]
    other = [same[0], same[1].replace("1|0:10", "1|0:20")]
    assert row(gs.dosage_from_vcf(vcf(tmp_path, same)))["zygosity"] == "compound_heterozygous"
    assert row(gs.dosage_from_vcf(vcf(tmp_path, other)))["zygosity"] == "phase_unknown"


def test_two_alternates_of_a_record(tmp_path: Path) -> None:
    both = f"{csq('T', 'stop_gained', EXON='2/5')},{csq('G', 'missense_variant', EXON='2/5')[4:]}"
    lost = f"{csq('T', 'stop_gained', EXON='2/5')},{csq('G', 'splice_donor_variant')[4:]}"
    found = [
        row(gs.dosage_from_vcf(vcf(tmp_path, [f"10 C T,G {info} GT 1/2"]), rules=COMPLETE)) for info in (both, lost)
    ]
    assert [(f["dosage"], f["zygosity"]) for f in found] == [(0.5, "heterozygous"), (0.0, "compound_heterozygous")]
    assert found[1]["variants"] == "1:10:C:T;1:10:C:G"


@pytest.mark.parametrize(
    ("alt", "terms", "format_call", "dosage"),
    [
        ("<DUP>", "transcript_amplification", "GT 0/1", 1.5),
        ("<DUP>", "transcript_amplification", "GT 1/1", 2.0),
        ("<DEL>", "transcript_ablation", "GT 0/1", 0.5),
        ("<DEL>", "transcript_ablation", "GT 1|1", 0.0),
        ("<DEL>", "transcript_ablation", "GT:CN ./.:1", 0.5),
        ("<DUP>", "transcript_amplification", "GT:CN 0/1:4", 2.0),
        ("<DUP>", "transcript_amplification", "GT:CN .:3", 1.5),
        ("<CNV>", "coding_sequence_variant", "CN 3", 1.5),
        ("<CN0>", "transcript_ablation", "GT 0|1", 0.5),
        ("<CN3>", "transcript_amplification", "GT 0|1", 2.0),
    ],
)
def test_copies_of_whole_genes(tmp_path: Path, alt: str, terms: str, format_call: str, dosage: float) -> None:
    name = {"<DUP>": "duplication", "<DEL>": "deletion"}.get(alt, alt.strip("<>"))
    found = row(gs.dosage_from_vcf(vcf(tmp_path, [f"10 N {alt} {csq(name, terms)};END=99 {format_call}"])))
    assert (found["dosage"], found["function"]) == (dosage, dosage)
    assert found["mechanism"] == ("deletion" if dosage < 1 else "duplication")


def test_a_deletion_beside_a_stop_on_the_other_copy_leaves_nothing(tmp_path: Path) -> None:
    deletion = f"5 N <DEL> {csq('deletion', 'transcript_ablation')} GT 0|1"
    found = row(gs.dosage_from_vcf(vcf(tmp_path, [deletion, f"10 C T {STOP} GT 1|0"]), rules=COMPLETE))
    assert (found["dosage"], found["mechanism"], found["zygosity"]) == (0.0, "deletion;nmd", "compound_heterozygous")


def test_a_duplication_of_a_part_is_not_counted_as_a_copy(tmp_path: Path) -> None:
    info = csq("duplication", "coding_sequence_variant&feature_elongation")
    found = gs.dosage_from_vcf(vcf(tmp_path, [f"10 N <DUP> {info} GT 0/1"]))
    assert found.table.empty
    assert found.counts["partial_copy_number"] == 1


def test_copies_carried_by_the_reference_call_are_normal(tmp_path: Path) -> None:
    info = csq("duplication", "transcript_amplification")
    assert gs.dosage_from_vcf(vcf(tmp_path, [f"10 N <DUP> {info} GT:CN 0/0:2"])).of() == {}


@pytest.mark.parametrize(
    "table",
    [
        {"variant": ["1:10:C:T"], "probability": [0.5]},
        {"gene": ["AAA"], "protein_change": ["p.Asp5Asn"], "factor": [0.5]},
        {"gene": ["EAAA"], "protein_change": ["D5N"], "factor": [0.5]},
    ],
)
def test_missense_changes_nothing_unless_a_table_says_so(tmp_path: Path, table: dict) -> None:
    path = vcf(tmp_path, [f"10 C T {csq('T', 'missense_variant', HGVSp='P:p.Asp5Asn')} GT 0|1"])
    assert gs.dosage_from_vcf(path).table.empty
    found = gs.dosage_from_vcf(path, missense=pd.DataFrame(table))
    assert (row(found)["dosage"], row(found)["mechanism"]) == (0.75, "given")
    assert found.counts["given_unused"] == 0
    file = tmp_path / "missense.tsv"
    pd.DataFrame(table).to_csv(file, sep="\t", index=False)
    assert gs.dosage_from_vcf(path, missense=file).of() == {"AAA": 0.75}


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"variant": ["a"]}, "columns"),
        ({"variant": ["a"], "probability": [1.5]}, "row 1"),
        ({"variant": ["a", "a"], "factor": [1, 0]}, "repeated"),
        ({"gene": ["A"], "protein_change": ["odd"], "factor": [1]}, "protein change"),
    ],
)
def test_tables_that_cannot_be_used(tmp_path: Path, table: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        gs.dosage_from_vcf(vcf(tmp_path, [f"10 C T {STOP} GT 0|1"]), missense=pd.DataFrame(table))


def snpeff(terms: str, rank: str, tags: str) -> str:
    return f"ANN=T|{terms}|HIGH|AAA|EAAA|transcript|T1|protein_coding|{rank}|c.1|p.Arg3*|||||{tags}"


@pytest.mark.parametrize(
    ("tags", "rank", "dosage", "function"),
    [
        (";LOF=(AAA|EAAA|1|1.00);NMD=(AAA|EAAA|1|1.00)", "2/5", 0.5, 0.5),
        (";LOF=(AAA|EAAA|2|0.50);NMD=(AAA|EAAA|2|0.50)", "2/5", 0.75, 0.75),
        (";LOF=(AAA|EAAA|4|0.50);NMD=(AAA|EAAA|4|0.25)", "2/5", 0.875, 0.75),
        (";LOF=(AAA|EAAA|1|1.00)", "2/5", 1.0, 0.5),
        ("", "5/5", 1.0, 0.5),
        ("", "2/5", 0.5, 0.5),
    ],
)
def test_snpeff_lof_and_nmd(tmp_path: Path, tags: str, rank: str, dosage: float, function: float) -> None:
    header = "\n".join(
        f'##INFO=<ID={key},Number=.,Type=String,Description="{text}">'
        for key, text in (("ANN", ANN), ("LOF", "lof"), ("NMD", "nmd"))
    )
    path = vcf(tmp_path, [f"10 C T {snpeff('stop_gained', rank, tags)} GT 0|1"], header=header)
    found = row(gs.dosage_from_vcf(path, rules=COMPLETE))
    assert (found["dosage"], found["function"]) == (dosage, function)


def test_doubtful_loss_of_function_counts_only_when_asked(tmp_path: Path) -> None:
    path = vcf(tmp_path, [f"10 C T {csq('T', 'stop_gained', EXON='2/5', LoF='LC')} GT 0|1"])
    found = gs.dosage_from_vcf(path)
    assert found.table.empty
    assert found.counts["low_confidence"] == 1
    assert gs.dosage_from_vcf(path, rules=gs.DosageRules(low_confidence=True)).of() == {"AAA": pytest.approx(0.6)}


def test_a_gene_with_an_id_of_ensembl_and_of_refseq_is_one(tmp_path: Path) -> None:
    twice = f"{STOP},{csq('T', 'stop_gained', EXON='2/5', Gene='51645')[4:]}"
    found = gs.dosage_from_vcf(vcf(tmp_path, [f"10 C T {twice} GT 0|1"]), rules=COMPLETE)
    assert (found.of(), row(found)["gene_id"]) == ({"AAA": 0.5}, "EAAA")


def test_calls_of_bcf_are_those_of_the_text(tmp_path: Path) -> None:
    header = (
        f'##INFO=<ID=CSQ,Number=.,Type=String,Description="Format: {VEP}">\n##contig=<ID=1>\n'
        '##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">'
    )
    path = vcf(tmp_path, [f"10 C T {STOP} GT 0|1 1|1"], "d1 d2", header=header)
    binary = tmp_path / "x.bcf"
    with pysam.VariantFile(str(path)) as text, pysam.VariantFile(str(binary), "wb", header=text.header) as out:
        for record in text:
            out.write(record)
    pd.testing.assert_frame_equal(gs.dosage_from_vcf(binary).table, gs.dosage_from_vcf(path).table)


def test_donors_counts_and_filters(tmp_path: Path) -> None:
    records = [
        f"10 C T {STOP} GT 0|1 0|0 ./.",
        f"20 C T F=q10 {STOP} GT 1|1 1|1 1|1",
        "30 C T . GT 0|1 0|1 0|1",
        f"40 C T {csq('T', 'synonymous_variant')} GT 0|1 0|1 0|1",
        f"50 C T {csq('A', 'stop_gained')} GT 0|1 0|1 0|1",
        f"60 C T {csq('T', 'frameshift_variant', 'BBB')} GT 0|0 1|1 ./.",
    ]
    path = vcf(tmp_path, records, "d1 d2 d3")
    found = gs.dosage_from_vcf(path, rules=COMPLETE)
    assert (found.of("d1"), found.of("d2"), found.of("d3")) == ({"AAA": 0.5}, {"BBB": 0.0}, {})
    assert found.perturbation("d2") == {"BBB": 1.0}
    expected = {"records": 6, "annotated": 3, "used": 2, "filtered": 1, "not_annotated": 2, "no_effect": 1}
    assert {name: found.counts[name] for name in expected} == expected
    assert (found.counts["missing_calls"], found.counts["allele_not_in_record"]) == (2, 1)
    assert gs.dosage_from_vcf(path, "d2", rules=COMPLETE).of() == {"BBB": 0.0}
    assert gs.dosage_from_vcf(path, passed_only=False, rules=COMPLETE).of("d3") == {"AAA": 0.0}
    with pytest.raises(JoinError, match="3 donors: name one"):
        found.of()
    with pytest.raises(JoinError, match="'d9' is not there"):
        found.perturbation("d9")
    with pytest.raises(JoinError, match="lacks the donors d9"):
        gs.dosage_from_vcf(path, ["d1", "d9"])


def test_an_extra_copy_is_no_knock_down(tmp_path: Path) -> None:
    found = gs.dosage_from_vcf(vcf(tmp_path, [f"10 N <DUP> {csq('duplication', 'transcript_amplification')} GT 0/1"]))
    assert (found.of(), found.perturbation()) == ({"AAA": 1.5}, {"AAA": 0.0})


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ("10 C T CSQ=T|stop_gained GT 0|1", r"record 1 \(1:10\).*CSQ has 2 subfields"),
        (f"10 C T {STOP} GT 0|2", r"record 1 \(1:10\).*donor 'd1' has the genotype '0\|2'"),
        (f"10 C T {STOP} GT 0/1/1", "0/1/1"),
        (f"10 C T {STOP} GT", "record 1.*columns"),
        (f"x C T {STOP} GT 0|1", "record 1.*position 'x'"),
    ],
)
def test_damaged_records_are_named(tmp_path: Path, record: str, message: str) -> None:
    with pytest.raises(VcfError, match=message):
        gs.dosage_from_vcf(vcf(tmp_path, [record]))


def test_files_without_annotation_are_refused_with_the_remedy(tmp_path: Path) -> None:
    path = vcf(tmp_path, ["10 C T . GT 0|1"], header='##INFO=<ID=AC,Number=A,Type=Integer,Description="x">')
    with pytest.raises(VcfError, match=r"x\.vcf.*neither CSQ nor ANN.*vep.*snpEff"):
        gs.dosage_from_vcf(path)


def test_real_annotated_files_are_read_or_refused_in_words(shared_data: Path) -> None:
    folder = shared_data / "hard" / "vcf"
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    read, refused = 0, 0
    for path in sorted(folder.glob("*.vcf*")):
        try:
            found = gs.dosage_from_vcf(path)
        except GenesimError:
            refused += 1
            continue
        read += 1
        assert found.counts["records"] >= found.counts["annotated"] >= found.counts["used"]
        assert (found.table["low"] <= found.table["dosage"] + 1e-9).all()
        assert (found.table["dosage"] <= found.table["high"] + 1e-9).all()
    assert read >= 3
    assert refused > 0
