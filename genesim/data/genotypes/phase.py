"""`phase`: statistical phasing by Beagle 5 or SHAPEIT4, programs that the user has installed.

Browning, Tian, Zhou & Browning 2021, AJHG 108:1880 (Beagle 5.4); Delaneau et al. 2019, Nat Commun 10:5436.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from genesim.config.inputs import GenotypePolicy
from genesim.console import log
from genesim.data.contigs import reconcile_contigs
from genesim.data.genotypes.read import read_genotypes
from genesim.data.genotypes.record import ABSENT, MISSING, Genotypes
from genesim.data.genotypes.write_vcf import write_vcf
from genesim.errors import ConfigError, InputError, VcfError

PhaseMethod = Literal["auto", "beagle", "shapeit4"]

_PROGRAMS = ("beagle", "shapeit4")
_INSTALL = "install one: `apt install beagle` or `shapeit4`, or `conda install -c bioconda beagle` or `shapeit4`"
_EVERYTHING = GenotypePolicy(filters="all", max_missing=1.0, min_allele_count=0)


def phase(
    geno: Genotypes,
    genetic_map: pd.DataFrame | None = None,
    method: PhaseMethod = "auto",
    reference: Genotypes | str | Path | None = None,
    *,
    impute_missing: bool = False,
    seed: int = 0,
    threads: int = 1,
) -> Genotypes:
    """Phase the heterozygotes of every contig; nothing else of a call changes.

    Phase that the input has is not kept: it need not agree between variants. Wholly phased genotypes come back
    as they are. A haploid call is given to the program as homozygous and comes back haploid.

    Args:
        geno: Genotypes of at least two donors, or of one beside a reference.
        genetic_map: Columns `contig` (or `chr`), `pos` (1-based) and `cM`; without it the program assumes 1 cM/Mb.
        method: The program; "auto" takes Beagle, else SHAPEIT4.
        reference: Phased genotypes, or a phased VCF of them (SHAPEIT4: with its index). Variants that it
            lacks are left as they are.
        impute_missing: Fill missing calls with the program's alleles; else they stay missing.
        seed: Of the program. Beagle is repeatable with one thread only.
        threads: Of the program.

    Returns:
        The same variants and donors, phased. `report` gains `phase_heterozygotes`, `phase_imputed_calls` and
        `phase_variants_left`.

    Raises:
        ConfigError: The program is not installed, or `method` is none.
        InputError: A genetic map without the columns, or one donor alone.
        JoinError: A genetic map or reference without a contig.
        VcfError: The program failed, or gave back something else than it was given.
    """
    program = find_program(method)
    if geno.n_donors < 2 and reference is None:
        raise InputError("there is one donor", where="genotypes", remedy="phase the donors of a cohort together")
    alleles, phased = geno.alleles.copy(), geno.phased.copy()
    counts: Counter[str] = Counter(phase_heterozygotes=0, phase_imputed_calls=0, phase_variants_left=0)
    contigs = geno.variants["contig"].to_numpy()
    for contig in dict.fromkeys(contigs):
        rows = np.flatnonzero(contigs == contig)
        rows = rows[np.argsort(geno.variants["start"].to_numpy()[rows], kind="stable")]
        part = geno.subset(variants=rows)
        if _is_phased(part, impute_missing):
            continue
        done = _phase_contig(part, str(contig), program, genetic_map, reference, seed, threads)
        alleles[rows], phased[rows] = _merge(part, done, program, impute_missing, counts)
    log.info("%s phased %d heterozygous calls", Path(program).name, counts["phase_heterozygotes"])
    return replace(geno, alleles=alleles, phased=phased, report={**geno.report, **counts})


def find_program(method: str) -> str:
    """Path of the program of a method.

    Raises:
        ConfigError: It is not installed, or there is no such method.
    """
    if method not in ("auto", *_PROGRAMS):
        raise ConfigError(f"there is no method '{method}'", where="phase", remedy="use auto, beagle or shapeit4")
    names = _PROGRAMS if method == "auto" else (method,)
    found = next((path for name in names if (path := shutil.which(name))), None)
    if found is None:
        raise ConfigError(f"{' and '.join(names)} cannot be found", where="phase", remedy=_INSTALL)
    return found


def _is_phased(geno: Genotypes, impute_missing: bool) -> bool:
    """Nothing is left to do, or (one variant) any order is right."""
    missing = (geno.alleles == MISSING).any(axis=2)
    differs = (geno.alleles[:, :, 0] != geno.alleles[:, :, 1]) & ~missing
    return not (differs & ~geno.phased).any() and not (impute_missing and missing.any())


def _program_input(geno: Genotypes) -> Genotypes:
    """Diploid, wholly unphased genotypes, whose ids are the rows' numbers."""
    alleles = geno.alleles.copy()
    alleles[:, :, 1] = np.where(alleles[:, :, 1] == ABSENT, alleles[:, :, 0], alleles[:, :, 1])
    alleles[(alleles == MISSING).any(axis=2)] = MISSING
    alleles.sort(axis=2)  # the order that the input has says nothing
    variants = geno.variants.set_index(pd.Index([f"v{i}" for i in range(geno.n_variants)], dtype=object))
    donors = pd.Index([f"d{i}" for i in range(geno.n_donors)], dtype=object)
    return replace(
        geno, alleles=alleles, phased=np.zeros_like(geno.phased), variants=variants, donors=donors, report={}
    )


def _phase_contig(
    geno: Genotypes,
    contig: str,
    program: str,
    genetic_map: pd.DataFrame | None,
    reference: Genotypes | str | Path | None,
    seed: int,
    threads: int,
) -> Genotypes:
    """What the program makes of the sorted genotypes of one contig, under the names of `_program_input`."""
    given = _program_input(geno)
    if geno.n_variants == 1:  # Beagle wants two positions, and one variant has no phase to find
        return replace(given, phased=(given.alleles != MISSING).all(axis=2))
    with tempfile.TemporaryDirectory(prefix="genesim-phase-") as name:
        folder = Path(name)
        write_vcf(given, folder / "in.vcf.gz")
        panel = str(reference) if reference is not None else None
        if isinstance(reference, Genotypes):
            panel = str(folder / "panel.vcf.gz")
            write_vcf(_panel(reference, contig), panel)
        beagle = Path(program).name == "beagle"
        table = None
        if genetic_map is not None:
            table = folder / "map.txt"
            table.write_text(_map_text(genetic_map, contig, beagle))
        if beagle:
            words = [f"gt={folder / 'in.vcf.gz'}", f"out={folder / 'out'}", f"seed={seed}", f"nthreads={threads}"]
            words += [f"map={table}"] if table else []
            words += [f"ref={panel}", "impute=false", f"chrom={contig}"] if panel else []
        else:
            words = ["--input", str(folder / "in.vcf.gz"), "--output", str(folder / "out.vcf.gz"), "--region", contig]
            words += ["--seed", str(seed), "--thread", str(threads)]
            words += ["--map", str(table)] if table else []
            words += ["--reference", panel] if panel else []
        run = subprocess.run([program, *words], capture_output=True, text=True, cwd=folder, check=False)
        out = folder / "out.vcf.gz"
        if run.returncode or not out.is_file():
            told = [line.strip() for line in (run.stdout + run.stderr).replace("\r", "\n").splitlines()]
            last = [line for line in told if line and "%" not in line][-6:]
            raise VcfError(
                f"{Path(program).name} could not phase contig '{contig}' (exit status {run.returncode}): "
                f"{'; '.join(last)}",
                where="phase",
                remedy="correct what it names, leave out the contig, or use another method",
            )
        return read_genotypes(out, policy=_EVERYTHING)


def _panel(reference: Genotypes, contig: str) -> Genotypes:
    """The reference on one contig, by its name in the genotypes."""
    names = reference.variants["contig"]
    theirs = reconcile_contigs(names.unique(), [contig], where="reference")[contig]
    part = reference.subset(variants=(names == theirs).to_numpy())
    lengths = {contig: reference.contig_lengths.get(theirs)}
    return replace(part, variants=part.variants.assign(contig=contig), contig_lengths=lengths)


def _map_text(genetic_map: pd.DataFrame, contig: str, beagle: bool) -> str:
    table = genetic_map.rename(columns={"chr": "contig"})
    lacking = [name for name in ("contig", "pos", "cM") if name not in table.columns]
    if lacking:
        raise InputError(
            f"lacks the columns {', '.join(lacking)}", where="genetic map", remedy="name them contig, pos, cM"
        )
    names = table["contig"].astype(str)
    here = table[names == reconcile_contigs(names.unique(), [contig], where="genetic map")[contig]]
    if (np.diff(here["pos"]) <= 0).any() or (np.diff(here["cM"]) < 0).any():
        raise InputError(
            f"positions or cM of contig '{contig}' decrease or repeat",
            where="genetic map",
            remedy="sort the map by position",
        )
    pairs = zip(here["pos"].tolist(), here["cM"].tolist(), strict=True)
    if beagle:
        return "".join(f"{contig} . {cm} {position}\n" for position, cm in pairs)
    return "pos\tchr\tcM\n" + "".join(f"{position}\t{contig}\t{cm}\n" for position, cm in pairs)


def _merge(
    geno: Genotypes, done: Genotypes, program: str, impute_missing: bool, counts: Counter[str]
) -> tuple[np.ndarray, np.ndarray]:
    """The program's phases on our calls, after a check that they are our calls."""
    alleles, phased = geno.alleles.copy(), geno.phased.copy()
    rows = pd.Index(done.variants.index).map(lambda name: int(name[1:]) if name[1:].isdigit() else -1).to_numpy(int)
    columns = [f"d{i}" for i in range(geno.n_donors)]
    if (
        rows.min(initial=0) < 0
        or rows.max(initial=-1) >= geno.n_variants
        or done.donors.tolist() != columns
        or (done.variants[["start", "ref", "alt"]].values != geno.variants[["start", "ref", "alt"]].values[rows]).any()
    ):
        raise _changed(program, "other variants or donors")
    given, found = _program_input(geno).alleles[rows], done.alleles
    missing = (given == MISSING).any(axis=2)
    if (np.sort(found, axis=2) != given)[~missing].any() or not done.phased[~missing].all():
        raise _changed(program, "other alleles, or calls without phase")
    haploid = geno.alleles[rows][:, :, 1] == ABSENT
    take = ~haploid & (~missing | (impute_missing & (found >= 0).all(axis=2)))
    alleles[rows] = np.where(take[:, :, None], found, alleles[rows])
    phased[rows] |= take
    if impute_missing:
        alone = haploid & missing & (found[:, :, 0] >= 0)
        alleles[rows, :, 0] = np.where(alone, found[:, :, 0], alleles[rows][:, :, 0])
        counts["phase_imputed_calls"] += int((take & missing).sum() + alone.sum())
    counts["phase_heterozygotes"] += int((take & ~missing & (given[:, :, 0] != given[:, :, 1])).sum())
    counts["phase_variants_left"] += geno.n_variants - len(rows)
    return alleles, phased


def _changed(program: str, what: str) -> VcfError:
    return VcfError(
        f"{Path(program).name} gave back {what} than it was given",
        where="phase",
        remedy="use the other method, and report this with the program's version",
    )
