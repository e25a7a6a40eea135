"""What is fuzzed: each reader, a small valid file of its kind, and how the file's bytes come to the disk."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import pysam
from scipy import sparse

from genesim.config.base import load
from genesim.config.run import RunConfig
from genesim.config.scenario import Scenario
from genesim.data.annotation import read_genes
from genesim.data.donors import read_donor_table
from genesim.data.effect_table import read_effect_table
from genesim.data.expression import read_expression
from genesim.data.genetic_map import read_genetic_map
from genesim.data.genotypes import read_genotypes
from genesim.data.kinship_table import read_kinship
from genesim.provenance.manifest import verify_manifest
from genesim.release.archive import read_archive

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
    """

    name: str
    seed: bytes
    read: Callable[[Path], Any]
    wrap: Callable[[bytes], bytes] = bytes

    def __call__(self, content: bytes, folder: Path) -> None:
        path = folder / self.name
        path.write_bytes(self.wrap(content))
        self.read(path)


def _bgzf(content: bytes) -> bytes:
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "x.gz"
        with pysam.BGZFile(str(path), "wb") as file:
            file.write(content)
        return path.read_bytes()


def _h5ad() -> bytes:
    import tempfile

    random = np.random.default_rng(0)
    obs = pd.DataFrame({"donor": ["D1", "D2"] * 6, "cell_type": pd.Categorical(["T", "B", "B"] * 4)})
    obs.index = [f"c{i}" for i in range(12)]
    x = sparse.csr_matrix(random.poisson(1, (12, 5)).astype(np.float32))
    adata = ad.AnnData(x, obs=obs, var=pd.DataFrame(index=[f"g{i}" for i in range(5)]))
    adata.layers["dense"] = x.toarray()
    adata.uns["about"] = {"a": 1, "b": "text"}
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "x.h5ad"
        adata.write_h5ad(path)
        return path.read_bytes()


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

TARGETS: dict[str, Target] = {
    "vcf_text": Target("d.vcf.gz", _VCF.encode(), read_genotypes, _bgzf),
    "vcf_bytes": Target("d.vcf.gz", _bgzf(_VCF.encode()), read_genotypes),
    "vcf_plain": Target("d.vcf", _VCF.encode(), read_genotypes),
    "h5ad": Target("c.h5ad", _h5ad(), lambda p: read_expression(p, donor_key="donor", labels_key="cell_type")),
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
