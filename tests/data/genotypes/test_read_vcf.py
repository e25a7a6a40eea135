"""Reading: every policy, every refusal, regions and names; pysam is the slow oracle."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pysam
import pytest

from genesim.config.inputs import GenotypePolicy
from genesim.data.genotypes import Genotypes, read_genotypes
from genesim.errors import ConfigError, GenesimError, JoinError, VcfError

LENIENT = GenotypePolicy(max_missing=1.0)
HEADER = (
    "##fileformat=VCFv4.2\n##contig=<ID=chr1,length=1000>\n##contig=<ID=chr2>\n"
    '##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">\n'
    '##FORMAT=<ID=DP,Number=1,Type=Integer,Description="Depth">\n'
    '##FILTER=<ID=q10,Description="Low">\n'
)
FIXED = ["#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO", "FORMAT"]


def vcf(folder: Path, records: Sequence[str], donors: Sequence[str] = ("a", "b", "c"), head: str = HEADER) -> Path:
    """A plain VCF; records are written with spaces for tabs."""
    path = folder / "x.vcf"
    lines = ["\t".join([*FIXED, *donors])] + ["\t".join(record.split(" ")) for record in records]
    path.write_text(head + "\n".join(lines) + "\n")
    return path


def calls(genotypes: Genotypes, row: int = 0) -> list[tuple[int, int]]:
    return [tuple(pair) for pair in genotypes.alleles[row].tolist()]


def test_plain_records(tmp_path: Path) -> None:
    path = vcf(tmp_path, ["chr1 5 rs1 A C . PASS . GT 0|1 1/1 0/0", "chr1 9 . g tt . . . GT:DP 0|0:3 1|0:4 0/1"])
    genotypes = read_genotypes(path)
    assert calls(genotypes, 0) == [(0, 1), (1, 1), (0, 0)]
    assert calls(genotypes, 1) == [(0, 0), (1, 0), (0, 1)]
    assert genotypes.phased.tolist() == [[True, False, False], [True, True, False]]
    assert genotypes.variants.index.tolist() == ["rs1", "chr1_9_G_TT"]
    assert genotypes.variants["start"].tolist() == [4, 8]
    assert genotypes.contig_lengths == {"chr1": 1000, "chr2": None}
    assert genotypes.variants.index.dtype == object
    assert genotypes.donors.dtype == object


def test_multiallelic_records_are_split_as_bcftools_does(tmp_path: Path) -> None:
    path = vcf(tmp_path, ["chr1 5 rs1 A C,G,* . . . GT 1|2 0/3 2"])
    genotypes = read_genotypes(path)
    assert calls(genotypes, 0) == [(1, 0), (0, 0), (0, -2)]
    assert calls(genotypes, 1) == [(0, 1), (0, 0), (1, -2)]
    assert genotypes.variants.index.tolist() == ["chr1_5_A_C", "chr1_5_A_G"]
    assert genotypes.report["multiallelic_split"] == 1
    assert genotypes.report["symbolic_alleles_dropped"] == 1
    assert genotypes.report["haploid_calls"] == 2
    assert genotypes.phased[0].tolist() == [True, False, True]


KEPT = "chr1 500 kept A C . . . GT 0|1 0|0 0|0"


@pytest.mark.parametrize(
    ("record", "count"),
    [
        ("chr1 5 . A C . q10 . GT 0|1 0|0 0|0", "filtered_records"),
        ("chr1 5 . A <DEL> . . . GT 0|1 0|0 0|0", "symbolic_alleles_dropped"),
        ("chr1 5 . A A[chr2:7[ . . . GT 0|1 0|0 0|0", "symbolic_alleles_dropped"),
        ("chr1 5 . A . . . . GT 0|0 0|0 0|0", "records_without_alternate"),
        ("chr1 5 . A C . . . DP 1 2 3", "records_without_genotypes"),
        ("chr1 5 . A C . . . GT 0|0 0|0 0|0", "variants_too_rare"),
        ("chr1 5 . A C . . . GT 1|1 1|1 1|1", "variants_too_rare"),
        ("chr1 5 . A C . . . GT 0|1 ./. 0|0", "variants_too_missing"),
        ("chr1 5 . A C . . . GT 0|1 0/. 0|0", "half_missing_calls"),
        ("chr1 500 . A C . . . GT 1|1 0|0 0|0\n" + KEPT, "duplicate_variants"),
    ],
)
def test_every_policy_drops_and_counts(tmp_path: Path, record: str, count: str) -> None:
    records = record.split("\n") if "\n" in record else [record, KEPT]
    genotypes = read_genotypes(vcf(tmp_path, records))
    assert genotypes.n_variants == 1
    assert genotypes.variants["start"].tolist() == [499]
    assert genotypes.report[count] == 1


def test_half_missing_is_missing(tmp_path: Path) -> None:
    genotypes = read_genotypes(vcf(tmp_path, ["chr1 5 . A C . . . GT 0|1 1|. ."]), policy=LENIENT)
    assert calls(genotypes) == [(0, 1), (-1, -1), (-1, -2)]
    assert genotypes.phased[0].tolist() == [True, False, True]
    assert np.isnan(genotypes.dosage()[0, 1:]).all()


@pytest.mark.parametrize(
    ("record", "policy"),
    [
        ("chr1 5 . A C,G . . . GT 0|1 0|2 0|0", GenotypePolicy(multiallelic="error")),
        ("chr1 5 . A C,<DEL> . . . GT 0|1 0|2 0|0", GenotypePolicy(symbolic="error")),
        ("chr1 5 . A C . . . GT 0|1 0|. 0|0", GenotypePolicy(half_missing="error")),
        ("chr1 500 . A C . . . GT 0|1 0|1 0|0", GenotypePolicy(duplicates="error")),
    ],
)
def test_error_policies_name_the_place(tmp_path: Path, record: str, policy: GenotypePolicy) -> None:
    with pytest.raises(VcfError, match="chr1:5"):
        read_genotypes(vcf(tmp_path, [record, KEPT]), policy=policy)


def test_own_ids_only_where_unique(tmp_path: Path) -> None:
    tail = ". . . GT 0|1 0|0 0|0"
    rows = [
        f"chr1 5 same A C {tail}",
        f"chr1 6 same A C {tail}",
        f"chr1 7 chr1_8_A_C A C {tail}",
        f"chr1 8 . A C {tail}",
    ]
    genotypes = read_genotypes(vcf(tmp_path, rows))
    assert genotypes.variants.index.tolist() == ["chr1_5_A_C", "chr1_6_A_C", "chr1_7_A_C", "chr1_8_A_C"]


@pytest.mark.parametrize(
    ("records", "message"),
    [
        (["chr1 9 . A C . . . GT 0|1 0|0 0|0", "chr1 5 . A C . . . GT 0|1 0|0 0|0"], "record 2.*not sorted"),
        ([f"{at} . A C . . . GT 0|1 0|0 0|0" for at in ("chr1 9", "chr2 5", "chr1 10")], "earlier contig"),
        (["chr1 5 . A C . . . GT 0|1 0|1|1 0|0"], "donor b has more than two copies.*chr1:5"),
        (["chr1 5 . A C . . . GT 0|1 0|2 0|0"], "donor b has allele 2.*chr1:5"),
        (["chr1 5 . A C . . . GT 0|1 0?1 0|0"], "donor b.*not a genotype"),
        (["chr1 5 . A C . . . GT 0|1 0|0"], "2 donor columns, the header 3"),
        (["chr1 5 . A C . . . GT 0|1 0|0 0|0 0|1"], "4 donor columns"),
        (["chr1 x . A C . . . GT 0|1 0|0 0|0"], "record 1.*position"),
        (["chr1 5 . A C"], "record 1 has 5 columns"),
        (["<1 5 . A C . . . GT 0|1 0|0 0|0"], "contig name"),
        (["chr1 1001 . A C . . . GT 0|1 0|0 0|0"], "outside its contig"),
        (["chr1 0 . A C . . . GT 0|1 0|0 0|0"], "outside its contig"),
        (["chr1 5 . A+ C . . . GT 0|1 0|0 0|0"], "reference allele"),
        (["chr1 5 . A C? . . . GT 0|1 0|0 0|0"], "alternate allele"),
        (["chr1 5 . A a . . . GT 0|1 0|0 0|0"], "reference allele as alternate"),
        ([], "no variant is left"),
    ],
)  # fmt: skip
def test_malformed_records_are_named(tmp_path: Path, records: list[str], message: str) -> None:
    path = vcf(tmp_path, records)
    with pytest.raises(VcfError, match=message) as caught:
        read_genotypes(path)
    assert str(path) in str(caught.value)


def test_malformed_headers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(VcfError, match="repeated in the header: a"):
        read_genotypes(vcf(tmp_path, [], donors=("a", "b", "a")))
    with pytest.raises(VcfError, match="sites only"):
        read_genotypes(vcf(tmp_path, [], donors=()))
    with pytest.raises(VcfError, match="no name"):
        read_genotypes(vcf(tmp_path, [], donors=("a", "")))
    path = tmp_path / "x.vcf"
    path.write_text(HEADER)
    with pytest.raises(VcfError, match="no #CHROM line"):
        read_genotypes(path)


def test_donors_are_chosen_in_order(tmp_path: Path) -> None:
    rows = ["chr1 5 . A C . . . GT 0|1 1|0 0/0", "chr1 6 . A C . . . GT 0 1|1 .|0|1"]
    genotypes = read_genotypes(vcf(tmp_path, rows), donors=["b", "a"])  # polyploid c is not asked for
    assert genotypes.donors.tolist() == ["b", "a"]
    assert calls(genotypes, 0) == [(1, 0), (0, 1)]
    assert calls(genotypes, 1) == [(1, 1), (0, -2)]
    with pytest.raises(JoinError, match="2 donors are not in the file: x, y"):
        read_genotypes(vcf(tmp_path, rows), donors=["a", "x", "y"])
    for wrong in ([], ["a", "a"]):
        with pytest.raises(JoinError):
            read_genotypes(vcf(tmp_path, rows), donors=wrong)


TAIL = ". . . GT 0|1 1|0 0|0"
PLACES = [
    f"chr1 5 p5 ACGT A {TAIL}",
    f"chr1 8 p8 A C {TAIL}",
    f"chr1 10 p10 A C {TAIL}",
    f"chr2 8 q8 A C {TAIL}",
]


@pytest.mark.parametrize(
    ("region", "expected"),
    [
        ("chr1", ["p5", "p8", "p10"]),
        ("chr1:8-8", ["p5", "p8"]),  # the deletion at 5 spans 5-8
        ("chr1:9", ["p10"]),
        ("chr1:9-", ["p10"]),
        ("1:6-9", ["p5", "p8"]),
        ("chr1:1-1,000", ["p5", "p8", "p10"]),
        ("chr2:1-100", ["q8"]),
    ],
)
def test_regions_are_those_of_tabix(tmp_path: Path, region: str, expected: list[str]) -> None:
    path = vcf(tmp_path, PLACES)
    assert read_genotypes(path, region=region).variants.index.tolist() == expected
    bgzipped = tmp_path / "x.vcf.gz"
    pysam.tabix_compress(str(path), str(bgzipped), force=True)
    pysam.tabix_index(str(bgzipped), preset="vcf", force=True)
    with pysam.VariantFile(str(bgzipped)) as file:
        named = (region if region.startswith("chr") else f"chr{region}").replace(",", "")
        closed = "chr1:9-1000" if named in ("chr1:9", "chr1:9-") else named  # pysam wants the end
        tabix = [record.id for record in file.fetch(region=closed)]
    assert tabix == expected
    assert read_genotypes(bgzipped, region=region).variants.index.tolist() == expected


def test_contigs_and_regions_that_cannot_be(tmp_path: Path) -> None:
    path = vcf(tmp_path, PLACES)
    assert read_genotypes(path, contigs=["2"]).variants.index.tolist() == ["q8"]
    assert read_genotypes(path, contigs=["2"]).report["contigs_renamed"] == 1
    assert read_genotypes(path, contigs=["chr2"]).report["contigs_renamed"] == 0
    with pytest.raises(JoinError, match="chr7"):
        read_genotypes(path, contigs=["chr7"])
    for region in ("chr1:9-5", "chr1:x", "chr1:0-5", "chr1:5,6-", "", ":5"):
        with pytest.raises(GenesimError) as caught:
            read_genotypes(path, region=region)
        assert isinstance(caught.value, ConfigError | JoinError) or "no variant" in str(caught.value)
    with pytest.raises(ConfigError, match="outside"):
        read_genotypes(path, region="chr1:1-5", contigs=["chr2"])


def test_contigs_are_found_without_a_header_line(tmp_path: Path) -> None:
    path = vcf(tmp_path, PLACES, head="##fileformat=VCFv4.2\n")
    assert read_genotypes(path, contigs=["2"]).variants.index.tolist() == ["q8"]
    path = vcf(tmp_path, [*PLACES, f"2 5 z A C {TAIL}"], head="##fileformat=VCFv4.2\n")
    assert read_genotypes(path, contigs=["2"]).variants.index.tolist() == ["z"]


Calls = dict[tuple[str, int, str, str], list[tuple[object, ...]]]


def oracle(
    path: Path, donors: Sequence[str], first: int, last: int
) -> dict[tuple[str, int, str, str], list[tuple[object, ...]]]:
    """Split alleles of plain variants by pysam, one call at a time (no policy but duplicates)."""
    found: Calls = {}
    with pysam.VariantFile(str(path)) as file:
        for record in file:
            if not first <= record.start <= last:
                continue
            for number, alt in enumerate(record.alts or (), 1):
                key = (record.chrom, record.start, str(record.ref).upper(), alt.upper())
                row: list[tuple[object, ...]] = []
                for donor in donors:
                    copies = record.samples[donor].allele_indices
                    if copies is None or None in copies:
                        row.append(("missing", len(copies or ())))
                    else:
                        row.append(tuple(int(c == number) for c in copies))
                found.setdefault(key, row)
    return found


def same_as_oracle(genotypes: Genotypes, path: Path) -> int:
    """How many variants agree with pysam; fails at the first that does not."""
    start_of = genotypes.variants["start"]
    expected = oracle(path, list(genotypes.donors), start_of.min(), start_of.max())
    for i, (contig, start, ref, alt) in enumerate(genotypes.variants[["contig", "start", "ref", "alt"]].values):
        row = expected[contig, start, ref, alt]
        for j, copies in enumerate(row):
            got = tuple(int(c) for c in genotypes.alleles[i, j] if c != -2)
            if copies[:1] == ("missing",):
                assert -1 in got, (path, contig, start, j, got, copies)
            else:
                assert got == copies, (path, contig, start, j, got, copies)
    return genotypes.n_variants


def test_agrees_with_pysam(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    donors = [f"d{i}" for i in range(9)]
    records = []
    for position in range(10, 300, 3):
        n_alternate = int(rng.integers(1, 4))
        names = ["."] + [str(i) for i in range(n_alternate + 1)]
        row = []
        for _ in donors:
            copies = rng.choice(names, 1 if rng.random() < 0.2 else 2)
            row.append(str(rng.choice(["/", "|"])).join(copies))
        alternates = ",".join(["C", "GG", "T"][:n_alternate])
        records.append(f"chr1 {position} . A {alternates} . . . GT {' '.join(row)}")
    path = vcf(tmp_path, records, donors)
    genotypes = read_genotypes(path, policy=LENIENT)
    assert same_as_oracle(genotypes, path) > 150
    genotypes.alleles[4, 0] = np.where(genotypes.alleles[4, 0] == 0, 1, 0)
    with pytest.raises(AssertionError):  # the oracle can tell
        same_as_oracle(genotypes, path)


@pytest.mark.slow
def test_real_data_reads_fast_and_right(shared_data: Path) -> None:
    import time

    path = shared_data / "genotypes" / "1000g_chr2_edar_yri_chb_fin.vcf.gz"
    began = time.process_time()
    genotypes = read_genotypes(path)
    assert time.process_time() - began < 30
    assert genotypes.n_donors == 310
    assert genotypes.report["records"] == 70_772
    small = read_genotypes(path, region="2:109,500,000-109,520,000", donors=list(genotypes.donors[:20]))
    assert same_as_oracle(small, path) > 20
    split = read_genotypes(shared_data / "genotypes" / "1000g_chr2_lct_eur.vcf.gz")
    assert split.report["multiallelic_split"] == 331


@pytest.mark.slow
def test_hard_files_that_are_read_agree_with_pysam(shared_data: Path) -> None:
    said = pysam.set_verbosity(0)
    n_compared, beyond_pysam = 0, []
    for path in sorted((shared_data / "hard" / "vcf").iterdir()):
        try:
            genotypes = read_genotypes(path, policy=LENIENT)
        except GenesimError:
            continue
        try:
            n_compared += same_as_oracle(genotypes, path)
        except (ValueError, OSError):
            beyond_pysam.append(path.name)
    pysam.set_verbosity(said)
    print(n_compared, beyond_pysam)
    assert n_compared > 1_000
    assert len(beyond_pysam) < 15


def test_monomorphic_variants_are_kept_on_request(tmp_path: Path) -> None:
    path = vcf(tmp_path, ["chr1 5 . A C . . . GT 0|0 0|0 0|0", "chr1 6 . A C . . . GT 0|0 0|1 0|0", KEPT])
    assert read_genotypes(path, policy=GenotypePolicy(min_allele_count=0)).n_variants == 3
    assert read_genotypes(path, policy=GenotypePolicy(min_allele_count=1)).n_variants == 2
