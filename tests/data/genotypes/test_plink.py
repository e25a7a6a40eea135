"""PLINK file sets: bit patterns by hand, plink2 as the oracle, and damage that is named."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from genesim.config.inputs import GenotypePolicy
from genesim.data.genotypes import Genotypes, read_genotypes, write_plink, write_vcf
from genesim.errors import VcfError
from genesim.provenance.record import Provenance

EVERYTHING = GenotypePolicy(max_missing=1.0, min_allele_count=0, filters="all")
plink2 = pytest.mark.skipif(shutil.which("plink2") is None, reason="plink2 is not installed")


def run(*words: str | Path) -> None:
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def draw(seed: int, n_variants: int = 50, n_donors: int = 11, phased: float = 1.0) -> Genotypes:
    """Diploid genotypes as a PGEN can hold them: a homozygote is phased."""
    rng = np.random.default_rng(seed)
    alleles = rng.integers(0, 2, (n_variants, n_donors, 2)).astype(np.int8)
    alleles[rng.random((n_variants, n_donors)) < 0.1] = -1
    is_phased = (rng.random((n_variants, n_donors)) < phased) | (alleles[:, :, 0] == alleles[:, :, 1])
    alleles[~is_phased] = (0, 1)  # PLINK keeps no order of what is not phased
    is_phased &= alleles[:, :, 0] >= 0
    start = np.sort(rng.choice(9_000, n_variants, replace=False))
    variants = pd.DataFrame(
        {"contig": "22", "start": start, "ref": "A", "alt": rng.choice(["C", "GG"], n_variants)},
        index=pd.Index([f"rs{i}" for i in range(n_variants)], dtype=object, name="variant"),
    )
    for name in ("contig", "ref", "alt"):
        variants[name] = variants[name].to_numpy(object)
    donors = pd.Index([f"d{i}" for i in range(n_donors)], dtype=object)
    return Genotypes(alleles, is_phased, variants, donors, {"22": 51_304_566})


def assert_same(one: Genotypes, two: Genotypes, phases: bool = True) -> None:
    np.testing.assert_array_equal(one.alleles, two.alleles)
    if phases:
        np.testing.assert_array_equal(one.phased, two.phased)
    pd.testing.assert_frame_equal(one.variants, two.variants)
    assert one.donors.tolist() == two.donors.tolist()


def bed(folder: Path, data: bytes = b"\x6c\x1b\x01\xd8\x03\x3f\x00") -> Path:
    """Five donors and two variants, bit by bit: `d8 03` is A1/A1, het, missing, A2/A2, A2/A2."""
    (folder / "x.bed").write_bytes(data)
    (folder / "x.bim").write_text("22\trs1\t0\t10\tC\tA\n22\trs2\t0\t20\tG\tT\n")
    (folder / "x.fam").write_text("".join(f"f d{i} 0 0 0 -9\n" for i in range(5)))
    return folder / "x.bed"


def test_bits_of_a_bed(tmp_path: Path) -> None:
    path = bed(tmp_path, bytes([0x6C, 0x1B, 1, 0b11_01_10_00, 0b11, 0b00_00_11_11, 0b10]))
    for given in (path, path.with_suffix(".bim"), path.with_suffix(".fam"), tmp_path / "x"):
        genotypes = read_genotypes(given, policy=EVERYTHING)
        assert genotypes.alleles[0].tolist() == [[1, 1], [0, 1], [-1, -1], [0, 0], [0, 0]]
        assert genotypes.alleles[1].tolist() == [[0, 0], [0, 0], [1, 1], [1, 1], [0, 1]]
        assert not genotypes.phased.any()
        assert genotypes.variants[["ref", "alt"]].values.tolist() == [["A", "C"], ["T", "G"]]
        assert genotypes.report["missing_calls"] == 1
        assert genotypes.donors.tolist() == [f"d{i}" for i in range(5)]
    part = read_genotypes(path, region="chr22:15-30", donors=["d4", "d0"], policy=EVERYTHING)
    assert part.alleles.tolist() == [[[0, 1], [0, 0]]]
    assert read_genotypes(path).variants.index.tolist() == ["rs2"]  # one of five missing is more than .1


def test_odd_lines_of_a_bim(tmp_path: Path) -> None:
    path = bed(tmp_path, b"\x6c\x1b\x01" + b"\x1b\x02" * 4)
    bim = path.with_suffix(".bim")
    bim.write_text("0 u 0 0 C A\n22 m 0 5 0 A\n22 rs1 0 9 G A\n22 neg 0 -9 G A\n")
    genotypes = read_genotypes(path, policy=EVERYTHING)
    assert genotypes.variants.index.tolist() == ["rs1"]
    assert genotypes.report["unplaced_records"] == 2
    assert genotypes.report["records_without_alternate"] == 1
    for line, message in (("22 a 0 5 C,G A", "two alleles"), ("22 a 0 x C A", "position"), ("22 a 0 5 C", "columns")):
        bim.write_text(f"{line}\n" * 4)
        with pytest.raises(VcfError, match=message):
            read_genotypes(path)
    bim.write_text("22 a 0 9 C A\n22 b 0 5 C A\n" * 2)
    with pytest.raises(VcfError, match=r"not sorted.*sort-vars"):
        read_genotypes(path)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x6c\x1b\x01\xd8\x03\x3f", "6 bytes.*take 7: it is truncated"),
        (b"\x6c\x1b\x01\xd8\x03\x3f\x00\x00", "8 bytes.*take 7"),
        (b"\x6c\x1b\x00\xd8\x03\x3f\x00", "donor-major"),
        (b"chr1\t5\t9\n", "is not a PLINK 1 .bed"),
        (b"", "is not a PLINK 1 .bed"),
    ],
)
def test_damaged_beds_are_refused(tmp_path: Path, data: bytes, message: str) -> None:
    path = bed(tmp_path, data)
    with pytest.raises(VcfError, match=message) as caught:
        read_genotypes(path)
    assert str(path) in str(caught.value)


def test_incomplete_sets_are_refused(tmp_path: Path) -> None:
    path = bed(tmp_path)
    path.with_suffix(".fam").write_text("f d0 0 0 0 -9\nf d0 0 0 0 -9\n")
    with pytest.raises(VcfError, match="repeats donor d0"):
        read_genotypes(path)
    path.with_suffix(".fam").write_text("")
    with pytest.raises(VcfError, match="no donors"):
        read_genotypes(path)
    path.with_suffix(".fam").unlink()
    with pytest.raises(VcfError, match=r"no .fam file"):
        read_genotypes(path)
    with pytest.raises(VcfError, match="cannot be read"):
        read_genotypes(tmp_path / "absent")


@pytest.mark.parametrize("phased", [1.0, 0.5])
def test_pgen_and_bed_that_we_write_are_read_back(tmp_path: Path, phased: float) -> None:
    genotypes = draw(0, phased=phased)
    write_plink(genotypes, tmp_path / "x.pgen", Provenance("simulate", 7, synthetic=True))
    assert "##genesim_synthetic=true" in (tmp_path / "x.pvar").read_text()
    assert_same(read_genotypes(tmp_path / "x", policy=EVERYTHING), genotypes)
    shuffled = read_genotypes(tmp_path / "x.psam", donors=["d9", "d2", "d5"], policy=EVERYTHING)
    assert_same(shuffled, genotypes.subset(donors=["d9", "d2", "d5"]))
    write_plink(genotypes, tmp_path / "y.bed", Provenance("simulate", 7, synthetic=True))
    assert (tmp_path / "y.bed.provenance.json").is_file()
    read = read_genotypes(tmp_path / "y", policy=EVERYTHING)
    np.testing.assert_array_equal(read.dosage(), genotypes.dosage())
    assert not read.phased.any()
    with pytest.raises(VcfError, match="suffix"):
        write_plink(genotypes, tmp_path / "z.vcf")


def body(path: Path) -> list[list[str]]:
    """CHROM, POS, REF, ALT and genotypes of a plain VCF."""
    lines = [line.split("\t") for line in path.read_text().splitlines() if not line.startswith("#")]
    return [[f[0], f[1], f[3], f[4], *f[9:]] for f in lines]


@plink2
@pytest.mark.parametrize("phased", [1.0, 0.5])
def test_plink2_makes_and_exports_the_same(tmp_path: Path, phased: float) -> None:
    genotypes = draw(1, 200, 30, phased)
    write_vcf(genotypes, tmp_path / "x.vcf.gz")
    run("plink2", "--vcf", tmp_path / "x.vcf.gz", "--make-pgen", "--out", tmp_path / "p")
    run("plink2", "--pfile", tmp_path / "p", "--export", "vcf", "--out", tmp_path / "q")
    exported = read_genotypes(tmp_path / "q.vcf", policy=EVERYTHING)
    differs = genotypes.alleles[:, :, 0] != genotypes.alleles[:, :, 1]
    np.testing.assert_array_equal(exported.alleles, genotypes.alleles)
    np.testing.assert_array_equal(exported.phased[differs], genotypes.phased[differs])
    if phased == 1.0:  # plink2 writes homozygotes and missing calls as the donor's last heterozygote
        write_vcf(genotypes, tmp_path / "x.vcf")
        ours = [[c.replace("./.", ".|.") for c in row] for row in body(tmp_path / "x.vcf")]
        assert [[c.replace("./.", ".|.") for c in row] for row in body(tmp_path / "q.vcf")] == ours
    assert_same(read_genotypes(tmp_path / "p.pgen", policy=EVERYTHING), genotypes)
    run("plink2", "--pfile", tmp_path / "p", "--make-pgen", "vzs", "--out", tmp_path / "z")
    assert_same(read_genotypes(tmp_path / "z.pvar.zst", policy=EVERYTHING), genotypes)
    write_plink(genotypes, tmp_path / "o.pgen")
    run("plink2", "--pfile", tmp_path / "o", "--validate", "--out", tmp_path / "v")
    run("plink2", "--pfile", tmp_path / "o", "--export", "vcf", "--out", tmp_path / "o")
    assert body(tmp_path / "o.vcf") == body(tmp_path / "q.vcf")
    run("plink2", "--pfile", tmp_path / "p", "--make-bed", "--out", tmp_path / "b")
    write_plink(genotypes, tmp_path / "c.bed")
    assert (tmp_path / "b.bed").read_bytes() == (tmp_path / "c.bed").read_bytes()
    assert (tmp_path / "b.bim").read_text() == (tmp_path / "c.bim").read_text()


def pgen(folder: Path, rows: list[str], *options: str) -> Path:
    """A file set that plink2 makes of records of donors a to d; a VCF of them is beside it."""
    head = (
        '##fileformat=VCFv4.2\n##contig=<ID=22,length=100>\n##FILTER=<ID=q10,Description="">\n'
        '##FORMAT=<ID=GT,Number=1,Type=String,Description="">\n'
        '##FORMAT=<ID=DS,Number=A,Type=Float,Description="">\n'
    )
    names = "#CHROM POS ID REF ALT QUAL FILTER INFO FORMAT a b c d"
    (folder / "x.vcf").write_text(head + "\n".join(row.replace(" ", "\t") for row in [names, *rows]) + "\n")
    run("plink2", "--vcf", folder / "x.vcf", *options, "--make-pgen", "--out", folder / "x")
    return folder / "x.pgen"


@plink2
def test_dosages_are_refused_or_left_out(tmp_path: Path) -> None:
    rows = ["22 30 . A G . . . GT 0|1 1|1 0|0 0|0", "22 40 . A C . . . GT:DS 0|1:1.05 1|1:1.95 0|0:.05 1|0:1"]
    path = pgen(tmp_path, rows, "dosage=DS")
    with pytest.raises(VcfError, match=r"record 2 \(22:40\) holds dosages.*hardcall"):
        read_genotypes(path, policy=EVERYTHING)
    hard = EVERYTHING.model_copy(update={"dosages": "hardcall"})
    genotypes = read_genotypes(path, policy=hard)
    assert genotypes.report["records_with_dosages"] == 1
    assert_same(genotypes, read_genotypes(tmp_path / "x.vcf", policy=hard))
    assert read_genotypes(path, region="22:1-30").n_variants == 1  # no dosage is asked for


@plink2
def test_the_policies_of_a_vcf_hold_for_a_pgen(tmp_path: Path) -> None:
    rows = [
        "22 10 . A C . . . GT 0|1 1|1 ./. 0/1",
        "22 20 rs2 A C,G . q10 . GT 0|2 1|2 ./. 2|1",
        "22 30 . A <DEL> . . . GT 0|1 1|1 0|0 0|0",
        "22 30 . A C . . . GT 0|1 1|1 0|0 0|0",
        "22 30 . A C . . . GT 1|1 1|1 0|0 0|0",
    ]
    path = pgen(tmp_path, rows)
    genotypes = read_genotypes(path, policy=EVERYTHING)
    expected = read_genotypes(tmp_path / "x.vcf", policy=EVERYTHING)
    assert_same(genotypes, expected, phases=False)
    assert genotypes.report == expected.report
    assert [genotypes.report[c] for c in ("multiallelic_split", "duplicate_variants")] == [1, 1]
    different = genotypes.alleles[:, :, 0] != genotypes.alleles[:, :, 1]
    np.testing.assert_array_equal(genotypes.phased[different], expected.phased[different])
    strict = read_genotypes(path, policy=EVERYTHING.model_copy(update={"filters": "pass"}))
    assert strict.report["filtered_records"] == 1
    with pytest.raises(VcfError, match=r"record 2.*multiallelic"):
        read_genotypes(path, policy=EVERYTHING.model_copy(update={"multiallelic": "error"}))
    pvar = (tmp_path / "x.pvar").read_text()
    (tmp_path / "x.pvar").write_text(pvar.replace("C,G", "C"))
    with pytest.raises(VcfError, match="record 2 holds more alleles"):
        read_genotypes(path, policy=EVERYTHING)


def test_pgen_that_does_not_fit_its_tables(tmp_path: Path) -> None:
    write_plink(draw(2), tmp_path / "x.pgen")
    pvar, psam = (tmp_path / "x.pvar").read_text(), (tmp_path / "x.psam").read_text()
    (tmp_path / "x.pvar").write_text(pvar + "22\t9999\tmore\tA\tC\n")
    with pytest.raises(VcfError, match=r"holds 50 rows, and x.pvar lists 51"):
        read_genotypes(tmp_path / "x.pgen")
    (tmp_path / "x.pvar").write_text(pvar)
    (tmp_path / "x.psam").write_text(psam.replace("d3\n", ""))
    with pytest.raises(VcfError, match=r"holds 11 rows, and x.psam lists 10"):
        read_genotypes(tmp_path / "x.pgen")


_CHILD = """
import sys
import numpy as np
from pathlib import Path
from genesim.config.inputs import GenotypePolicy
from genesim.data.genotypes import read_genotypes
from genesim.errors import GenesimError
path = Path(sys.argv[1])
data = path.read_bytes()
rng = np.random.default_rng(0)
refused = 0
for i in range(300):
    damaged = bytearray(data)
    if i < 60:
        damaged = damaged[: rng.integers(0, len(data))]
    else:
        for at in rng.integers(0, len(data), rng.integers(1, 4)):
            damaged[at] ^= 1 << rng.integers(0, 8)
    path.write_bytes(damaged)
    try:
        read_genotypes(path, policy=GenotypePolicy(max_missing=1.0))
    except GenesimError as error:
        refused += 1
        assert error.where and error.remedy
    else:
        assert i >= 60, "a truncated file was read"
print(refused)
"""


def test_damaged_pgens_never_crash(tmp_path: Path) -> None:
    write_plink(draw(3, 40, 60, 0.8), tmp_path / "x.pgen")
    child = subprocess.run(
        [sys.executable, "-c", _CHILD, str(tmp_path / "x.pgen")], capture_output=True, text=True, check=False
    )
    assert child.returncode == 0, child.stderr[-2000:]
    assert int(child.stdout) >= 60
