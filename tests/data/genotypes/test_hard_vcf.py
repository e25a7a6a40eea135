"""Other projects' difficult VCF and BCF files: genotypes or a GenesimError, never a crash; bcftools is the oracle.

`hard_vcf_outcomes.tsv` is what became of each file. After a change that is meant, write it again:
`python tests/data/genotypes/test_hard_vcf.py FOLDER > tests/data/genotypes/hard_vcf_outcomes.tsv`
"""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from genesim.config.inputs import GenotypePolicy
from genesim.data.genotypes import Genotypes, read_genotypes
from genesim.data.genotypes.record import allele_counts
from genesim.errors import GenesimError

EVERYTHING = GenotypePolicy(filters="all", max_missing=1.0, min_allele_count=0)
TABLE = Path(__file__).with_name("hard_vcf_outcomes.tsv")
COLUMNS = ("file", "outcome", "error", "n_variants", "n_donors", "alternate_copies")

# Runs in a child, so that a crash of a C library is seen; prints a row after each file.
_CHILD = """
import sys
from pathlib import Path
from genesim.config.inputs import GenotypePolicy
from genesim.data.genotypes import read_genotypes
from genesim.errors import GenesimError
policy = GenotypePolicy(filters="all", max_missing=1.0, min_allele_count=0)
for path in sys.stdin.read().splitlines():
    try:
        genotypes = read_genotypes(path, policy=policy)
        assert genotypes.n_variants and genotypes.alleles.min() >= -2 and genotypes.alleles.max() <= 1
        n_alternate = int((genotypes.alleles == 1).sum())
        row = ["read", "", genotypes.n_variants, genotypes.n_donors, n_alternate]
    except GenesimError as error:
        assert error.where and error.remedy and path in str(error), str(error)
        row = ["refused", type(error).__name__, "", "", ""]
    print(Path(path).name, *row, sep="\\t", flush=True)
"""


def outcomes(folder: Path) -> list[str]:
    """A row of `TABLE` for every file."""
    files = sorted(str(path) for path in folder.iterdir() if path.is_file())
    child = subprocess.run(
        [sys.executable, "-c", _CHILD],
        input="\n".join(files),
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    lines = child.stdout.splitlines()
    assert child.returncode == 0, (lines[-1:], child.stderr[-2000:])
    assert child.stderr == ""  # htslib prints nothing past us
    assert [line.partition("\t")[0] for line in lines] == [Path(path).name for path in files]
    return lines


@pytest.mark.slow
def test_every_hard_file_is_read_or_refused_as_before(shared_data: Path) -> None:
    lines = outcomes(shared_data / "hard" / "vcf")
    assert len(lines) > 700
    known = TABLE.read_text().splitlines()
    assert known[0].split("\t") == list(COLUMNS)
    assert set(lines) ^ set(known[1:]) == set()
    assert sum("\tread\t" in line for line in lines) > 300


def _plain(path: Path) -> bytes:
    """The file's records as bcftools wants them: only GT, every contig declared."""
    raw = path.read_bytes()
    if raw[:2] == b"\x1f\x8b":
        raw = gzip.decompress(raw)
    if raw[:3] == b"BCF":
        raw = subprocess.run(["bcftools", "view", str(path)], capture_output=True, check=True).stdout
    names, contigs, body = b"", {}, []
    for line in raw.replace(b"\r", b"").split(b"\n"):
        if line.startswith(b"#CHROM"):
            names = line
        elif line and not line.startswith(b"#"):
            fields = line.split(b"\t")
            keys = fields[8].split(b":")
            if b"GT" in keys:
                at = keys.index(b"GT")
                calls = [(field.split(b":") + [b"."] * at)[at] for field in fields[9:]]
                contigs[fields[0]] = None
                body.append(b"\t".join([*fields[:5], b".", b".", b".", b"GT", *calls]))
    head = [b"##fileformat=VCFv4.2", *(b"##contig=<ID=%b>" % contig for contig in contigs)]
    head += [b'##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">', names]
    return b"\n".join(head + body) + b"\n"


Counts = dict[tuple[str, int, str, str], tuple[int, int]]


def of_bcftools(path: Path) -> Counts:
    """AC and AN of whole calls of every biallelic variant, split by `bcftools norm -m-`."""
    split = subprocess.run(["bcftools", "norm", "-m-", "-Ov", "-"], input=_plain(path), capture_output=True)
    assert split.returncode == 0, (path, split.stderr[-500:])
    counts: Counts = {}
    for line in split.stdout.splitlines():
        if line.startswith(b"#"):
            continue
        contig, position, _, ref, alt, _, _, _, _, *calls = line.decode().split("\t")
        copies = [call.replace("|", "/").strip("/").split("/") for call in calls]
        whole = [copy for call in copies if "." not in call for copy in call]
        counts.setdefault((contig, int(position) - 1, ref.upper(), alt.upper()), (whole.count("1"), len(whole)))
    return counts


def of_ours(genotypes: Genotypes) -> Counts:
    keys = map(tuple, genotypes.variants[["contig", "start", "ref", "alt"]].values.tolist())
    n_alternate, n_called = allele_counts(genotypes.alleles)
    return dict(zip(keys, zip(n_alternate.tolist(), n_called.tolist()), strict=True))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("bcftools") is None, reason="bcftools is not installed")
def test_allele_counts_are_those_of_bcftools(shared_data: Path) -> None:
    n_files, n_variants, n_alternate = 0, 0, 0
    for path in sorted((shared_data / "hard" / "vcf").iterdir()):
        try:
            ours = of_ours(read_genotypes(path, policy=EVERYTHING))
        except GenesimError:
            continue
        theirs = {key: n for key, n in of_bcftools(path).items() if key[3].isalpha()}  # symbolic alleles are dropped
        assert ours == theirs, path
        n_files += 1
        n_variants += len(ours)
        n_alternate += sum(ac for ac, _ in ours.values())
    assert n_files > 300
    assert n_variants > 5_000, n_variants
    assert n_alternate > 10_000, n_alternate


if __name__ == "__main__":
    print(*COLUMNS, sep="\t")
    print(*outcomes(Path(sys.argv[1])), sep="\n")
