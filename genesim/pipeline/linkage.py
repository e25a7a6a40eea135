"""The linkage attack: which real donor, known by genotypes, does a simulated donor's expression fit?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd

from genesim import rng
from genesim.data.expression import read_expression
from genesim.data.genotypes import Genotypes
from genesim.errors import InputError, JoinError
from genesim.estimators.effect_inputs import pseudobulk
from genesim.estimators.effects import EffectModel
from genesim.metrics.interval import Interval
from genesim.metrics.linkage import LinkageSuccess, best_match, linkage_scores, linkage_success
from genesim.metrics.membership import donor_attack, smallest_detectable_auc
from genesim.models.effects.response import count_response, linear_response

LEAST = 20
"""Profiles, or donors a side, below which a failed attack says nothing."""


@dataclass(frozen=True)
class LinkageAudit:
    """What the attack found.

    Attributes:
        linked: Rank of the true donor, where simulated donors have one.
        chance: The same attack with predictions dealt to other candidates (mean rank .5).
        membership_auc: Are training donors better matched by some simulated donor than others are? None where no
            sides were given.
        n_train: Training donors among the candidates.
        n_holdout: Others.
        n_genes: Genes with a prediction.
        verdict: Plain words.
    """

    linked: LinkageSuccess | None
    chance: LinkageSuccess | None
    membership_auc: Interval | None
    n_train: int
    n_holdout: int
    n_genes: int
    verdict: str


def profiles_of(cells: ad.AnnData, donor_key: str, genes: pd.Index, *, bulk: bool = False) -> pd.DataFrame:
    """Each donor's expression on the log2 scale of effects, donor x gene.

    Pseudobulk counts over all of a donor's cells, or one row a donor of linear expression where `bulk`.
    """
    donor = cells.obs[donor_key].astype(str)
    names = np.unique(donor)
    present = np.ones(len(names), bool)
    if bulk:
        if len(names) != cells.n_obs:
            raise InputError("a donor has several rows", where="linkage attack", remedy="give cells, or one row each")
        values = cells[pd.Index(donor).get_indexer(names)][:, genes].X
        dense = np.asarray(values.toarray() if hasattr(values, "toarray") else values, np.float64)
        response, _ = linear_response(dense.T, present)
    else:
        sums = pseudobulk(cells, donor, list(names), genes)
        response, _ = count_response(sums.values, sums.library, present)
    return pd.DataFrame(response.T, index=names, columns=genes)


def _without_factors(values: np.ndarray, n_factors: int) -> np.ndarray:
    """Profiles less their leading principal components: what moves many genes at once is not cis."""
    centred = values - values.mean(axis=0)
    if n_factors == 0:
        return centred
    u, _, _ = np.linalg.svd(centred / np.maximum(centred.std(axis=0), 1e-9), full_matrices=False)
    u = u[:, :n_factors]
    return centred - u @ (u.T @ centred)


def audit_linkage(
    simulated: ad.AnnData | str | Path,
    genotypes: Genotypes,
    effects: EffectModel,
    *,
    donor_key: str = "donor",
    truth: Mapping[str, str] | None = None,
    train: Sequence[str] = (),
    holdout: Sequence[str] = (),
    bulk: bool = False,
    n_factors: int = 0,
    seed: int = 0,
) -> LinkageAudit:
    """Predict candidates' expression from their genotypes and match it to simulated donors (Schadt et al. 2012).

    Two questions. Where each simulated donor was made for a real one (`truth`): how high does the true donor rank
    among the candidates? Where simulated donors are nobody: are the donors that the generator was trained on matched
    better, by whichever simulated donor fits best, than held-out donors?

    Args:
        simulated: Simulated cells, or one row a donor where `bulk`.
        genotypes: Genotypes of the candidates, real donors.
        effects: The attacker's map of effects. One that was trained on the candidates' own expression knows more than
            an attacker from outside does.
        donor_key: Column of obs with simulated donors.
        truth: Real donor of each simulated one; others are left out of the ranking.
        train: Candidates that the generator was trained on.
        holdout: Candidates that it was not.
        bulk: Whether X is linear expression, one row a donor.
        n_factors: Principal components taken out of the profiles.
        seed: Of the intervals and of the dealt predictions.

    Raises:
        JoinError: No gene is shared, or a named donor has no genotypes or no cells.
        InputError: Neither `truth` nor both sides are given, or nothing varies.
    """
    if not truth and not (len(train) and len(holdout)):
        raise InputError(
            "neither true donors nor both sides are given",
            where="linkage attack",
            remedy="give `truth`, or `train` and `holdout`",
        )
    # Linear expression is no counts: it is taken as it is.
    cells = simulated if bulk and isinstance(simulated, ad.AnnData) else read_expression(simulated, donor_key=donor_key)
    genes = cells.var_names[cells.var_names.isin(effects.genes.index)]
    if not len(genes):
        raise JoinError("no gene of the effects is simulated", where="linkage attack", remedy="check gene names")
    profiles = profiles_of(cells, donor_key, genes, bulk=bulk)
    predicted = effects.predict(genotypes).mean[genes]
    named = [*(truth or {}).values(), *train, *holdout]
    absent = [d for d in named if d not in predicted.index] + [d for d in (truth or {}) if d not in profiles.index]
    if absent:
        raise JoinError(
            f"{len(absent)} donors have no genotypes or no cells, the first is {absent[0]!r}",
            where="linkage attack",
            remedy="name donors that are in the data",
        )
    values = _without_factors(profiles.to_numpy(), n_factors)
    varying = int((predicted.std() > 1e-9).sum())
    linked: LinkageSuccess | None = None
    chance: LinkageSuccess | None = None
    signs: list[str] = []
    weak: list[str] = []
    if truth:
        rows = [i for i, d in enumerate(profiles.index) if d in truth]
        own = predicted.index.get_indexer([truth[profiles.index[i]] for i in rows])

        def success(prediction: np.ndarray, name: str) -> LinkageSuccess:
            scores = linkage_scores(values[rows], prediction)
            return linkage_success(scores, own, rng.generator(seed, "linkage", name))

        linked = success(predicted.to_numpy(), "truth")
        dealt = rng.generator(seed, "linkage", "dealt").permutation(len(predicted))
        chance = success(predicted.to_numpy()[dealt], "chance")
        # The error of a mean of uniform ranks: the bootstrap's interval is too short with few profiles.
        least = 0.5 - 1.96 / math.sqrt(12 * len(rows))
        if linked.rank.high < 0.5 and linked.rank.value < least:
            signs.append(
                f"simulated donors are linked to their genotypes: mean rank {linked.rank.value:.2f}, "
                f"{linked.found.value:.0%} come first among {linked.n_candidates}"
            )
        if len(rows) < LEAST:
            weak.append("too few profiles")
    auc: Interval | None = None
    if len(train) and len(holdout):
        match = pd.Series(best_match(linkage_scores(values, predicted.to_numpy())), index=predicted.index)
        sides = match[list(train)].to_numpy(), match[list(holdout)].to_numpy()
        auc = donor_attack([sides], rng.generator(seed, "linkage", "membership")).auc
        if auc.low > 0.5 and auc.value >= smallest_detectable_auc(len(train), len(holdout)):
            signs.append(f"training donors are matched better than others: AUC {auc.value:.2f}")
        if min(len(train), len(holdout)) < LEAST:
            weak.append("too few donors")
    verdict = "; ".join(signs) if signs else "inconclusive: " + "; ".join(weak) if weak else "no sign of a link"
    return LinkageAudit(linked, chance, auc, len(train), len(holdout), varying, verdict)
