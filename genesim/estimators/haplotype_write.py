"""New donors drawn straight into a file, a run of variants at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from genesim import rng
from genesim.console import progress
from genesim.data.genotypes.write_blocks import write_genotype_blocks
from genesim.data.ploidy import Intervals, sexes
from genesim.estimators.haplotype_inputs import ancestry_codes
from genesim.provenance.record import Provenance

if TYPE_CHECKING:
    from genesim.estimators.haplotypes import HaplotypeModel


def write_drawn(
    model: HaplotypeModel,
    path: str | Path,
    ancestry: pd.Series,
    seed: int,
    sex: pd.Series | None,
    par: Intervals | None,
    provenance: Provenance,
) -> Path:
    """See `HaplotypeModel.write_sample`; `ancestry` has one label a donor, indexed by donor."""
    donors = pd.Index([str(donor) for donor in ancestry.index], dtype=object, name="donor")
    codes = np.repeat(ancestry_codes(ancestry.to_numpy(object), model.ancestries), 2)
    labels = None if sex is None else sexes(sex, donors)

    def blocks() -> Iterator[np.ndarray]:
        for part in progress(model.contigs, "haplotypes"):
            keys = rng.keys(
                rng.key(seed, model.kind, part.contig), [(donor, copy) for donor in donors for copy in (0, 1)]
            )
            at = 0
            for alleles, _ in part.chain.walk(keys, codes):
                here = replace(part, variants=part.variants.iloc[at : at + alleles.shape[1]])
                at += alleles.shape[1]
                yield model.with_ploidy(here, alleles, labels, par)

    variants = model.variants.drop(columns="frequency")
    write_genotype_blocks(path, variants, donors, dict(model.contig_lengths), blocks(), provenance)
    return Path(path)
