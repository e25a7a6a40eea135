"""Writing: what is written is read back, other tools accept it, the bytes repeat, nothing partial is left."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pysam
import pysam.bcftools
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from genesim.config.inputs import GenotypePolicy
from genesim.data.genotypes import Genotypes, open_store, read_genotypes, read_store, store, write_store, write_vcf
from genesim.data.genotypes.encode_vcf import RecordBlock
from genesim.errors import ArtefactError, GenesimError, JoinError, ResourceError, VcfError
from genesim.provenance.record import Provenance

LENIENT = GenotypePolicy(max_missing=1.0)
SUFFIXES = (".vcf", ".vcf.gz", ".bcf")


def draw_genotypes(seed: int, n_variants: int, n_donors: int, haploid: float, missing: float) -> Genotypes:
    """Genotypes as the reader gives them: sorted, no half-missing call, every variant polymorphic."""
    rng = np.random.default_rng(seed)
    alleles = rng.integers(0, 2, (n_variants, n_donors, 2)).astype(np.int8)
    absent = rng.random((n_variants, n_donors)) < haploid
    gone = rng.random((n_variants, n_donors)) < missing
    alleles[gone] = -1
    alleles[absent, 1] = -2
    alleles[:, :2, 0] = (0, 1)  # polymorphic
    alleles[:, :2, 1] = np.where(alleles[:, :2, 1] == -1, 0, alleles[:, :2, 1])
    phased = rng.random((n_variants, n_donors)) < 0.5
    phased[(alleles == -1).any(axis=2)] = False
    phased[alleles[:, :, 1] == -2] = True
    contig = np.sort(rng.integers(0, 2, n_variants))
    start = np.zeros(n_variants, dtype=np.int64)
    for c in (0, 1):
        start[contig == c] = np.sort(rng.choice(5_000, (contig == c).sum(), replace=False))
    ref = rng.choice(["A", "ACG", "T"], n_variants).astype(object)
    alt = rng.choice(["G", "CC", "N"], n_variants).astype(object)
    names = np.array(["z", "HLA:1"], dtype=object)[contig]
    made = [f"{c}_{s + 1}_{r}_{a}" for c, s, r, a in zip(names, start, ref, alt, strict=True)]
    index = [f"rs{i}" if rng.random() < 0.5 else name for i, name in enumerate(made)]
    variants = pd.DataFrame(
        {"contig": names, "start": start, "ref": ref, "alt": alt},
        index=pd.Index(index, dtype=object, name="variant"),
    )
    donors = pd.Index([f"donor {i}" if i % 2 else f"d{i}" for i in range(n_donors)], dtype=object)
    return Genotypes(alleles, phased, variants, donors, {"z": 6_000, "other": 10, "HLA:1": None})


def assert_same(one: Genotypes, two: Genotypes) -> None:
    np.testing.assert_array_equal(one.alleles, two.alleles)
    np.testing.assert_array_equal(one.phased, two.phased)
    pd.testing.assert_frame_equal(one.variants, two.variants)
    assert one.donors.tolist() == two.donors.tolist()
    assert one.contig_lengths == two.contig_lengths


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 2**32 - 1),
    n_variants=st.integers(1, 30),
    n_donors=st.integers(2, 7),
    haploid=st.sampled_from([0.0, 0.3, 1.0]),
    missing=st.sampled_from([0.0, 0.3]),
    suffix=st.sampled_from(SUFFIXES),
)
def test_write_then_read_gives_the_same(
    tmp_path: Path, seed: int, n_variants: int, n_donors: int, haploid: float, missing: float, suffix: str
) -> None:
    genotypes = draw_genotypes(seed, n_variants, n_donors, haploid, missing)
    path = tmp_path / f"x{suffix}"
    write_vcf(genotypes, path)
    assert_same(read_genotypes(path, policy=LENIENT), genotypes)
    write_store(genotypes, tmp_path / "store")
    assert_same(read_store(tmp_path / "store"), genotypes)


@pytest.fixture(scope="module")
def genotypes() -> Genotypes:
    return draw_genotypes(1, 60, 8, 0.1, 0.1)


@pytest.mark.parametrize("suffix", [".vcf.gz", ".bcf"])
def test_other_tools_accept_it(tmp_path: Path, genotypes: Genotypes, suffix: str) -> None:
    path = tmp_path / f"x{suffix}"
    write_vcf(genotypes, path, Provenance(verb="simulate", seed=7, synthetic=True))
    index = ".csi" if suffix == ".bcf" else ".tbi"
    assert sorted(p.name for p in tmp_path.iterdir()) == [path.name, f"{path.name}{index}"]
    stats = pysam.bcftools.stats(str(path))
    assert f"number of records:\t{genotypes.n_variants}" in stats
    assert f"number of samples:\t{genotypes.n_donors}" in stats
    header = pysam.bcftools.view("-h", str(path))
    assert "##genesim_synthetic=true" in header
    assert "##genesim_seed=7" in header
    assert "##contig=<ID=other,length=10>" in header

    # bcftools recounts AC and AN: its answer is the oracle of ours.
    def counts(text: str) -> list[tuple[str, str]]:
        fields = [line.split("\t")[7].split(";") for line in text.splitlines()]
        return [(f[0], f[1]) for f in fields]

    recounted = pysam.bcftools.view("-H", "-a", "-c", "0", str(path))
    assert counts(pysam.bcftools.view("-H", str(path))) == counts(recounted)
    with pysam.VariantFile(str(path)) as file:
        fetched = [record.id for record in file.fetch("z", 1_000, 4_000)]
    inside = genotypes.variants.query("contig == 'z' and start + ref.str.len() > 1000 and start < 4000")
    assert fetched == inside.index.tolist()
    assert 0 < len(fetched) < genotypes.n_variants


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_same_input_same_bytes(tmp_path: Path, genotypes: Genotypes, suffix: str) -> None:
    shuffled = genotypes.subset(variants=np.random.default_rng(0).permutation(genotypes.n_variants))
    contents = []
    for folder, given_ in (("one", genotypes), ("two", shuffled)):
        write_vcf(given_, tmp_path / folder / f"x{suffix}")
        contents.append({p.name: p.read_bytes() for p in (tmp_path / folder).iterdir()})
    assert contents[0] == contents[1]


def test_info_columns(tmp_path: Path, genotypes: Genotypes) -> None:
    n = genotypes.n_variants
    info = pd.DataFrame({"DEPTH": np.arange(n), "EFFECT": np.linspace(0, 1, n)}, genotypes.variants.index)
    info = info.assign(CAUSAL=np.arange(n) % 2 == 0, GENE="KLF1")
    info.loc[info.index[1], "EFFECT"] = np.nan
    path = tmp_path / "x.bcf"
    write_vcf(genotypes, path, info=info)
    with pysam.VariantFile(str(path)) as file:
        records = list(file)
    assert [r.info["DEPTH"] for r in records] == list(range(n))
    assert ["CAUSAL" in r.info for r in records] == info["CAUSAL"].tolist()
    assert "EFFECT" not in records[1].info
    assert records[-1].info["EFFECT"] == pytest.approx(1.0)
    assert records[0].info["GENE"] == "KLF1"
    for bad in (info.iloc[1:], info.rename(columns={"GENE": "AC"}), info.assign(GENE="a;b")):
        with pytest.raises(VcfError):
            write_vcf(genotypes, path, info=bad)


def test_long_contigs_get_a_csi_index(tmp_path: Path, genotypes: Genotypes) -> None:
    path = tmp_path / "x.vcf.gz"
    write_vcf(genotypes, path)
    far = genotypes.variants.assign(start=genotypes.variants["start"] + (1 << 29))
    longer = Genotypes(genotypes.alleles, genotypes.phased, far, genotypes.donors)
    write_vcf(longer, path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x.vcf.gz", "x.vcf.gz.csi"]  # the old .tbi is gone
    with pysam.VariantFile(str(path)) as file:
        assert len(list(file.fetch("z"))) == (far["contig"] == "z").sum()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, genotypes: Genotypes, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"x{suffix}"
    write_vcf(genotypes, path)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}

    def full(*args: object) -> Iterator[RecordBlock]:
        yield RecordBlock(genotypes.variants[:1], genotypes.alleles[:1], genotypes.phased[:1])
        raise OSError(28, "No space left on device")

    monkeypatch.setitem(write_vcf.__globals__, "sorted_blocks", full)
    with pytest.raises(ResourceError, match="No space left"):
        write_vcf(genotypes, path)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_names_that_vcf_cannot_hold(tmp_path: Path, genotypes: Genotypes) -> None:
    donors = pd.Index([f"a\tb{i}" for i in range(genotypes.n_donors)], dtype=object)
    with pytest.raises(VcfError, match="donor"):
        write_vcf(replace(genotypes, donors=donors), tmp_path / "x.vcf")
    spaced = genotypes.variants.rename(index={genotypes.variants.index[0]: "a b"})
    with pytest.raises(VcfError, match="variant id"):
        write_vcf(replace(genotypes, variants=spaced), tmp_path / "x.vcf")
    with pytest.raises(VcfError, match="suffix"):
        write_vcf(genotypes, tmp_path / "x.txt")
    assert list(tmp_path.iterdir()) == []


def test_store_reads_single_contigs(tmp_path: Path, genotypes: Genotypes) -> None:
    write_store(genotypes, tmp_path)
    (tmp_path / "calls-1.parquet").unlink()  # not needed for the other contig
    one = read_store(tmp_path, contigs=["z"])
    assert_same(one, genotypes.subset(variants=(genotypes.variants["contig"] == "z").to_numpy()))
    with pytest.raises(JoinError):
        read_store(tmp_path, contigs=["7"])
    with pytest.raises(ArtefactError, match="calls-1"):
        read_store(tmp_path)


@pytest.mark.parametrize("name", ["genotypes.json", "variants.parquet", "calls-0.parquet"])
def test_damaged_stores_are_refused(tmp_path: Path, genotypes: Genotypes, name: str) -> None:
    write_store(genotypes, tmp_path)
    data = (tmp_path / name).read_bytes()
    for content in (b"", data[: len(data) // 2]):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(GenesimError):
            read_store(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(ArtefactError):
        read_store(tmp_path)


@pytest.mark.parametrize("group_bytes", [1, 50, 2**25])
def test_a_store_on_disk_gives_what_genotypes_in_memory_give(
    tmp_path: Path, genotypes: Genotypes, group_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "_GROUP_BYTES", group_bytes)  # row groups of one variant, of some, of all
    write_store(genotypes, tmp_path)
    opened = open_store(tmp_path)
    assert (opened.n_variants, opened.n_donors) == (genotypes.n_variants, genotypes.n_donors)
    draw = np.random.default_rng(group_bytes)
    rows = draw.permutation(genotypes.n_variants)
    some = draw.permutation(genotypes.donors.to_numpy())[:3]
    asked: list[dict] = [
        {},
        {"variants": rows},
        {"variants": list(genotypes.variants.index[rows[:5]]), "donors": list(some)},
        {"variants": genotypes.variants["start"].to_numpy() % 2 == 0},
        {"donors": np.array([-1, 0])},
        {"variants": []},
    ]
    for one in asked:
        assert_same(opened.subset(**one), genotypes.subset(**one))
    with pytest.raises(JoinError, match="nobody"):
        opened.subset(donors=["nobody"])


def test_what_a_store_is_not_asked_for_is_not_read(tmp_path: Path, genotypes: Genotypes) -> None:
    write_store(genotypes, tmp_path)
    opened = open_store(tmp_path)
    (tmp_path / "calls-1.parquet").unlink()
    first = genotypes.variants["contig"].to_numpy() == opened.contigs[0]
    assert_same(opened.subset(variants=first), genotypes.subset(variants=first))
    with pytest.raises(ArtefactError, match="calls-1"):
        opened.subset()
