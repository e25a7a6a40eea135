"""Effects of donors, age, sex, disease and state on expression, beside those of variants."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float, Float32

from genesim import rng
from genesim.config.effects import DonorEffects, GeneEffects, TypedGeneEffects
from genesim.config.population import AgeLaw
from genesim.errors import ConfigError
from genesim.simulate.effect_sizes import ALL_TYPES

SEX_CODE = {"female": -0.5, "male": 0.5}
"""A sex effect is male over female, and a donor deviates by half of it."""


def donor_deviation(
    law: DonorEffects,
    donor: str,
    n_types: int,
    n_genes: int,
    seed: int,
    learned: Float[np.ndarray, "type gene"] | None = None,
) -> Float32[np.ndarray, "type gene"]:
    """log2 deviation of one donor, N(0, SD^2) a gene; one row where all cell types have the same.

    The SD is donor_sd_log2 or, where that is "learned", the one given (see `deviation_sd`).

    Each donor has its own stream, so nothing need be kept: it is drawn again where it is needed.
    """
    stream = rng.generator(seed, "donor effects", "deviation", donor)
    common = stream.standard_normal((1, n_genes), dtype=np.float32)
    if law.type_correlation < 1:
        own = stream.standard_normal((n_types, n_genes), dtype=np.float32)
        common = np.sqrt(law.type_correlation) * common + np.sqrt(1 - law.type_correlation) * own
    sd = float(law.donor_sd_log2) if learned is None else learned
    return (sd * common).astype(np.float32)


def learned_sd(
    learned: pd.DataFrame | None, genes: pd.Index, cell_types: Sequence[str]
) -> Float[np.ndarray, "type gene"]:
    """SD over donors of log2 expression from all causes, as an effect model saw it.

    Args:
        learned: Gene x cell type, with a column "all" for the types that were not measured apart. Genes that it lacks
            do not differ.

    Raises:
        ConfigError: No effect model has learned it.
    """
    if learned is None or not learned.shape[1]:
        raise ConfigError(
            "no effect model has learned how much donors differ (one fitted on cells does)",
            where="scenario.donor_effects.donor_sd_log2",
            remedy="train effects on cells first, or set it to a number",
        )
    columns = [name if name in learned else "all" for name in cell_types]
    return learned.reindex(genes)[columns].fillna(0.0).to_numpy().T


def deviation_sd(total_sd: Float[np.ndarray, "type gene"], genetic: pd.DataFrame) -> Float[np.ndarray, "type gene"]:
    """SD of the deviations: what the planted effects leave of the variance that was seen over donors.

    Args:
        total_sd: What `learned_sd` gives.
        genetic: Variance of log2 expression that the planted effects make, gene x cell type.
    """
    return np.sqrt(np.maximum(total_sd**2 - genetic.fillna(0.0).to_numpy().T, 0.0))


def deviation_tables(
    law: DonorEffects,
    donors: Sequence[str],
    cell_types: Sequence[str],
    genes: pd.Index,
    seed: int,
    learned: Float[np.ndarray, "type gene"] | None = None,
) -> Iterator[pd.DataFrame]:
    """Truth of the deviations, a table a donor: donor, gene, cell_type ("*" is all), log2_deviation."""
    types = [ALL_TYPES] if law.type_correlation == 1 and learned is None else list(cell_types)
    for donor in donors:
        deviation = donor_deviation(law, donor, len(cell_types), len(genes), seed, learned)
        yield pd.DataFrame(
            {
                "donor": np.full(deviation.size, donor, object),
                "gene": np.tile(np.asarray(genes, object), len(types)),
                "cell_type": np.repeat(np.array(types, object), len(genes)),
                "log2_deviation": deviation.reshape(-1),
            }
        )


def gene_effects(law: GeneEffects | None, genes: pd.Index, seed: int, name: str) -> Float[np.ndarray, " gene"]:
    """log2 fold change of each gene by the declared law, 0 of genes that it leaves alone."""
    found = np.zeros(len(genes))
    if law is not None:
        stream = rng.generator(seed, "gene effects", name)
        chosen = stream.permutation(len(genes))[: max(1, round(law.share_of_genes * len(genes)))]
        found[chosen] = law.sd_log2 * stream.standard_normal(len(chosen))
    return found


def typed_gene_effects(
    law: TypedGeneEffects | None, genes: pd.Index, n_types: int, seed: int, name: str
) -> Float[np.ndarray, "type gene"]:
    """The same by cell type: a changed gene changes alike in all, or in one."""
    value = gene_effects(law, genes, seed, name)
    found = np.repeat(value[None], n_types, axis=0)
    if law is not None:
        stream = rng.generator(seed, "gene effects", name, "types")
        only = np.where(stream.random(len(genes)) < law.shared, -1, stream.integers(0, n_types, len(genes)))
        found[(only[None] >= 0) & (only[None] != np.arange(n_types)[:, None])] = 0.0
    return found


def typed_table(found: Float[np.ndarray, "type gene"], genes: pd.Index, cell_types: Sequence[str]) -> pd.DataFrame:
    """Rows of what is not 0: gene, cell_type, log2_fold."""
    at_type, at_gene = np.nonzero(found)
    table = pd.DataFrame(
        {
            "gene": np.asarray(genes, object)[at_gene],
            "cell_type": np.array(list(cell_types), object)[at_type],
            "log2_fold": found[at_type, at_gene],
        }
    )
    return table.sort_values(["gene", "cell_type"], kind="stable", ignore_index=True)


def draw_ages(law: AgeLaw, n: int, stream: np.random.Generator) -> Float[np.ndarray, " donor"]:
    """Ages in years."""
    if law.law == "uniform":
        return stream.uniform(law.low, law.high, n)
    if law.law == "normal":
        return np.maximum(stream.normal(law.mean, law.sd, n), 0.0)
    return stream.choice(np.array(law.values, float), n)


def age_scores(ages: np.ndarray, law: AgeLaw) -> Float[np.ndarray, " donor"]:
    """Ages in SDs of their law around its mean."""
    mean, sd = law.moments
    return (np.asarray(ages, np.float64) - mean) / sd


def sex_codes(sex: pd.Series, needed: bool) -> Float[np.ndarray, " donor"]:
    """-1/2 of females, 1/2 of males, 0 of others.

    Raises:
        ConfigError: An effect of sex is asked for, and a donor's is not female or male.
    """
    codes = sex.map(SEX_CODE)
    if needed and codes.isna().any():
        donor = codes.index[codes.isna()][0]
        raise ConfigError(
            f"donor '{donor}' has the sex {sex[donor]!r}",
            where="scenario",
            remedy="give donors the sex female or male, or leave out effects of sex",
        )
    return codes.fillna(0.0).to_numpy(np.float64)
