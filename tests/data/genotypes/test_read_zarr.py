"""VCF Zarr: what bio2zarr makes of a VCF reads as the VCF does, and a store that is not whole is refused."""

from __future__ import annotations

import logging
import shutil
import zipfile
from pathlib import Path

import numcodecs
import numpy as np
import pandas as pd
import pysam
import pytest
import zarr

from genesim.config.inputs import GenotypePolicy
from genesim.data.genotypes import Genotypes, read_genotypes
from genesim.errors import VcfError

EVERYTHING = GenotypePolicy(max_missing=1.0, min_allele_count=0, filters="all")


def store(path: Path, n_variants: int = 7, zarr_format: int = 2) -> zarr.Group:
    """A store as bio2zarr lays it out: four donors, chunks of three variants and two donors."""
    rng = np.random.default_rng(0)
    group = zarr.open_group(path, mode="w", zarr_format=zarr_format)
    # bio2zarr's codec.
    codec = numcodecs.Blosc("zstd") if zarr_format == 2 else zarr.codecs.BloscCodec(cname="zstd")
    calls = rng.integers(0, 2, (n_variants, 4, 2)).astype(np.int8)
    calls[0, 0] = (-1, -1)
    calls[1, 1] = (1, -2)
    alleles = np.array([["A", "C"]] * n_variants, dtype=object)
    arrays = {
        "variant_contig": np.zeros(n_variants, np.int8),
        "variant_position": np.arange(10, 10 + n_variants, dtype=np.int32),
        "variant_allele": alleles,
        "call_genotype": calls,
        "call_genotype_phased": np.ones((n_variants, 4), bool),
        "sample_id": np.array(list("abcd"), object),
        "contig_id": np.array(["chr1", "chr2"], object),
    }
    for name, values in arrays.items():
        chunks = tuple({"variant": 3, "call": (3, 2)[min(i, 1)]}.get(name.split("_")[0], 9) for i in range(values.ndim))
        text = values.dtype == object
        array = group.create_array(
            name,
            shape=values.shape,
            dtype="str" if text else values.dtype,
            chunks=chunks,
            compressors=codec,
        )
        array[...] = values.astype("T") if text else values
    return group


def assert_same(one: Genotypes, two: Genotypes) -> None:
    np.testing.assert_array_equal(one.alleles, two.alleles)
    np.testing.assert_array_equal(one.phased, two.phased)
    pd.testing.assert_frame_equal(one.variants, two.variants)
    assert one.donors.tolist() == two.donors.tolist()
    assert one.report == two.report


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_a_store_by_hand(tmp_path: Path, zarr_format: int) -> None:
    group = store(tmp_path / "x.vcz", zarr_format=zarr_format)
    genotypes = read_genotypes(tmp_path / "x.vcz", policy=EVERYTHING)
    calls = np.asarray(group["call_genotype"][...])
    np.testing.assert_array_equal(genotypes.alleles, calls)
    assert genotypes.phased[0].tolist() == [False, True, True, True]
    assert genotypes.report["missing_calls"] == genotypes.report["haploid_calls"] == 1
    assert genotypes.variants.index[0] == "chr1_10_A_C"
    assert genotypes.contig_lengths == {"chr1": None, "chr2": None}
    part = read_genotypes(tmp_path / "x.vcz", region="1:12-15", donors=["d", "a"], policy=EVERYTHING)
    np.testing.assert_array_equal(part.alleles, calls[2:6][:, [3, 0]])
    assert part.report["contigs_renamed"] == 1


def test_what_bio2zarr_makes_reads_as_the_vcf(tmp_path: Path) -> None:
    vcf2zarr = pytest.importorskip("bio2zarr.vcf", reason="bio2zarr is not installed")
    pytest.importorskip("cyvcf2", reason="cyvcf2, with which bio2zarr reads a VCF, is not installed")
    rows = [
        "22 10 . A C . . . GT 0|1 1|1 ./. 0/1",
        "22 20 rs2 A C,G . q10 . GT 0|1 1|2 ./. 2/1",
        "22 20 rs2 A C . PASS . GT 0|1 1|0 ./. 0/1",
        "22 30 . A C . PASS . GT 0/0 1/1 0/. 0/0",
        "22 40 . A <DEL>,* . PASS . GT 0/0 1/1 0/0 0/2",
        "X 40 . A G . PASS . GT 0 1/1 . 0/0",
    ]
    head = (
        '##fileformat=VCFv4.2\n##contig=<ID=22,length=100>\n##contig=<ID=X>\n##FILTER=<ID=q10,Description="x">\n'
        '##FORMAT=<ID=GT,Number=1,Type=String,Description="">\n'
    )
    names = "#CHROM POS ID REF ALT QUAL FILTER INFO FORMAT a b c d"
    plain = tmp_path / "x.vcf"
    plain.write_text(head + "\n".join(row.replace(" ", "\t") for row in [names, *rows]) + "\n")
    pysam.tabix_index(str(plain), preset="vcf", force=True, keep_original=True)
    vcf2zarr.convert([tmp_path / "x.vcf.gz"], tmp_path / "x.vcz", show_progress=False)
    shutil.make_archive(str(tmp_path / "y"), "zip", tmp_path / "x.vcz")
    for policy in (EVERYTHING, GenotypePolicy(max_missing=1.0)):
        expected = read_genotypes(plain, policy=policy)
        assert_same(read_genotypes(tmp_path / "x.vcz", policy=policy), expected)
        assert_same(read_genotypes(tmp_path / "y.zip", policy=policy), expected)
        assert read_genotypes(tmp_path / "x.vcz", policy=policy).contig_lengths == expected.contig_lengths
    for change in (
        {"multiallelic": "error"},
        {"symbolic": "error"},
        {"half_missing": "error"},
        {"duplicates": "error"},
    ):
        with pytest.raises(VcfError):
            read_genotypes(tmp_path / "x.vcz", policy=EVERYTHING.model_copy(update=change))


def test_stores_that_are_not_whole(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "x.vcz"
    store(path)
    for lost in ("variant_position/1", "variant_allele/1.0", "call_genotype/1.0.0"):
        kept = (path / lost).read_bytes()
        (path / lost).unlink()
        if lost.startswith("variant"):
            with pytest.raises(VcfError, match=r"lacks 1 of 3 chunks: the store is incomplete"):
                read_genotypes(path)
        else:  # what bio2zarr leaves out
            with caplog.at_level(logging.WARNING, logger="genesim"):
                assert not read_genotypes(path, policy=EVERYTHING).alleles[3:6, :2].any()
            assert "1 chunks of calls are absent" in caplog.text
        (path / lost).write_bytes(kept[: len(kept) // 2])
        with pytest.raises(VcfError, match=f"the chunk {lost} of .* is truncated"):
            read_genotypes(path)
        (path / lost).write_bytes(kept)
    shutil.rmtree(path / "sample_id")
    with pytest.raises(VcfError, match="lacks the arrays sample_id"):
        read_genotypes(path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(VcfError, match="not a VCF Zarr store"):
        read_genotypes(tmp_path / "empty")
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
        archive.writestr("x/.zgroup", "{}")
    with pytest.raises(VcfError, match="not a VCF Zarr store"):
        read_genotypes(tmp_path / "z.zip")


@pytest.mark.parametrize(
    ("name", "at", "value", "message"),
    [
        ("variant_contig", 2, 7, "number without a contig"),
        ("call_genotype", (3, 1, 0), 2, "donor b has allele 2 at record 4"),
        ("call_genotype", (3, 1, 0), -5, "holds -5"),
        ("variant_position", 4, 1, "record 5.*not sorted"),
        ("sample_id", 1, "a", "donor 'a' is repeated"),
        ("sample_id", 1, "", "no donor"),
    ],
)
def test_contents_that_cannot_be(tmp_path: Path, name: str, at: object, value: object, message: str) -> None:
    group = store(tmp_path / "x.vcz")
    group[name][at] = value
    with pytest.raises(VcfError, match=message):
        read_genotypes(tmp_path / "x.vcz", policy=EVERYTHING)


def test_polyploid_calls_are_refused_where_asked_for(tmp_path: Path) -> None:
    group = store(tmp_path / "x.vcz")
    calls = np.asarray(group["call_genotype"][...])
    wide = np.concatenate([calls, np.full((7, 4, 1), -2, np.int8)], axis=2)
    for copy, refused in ((-2, False), (1, True)):
        wide[5, 2, 2] = copy
        del group["call_genotype"]
        group.create_array("call_genotype", data=wide)
        if refused:
            with pytest.raises(VcfError, match="donor c has more than two copies at record 6"):
                read_genotypes(tmp_path / "x.vcz", policy=EVERYTHING)
            assert read_genotypes(tmp_path / "x.vcz", donors=["a"], policy=EVERYTHING).n_donors == 1
        else:
            assert read_genotypes(tmp_path / "x.vcz", policy=EVERYTHING).n_variants == 7
    masked = np.zeros(wide.shape, bool)
    masked[5, 2] = True
    group.create_array("call_genotype_mask", data=masked)
    wide[5, 2, 2] = -2
    group["call_genotype"][...] = wide
    assert read_genotypes(tmp_path / "x.vcz", policy=EVERYTHING).alleles[5, 2].tolist() == [-1, -1]


def test_filters_and_other_codings_of_texts_are_no_damage(tmp_path: Path) -> None:
    """A chunk behind a filter has another size than its values: booleans are packed eight to a byte."""
    path = tmp_path / "x.vcz"
    group = store(path)
    expected = read_genotypes(path, policy=EVERYTHING)
    codec = numcodecs.Blosc("zstd")
    phased = group["call_genotype_phased"][...]
    packed = {"filters": [numcodecs.PackBits()], "compressors": codec, "overwrite": True}
    group.create_array("call_genotype_phased", shape=phased.shape, dtype=bool, chunks=(3, 2), **packed)[...] = phased
    assert_same(read_genotypes(path, policy=EVERYTHING), expected)
    chunk = next((path / "call_genotype_phased").glob("0.0"))
    changed = bytearray(chunk.read_bytes())
    changed[4:8] = (2**31 - 7).to_bytes(4, "little")
    chunk.write_bytes(bytes(changed))
    with pytest.raises(VcfError, match=r"call_genotype_phased/0.0 claims 2147483641 bytes"):
        read_genotypes(path, policy=EVERYTHING)


def test_a_checksum_behind_blosc_is_no_damage(tmp_path: Path) -> None:
    path = tmp_path / "x.vcz"
    group = store(path, zarr_format=3)
    expected = read_genotypes(path, policy=EVERYTHING)
    calls = group["call_genotype"][...]
    codecs = (zarr.codecs.BloscCodec(cname="zstd"), zarr.codecs.Crc32cCodec())
    made = {"dtype": calls.dtype, "chunks": (3, 2, 2), "compressors": codecs, "overwrite": True}
    group.create_array("call_genotype", shape=calls.shape, **made)[...] = calls
    assert_same(read_genotypes(path, policy=EVERYTHING), expected)
