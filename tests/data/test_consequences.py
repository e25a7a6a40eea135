"""CSQ and ANN read by the order that the header lists."""

from __future__ import annotations

import pytest

from genesim.data.consequences import (
    AnnotationFormat,
    affected_share,
    annotation_format,
    consequences,
    match_allele,
    protein_substitution,
    representative,
)
from genesim.errors import VcfError

NAMES = "Allele|Consequence|SYMBOL|Gene|Feature|EXON|CANONICAL|MANE_SELECT|NMD|LoF|HGVSp"
ANN = (
    "Functional annotations: 'Allele | Annotation | Annotation_Impact | Gene_Name | Gene_ID | Feature_Type | "
    "Feature_ID | Transcript_BioType | Rank | HGVS.c | HGVS.p | cDNA.pos / cDNA.length | CDS.pos / CDS.length | "
    "AA.pos / AA.length | Distance | ERRORS / WARNINGS / INFO' "
)


def form_of(names: str) -> AnnotationFormat:
    return annotation_format({"CSQ": f"Consequence annotations from Ensembl VEP. Format: {names}"}, "x.vcf")


def entry(names: str, **values: str) -> str:
    return "|".join(values.get(name, "") for name in names.split("|"))


def test_the_order_of_the_header_does_not_matter() -> None:
    values = {
        "Allele": "T",
        "Consequence": "stop_gained&splice_region_variant",
        "SYMBOL": "AAA",
        "Gene": "E1",
        "Feature": "T1",
        "EXON": "2/5",
        "MANE_SELECT": "NM_1.2",
        "HGVSp": "P1:p.Asp578Asn",
    }
    turned = "|".join(reversed(NAMES.split("|")))
    results = [
        consequences({"CSQ": entry(names, **values)}, "C", ["T"], form_of(names), "r") for names in (NAMES, turned)
    ]
    assert results[0] == results[1]
    one = results[0][0][0]
    assert (one.terms, one.gene, one.gene_id) == (("stop_gained", "splice_region_variant"), "AAA", "E1")
    assert (one.exon, one.mane, one.canonical, one.protein_change) == ((2, 5), True, False, "D578N")


def test_mane_goes_before_canonical_and_canonical_before_the_most_severe() -> None:
    rows = [
        {"Feature": "severe", "Consequence": "stop_gained"},
        {"Feature": "canonical", "Consequence": "missense_variant", "CANONICAL": "YES"},
        {"Feature": "mane", "Consequence": "intron_variant", "MANE_SELECT": "NM_1"},
        {"Feature": "mild", "Consequence": "synonymous_variant"},
    ]

    def chosen(kept: list[dict[str, str]]) -> str:
        text = ",".join(entry(NAMES, Allele="T", SYMBOL="AAA", Gene="E1", **row) for row in kept)
        (one,) = representative(consequences({"CSQ": text}, "C", ["T"], form_of(NAMES), "r")[0])
        return one.transcript

    assert chosen(rows) == "mane"
    assert chosen(rows[:2]) == "canonical"
    assert chosen([rows[3], rows[0]]) == "severe"
    assert chosen([rows[0], {**rows[0], "Feature": "second"}]) == "severe"


def test_snpeff_is_read_and_its_intron_rank_is_no_exon() -> None:
    form = annotation_format({"ANN": ANN, "LOF": "x"}, "x.vcf")
    assert (form.key, form.vep, form.has_lof, len(form.names)) == ("ANN", False, True, 16)
    text = (
        "T|stop_gained|HIGH|AAA|E1|transcript|T1|protein_coding|5/5|c.1C>T|p.Arg3*|||||,"
        "T|splice_donor_variant|HIGH|BBB|E2|transcript|T2|protein_coding|4/4|c.1|||||| "
    )
    found, strange = consequences({"ANN": text}, "C", ["T"], form, "r")
    assert strange == 0
    assert [(c.gene, c.exon, c.protein_change) for c in found] == [("AAA", (5, 5), "R3*"), ("BBB", None, "")]


@pytest.mark.parametrize(
    ("allele", "ref", "alts", "vep", "expected"),
    [
        ("T", "C", ["G", "T"], True, 2),
        ("-", "CA", ["C"], True, 1),
        ("AG", "CA", ["CAG", "C"], True, 1),
        ("-", "CA", ["CAG", "C"], True, 2),
        ("CAG", "CA", ["CAG", "C"], False, 1),
        ("T", "AG", ["AT", "ATG"], True, 1),
        # One of the alleles does not share the first base: VEP then trims none of them.
        ("CAG", "CA", ["CAG", "G"], True, 1),
        ("G", "CA", ["GCA", "CAG"], True, None),
        ("deletion", "N", ["<DEL>"], True, 1),
        ("<DUP>", "N", ["<DEL>", "<DUP>"], False, 2),
        ("A", "C", ["T"], True, None),
    ],
)
def test_alleles_are_matched_as_the_annotators_write_them(
    allele: str, ref: str, alts: list[str], vep: bool, expected: int | None
) -> None:
    assert match_allele(allele, ref, alts, vep) == expected


def test_allele_numbers_and_what_a_split_record_leaves() -> None:
    names = "ALLELE_NUM|Consequence|SYMBOL"
    found, strange = consequences({"CSQ": "2|stop_gained|A,3|stop_gained|A"}, "C", ["T", "G"], form_of(names), "r")
    assert [c.allele for c in found] == [2]
    assert strange == 1
    with pytest.raises(VcfError, match="which of 2 alternate alleles"):
        consequences({"CSQ": "stop_gained|A"}, "C", ["T", "G"], form_of("Consequence|SYMBOL"), "r")


def test_damaged_annotation_is_refused_with_the_record() -> None:
    with pytest.raises(VcfError, match=r"record 7: CSQ has 2 subfields, and the header lists 11"):
        consequences({"CSQ": "T|stop_gained"}, "C", ["T"], form_of(NAMES), "record 7")
    for bad in ("(A|E|2)", "(A|E|2|much)", "(A|E|2|1.5)"):
        with pytest.raises(VcfError, match="LOF has the entry"):
            affected_share({"LOF": bad}, "LOF", "record 7")
    assert affected_share({"LOF": "(A|E|2|0.50),(B|F|1|1.00)"}, "LOF", "r") == {"A": 0.5, "E": 0.5, "B": 1, "F": 1}


def test_files_without_usable_annotation_are_refused() -> None:
    with pytest.raises(VcfError, match=r"x\.vcf: .*neither CSQ nor ANN -> .*vep"):
        annotation_format({"AC": "count"}, "x.vcf")
    with pytest.raises(VcfError, match="does not list"):
        annotation_format({"CSQ": "Predicted consequence"}, "x.vcf")


def test_protein_changes_have_one_spelling() -> None:
    spelt = ("P1:p.Asp578Asn", "p.D578N", "D578N", "p.(Asp578Asn)")
    assert {protein_substitution(text) for text in spelt} == {"D578N"}
    assert protein_substitution("p.Asp578AsnfsTer3") == ""
