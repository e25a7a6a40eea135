"""Coding exons from a GTF."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from genesim.data.coding import read_coding
from genesim.errors import InputError, JoinError


def line(gene: str, transcript: str, first: int, last: int, strand: str = "+", frame: int = 0, tag: str = "") -> str:
    extra = f' tag "{tag}";' if tag else ""
    return (
        f"chr1\tx\tCDS\t{first}\t{last}\t.\t{strand}\t{frame}\t"
        f'gene_id "{gene}"; transcript_id "{transcript}"; gene_name "N{gene}";{extra}\n'
    )


def test_codons_follow_the_strand_over_exon_borders(tmp_path: Path) -> None:
    path = tmp_path / "a.gtf"
    path.write_text(
        line("ENSG00000000001.2", "t1", 11, 14)
        + line("ENSG00000000001.2", "t1", 21, 25)
        + line("ENSG00000000002.1", "u1", 11, 14, "-")
        + line("ENSG00000000002.1", "u1", 21, 26, "-", frame=1)
    )
    found = read_coding(path, ["ENSG00000000001", "NENSG00000000002.1"], ["1"])
    plus, minus = found.values()
    assert (plus.contig, plus.gene, minus.gene) == ("1", "ENSG00000000001.2", "ENSG00000000002.1")
    assert plus.exons == ((10, 14), (20, 25))
    np.testing.assert_array_equal(plus.codons, [[10, 11, 12], [13, 20, 21], [22, 23, 24]])
    assert plus.introns == [(14, 20)]
    np.testing.assert_array_equal(minus.codons, [[24, 23, 22], [21, 20, 13], [12, 11, 10]])


def test_the_tagged_transcript_wins_and_else_the_longest(tmp_path: Path) -> None:
    path = tmp_path / "a.gtf"
    path.write_text(line("g", "short", 1, 30) + line("g", "long", 1, 90) + line("h", "long", 1, 90))
    assert read_coding(path, ["g"])["g"].transcript == "long"
    path.write_text(line("g", "short", 1, 30, tag="MANE_Select") + line("g", "long", 1, 90))
    assert read_coding(path, ["g"])["g"].transcript == "short"
    with pytest.raises(JoinError, match="gene 'z'"):
        read_coding(path, ["z"])
    with pytest.raises(JoinError, match="named twice"):
        read_coding(path, ["g", "Ng"])
    with pytest.raises(JoinError, match="gene 'g'"):
        read_coding(path, ["g"], ["2"])
    path.write_text('chr1\tx\tgene\t1\t9\t.\t+\t.\tgene_id "g";\n')
    with pytest.raises(InputError, match="no CDS"):
        read_coding(path, ["g"])


def test_gencode_coding_sequences_are_whole_codons(shared_data: Path) -> None:
    path = shared_data / "annotation" / "gencode.v19.annotation.chr22.gtf.gz"
    if not path.is_file():
        pytest.skip(f"no annotation at {path}")
    found = read_coding(path, ["CHEK2", "NF2", "ENSG00000093072"], ["22"])
    assert [gene.contig for gene in found.values()] == ["22"] * 3
    for gene in found.values():
        n_bases = sum(end - start for start, end in gene.exons) - gene.frame
        assert n_bases % 3 == 0
        assert len(gene.introns) == len(gene.exons) - 1
