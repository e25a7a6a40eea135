"""Donors who must carry given genotypes: the alleles that their haplotypes are drawn given."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import numpy as np
import pandas as pd
from jaxtyping import Int, Int8

from genesim import rng
from genesim.data.ploidy import kind_of
from genesim.errors import ConfigError, JoinError
from genesim.estimators.haplotype_contig import ContigModel

MOST_HETEROZYGOUS = 8  # of one contig: every phase of them is weighed


def check_required(require: Mapping[str, int], variants: pd.DataFrame) -> None:
    """Refuse genotypes that no donor can be drawn with.

    Raises:
        JoinError: A variant that the model does not have.
        ConfigError: A dosage other than 0, 1 or 2, a variant of a sex chromosome or MT, or too many heterozygous ones.
    """
    unknown = [name for name in require if name not in variants.index]
    if unknown:
        raise JoinError(
            f"variant '{unknown[0]}' is not in the model",
            where="require",
            remedy="name variants as model.variants does",
        )
    for name, dosage in require.items():
        if dosage not in (0, 1, 2):
            raise ConfigError(
                f"the dosage of '{name}' is {dosage!r}", where="require", remedy="ask for 0, 1 or 2 copies of ALT"
            )
        contig = str(variants["contig"].loc[name])
        if kind_of(contig) != "autosome":
            raise ConfigError(f"'{name}' is on {contig}", where="require", remedy="name variants of autosomes")
    heterozygous = variants.loc[[name for name, dosage in require.items() if dosage == 1], "contig"]
    if (heterozygous.value_counts() > MOST_HETEROZYGOUS).any():
        raise ConfigError(
            f"more than {MOST_HETEROZYGOUS} heterozygous variants of one contig are required",
            where="require",
            remedy="require fewer",
        )


def required_alleles(
    part: ContigModel, require: Mapping[str, int], donors: pd.Index, codes: Int[np.ndarray, " haplotype"], seed: int
) -> Int8[np.ndarray, "haplotype variant"] | None:
    """Alleles that each haplotype (a donor's copies in neighbouring rows) must have, -1 where free; None if none must.

    Which copy carries what is drawn by the model's own probability of each phase given the donor's ancestry:
    P(phase) ~ p(first copy's alleles) p(second copy's), other alleles summed out.
    """
    names = [name for name in require if name in part.variants.index]
    if not names:
        return None
    at = part.variants.index.get_indexer(pd.Index(names))
    dosage = np.array([require[name] for name in names])
    phases = np.array(list(itertools.product((0, 1), repeat=int((dosage == 1).sum()))), np.int8)
    first = np.tile((dosage == 2).astype(np.int8), (len(phases), 1))
    first[:, dosage == 1] = phases
    copies = np.stack([first, dosage - first], axis=1).astype(np.int8)  # [phase, copy, required]
    patterns = np.full((2 * len(phases), len(part.variants)), -1, np.int8)
    patterns[:, at] = copies.reshape(2 * len(phases), -1)
    given = np.full((len(codes), len(part.variants)), -1, np.int8)
    uniform = np.array([rng.generator(seed, "carriers", part.contig, donor).random() for donor in donors])
    for code in np.unique(codes):
        logs = part.chain.log_likelihood(patterns, np.full(len(patterns), code)).reshape(-1, 2).sum(1).astype(float)
        cumulative = np.exp(logs - logs.max()).cumsum()
        rows = np.flatnonzero(codes[::2] == code)
        chosen = np.searchsorted(cumulative / cumulative[-1], uniform[rows], side="right")
        for copy in (0, 1):
            given[np.ix_(2 * rows + copy, at)] = copies[chosen, copy]
    return given
