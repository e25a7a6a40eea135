"""Streaming: the binary records are those of the text, in the memory of a block, and bad blocks are refused."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pysam
import pysam.bcftools
import pytest

from genesim.config.inputs import GenotypePolicy
from genesim.data.genotypes import read_genotypes, write_genotype_blocks
from genesim.data.genotypes.encode_bcf import typed_float, typed_integer, typed_text
from genesim.errors import GenesimError, InputError, VcfError
from genesim.provenance.record import Provenance

EVERYTHING = GenotypePolicy(max_missing=1.0, min_allele_count=0)
LENGTHS: dict[str, int | None] = {"22": 51_304_566, "X": None}


def table(n: int) -> pd.DataFrame:
    contig = np.array(["22"] * (n - n // 3) + ["X"] * (n // 3), object)
    start = np.concatenate([np.arange(n - n // 3) * 7, np.arange(n // 3) * 9])
    ref = np.array(["A", "ACGTACGTACGTACGTAC"], object)[np.arange(n) % 2]
    index = pd.Index([f"v{i}" if i % 3 else f"a-rather-long-name-{i}" for i in range(n)], dtype=object, name="variant")
    return pd.DataFrame({"contig": contig, "start": start, "ref": ref, "alt": "C"}, index=index)


def draw(n: int, n_donors: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    alleles = (rng.random((n, n_donors, 2)) < rng.beta(0.3, 1, (n, 1, 1))).astype(np.int8)
    alleles[rng.random((n, n_donors)) < 0.05] = -1
    alleles[rng.random((n, n_donors)) < 0.05, 1] = -2
    alleles[0] = -1  # AN 0
    return alleles


def blocks(alleles: np.ndarray, size: int) -> Iterator[np.ndarray]:
    for at in range(0, len(alleles), size):
        yield alleles[at : at + size]


def test_every_suffix_holds_the_same(tmp_path: Path) -> None:
    variants, alleles = table(90), draw(90, 300)  # AC needs one byte, AN two
    donors = pd.Index([f"d{i}" for i in range(300)], dtype=object)
    n = np.arange(90)
    info = pd.DataFrame(
        {"N": n * 10**7 - 10**6, "F": n / 7.0, "FLAG": n % 2 == 0, "GENE": np.array(["KLF1", "A" * 20], object)[n % 2]},
        variants.index,
    )
    info.loc[info.index[3], ["F", "GENE"]] = (np.nan, None)
    info.loc[info.index[:5], "N"] = (-120, -121, 127, 128, -32_761)
    provenance = Provenance("simulate", 7, synthetic=True)
    texts = []
    for suffix in (".vcf", ".vcf.gz", ".bcf"):
        path = tmp_path / f"x{suffix}"
        write_genotype_blocks(path, variants, donors, LENGTHS, blocks(alleles, 13), provenance, info)
        read = read_genotypes(path, policy=EVERYTHING)
        np.testing.assert_array_equal(read.alleles, alleles)
        assert read.phased[(alleles != -1).all(axis=2)].all()
        pd.testing.assert_frame_equal(read.variants, variants)
        assert read.contig_lengths == LENGTHS
        texts.append(pysam.bcftools.view("-H", str(path)))
    assert texts[0] == texts[1] == texts[2]
    assert "##genesim_synthetic=true" in pysam.bcftools.view("-h", str(tmp_path / "x.bcf"))
    with pysam.VariantFile(str(tmp_path / "x.bcf")) as file:
        assert [record.id for record in file.fetch("X", 9, 28)] == variants.index[61:64].tolist()


@pytest.mark.skipif(shutil.which("bcftools") is None, reason="bcftools is not installed")
def test_bcftools_writes_the_same_records(tmp_path: Path) -> None:
    """Byte for byte: our encoding is the one that bcftools chooses (but text rounds AF)."""
    variants, alleles = table(40), draw(40, 20)
    donors = pd.Index([f"d{i}" for i in range(20)], dtype=object)
    for suffix in (".vcf", ".bcf"):
        write_genotype_blocks(tmp_path / f"x{suffix}", variants, donors, LENGTHS, [alleles])
    bodies = []
    for source in ("x.vcf", "x.bcf"):
        words = ["bcftools", "annotate", "--no-version", "-x", "INFO/AF", "-Ou", str(tmp_path / source)]
        bodies.append(subprocess.run(words, capture_output=True, check=True).stdout)
    assert bodies[0] == bodies[1]
    assert len(bodies[0]) > 40 * 40
    stats = subprocess.run(["bcftools", "stats", str(tmp_path / "x.bcf")], capture_output=True, text=True, check=True)
    assert "number of records:\t40" in stats.stdout


@pytest.mark.skipif(shutil.which("tabix") is None, reason="tabix is not installed")
def test_tabix_finds_a_region(tmp_path: Path) -> None:
    variants = table(30)
    write_genotype_blocks(tmp_path / "x.vcf.gz", variants, pd.Index(["a"]), LENGTHS, [draw(30, 1)])
    words = ["tabix", str(tmp_path / "x.vcf.gz"), "X:10-28"]
    lines = subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()
    # A deletion that begins at 1 reaches 10 and more.
    near = variants.query("contig == 'X' and start < 28 and start + ref.str.len() > 9")
    assert [line.split("\t")[2] for line in lines] == near.index.tolist()


def test_typed_values() -> None:
    assert typed_integer(127) == b"\x11\x7f"
    assert typed_integer(-120) == b"\x11\x88"
    assert typed_integer(-121) == b"\x12\x87\xff"  # -121 to -128 are reserved
    assert typed_integer(128) == b"\x12\x80\x00"
    assert typed_integer(40_000) == b"\x13\x40\x9c\x00\x00"
    assert typed_float(0.5) == b"\x15\x00\x00\x00\x3f"
    assert typed_float(float("nan")) == b"\x15\x01\x00\x80\x7f"
    assert typed_text("A" * 14) == b"\xe7" + b"A" * 14
    assert typed_text("A" * 15) == b"\xf7\x11\x0f" + b"A" * 15


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a[:-1], "hold 9 variants, the table 10"),
        (lambda a: np.concatenate([a, a]), r"int8 of shape \(20, 4, 2\)"),
        (lambda a: a.astype(np.int16), "int16"),
        (lambda a: a[:, :3], r"shape \(10, 3, 2\)"),
        (lambda a: a + np.int8(2), "no meaning"),
        (lambda a: np.full_like(a, -2), "no meaning"),
    ],
)
def test_blocks_that_do_not_fit(tmp_path: Path, change, message: str) -> None:
    alleles = np.zeros((10, 4, 2), np.int8)
    for suffix in (".vcf", ".bcf"):
        with pytest.raises(InputError, match=message):
            write_genotype_blocks(
                tmp_path / f"x{suffix}", table(10), pd.Index(list("abcd")), LENGTHS, [change(alleles)]
            )
    assert list(tmp_path.iterdir()) == []


def test_order_and_names_are_checked_before_writing(tmp_path: Path) -> None:
    variants, alleles = table(10), np.zeros((10, 4, 2), np.int8)

    def write(frame: pd.DataFrame, lengths: dict[str, int | None] = LENGTHS) -> None:
        write_genotype_blocks(tmp_path / "x.bcf", frame, pd.Index(list("abcd")), lengths, [alleles])

    with pytest.raises(VcfError, match=r"variant 2 .* before the one that precedes"):
        write(variants[::-1])
    with pytest.raises(VcfError, match="variant 8"):
        write(variants, {"X": 5, "22": 9})
    with pytest.raises(VcfError, match="lack the columns alt"):
        write(variants.drop(columns="alt"))
    with pytest.raises(VcfError, match="position"):
        write(variants.assign(start=[*range(9), 2**31 - 1]))
    with pytest.raises(GenesimError, match="suffix"):
        write_genotype_blocks(tmp_path / "x.txt", variants, pd.Index(list("abcd")), LENGTHS, [alleles])
    assert list(tmp_path.iterdir()) == []


_CHILD = """
import sys, time, tracemalloc
import numpy as np
import pandas as pd
from genesim.data.genotypes import write_genotype_blocks
n, n_donors, size = 2_000, 10_000, 100
rng = np.random.default_rng(0)
ancestors = (rng.random((n, 200)) < rng.beta(0.2, 1, (n, 1))).astype(np.int8)
mosaic = rng.integers(0, 200, 2 * n_donors)
table = pd.DataFrame({"contig": "22", "start": np.arange(n), "ref": "A", "alt": "C"}, [f"v{i}" for i in range(n)])
donors = pd.Index([f"d{i}" for i in range(n_donors)])
def blocks():
    for at in range(0, n, size):
        yield np.take(ancestors[at : at + size], mosaic, axis=1).reshape(size, n_donors, 2)
began = time.process_time()
write_genotype_blocks(sys.argv[1], table, donors, {"22": None}, blocks())
seconds = time.process_time() - began
tracemalloc.start()
write_genotype_blocks(sys.argv[1], table, donors, {"22": None}, blocks())
print(seconds, tracemalloc.get_traced_memory()[1] / 1e6)
"""


def test_a_large_cohort_is_fast_and_small(tmp_path: Path) -> None:
    path = tmp_path / "x.bcf"
    child = subprocess.run([sys.executable, "-c", _CHILD, str(path)], capture_output=True, text=True, check=True)
    seconds, megabytes = map(float, child.stdout.split())
    print(f"{2_000 * 20_000 / 1e6 / seconds:.0f} MB of GT a CPU-second, {megabytes:.0f} MB at most")
    assert seconds < 3.4 * 2  # 70,000 variants in 2 minutes would be 3.4, twice that on a busy machine
    assert megabytes < 20  # all genotypes are 40, a block is 2
    with pysam.VariantFile(str(path)) as file:
        assert sum(1 for _ in file.fetch("22", 500, 520)) == 20
