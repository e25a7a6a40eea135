"""What is fuzzed: each reader, a small valid file of its kind, and how the file's bytes come to the disk."""

from __future__ import annotations

import gzip
import io
import multiprocessing
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anndata as ad
import numcodecs
import numpy as np
import pandas as pd
import pyarrow as pa
import pysam
import pysam.bcftools
import zarr
from scipy import sparse

from genesim.config.base import load
from genesim.config.perturbation import read_sweep
from genesim.config.release import ReleaseAnswers
from genesim.config.run import RunConfig
from genesim.config.scenario import Scenario
from genesim.data.allele_factors import given_factors
from genesim.data.annotation import read_genes
from genesim.data.coding import read_coding
from genesim.data.cohort import assemble_cohort, load_cohort
from genesim.data.donors import read_donor_table
from genesim.data.effect_table import read_effect_table
from genesim.data.expression import read_expression
from genesim.data.gene_priors import read_gene_sets, read_tf_targets
from genesim.data.genetic_map import read_genetic_map
from genesim.data.genotypes import Genotypes, read_genotypes
from genesim.data.genotypes.write_plink import write_plink
from genesim.data.kinship_table import read_kinship
from genesim.provenance.chain import Entry, next_entry, read_chain, write_chain
from genesim.provenance.manifest import verify_manifest, write_manifest
from genesim.provenance.record import Provenance
from genesim.provenance.run_log import read_run_log
from genesim.release.archive import read_archive
from genesim.release.questions import template
from genesim.simulate.bases import Reference
from genesim.simulate.cell_store import CellShard
from genesim.train.store import load_model, save_model

_VCF = """##fileformat=VCFv4.3
##contig=<ID=22,length=50818468>
##INFO=<ID=AC,Number=A,Type=Integer,Description="x">
##FORMAT=<ID=GT,Number=1,Type=String,Description="x">
##FORMAT=<ID=DS,Number=A,Type=Float,Description="x">
#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\tD1\tD2\tD3
22\t100\trs1\tA\tC\t50\tPASS\tAC=2\tGT:DS\t0|1:1.0\t1|1:2.0\t0|0:0.0
22\t200\t.\tAT\tA,ATT\t.\t.\tAC=1,1\tGT\t0/1\t./.\t2|0
22\t300\trs3\tG\t<DEL>\t1\tq10\t.\tGT\t.\t1\t0|1
"""
_GTF = """#!genome-build GRCh38
chr22\tHAVANA\tgene\t100\t900\t.\t+\t.\tgene_id "ENSG1.2"; gene_name "A1"; gene_type "protein_coding";
chr22\tHAVANA\texon\t100\t200\t.\t+\t.\tgene_id "ENSG1.2"; transcript_id "T1"; gene_name "A1";
chr22\tHAVANA\tgene\t2000\t2900\t.\t-\t.\tgene_id "ENSG2.1"; gene_name "B2";
"""
_GFF = """##gff-version 3
22\tx\tgene\t100\t900\t.\t+\t.\tID=gene:ENSG1;Name=A1;biotype=protein_coding;gene_id=ENSG1
22\tx\tmRNA\t100\t900\t.\t+\t.\tID=transcript:T1;Parent=gene:ENSG1
22\tx\tgene\t2000\t2900\t.\t-\t.\tID=gene:ENSG2;Name=B2;gene_id=ENSG2
"""
_CDS = """22\tx\tCDS\t101\t109\t.\t+\t0\tgene_id "ENSG1.2"; transcript_id "T1"; gene_name "A1"; tag "MANE_Select";
22\tx\tCDS\t201\t209\t.\t+\t0\tgene_id "ENSG1.2"; transcript_id "T1"; gene_name "A1"; tag "MANE_Select";
"""
_RUN_LOG = """{"id": "a", "command": ["prepare"], "event": "start", "seed": 0}
{"id": "a", "command": ["prepare"], "event": "stop", "exit": 0, "peak_mib": 3.5}
"""
_DONORS = "donor\tsex\tancestry\tage\nD1\tfemale\tX\t40\nD2\tmale\tY\t51.5\nD3\t\tX\tNA\n"
_MAP = "pos chr cM\n100 22 0.0\n5000 22 0.01\n90000 22 0.5\n"
_EFFECTS = "gene\tvariant\tbeta\tse\tpip\nA1\t22_100_A_C\t0.5\t0.1\t0.9\nB2\t22_200_AT_A\t-0.2\t0.1\t0.01\n"
_KINSHIP = "\tD1\tD2\nD1\t0.5\t0.25\nD2\t0.25\t0.5\n"
_CONFIG = """seed: 3
inputs: {h5ad: a.h5ad, vcf: b.vcf.gz, contigs: ["22"]}
models: {effects: {window: 1000, prior: {tss: default}}, haplotypes: {n_states: 4}}
workflow: {effect_shards: 2}
scenario: {name: x, population: {n_donors: 5}, cells: {n_cells: 50, batches: {n: 2}}}
"""
_SCENARIO = """name: x
population: {n_donors: 20, ancestry: {X: 10, Y: 10}, age: {law: uniform, low: 20, high: 80}}
effects: {learned: true, random: {share_of_genes: 0.5, window: 250000}}
cells: {n_cells: 240, batches: {n: 2, sd_log2: 0.2}}
donor_effects: {donor_sd_log2: 0.3, age: {}, sex: {}}
"""


@dataclass(frozen=True)
class Target:
    """A reader under test.

    Attributes:
        name: Of the file, whose suffix a reader may choose by.
        seed: A valid file's bytes, before `wrap`.
        read: Reads a path; a `GenesimError` or success are right, anything else is a finding.
        wrap: What the bytes are packed in after they were spoiled.
        beside: Other files of the same set, which are whole.
        given: The path that `read` gets, where it is not `name`.
    """

    name: str
    seed: bytes
    read: Callable[[Path], Any]
    wrap: Callable[[bytes], bytes] = bytes
    beside: Mapping[str, bytes] = field(default_factory=dict)
    given: str | None = None

    def __call__(self, content: bytes, folder: Path) -> None:
        for name, whole in {**self.beside, self.name: self.wrap(content)}.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(whole)
        self.read(folder / (self.given or self.name))


def _of(files: Mapping[str, bytes], name: str, read: Callable[[Path], Any], given: str | None = None) -> Target:
    """One file of a set is spoiled."""
    beside = {other: content for other, content in files.items() if other != name}
    return Target(name, files[name], read, beside=beside, given=given)


def _made(make: Callable[[Path], Any]) -> dict[str, bytes]:
    """What `make` writes into a folder, by path below it."""
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        make(Path(name))
        files = sorted(path for path in Path(name).rglob("*") if path.is_file())
        return {path.relative_to(name).as_posix(): path.read_bytes() for path in files}


def _bgzf(content: bytes) -> bytes:
    def write(folder: Path) -> None:
        with pysam.BGZFile(str(folder / "x"), "wb") as file:
            file.write(content)

    return _made(write)["x"]


def _bcf() -> bytes:
    def write(folder: Path) -> None:
        (folder / "d.vcf").write_text(_VCF.replace("#CHROM", '##FILTER=<ID=q10,Description="x">\n#CHROM'))
        pysam.bcftools.view("-Ob", "-o", str(folder / "d.bcf"), str(folder / "d.vcf"), catch_stdout=False)

    return gzip.decompress(_made(write)["d.bcf"])


def _plink(folder: Path) -> None:
    alleles = np.random.default_rng(0).integers(0, 2, (40, 9, 2)).astype(np.int8)
    start = np.arange(40) * 100
    variants = pd.DataFrame({"contig": "22", "start": start, "ref": "A", "alt": "C"})
    variants.index = pd.Index([f"rs{i}" for i in range(40)], dtype=object, name="variant")
    donors = pd.Index([f"D{i}" for i in range(9)], dtype=object)
    genotypes = Genotypes(alleles, np.ones((40, 9), bool), variants, donors, {"22": 50_818_468})
    for suffix in (".pgen", ".bed"):
        write_plink(genotypes, folder / f"p{suffix}")
    pvar = (folder / "p.pvar").read_bytes()
    with pa.output_stream(str(folder / "p.pvar.zst"), compression="zstd") as file:
        file.write(pvar)


def _vcf_zarr(zarr_format: int) -> Callable[[Path], None]:
    """A store as bio2zarr lays it out, with its codec."""

    def write(folder: Path) -> None:
        group = zarr.open_group(folder / "z", mode="w", zarr_format=zarr_format)
        codec = numcodecs.Blosc("zstd") if zarr_format == 2 else zarr.codecs.BloscCodec(cname="zstd")
        calls = np.random.default_rng(0).integers(0, 2, (40, 30, 2)).astype(np.int8)
        arrays = {
            "variant_contig": np.zeros(40, np.int8),
            "variant_position": np.arange(10, 50, dtype=np.int32),
            "variant_allele": np.array([["A", "C"]] * 40, dtype=object),
            "call_genotype": calls,
            "call_genotype_phased": np.ones((40, 30), bool),
            "sample_id": np.array([f"D{i}" for i in range(30)], object),
            "contig_id": np.array(["chr1", "chr2"], object),
        }
        for name, values in arrays.items():
            is_text = values.dtype == object
            array = group.create_array(
                name,
                shape=values.shape,
                dtype="str" if is_text else values.dtype,
                chunks=values.shape,
                compressors=codec,
            )
            array[...] = values.astype("T") if is_text else values

    return write


def _cells() -> ad.AnnData:
    random = np.random.default_rng(0)
    obs = pd.DataFrame({"donor": ["D1", "D2"] * 6, "cell_type": pd.Categorical(["T", "B", "B"] * 4)})
    obs.index = [f"c{i}" for i in range(12)]
    x = sparse.csr_matrix(random.poisson(1, (12, 5)).astype(np.float32))
    adata = ad.AnnData(x, obs=obs, var=pd.DataFrame(index=[f"g{i}" for i in range(5)]))
    adata.layers["dense"] = x.toarray()
    adata.uns["about"] = {"a": 1, "b": "text"}
    return adata


def _fasta(folder: Path) -> None:
    (folder / "g.fa").write_text(">22\n" + ("ACGTTGCAAC" * 6 + "\n") * 20)
    pysam.faidx(str(folder / "g.fa"))


def _model(folder: Path) -> None:
    arrays = {"weights": np.arange(12, dtype=np.float32).reshape(3, 4), "parts": [np.ones(2), np.zeros(0)]}
    save_model(folder / "m", "expression", arrays, {"genes": ["A1", "B2"]}, Provenance("train", 0))


def _genotypes() -> Genotypes:
    alleles = np.random.default_rng(0).integers(-1, 2, (4, 3, 2)).astype(np.int8)
    variants = pd.DataFrame({"contig": ["21", "22", "22", "22"], "start": [5, 1, 2, 3], "ref": "A", "alt": "C"})
    variants.index = pd.Index([f"rs{i}" for i in range(4)], dtype=object, name="variant")
    donors = pd.Index(["D1", "D2", "D3"], dtype=object)
    return Genotypes(alleles, np.ones((4, 3), bool), variants, donors, {"21": 46_709_983, "22": None})


def _cohort(folder: Path) -> None:
    donors = pd.DataFrame({"genotype_id": ["D1", "D2", "D3"], "ancestry": "X", "sex": ["female", "male", ""]})
    donors = donors.assign(split=["train", "test", "train"], has_cells=[True, True, False], has_genotypes=True)
    genes = pd.DataFrame({"contig": "22", "start": 100, "end": 900, "strand": "+", "tss": 100}, index=["g0", "g3"])
    cohort = assemble_cohort(_cells(), _genotypes(), donors.set_index(donors["genotype_id"]), genes)
    cohort.save(folder / "c", Provenance("prepare", 0))


def _shard(folder: Path) -> None:
    counts = _cells().X.astype(np.int32)
    CellShard(counts, np.full(12, 100.0), 24, "0" * 64).save(folder / "s")


def _read_cells(path: Path) -> None:
    read_expression(path, donor_key="donor", labels_key="cell_type")


def _read_fasta(path: Path) -> None:
    reference = Reference(path, ["22"], 0)
    reference.sequence("22", 0, 100)
    reference.sequence("22", 1100, 1200)


def _zip(files: Mapping[str, bytes]) -> bytes:
    """The files below their common folder."""
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as file:
        for name, content in files.items():
            file.writestr(name.split("/", 1)[1], content)
    return held.getvalue()


def _chain(folder: Path) -> None:
    entries: tuple[Entry, ...] = ()
    for action in ("prepared", "approved"):
        said = {"actor": "A. Person", "subject": "b", "sha256": "0" * 64, "time": "2026-01-01T00:00:00+00:00"}
        entries = (*entries, next_entry(entries, action=action, **said))
    write_chain(folder / "log.jsonl", entries)


def _in_a_process(make: Callable[[Path], Any]) -> Callable[[Path], None]:
    """TensorStore allows no fork after its first use, and the fuzzer forks."""

    def make_there(folder: Path) -> None:
        process = multiprocessing.get_context("fork").Process(target=make, args=(folder,))
        process.start()
        process.join()
        assert process.exitcode == 0

    return make_there


def _sealed(read: Callable[[Path], Any]) -> Callable[[Path], Any]:
    """Read a folder whose manifest was written anew: of files that somebody else made, not of ones that changed."""

    def reseal_and_read(path: Path) -> None:
        (path / "manifest.sha256").unlink(missing_ok=True)
        write_manifest(path)
        read(path)

    return reseal_and_read


def _tar() -> bytes:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as file:
        for name, text in (("b/manifest.sha256", b""), ("b/card.json", b"{}"), ("b/data/x.tsv", b"a\tb\n1\t2\n")):
            member = tarfile.TarInfo(name)
            member.size = len(text)
            file.addfile(member, io.BytesIO(text))
    return held.getvalue()


def _parquet(text: str = _EFFECTS, separator: str = "\t", index: int | None = None) -> bytes:
    held = io.BytesIO()
    pd.read_csv(io.StringIO(text), sep=separator, index_col=index).to_parquet(held)
    return held.getvalue()


def _archive(path: Path) -> None:
    read_archive(path, path.parent / "unpacked")


def _manifest(path: Path) -> None:
    (path.parent / "x.tsv").write_text("a\n")
    verify_manifest(path.parent)


def _zipped(content: bytes) -> bytes:
    return gzip.compress(content, 1, mtime=0)


_DIGEST = "87428fc522803d31065e7bce3cf03fe475096631e5e07bbd7a0fde60c4cf25c7  x.tsv\n"

PLINK = _made(_plink)
ZARR_2, ZARR_3 = _made(_vcf_zarr(2)), _made(_vcf_zarr(3))
CELLS_ZARR = _made(lambda folder: _cells().write_zarr(folder / "c.zarr"))
FASTA = _made(_fasta)
MODEL = _made(_in_a_process(_model))
COHORT, SHARD = _made(_cohort), _made(_shard)

TARGETS: dict[str, Target] = {
    "vcf_text": Target("d.vcf.gz", _VCF.encode(), read_genotypes, _bgzf),
    "vcf_bytes": Target("d.vcf.gz", _bgzf(_VCF.encode()), read_genotypes),
    "vcf_plain": Target("d.vcf", _VCF.encode(), read_genotypes),
    "h5ad": Target("c.h5ad", _made(lambda f: _cells().write_h5ad(f / "x"))["x"], _read_cells),
    "gtf": Target("g.gtf", _GTF.encode(), read_genes),
    "gtf_gz": Target("g.gtf.gz", _zipped(_GTF.encode()), read_genes),
    "donors": Target("d.tsv", _DONORS.encode(), read_donor_table),
    "genetic_map": Target("m.txt", _MAP.encode(), read_genetic_map),
    "effects": Target("e.tsv", _EFFECTS.encode(), read_effect_table),
    "effects_parquet": Target("e.parquet", _parquet(), read_effect_table),
    "effects_gz": Target("e.tsv.gz", _zipped(_EFFECTS.encode()), read_effect_table),
    "donors_gz": Target("d.tsv.gz", _zipped(_DONORS.encode()), read_donor_table),
    "donors_parquet": Target("d.parquet", _parquet(_DONORS), read_donor_table),
    "genetic_map_gz": Target("m.txt.gz", _zipped(_MAP.encode()), read_genetic_map),
    "genetic_map_parquet": Target("m.parquet", _parquet(_MAP, " "), read_genetic_map),
    "kinship_gz": Target("k.tsv.gz", _zipped(_KINSHIP.encode()), read_kinship),
    "kinship_parquet": Target("k.parquet", _parquet(_KINSHIP, index=0), read_kinship),
    "kinship": Target("k.tsv", _KINSHIP.encode(), read_kinship),
    "config": Target("run.yaml", _CONFIG.encode(), lambda p: load(RunConfig, p)),
    "scenario": Target("s.yaml", _SCENARIO.encode(), lambda p: load(Scenario, p)),
    "archive": Target("b.tar.gz", _tar(), _archive, _zipped),
    "archive_bytes": Target("b.tar.gz", _zipped(_tar()), _archive),
    "manifest": Target("manifest.sha256", _DIGEST.encode(), _manifest),
    "bcf": Target("d.bcf", _bcf(), read_genotypes),
    "bcf_bgzf": Target("d.bcf", _bcf(), read_genotypes, _bgzf),
    "bed": _of(PLINK, "p.bed", read_genotypes),
    "bim": _of(PLINK, "p.bim", read_genotypes, "p.bed"),
    "fam": _of(PLINK, "p.fam", read_genotypes, "p.bed"),
    "pgen": _of(PLINK, "p.pgen", read_genotypes),
    "pvar": _of({n: c for n, c in PLINK.items() if n != "p.pvar.zst"}, "p.pvar", read_genotypes, "p.pgen"),
    "pvar_zst": _of({n: c for n, c in PLINK.items() if n != "p.pvar"}, "p.pvar.zst", read_genotypes, "p.pgen"),
    "psam": _of(PLINK, "p.psam", read_genotypes, "p.pgen"),
    "vcf_zarr_calls": _of(ZARR_2, "z/call_genotype/0.0.0", read_genotypes, "z"),
    "vcf_zarr_alleles": _of(ZARR_2, "z/variant_allele/0.0", read_genotypes, "z"),
    "vcf_zarr_array": _of(ZARR_2, "z/call_genotype/.zarray", read_genotypes, "z"),
    "vcf_zarr3_calls": _of(ZARR_3, "z/call_genotype/c/0/0/0", read_genotypes, "z"),
    "vcf_zarr3_array": _of(ZARR_3, "z/variant_position/zarr.json", read_genotypes, "z"),
    "vcf_zarr_zip": Target("z.zip", _zip(ZARR_2), read_genotypes),
    "cells_zarr_data": _of(CELLS_ZARR, "c.zarr/X/data/0", _read_cells, "c.zarr"),
    "cells_zarr_indptr": _of(CELLS_ZARR, "c.zarr/X/indptr/0", _read_cells, "c.zarr"),
    "cells_zarr_metadata": _of(CELLS_ZARR, "c.zarr/.zmetadata", _read_cells, "c.zarr"),
    "gff": Target("g.gff3", _GFF.encode(), read_genes),
    "coding": Target("g.gtf", _CDS.encode(), lambda p: read_coding(p, ["A1"], ["22"])),
    "coding_gz": Target("g.gtf.gz", _CDS.encode(), lambda p: read_coding(p, ["A1"], ["22"]), _zipped),
    "fasta": _of(FASTA, "g.fa", _read_fasta),
    "fai": _of(FASTA, "g.fa.fai", _read_fasta, "g.fa"),
    "gene_sets": Target("s.gmt", b"A\tx\tG1\tG2\nB\ty\tG3\n", read_gene_sets),
    "tf_targets": Target("t.csv", b"source,target,weight\nA1,B2,1\nA1,C3,-1\n", read_tf_targets),
    "tf_targets_gz": Target("t.csv.gz", _zipped(b"source,target,weight\nA1,B2,1\nA1,C3,-1\n"), read_tf_targets),
    "allele_factors": Target("a.tsv", b"variant\tfactor\n22:100:A:C\t0.5\n22:200:A:T\t1\n", given_factors),
    "allele_factors_gz": Target(
        "a.tsv.gz", _zipped(b"gene\tprotein_change\tprobability\nA1\tp.Asp5Asn\t.5\n"), given_factors
    ),
    "sweep": Target("s.tsv", b"perturbation\nA:0.5+B\nC\n", read_sweep),
    "answers": Target("a.yaml", template().encode(), lambda p: load(ReleaseAnswers, p)),
    "run_log": Target("run.jsonl", _RUN_LOG.encode(), read_run_log),
    "chain": Target("log.jsonl", _made(_chain)["log.jsonl"], read_chain),
    "model_json": _of(MODEL, "m/model.json", _sealed(load_model), "m"),
    "model_tree": _of(MODEL, "m/arrays/tree.json", _sealed(load_model), "m"),
    "model_array": _of(MODEL, "m/arrays/orbax/00002/0.0", _sealed(load_model), "m"),
    "cohort_json": _of(COHORT, "c/cohort.json", _sealed(load_cohort), "c"),
    "cohort_donors": _of(COHORT, "c/donors.parquet", _sealed(load_cohort), "c"),
    "cohort_genes": _of(COHORT, "c/genes.parquet", _sealed(load_cohort), "c"),
    "store_json": _of(COHORT, "c/genotypes/genotypes.json", _sealed(load_cohort), "c"),
    "store_variants": _of(COHORT, "c/genotypes/variants.parquet", _sealed(load_cohort), "c"),
    "store_calls": _of(COHORT, "c/genotypes/calls-1.parquet", _sealed(load_cohort), "c"),
    "shard_json": _of(SHARD, "s/cells.json", _sealed(CellShard.load), "s"),
    "shard_data": _of(SHARD, "s/data.npy", _sealed(CellShard.load), "s"),
    "shard_indptr": _of(SHARD, "s/indptr.npy", _sealed(CellShard.load), "s"),
    "model_array_about": _of(MODEL, "m/arrays/orbax/00002/.zarray", _sealed(load_model), "m"),
}

TOKENS = [
    b"\x00", b"\xff\xfe", b"-1", b"99999999999999999999", b"1e999", b"nan", b"inf", b"", b"\t", b"\n", b"\t\t\t",
    b"\r\n",
    b'"', b"'", b"../../x", b"=1+1", b"<script>", b"{", b"[", b"&a [*a,*a]", b"!!python/object:os.system", b"0x1f",
    b"./.", b".|1", b"3|3", b"9999/1", b"*", b"N", b"\xc3\x28", b"\xf0\x9f\x98\x80", b" ", b":", b";", b",", b"#",
    b"A" * 5000, b"1_000", b"-0", b"true", b"null", b"~", b"\x1f\x8b\x08",
]  # fmt: skip
"""Texts that parsers trip over."""


def spoiled(seed: bytes, moves: list[tuple[int, int, int]]) -> bytes:
    """`seed` after some moves (kind, where, what): a byte changed, cut, a slice left out or doubled, a token put in."""
    content = bytearray(seed)
    for kind, where, what in moves:
        at = where % (len(content) + 1)
        if kind == 0 and at < len(content):
            content[at] = what % 256
        elif kind == 1:
            del content[at:]
        elif kind == 2:
            del content[at : at + what % 64]
        elif kind == 3:
            content[at:at] = content[at : at + what % 256]
        elif kind == 4:
            content[at:at] = TOKENS[what % len(TOKENS)]
        elif kind == 5:  # in the place of one field
            end = min((i for i in (content.find(c, at) for c in (b"\t", b"\n", b",", b" ")) if i >= 0), default=at)
            content[at:end] = TOKENS[what % len(TOKENS)]
    return bytes(content)
