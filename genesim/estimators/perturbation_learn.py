"""Mean effect of every condition of a screen, in one pass over the counts, in memory or on disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import sparse

from genesim import rng
from genesim.console import log
from genesim.data.backed import blocks_of
from genesim.data.expression import Cells
from genesim.data.gene_priors import GenePrior, coexpression_prior
from genesim.errors import TrainingError
from genesim.estimators.perturbation_conditions import Components, Units, given_kinds, groups_of, kinds_in, units_of
from genesim.estimators.perturbation_inputs import Keys, doses_of, library_sizes, log_expression
from genesim.models.perturbation.library import EffectLibrary
from genesim.models.perturbation.replicates import replicated_effect
from genesim.models.perturbation.shrinkage import mean_difference

MIN_CELLS = 5
MIN_REPLICATE_CELLS = 3
_CONTROL_SAMPLE = 2000


@dataclass(frozen=True)
class Learned:
    """Conditions of the training data: the library, and what its indices mean.

    Attributes:
        library: Effects.
        contexts: Those with perturbed cells, then those of control cells only.
        components: Names of components, see `Components`.
        labels: Label of each condition.
        n_cells: Perturbed cells of each condition.
        reference_library: Library size that effects refer to.
        levels: By covariate, its levels.
        groups: Group of each component.
    """

    library: EffectLibrary
    contexts: list[str]
    components: list[str]
    labels: list[str]
    n_cells: np.ndarray
    reference_library: float
    levels: list[list[str]]
    groups: list[str]

    @property
    def treated(self) -> list[str]:
        """Contexts with a perturbation."""
        return self.contexts[: int(self.library.context.max()) + 1]


@dataclass(frozen=True)
class Moments:
    """Mean and variance of log expression, unit x gene, the cells of each, and a sample of control cells."""

    mean: np.ndarray
    variance: np.ndarray
    n: np.ndarray
    sample: np.ndarray
    sample_context: np.ndarray


def moments_of(cells: Cells, units: Units, size: np.ndarray, seed: int) -> Moments:
    """One pass over the counts, a block at a time.

    Args:
        size: Size factor of each cell.
        seed: Which control cells are kept for the co-expression of genes.
    """
    n_units, n_genes = len(units.table), cells.counts.shape[1]
    total, square = np.zeros((n_units, n_genes)), np.zeros((n_units, n_genes))
    control = np.flatnonzero(units.is_control)
    draw = rng.generator(seed, "perturbation", "coexpression")
    if len(control) > _CONTROL_SAMPLE:
        control = np.sort(draw.choice(control, _CONTROL_SAMPLE, replace=False))
    sample = []
    for first, block in blocks_of(cells.counts):
        rows = np.arange(first, first + block.shape[0])
        x = log_expression(block, size[rows])
        here = units.cell[rows]
        indicator = sparse.csr_matrix((np.ones(len(rows)), (here, np.arange(len(rows)))), shape=(n_units, len(rows)))
        used = np.unique(here)
        total[used] += (indicator[used] @ x).toarray()
        x2 = x.copy()
        x2.data **= 2
        square[used] += (indicator[used] @ x2).toarray()
        inside = control[(control >= first) & (control < first + len(rows))]
        if len(inside):
            sample.append(x[inside - first].toarray().astype(np.float32))
    n = np.bincount(units.cell, minlength=n_units)
    mean, square = total / n[:, None], square / n[:, None]
    spread = square - mean**2
    # What rounding leaves of equal values is no variance: it would pass for certainty.
    variance = np.where(spread > 1e-12 * square, spread, 0.0) * (n / np.maximum(n - 1, 1))[:, None]
    context = units.table["context"].to_numpy()[units.cell[control]]
    return Moments(mean, variance, n, np.vstack(sample), context)


def _pooled(moments: Moments, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Mean, variance and cells of units together."""
    n = moments.n[rows]
    if len(rows) == 1:
        return moments.mean[rows[0]], moments.variance[rows[0]], int(n[0])
    weight = n / n.sum()
    mean = weight @ moments.mean[rows]
    within = (np.maximum(n - 1, 0)[:, None] * moments.variance[rows]).sum(0)
    between = (n[:, None] * (moments.mean[rows] - mean) ** 2).sum(0)
    return mean, (within + between) / max(int(n.sum()) - 1, 1), int(n.sum())


def _effect(moments: Moments, treated: np.ndarray, control: np.ndarray, replicate: np.ndarray) -> tuple:
    """Effect, its standard error, and whether it rests on replicates."""
    mean, variance, n = _pooled(moments, treated)
    base, base_variance, n_base = _pooled(moments, control)
    own = treated[moments.n[treated] >= MIN_REPLICATE_CELLS]
    other = control[moments.n[control] >= MIN_REPLICATE_CELLS]
    if len(own) < 2 or len(other) < 2:
        return *mean_difference(mean, variance, n, base, base_variance, n_base), False
    place = {replicate[i]: k for k, i in enumerate(other)}
    pairs = np.array([(k, place[replicate[i]]) for k, i in enumerate(own) if replicate[i] in place]).reshape(-1, 2)
    rows = np.r_[own, other]
    degrees = moments.n[rows] - 1
    within = (degrees[:, None] * moments.variance[rows]).sum(0) / max(int(degrees.sum()), 1)
    effect, se = replicated_effect(
        moments.mean[own], moments.n[own], moments.mean[other], moments.n[other], within, pairs
    )
    return effect, se, True


def learn(
    cells: Cells, keys: Keys, shrinkage: bool, kinds: Mapping[str, str] | None, seed: int
) -> tuple[Learned, GenePrior | None]:
    """Mean effect of every condition against the controls of its context, and the co-expression in control cells.

    A gene's effect is the difference of means of log1p(count / size factor), size factor = library size over
    the controls' median library size.

    Raises:
        TrainingError: No control cells, or no condition with enough cells and controls.
        H5adError: Doses, kinds or library sizes that cannot be used.
        ConfigError: Unknown kinds.
    """
    obs = cells.obs
    units = units_of(obs, keys)
    library = library_sizes(obs, cells.library_size, keys)
    reference = float(np.median(library[units.is_control]))
    moments = moments_of(cells, units, library / reference, seed)
    table = units.table
    replicate = table["replicate"].to_numpy()
    group: dict[tuple[str, str, str, str], np.ndarray] = table.groupby(  # type: ignore[assignment]
        ["context", "label", "kind", "dose"], sort=True
    ).indices
    cells_of = {name: int(moments.n[rows].sum()) for name, rows in group.items()}
    controls = {name[0]: np.sort(rows) for name, rows in group.items() if name[1] == ""}
    enough = {c for c in controls if cells_of[c, "", "", ""] >= MIN_CELLS}
    conditions = [name for name in group if name[1] != ""]
    kept = [name for name in conditions if name[0] in enough and cells_of[name] >= MIN_CELLS]
    if len(kept) < len(conditions):
        log.info(
            "perturbation: %d conditions have fewer than %d cells or controls", len(conditions) - len(kept), MIN_CELLS
        )
    if not kept:
        raise TrainingError(
            f"no condition has {MIN_CELLS} cells and {MIN_CELLS} control cells in its context",
            where="expression",
            remedy="use fewer covariate_keys, or check the control label",
        )
    contexts = sorted({name[0] for name in kept})
    contexts += sorted(enough - set(contexts))
    by_name = given_kinds(kinds, {part for own in units.parts.values() for part in own})
    made_of = [
        [
            (part, by_name.get(part, kind))
            for part, kind in zip(units.parts[label], kinds_in(kind, len(units.parts[label]), keys), strict=True)
        ]
        for _, label, kind, _ in kept
    ]
    components = Components.of({pair for pairs in made_of for pair in pairs})
    column = {pair: i for i, pair in enumerate(sorted({pair for pairs in made_of for pair in pairs}))}
    dose = np.zeros((len(kept), len(components.names)))
    found: list[tuple[np.ndarray, ...]] = []
    by_cells = 0
    for row, (name, pairs) in enumerate(zip(kept, made_of, strict=True)):
        for pair, amount in zip(pairs, doses_of(name[3], len(pairs), keys), strict=True):
            dose[row, column[pair]] = amount
        effect, se, replicated = _effect(moments, np.sort(group[name]), controls[name[0]], replicate)
        by_cells += not replicated
        found.append((effect, se))
    if keys.replicate is not None and by_cells:
        log.info("perturbation: %d conditions have less than 2 replicates: errors are those of cells", by_cells)
    level, coded = _levels(contexts, obs, keys)
    bare = [pair[0] for pair in column]
    groups = groups_of(obs, keys, units.parts, bare)
    genes = cells.var.index.astype(str)
    pooled = [_pooled(moments, controls[c]) for c in contexts]
    effects, errors = (np.stack(values) for values in zip(*found, strict=True))
    result = EffectLibrary(
        np.array([contexts.index(name[0]) for name in kept]),
        dose,
        effects,
        errors,
        effects,
        errors,
        pd.Index(genes).get_indexer(pd.Index(bare, dtype=object)).astype(np.int64),
        tuple(components.kinds),
        None if keys.group is None else pd.factorize(np.array(groups, dtype=object))[0],
        coded,
        keys.covariates or ("context",),
        np.stack([mean for mean, _, _ in pooled]),
        np.sqrt(np.stack([variance / n for _, variance, n in pooled])),
        shrinkage,
    ).shrunken()
    n_cells = np.array([cells_of[name] for name in kept])
    labels = [name[1] for name in kept]
    for context in np.unique(moments.sample_context):
        rows = moments.sample_context == context
        moments.sample[rows] -= moments.sample[rows].mean(0)
    learned = Learned(result, contexts, components.names, labels, n_cells, reference, level, groups)
    return learned, coexpression_prior(moments.sample, list(genes))


def _levels(contexts: list[str], obs: pd.DataFrame, keys: Keys) -> tuple[list[list[str]], np.ndarray]:
    """Levels of each covariate, and their codes in each context."""
    if not keys.covariates:
        return [list(contexts)], np.arange(len(contexts))[:, None]
    text = obs[list(keys.covariates)].astype(str).drop_duplicates()
    joined = pd.Series(text.agg("|".join, axis=1).to_numpy(dtype=object))
    first = {name: i for i, name in reversed(list(enumerate(joined)))}
    rows = text.iloc[[first[c] for c in contexts]]
    levels = [sorted(rows[key].unique()) for key in keys.covariates]
    coded = np.column_stack([[levels[k].index(v) for v in rows[key]] for k, key in enumerate(keys.covariates)])
    return levels, coded
