"""prepare: check the raw inputs, join donors, split without leakage -> `cohort/`.

Genotypes can be read contig by contig (`prepare_genotypes`), by as many jobs, and joined at the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from genesim.config.base import parse
from genesim.config.inputs import InputsConfig
from genesim.console import log
from genesim.data.annotation import locate_genes, read_genes
from genesim.data.cohort import Cohort, assemble_cohort
from genesim.data.contigs import reconcile_contigs
from genesim.data.deal import deal_donors, deal_genes, dealt_table
from genesim.data.donors import join_donors, read_donor_table
from genesim.data.expression import REPORT_KEY, read_expression
from genesim.data.genotypes import (
    Genotypes,
    concatenate,
    input_files,
    phase,
    read_genotypes,
    read_store,
    write_store,
)
from genesim.data.labels import drop_rare_labels
from genesim.data.split import split_donors
from genesim.errors import JoinError
from genesim.provenance.atomic import atomic_directory
from genesim.provenance.manifest import verify_manifest
from genesim.provenance.record import Provenance, hash_input, hash_inputs


def prepare_genotypes(inputs: InputsConfig, contig: str, out: str | Path, seed: int = 0) -> Genotypes:
    """Read, check and (if asked) phase one contig of the raw genotypes into a store at `out`."""
    genotypes = _read(inputs, [contig], seed)
    with atomic_directory(out) as directory:
        write_store(genotypes, directory)
    log.info(
        "contig %s: %d variants of %d donors; %s",
        contig,
        genotypes.n_variants,
        genotypes.n_donors,
        genotypes.report,
    )
    return genotypes


def _read(inputs: InputsConfig, contigs: Sequence[str], seed: int) -> Genotypes:
    genotypes = read_genotypes(inputs.vcf, contigs=contigs or None, policy=inputs.genotypes)
    return genotypes if inputs.phase == "never" else phase(genotypes, method=inputs.phase, seed=seed)


def _genotypes(inputs: InputsConfig, parts: Sequence[str | Path], seed: int) -> Genotypes:
    if not parts:
        return _read(inputs, inputs.contigs, seed)
    for part in parts:
        verify_manifest(part)
    return concatenate(read_store(Path(part)) for part in parts)


def prepare(
    inputs: InputsConfig | None = None,
    *,
    out: str | Path,
    seed: int = 0,
    parts: Sequence[str | Path] = (),
    **fields: Any,
) -> Cohort:
    """Join cells, genotypes, donors and gene positions into a cohort directory.

    Args:
        inputs: The raw inputs; or give its fields as keywords (`h5ad=`, `vcf=`, `donors=`, ...).
        out: Directory to write.
        seed: Of the donor split, of dealing and of phasing.
        parts: Genotype stores of `prepare_genotypes`; without them the VCF is read here.

    Raises:
        InputError: A file is damaged, or donors, genes or contigs do not match.
    """
    if inputs is None:
        inputs = parse(InputsConfig, fields, where="prepare()")
    cells = read_expression(
        inputs.h5ad,
        layer=inputs.layer,
        donor_key=inputs.donor_key,
        labels_key=inputs.labels_key,
        batch_key=inputs.batch_key,
        covariate_keys=(*inputs.categorical_covariate_keys, *inputs.continuous_covariate_keys),
    )
    cells_read = dict(cells.uns[REPORT_KEY])
    if inputs.labels_key is not None:
        cells, cells_read["cells_of_rare_labels"] = drop_rare_labels(
            cells, inputs.labels_key, inputs.min_cells_per_label
        )
    genotypes = _genotypes(inputs, parts, seed)
    table = read_donor_table(inputs.donors, inputs.donor_columns) if inputs.donors is not None else None
    cell_donors = cells.obs[inputs.donor_key].astype(str)
    if "donors" in inputs.deal:
        table = dealt_table(deal_donors(cell_donors, genotypes.donors, seed), table)
    donors = join_donors(cell_donors, genotypes.donors, table, min_overlap=inputs.min_donor_overlap)
    donors["split"] = split_donors(donors, inputs.held_out, seed)
    config = inputs.model_dump(mode="json")
    cohort = assemble_cohort(
        cells,
        genotypes,
        donors,
        _genes(inputs, cells.var_names, genotypes, seed),
        donor_key=inputs.donor_key,
        overwrite=True,
        info={
            "inputs": config,
            "cells_read": cells_read,
            "genotypes_read": genotypes.report,
            "join": donors.attrs.get("join", {}),
        },
    )
    files = {
        name: hash_input(path) for name in ("h5ad", "donors", "genes") if (path := getattr(inputs, name)) is not None
    }
    files["vcf"] = hash_inputs(input_files(inputs.vcf))
    cohort.save(out, Provenance("prepare", seed, config, files))
    log.info(
        "cohort: %d cells of %d donors, %d variants of %d donors, %d of %d genes with a position",
        cohort.cells.n_obs,
        int(cohort.donors["has_cells"].sum()),
        cohort.genotypes.n_variants,
        cohort.genotypes.n_donors,
        int((cohort.genes["contig"] != "").sum()),
        len(cohort.genes),
    )
    return cohort


def _genes(inputs: InputsConfig, names: pd.Index, genotypes: Genotypes, seed: int) -> pd.DataFrame:
    """Positions of the cells' genes: from the annotation and, where that is declared, dealt."""
    contigs = list(dict.fromkeys(genotypes.variants["contig"]))
    parts = []
    if inputs.genes is not None:
        located = locate_genes(names, read_genes(inputs.genes))
        wanted = reconcile_contigs(sorted(set(located["contig"]) - {""}), contigs, missing="skip")
        located["contig"] = located["contig"].map({have: want for want, have in wanted.items()})
        parts.append(located[located["contig"].notna()].assign(dealt=False))
    known = set(parts[0].index) if parts else set()
    if "genes" in inputs.deal and (rest := [name for name in names if name not in known]):
        parts.append(deal_genes(rest, genotypes.variants, seed).assign(dealt=True))
    if not sum(map(len, parts)):
        raise JoinError(
            "no gene of the cells has a position on a contig of the VCF",
            where=str(inputs.genes or inputs.h5ad),
            remedy="give a GTF of the VCF's genome build in 'genes', or deal positions with deal: [genes]",
        )
    return pd.concat(parts)
