"""Coding exons of genes, from the CDS lines of a GTF."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int

from genesim.data.annotation import GTF_PAIR, annotation_lines, parse_interval, strip_version
from genesim.data.contigs import reconcile_contigs
from genesim.data.coordinates import interval_to_zero_based
from genesim.errors import InputError, JoinError

_PREFERRED = ("MANE_Select", "Ensembl_canonical", "appris_principal")


@dataclass(frozen=True)
class CodingTranscript:
    """The coding part of one transcript.

    Attributes:
        gene: Its gene_id.
        exons: Coding exons (start, end), 0-based half-open, in the order of the contig.
        frame: Bases before the first whole codon (0 unless the annotation lacks the start).
    """

    gene: str
    gene_name: str
    transcript: str
    contig: str
    strand: str
    exons: tuple[tuple[int, int], ...]
    frame: int = 0

    @property
    def codons(self) -> Int[np.ndarray, "codon 3"]:
        """0-based positions of the bases of each whole codon, in the order of translation."""
        bases = np.concatenate([np.arange(start, end) for start, end in self.exons])
        bases = (bases if self.strand != "-" else bases[::-1])[self.frame :]
        return bases[: len(bases) // 3 * 3].reshape(-1, 3)

    @property
    def introns(self) -> list[tuple[int, int]]:
        """Stretches between neighbouring coding exons, 0-based half-open, of 4 bp or more."""
        pairs = zip(self.exons[:-1], self.exons[1:], strict=True)
        return [(left[1], right[0]) for left, right in pairs if right[0] - left[1] >= 4]


def read_coding(
    path: str | os.PathLike[str], genes: Iterable[str], contigs: Iterable[str] | None = None
) -> dict[str, CodingTranscript]:
    """The coding transcript of each of `genes`: MANE Select, else Ensembl canonical, else APPRIS principal, else the
    one of most coding bases.

    Args:
        path: A GTF, plain or gzipped.
        genes: gene_id (with or without version) or gene_name.
        contigs: Contig names of the genotypes, which then are used.

    Returns:
        By the names in `genes`, in their order.

    Raises:
        InputError: No GTF with CDS lines that name a gene and a transcript.
        JoinError: A gene without CDS, of two positions, or on none of `contigs`.
    """
    where = os.fspath(path)
    wanted = list(dict.fromkeys(genes))
    exons: dict[tuple[str, str], list[tuple[int, int, int]]] = {}
    about: dict[tuple[str, str], tuple[str, str, str, int]] = {}  # gene_name, contig, strand, rank of the tag
    ids: dict[tuple[str, str], str] = {}
    n_cds = 0
    for number, line in annotation_lines(Path(path)):
        fields = line.split("\t")
        if len(fields) != 9 or fields[2] != "CDS":
            continue
        n_cds += 1
        pairs = GTF_PAIR.findall(fields[8])
        tags = {key: quoted or bare for key, quoted, bare in pairs}
        if "gene_id" not in tags or "transcript_id" not in tags:
            raise InputError(
                "has a CDS without gene_id and transcript_id", where=f"{where}, line {number}", remedy="give a GTF"
            )
        names = {tags["gene_id"], strip_version(tags["gene_id"]), tags.get("gene_name", "")}
        for gene in names.intersection(wanted):
            key = (gene, tags["transcript_id"])
            start, end = interval_to_zero_based(*parse_interval(fields[3], fields[4], f"{where}, line {number}"))
            frame = int(fields[7]) if fields[7] in ("0", "1", "2") else 0
            exons.setdefault(key, []).append((start, end, frame))
            held = {quoted or bare for name, quoted, bare in pairs if name == "tag"}
            rank = next(
                (i for i, tag in enumerate(_PREFERRED) if any(h.startswith(tag) for h in held)), len(_PREFERRED)
            )
            ids[key] = tags["gene_id"]
            about[key] = (tags.get("gene_name", tags["gene_id"]), fields[0], fields[6], rank)
    if not n_cds:
        raise InputError("holds no CDS lines", where=where, remedy="give a GTF with coding sequences")
    rename = None if contigs is None else _renaming(about, list(contigs), where)
    found = {}
    for gene in wanted:
        mine = [key for key in about if key[0] == gene and (rename is None or about[key][1] in rename)]
        if not mine:
            raise JoinError(
                f"gene '{gene}' has no coding sequence on the contigs in use",
                where=where,
                remedy="name coding genes by their gene_id or gene_name in the annotation",
            )
        key = min(mine, key=lambda k: (about[k][3], -sum(end - start for start, end, _ in exons[k]), k[1]))
        name, contig, strand, _ = about[key]
        parts = sorted(exons[key])
        frame = parts[-1][2] if strand == "-" else parts[0][2]
        ranges = tuple((start, end) for start, end, _ in parts)
        found[gene] = CodingTranscript(
            ids[key], name, key[1], rename[contig] if rename else contig, strand, ranges, frame
        )
    chosen = [transcript.gene for transcript in found.values()]
    if len(set(chosen)) < len(chosen):
        twice = next(gene for gene in chosen if chosen.count(gene) > 1)
        raise JoinError(f"gene '{twice}' is named twice", where="genes", remedy="name it once, by gene_id or gene_name")
    return found


def _renaming(
    about: dict[tuple[str, str], tuple[str, str, str, int]], contigs: list[str], where: str
) -> dict[str, str]:
    here = dict.fromkeys(contig for _, contig, _, _ in about.values())
    return {name: wanted for wanted, name in reconcile_contigs(here, contigs, missing="skip", where=where).items()}
