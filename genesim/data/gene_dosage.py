"""`dosage_from_vcf`: how much of each gene a donor expresses, from the predicted consequences of its genotypes."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from genesim.console import log
from genesim.data.allele_factors import (
    LOSS_OF_FUNCTION,
    AlleleFactor,
    DosageRules,
    GivenFactors,
    allele_factor,
    copies_of,
    covers_gene,
    given_factors,
)
from genesim.data.consequences import (
    AnnotationFormat,
    Consequence,
    affected_share,
    annotation_format,
    consequences,
    representative,
)
from genesim.data.genotypes.header import open_records
from genesim.data.genotypes.preflight import file_kind
from genesim.data.haplotype_dosage import Hit, combine
from genesim.errors import JoinError, VcfError

_NAMES = "donor gene gene_id dosage low high function mechanism zygosity variants phased"
COLUMNS = _NAMES.split()
_GT = re.compile(r"[/|]?((?:\d+|\.)(?:[/|](?:\d+|\.))*)")


@dataclass(frozen=True, eq=False)
class GeneDosage:
    """Dosage of the genes that a donor's alleles change; 1 is normal expression, 0 none.

    Attributes:
        table: A row a donor and changed gene: `donor`, `gene` (symbol, else gene_id), `gene_id`, `dosage` (mean of the
            haplotypes' expression), `low` and `high` (over unknown phase), `function` (share of functional protein),
            `mechanism` (nmd, nmd_escape, deletion, duplication, given; several joined by ";"), `zygosity`,
            `variants` ("contig:position:ref:alt", 1-based, with ":END" if symbolic, joined by ";"), `phased` (False:
            phase matters and is unknown, `zygosity` is phase_unknown). A gene that is not listed has dosage 1.
        counts: Records read, annotated, used and left out by reason; missing calls at records that change a gene.
        donors: Donors that were looked at, with or without a row.
    """

    table: pd.DataFrame
    counts: dict[str, int]
    donors: tuple[str, ...]

    def of(self, donor: str | None = None) -> dict[str, float]:
        """Dosage by gene of a donor; None where there is only one.

        Raises:
            JoinError: A donor that is absent, or that must be named.
        """
        if donor is None and len(self.donors) == 1:
            donor = self.donors[0]
        if donor is None or donor not in self.donors:
            raise JoinError(
                f"there are {len(self.donors)} donors: name one" if donor is None else f"donor '{donor}' is not there",
                where="gene dosage",
                remedy=f"take one of {', '.join(self.donors[:8])}",
            )
        rows = self.table[self.table["donor"] == donor]
        return dict(zip(rows["gene"], rows["dosage"].astype(float), strict=True))

    def perturbation(self, donor: str | None = None) -> dict[str, float]:
        """Amount of knock-down by gene, 1 - dosage; over-expression (dosage above 1) is 0.

        Raises:
            JoinError: See `of`.
        """
        return {gene: max(0.0, 1 - dosage) for gene, dosage in self.of(donor).items()}


def dosage_from_vcf(
    path: str | os.PathLike[str],
    donor: str | Sequence[str] | None = None,
    *,
    rules: DosageRules | None = None,
    missense: pd.DataFrame | str | os.PathLike[str] | None = None,
    passed_only: bool = True,
) -> GeneDosage:
    """Gene dosage of donors from a VCF or BCF annotated by VEP (CSQ) or SnpEff (ANN, LOF, NMD).

    A haplotype's expression of a gene is the product of its alleles' factors (see `allele_factor`), and the dosage
    is the mean of the two haplotypes, or the one of a haploid call: 1 is normal for that donor. A gene's consequence
    is that of one transcript (see `representative`). Whole-gene copies come from <DEL>, <DUP>, <CNn>
    and the FORMAT field CN. Missing alleles count as reference. VCF 4.3: calls joined by "|" are phased to those of
    the same PS.

    Args:
        path: Text, bgzipped or BCF; read once, no index needed.
        donor: One donor or several; None takes all.
        rules: How consequences become dosage; None takes the defaults of `DosageRules`.
        missense: Alleles whose effect is known otherwise; see `given_factors`. They override the rules.
        passed_only: Leave out records whose FILTER is neither PASS nor ".".

    Raises:
        VcfError: A file without CSQ and ANN, or that is damaged, with the record.
        JoinError: A donor that the file lacks.
        InputError: A table that cannot be used.
    """
    path = Path(path)
    header, lines = open_records(path, file_kind(path))
    form = annotation_format(header.info, str(path))
    wanted = header.donors if donor is None else (donor,) if isinstance(donor, str) else tuple(donor)
    absent = [name for name in wanted if name not in header.donors]
    if absent:
        raise JoinError(
            f"the VCF lacks the donors {', '.join(absent[:8])}",
            where=str(path),
            remedy=f"take some of {', '.join(header.donors[:8])}",
        )
    reader = _Reader(form, str(path), rules or DosageRules(), given_factors(missense), passed_only, header.donors)
    for number, line in enumerate(lines, 1):
        reader.read(number, line, wanted)
    if missense is not None:
        reader.counts["given_unused"] = reader.given_unused()
    table = pd.DataFrame(reader.rows(wanted), columns=COLUMNS)
    text = [name for name in COLUMNS if name not in ("dosage", "low", "high", "function", "phased")]
    table = table.astype(dict.fromkeys(text, object) | {"phased": bool})
    log.info("gene dosage: %s", ", ".join(f"{name} {n}" for name, n in reader.counts.items()))
    return GeneDosage(table, dict(reader.counts), tuple(wanted))


class _Reader:
    """Hits of donors and genes, gathered record by record."""

    def __init__(
        self,
        form: AnnotationFormat,
        path: str,
        rules: DosageRules,
        given: GivenFactors,
        passed_only: bool,
        donors: tuple[str, ...],
    ) -> None:
        self.form, self.path, self.rules, self.given, self.passed_only = form, path, rules, given, passed_only
        self.column = {name: at for at, name in enumerate(donors)}
        self.counts: Counter[str] = Counter(records=0, annotated=0, used=0)
        self.hits: dict[tuple[str, str], list[Hit]] = {}
        self.gene_id: dict[str, str] = {}
        self._seen: set[str] = set()
        self._applied: set[object] = set()

    def fail(self, where: str, found: str) -> VcfError:
        return VcfError(found, where=f"{self.path}, {where}", remedy="correct or remove the record")

    def read(self, number: int, line: bytes, wanted: Sequence[str]) -> None:
        self.counts["records"] += 1
        columns = line.count(b"\t") + 1
        if columns != 9 + len(self.column):
            raise self.fail(f"record {number}", f"has {columns} columns, not {9 + len(self.column)}")
        *fixed, samples = line.split(b"\t", 9)  # few records change a gene, so the calls are split only then
        contig, position, _, ref, alternates, _, filters, info, file_format = (
            part.decode("utf-8", "replace") for part in fixed
        )
        if not position.isdecimal():
            raise self.fail(f"record {number}", f"has the position {position[:20]!r}")
        if self.passed_only and filters not in ("PASS", "."):
            self.counts["filtered"] += 1
            return
        where = f"record {number} ({contig}:{position})"
        alts = alternates.split(",")
        values = dict(pair.partition("=")[::2] for pair in info.split(";"))
        found, strange = consequences(values, ref, alts, self.form, f"{self.path}, {where}")
        self.counts["allele_not_in_record"] += strange
        if not found:
            self.counts["not_annotated"] += 1
            return
        self.counts["annotated"] += 1
        names = [f"{contig}:{position}:{ref}:{alt}" for alt in alts]
        if alts == ["<CNV>"] or any(copies_of(alt) is not None for alt in alts):
            # Symbolic alleles of one position differ in their end.
            names = [f"{name}:{values['END']}" if "END" in values else name for name in names]
        chosen = representative(found)
        factors = self._factors(chosen, alts, names, values, f"{self.path}, {where}")
        covered = [c for c in chosen if alts[c.allele - 1].startswith("<") and covers_gene(c)]
        counted = file_format.split(":")
        by_number = "CN" in counted and bool(covered)
        if not factors and not by_number:
            self.counts["no_effect"] += 1
            return
        if self._seen.intersection(names):
            self.counts["repeated"] += 1
            return
        self._seen.update(names)
        self.counts["used"] += 1
        calls = samples.decode("utf-8", "replace").split("\t")
        for donor in wanted:
            # A call may leave out trailing fields (VCF 4.3, section 1.6.2).
            call = dict(zip(counted, calls[self.column[donor]].split(":"), strict=False))
            self._call(donor, call, factors, [c.gene for c in covered], names, number, where)
        for one in chosen:
            self.gene_id.setdefault(one.gene, one.gene_id)

    def _factors(
        self, chosen: list[Consequence], alts: list[str], names: list[str], info: dict[str, str], where: str
    ) -> dict[str, dict[int, AlleleFactor]]:
        """Factors by gene and allele."""
        lof = affected_share(info, "LOF", where) if self.form.has_lof else {}
        nmd = affected_share(info, "NMD", where) if self.form.has_lof else {}
        top = {at: min(c.severity for c in chosen if c.allele == at) for at in {c.allele for c in chosen}}
        factors: dict[str, dict[int, AlleleFactor]] = {}
        for one in chosen:
            alt = alts[one.allele - 1]
            leading = one.severity == top[one.allele]
            given = self.given.of(names[one.allele - 1], one, leading)
            if given is not None:
                self._applied.update(
                    (names[one.allele - 1], (one.gene, one.protein_change), (one.gene_id, one.protein_change))
                )
                factors.setdefault(one.gene, {})[one.allele] = AlleleFactor(given, given, "given")
                continue
            share = [next((tag[name] for name in (one.gene_id, one.gene) if name in tag), None) for tag in (lof, nmd)]
            factor = allele_factor(one, alt, self.rules, *share)
            if factor is not None:
                factors.setdefault(one.gene, {})[one.allele] = factor
            elif LOSS_OF_FUNCTION.intersection(one.terms):
                self.counts["low_confidence"] += 1
            elif copies_of(alt) not in (None, 1.0):
                self.counts["partial_copy_number"] += 1
        return factors

    def given_unused(self) -> int:
        """Rows of the user's table that met no allele."""
        rows: list[object] = [*self.given.by_variant, *self.given.by_change]
        return sum(row not in self._applied for row in rows)

    def _call(
        self,
        donor: str,
        call: dict[str, str],
        factors: dict[str, dict[int, AlleleFactor]],
        covered: list[str],
        names: list[str],
        number: int,
        where: str,
    ) -> None:
        text = call.get("GT", ".")
        parsed = _GT.fullmatch(text)
        alleles = [int(a) if a != "." else None for a in re.split(r"[/|]", parsed[1])] if parsed else []
        if not 1 <= len(alleles) <= 2 or any(a is not None and a > len(names) for a in alleles):
            raise self.fail(where, f"donor '{donor}' has the genotype {text[:20]!r}, not one or two alleles of it")
        copies = _number(call.get("CN", "."))
        if None in alleles and copies is None:
            self.counts["missing_calls"] += 1
        haploid = len(alleles) == 1 and alleles[0] is not None
        first, second = alleles[0] or 0, alleles[-1] or 0
        phased = "|" in text
        block = ("phased", call.get("PS", ".")) if phased else ("record", number)
        for gene in dict.fromkeys([*factors, *covered]):
            changed = factors.get(gene, {})
            if copies is not None and gene in covered:
                pair = _by_number(copies, haploid, first > 0, second > 0)
                kind = "deletion" if sum(pair) < 2 else "duplication"
                hit = Hit(
                    block, pair, pair, (pair[0] != 1, pair[1] != 1), haploid, (kind,), _carried(names, first, second)
                )
            else:
                sides = [changed.get(first), changed.get(second)]
                a, b = (side or AlleleFactor(1.0, 1.0, "") for side in sides)
                own = {at: changed[at] for at in (first, second) if at in changed}
                hit = Hit(
                    block,
                    (a.expression, b.expression),
                    (a.function, b.function),
                    (sides[0] is not None, sides[1] is not None),
                    haploid,
                    tuple(factor.mechanism for factor in own.values()),
                    tuple(names[at - 1] for at in own),
                )
            if any(hit.carried):
                self.hits.setdefault((donor, gene), []).append(hit)

    def rows(self, wanted: Sequence[str]) -> list[tuple]:
        """Rows of the table, by donor in the order asked for and gene in the order of the file."""
        order = {name: at for at, name in enumerate(wanted)}
        rows = []
        for (donor, gene), hits in sorted(self.hits.items(), key=lambda item: order[item[0][0]]):
            whole = combine(hits)
            mechanisms = dict.fromkeys(kind for hit in hits for kind in hit.mechanisms)
            variants = dict.fromkeys(name for hit in hits for name in hit.variants)
            rows.append(
                (
                    *(donor, gene, self.gene_id[gene], whole.dosage, whole.low, whole.high, whole.function),
                    *(";".join(mechanisms), whole.zygosity, ";".join(variants), whole.zygosity != "phase_unknown"),
                )
            )
        return rows


def _number(text: str) -> float | None:
    """A copy number, None where it is missing or no number."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if np.isfinite(value) and value >= 0 else None


def _carried(names: list[str], first: int, second: int) -> tuple[str, ...]:
    own = dict.fromkeys(names[at - 1] for at in (first, second) if at)
    return tuple(own) or (names[0],)


def _by_number(copies: float, haploid: bool, first: bool, second: bool) -> tuple[float, float]:
    """Copies on each haplotype from their sum (FORMAT CN); carriers by GT, else one apart at most."""
    if haploid:
        return copies, copies
    if first != second:
        other = min(1.0, copies)
        return (copies - other, other) if first else (other, copies - other)
    return float(copies // 2), copies - copies // 2
