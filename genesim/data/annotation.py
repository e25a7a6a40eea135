"""Gene positions from GTF and GFF3, and finding the genes of an expression matrix among them."""

from __future__ import annotations

import gzip
import os
import re
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pandas as pd

from genesim.console import log
from genesim.data.contigs import reconcile_contigs
from genesim.data.coordinates import LAST_POSITION, interval_to_zero_based
from genesim.data.names import plain_frame
from genesim.errors import InputError, JoinError

_STABLE_ID = re.compile(r"^([A-Za-z]+\d{6,})\.\d+(_PAR_Y)?$")
GTF_PAIR = re.compile(r'\s*([^\s"]+)\s+(?:"([^"]*)"|([^\s";]+))\s*(?:;|$)')
_PARTS = ("transcript", "mRNA", "exon", "CDS")
UNPLACED = {"contig": "", "start": -1, "end": -1, "strand": ".", "tss": -1}
"""What a gene without a position has in the columns of positions."""


def strip_version(gene_id: str) -> str:
    """A stable identifier without its version: `ENSG00000233866.1` -> `ENSG00000233866`.

    Names such as `RP11-34P13.7`, whose suffix is no version, stay as they are.
    """
    match = _STABLE_ID.match(gene_id)
    return match[1] + (match[2] or "") if match else gene_id


@dataclass
class _Gene:
    name: str
    contig: str
    first: int
    last: int
    strand: str


def read_genes(path: str | os.PathLike[str], contigs: Iterable[str] | None = None) -> pd.DataFrame:
    """Read the genes of a GTF or GFF3 file, plain or gzipped (told apart by content).

    Where a GTF has no `gene` lines, a gene spans its transcripts and exons. A gene_id that comes again
    keeps its first position (the pseudoautosomal genes of chrY); how often is logged.

    Args:
        path: The annotation.
        contigs: Contig names of the genotypes: only genes there are kept, under these names.

    Returns:
        Indexed by `gene_id`: `gene_id_unversioned`, `gene_name`, `contig`, `start` (0-based, bp), `end`
        (half-open), `strand` ("+", "-" or "."), `tss` (0-based position of the transcription start).

    Raises:
        InputError: Unreadable, damaged, malformed (the line is named) or without genes.
        JoinError: None of `contigs` is in the annotation, or their names are ambiguous.
    """
    where = os.fspath(path)
    genes: dict[str, _Gene] = {}
    spans: dict[str, _Gene] = {}
    repeated: list[str] = []
    for number, line in annotation_lines(Path(path)):
        kind = line.split("\t", 3)[2:3]
        is_part = kind != [] and kind[0] in _PARTS
        if is_part and not genes:
            gene_id, part = _parse(line, f"{where}, line {number}")
            if gene_id:
                _widen(spans, gene_id, part)
        elif not is_part and (not kind or kind[0].endswith("gene")):
            gene_id, gene = _parse(line, f"{where}, line {number}")
            if gene_id in genes:
                repeated.append(gene_id)
            genes.setdefault(gene_id, gene)
    genes = genes or spans
    if not genes:
        raise InputError("holds no genes", where=where, remedy="give a GTF or GFF3 annotation with gene lines")
    if repeated:
        log.warning("%s: %d gene_id come again; the first was kept (%s)", where, len(repeated), repeated[0])
    frame = _frame(genes)
    return frame if contigs is None else _restrict(frame, list(contigs), where)


def annotation_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Number (from 1) and text of every line of a GTF or GFF3 that is no comment.

    Raises:
        InputError: It cannot be read.
    """
    try:
        with open(path, "rb") as raw:
            gzipped = raw.read(2) == b"\x1f\x8b"
        with gzip.open(path, "rt", encoding="utf-8") if gzipped else open(path, encoding="utf-8") as handle:
            for number, line in enumerate(handle, 1):
                if line.startswith("##FASTA"):
                    return
                if not line.startswith("#") and not line.isspace():
                    yield number, line.rstrip("\r\n")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise InputError(
            f"cannot be read ({text})", where=str(path), remedy="check the path, or copy the file again"
        ) from error


def parse_interval(first_text: str, last_text: str, where: str) -> tuple[int, int]:
    """The 1-based closed interval of a line's start and end.

    Raises:
        InputError: Texts that are no such interval.
    """
    if not (first_text.isascii() and first_text.isdigit() and last_text.isascii() and last_text.isdigit()):
        raise InputError(
            f"start '{first_text}' or end '{last_text}' is no position",
            where=where,
            remedy="correct the line",
        )
    first, last = (int(text[:20]) for text in (first_text, last_text))  # more digits would be no position either
    if not 1 <= first <= last <= LAST_POSITION:
        raise InputError(
            f"start {first_text[:20]} and end {last_text[:20]} are no 1-based interval",
            where=where,
            remedy="correct the line",
        )
    return first, last


def _parse(line: str, where: str) -> tuple[str, _Gene]:
    """Identifier ("" for a GFF3 part, which names its parent only) and gene of one line."""
    fields = line.split("\t")
    if len(fields) != 9:
        raise InputError(
            f"has {len(fields)} tab-separated columns, not 9", where=where, remedy="give a GTF or GFF3 file"
        )
    contig, _, kind, first_text, last_text, _, strand, _, text = fields
    first, last = parse_interval(first_text, last_text, where)
    if strand not in ("+", "-", ".", "?"):
        raise InputError(f"strand is '{strand}'", where=where, remedy="use +, - or .")
    found = {key: quoted or bare for key, quoted, bare in GTF_PAIR.findall(text)}
    if "gene_id" in found:
        gene_id, name = found["gene_id"], found.get("gene_name") or found.get("gene") or ""
    else:
        tags = dict(pair.split("=", 1) for pair in text.strip("; ").split(";") if "=" in pair)
        tags = {key.strip(): unquote(value) for key, value in tags.items()}
        gene_id = tags.get("gene_id", "")
        if not gene_id and kind not in _PARTS:
            gene_id = tags.get("ID", "").removeprefix("gene:").removeprefix("gene-")
        name = tags.get("gene_name") or tags.get("Name") or tags.get("gene") or ""
        if not gene_id and (kind not in _PARTS or not tags):
            raise InputError(
                "has no gene_id (nor an ID)", where=where, remedy="give a GTF or GFF3 with gene identifiers"
            )
    return gene_id, _Gene(name or gene_id, contig, first, last, "." if strand == "?" else strand)


def _widen(spans: dict[str, _Gene], gene_id: str, part: _Gene) -> None:
    gene = spans.setdefault(gene_id, part)
    if gene.contig == part.contig:
        gene.first, gene.last = min(gene.first, part.first), max(gene.last, part.last)


def _frame(genes: dict[str, _Gene]) -> pd.DataFrame:
    records = list(genes.values())
    strand = np.array([gene.strand for gene in records], dtype=object)
    start, end = interval_to_zero_based(
        np.array([gene.first for gene in records], dtype=np.int64),
        np.array([gene.last for gene in records], dtype=np.int64),
    )
    frame = pd.DataFrame(
        {
            "gene_id_unversioned": np.array([strip_version(gene_id) for gene_id in genes], dtype=object),
            "gene_name": np.array([gene.name for gene in records], dtype=object),
            "contig": np.array([gene.contig for gene in records], dtype=object),
            "start": start,
            "end": end,
            "strand": strand,
            "tss": np.where(strand == "-", end - 1, start),
        },
        index=pd.Index(list(genes), dtype=object, name="gene_id"),
    )
    return plain_frame(frame)


def _restrict(frame: pd.DataFrame, contigs: list[str], where: str) -> pd.DataFrame:
    here = list(pd.unique(frame["contig"]))
    found = reconcile_contigs(here, contigs, missing="skip", where=where)
    if not found:
        raise JoinError(
            f"has none of the contigs {', '.join(contigs[:8])}; its own are {', '.join(here[:8])}",
            where=where,
            remedy="give the annotation of the same genome build and naming",
        )
    rename = {name: wanted for wanted, name in found.items()}
    kept = frame[frame["contig"].isin(list(rename))].copy()
    kept["contig"] = kept["contig"].map(rename)
    return plain_frame(kept)


def locate_genes(var_names: Iterable[str], genes: pd.DataFrame) -> pd.DataFrame:
    """Find each gene of an expression matrix among annotated genes, by equal names only.

    Tried in this order: gene_id; gene_id without version (on either side); gene_name. A match must be
    unique, else the gene stays unplaced.

    Args:
        var_names: Names of the genes of the matrix.
        genes: As `read_genes` gives them.

    Returns:
        Indexed by `var_names`, in their order: `contig`, `start`, `end`, `strand`, `tss` (0-based half-open;
        `UNPLACED` values where not found), `gene_id`, `gene_name`, and `matched_by`: "gene_id",
        "gene_id_unversioned", "gene_name", "ambiguous" or "absent". `match_counts` counts them.
    """
    names = pd.Index([str(name) for name in var_names], dtype=object, name="gene")
    at = np.full(len(names), -1)
    matched_by = np.full(len(names), "absent", dtype=object)
    unversioned = pd.Index([strip_version(name) for name in names], dtype=object)
    for how, keys, sought in (
        ("gene_id", genes.index, names),
        ("gene_id_unversioned", pd.Index(genes["gene_id_unversioned"]), unversioned),
        ("gene_name", pd.Index(genes["gene_name"]), names),
    ):
        once = ~keys.duplicated(keep=False)
        rows = np.flatnonzero(once)
        hit = pd.Index(keys[once]).get_indexer(sought)
        open_ = matched_by == "absent"
        new = open_ & (hit >= 0)
        at[new] = rows[hit[new]]
        matched_by[new] = how
        matched_by[open_ & (hit < 0) & sought.isin(keys[~once])] = "ambiguous"
    located = pd.DataFrame(index=names)
    found = at >= 0
    for column in (*UNPLACED, "gene_id", "gene_name"):
        values = np.asarray(genes.index if column == "gene_id" else genes[column])
        absent = UNPLACED.get(column, "")
        filled = np.full(len(names), absent, dtype=object if isinstance(absent, str) else np.int64)
        filled[found] = values[at[found]]
        located[column] = filled
    located["matched_by"] = matched_by
    return plain_frame(located)


def match_counts(located: pd.DataFrame) -> dict[str, int]:
    """How many genes `locate_genes` matched in each way (every way is listed)."""
    ways = ("gene_id", "gene_id_unversioned", "gene_name", "ambiguous", "absent")
    return {way: int((located["matched_by"] == way).sum()) for way in ways}
