"""The catalog: one table of every model and baseline.

The estimators fit and restore by it, saved models carry its citations, the report and the benchmarks list
it, and the laws of `tests/contract` hold for every row. Adding a model is adding a row.

Signatures of `build`:

    expression baselines   (counts, condition, n_labels, label_column, seed) -> CountBaseline
    haplotype baselines    (alleles, ancestry, n_ancestries, centimorgans) -> HiddenChain or Mosaic
    effects                (problem) -> coefficients [gene, variant]; susie: its posterior
    trained models         the untrained module; see each class
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float, Int, Int8

from genesim.errors import ConfigError
from genesim.models.base import Modality, ModelSpec
from genesim.models.effects.baselines import ridge_coefficients, top_variant_coefficients, zero_coefficients
from genesim.models.effects.susie import fit_susie
from genesim.models.expression.copula import CopulaNb
from genesim.models.expression.flow import LatentFlow
from genesim.models.expression.independent_nb import IndependentNb
from genesim.models.expression.vae import NbVae
from genesim.models.haplotypes.anchmm import AncHmm
from genesim.models.haplotypes.chain import HiddenChain
from genesim.models.haplotypes.independent import fit_independent
from genesim.models.haplotypes.markov import fit_markov
from genesim.models.haplotypes.mosaic import Mosaic, fit_mosaic
from genesim.models.perturbation.stack import fit_stack

_LOVE = "Love 2014, Genome Biology 15:550"
_AHLMANN = "Ahlmann-Eltze 2025, Nature Methods, doi:10.1038/s41592-025-02772-6"


def _independent(
    alleles: Int8[np.ndarray, "haplotype variant"],
    ancestry: Int[np.ndarray, " haplotype"],
    n_ancestries: int,
    centimorgans: Float[np.ndarray, " variant"],
) -> HiddenChain:
    """`fit_independent`; it knows no recombination and needs no map."""
    return fit_independent(alleles, ancestry, n_ancestries)


def _markov(
    alleles: Int8[np.ndarray, "haplotype variant"],
    ancestry: Int[np.ndarray, " haplotype"],
    n_ancestries: int,
    centimorgans: Float[np.ndarray, " variant"],
) -> HiddenChain:
    """`fit_markov`; pairs of variants carry what a map would say."""
    return fit_markov(alleles, ancestry, n_ancestries)


CATALOG: tuple[ModelSpec, ...] = (
    ModelSpec(
        id="vae",
        modality="expression",
        role="model",
        title="NB variational autoencoder",
        fitted_by="gradient",
        build=NbVae,
        parts=("flow",),
        citations=("Lopez 2018, Nature Methods 15:1053",),
    ),
    ModelSpec(
        id="flow",
        modality="expression",
        role="part",
        title="conditional latent flow",
        fitted_by="gradient",
        build=LatentFlow,
        citations=("Lipman 2023, ICLR", "Liu 2023, ICLR", "Esser 2024, ICML"),
    ),
    ModelSpec(
        id="copula",
        modality="expression",
        role="baseline",
        title="Gaussian copula per type",
        fitted_by="closed_form",
        build=CopulaNb.fit,
        restore=CopulaNb.restore,
        citations=("Sun 2021, Genome Biology 22:163", _LOVE),
    ),
    ModelSpec(
        id="independent",
        modality="expression",
        role="baseline",
        title="independent NB",
        fitted_by="closed_form",
        build=IndependentNb.fit,
        restore=IndependentNb.restore,
        citations=(_LOVE,),
    ),
    ModelSpec(
        id="anchmm",
        modality="haplotypes",
        role="model",
        title="ancestry-conditioned HMM of learned ancestral haplotypes",
        fitted_by="em",
        build=AncHmm.initialise,
        restore=AncHmm.restore,
        citations=("Scheet & Stephens 2006, AJHG 78:629", "Dang 2023, bioRxiv"),
    ),
    ModelSpec(
        id="mosaic",
        modality="haplotypes",
        role="baseline",
        title="Li-Stephens mosaic",
        fitted_by="closed_form",
        build=fit_mosaic,
        restore=Mosaic.restore,
        copies=True,
        citations=("Li & Stephens 2003, Genetics 165:2213", "Su 2011, Bioinformatics 27:2304"),
    ),
    ModelSpec(
        id="markov",
        modality="haplotypes",
        role="baseline",
        title="Markov",
        fitted_by="closed_form",
        build=_markov,
        restore=HiddenChain.restore,
    ),
    ModelSpec(
        id="independent",
        modality="haplotypes",
        role="baseline",
        title="independent sites",
        fitted_by="closed_form",
        build=_independent,
        restore=HiddenChain.restore,
    ),
    ModelSpec(
        id="susie",
        modality="effects",
        role="model",
        title="sum of single effects",
        fitted_by="variational",
        build=fit_susie,
        citations=("Wang 2020, JRSS B 82:1273",),
    ),
    ModelSpec(
        id="top_variant",
        modality="effects",
        role="baseline",
        title="top variant",
        fitted_by="closed_form",
        build=top_variant_coefficients,
    ),
    ModelSpec(
        id="ridge",
        modality="effects",
        role="baseline",
        title="ridge",
        fitted_by="closed_form",
        build=ridge_coefficients,
        citations=("VanRaden 2008, Journal of Dairy Science 91:4414",),
    ),
    ModelSpec(
        id="zero",
        modality="effects",
        role="baseline",
        title="no effect",
        fitted_by="closed_form",
        build=zero_coefficients,
    ),
    ModelSpec(
        id="stack",
        modality="perturbation",
        role="model",
        title="closed-form stack",
        fitted_by="closed_form",
        build=fit_stack,
        citations=("Breiman 1996, Machine Learning 24:49", "Stephens 2017, Biostatistics 18:275"),
    ),
    ModelSpec(
        id="additive",
        modality="perturbation",
        role="baseline",
        title="additive",
        fitted_by="closed_form",
        citations=(_AHLMANN,),
    ),
    ModelSpec(
        id="bilinear",
        modality="perturbation",
        role="baseline",
        title="bilinear",
        fitted_by="closed_form",
        citations=(_AHLMANN,),
    ),
    ModelSpec(
        id="other_contexts",
        modality="perturbation",
        role="baseline",
        title="other contexts",
        fitted_by="closed_form",
    ),
    ModelSpec(
        id="mean_effect",
        modality="perturbation",
        role="baseline",
        title="mean effect",
        fitted_by="closed_form",
    ),
    ModelSpec(
        id="no_change",
        modality="perturbation",
        role="baseline",
        title="no change",
        fitted_by="closed_form",
        citations=(_AHLMANN,),
    ),
    ModelSpec(
        id="scaled_contexts",
        modality="perturbation",
        role="baseline",
        title="other contexts, scaled",
        fitted_by="closed_form",
    ),
    ModelSpec(
        id="similar_contexts",
        modality="perturbation",
        role="baseline",
        title="contexts alike",
        fitted_by="closed_form",
    ),
    ModelSpec(
        id="kernel_ridge",
        modality="perturbation",
        role="baseline",
        title="kernel ridge on priors",
        fitted_by="closed_form",
    ),
    ModelSpec(
        id="neighbours",
        modality="perturbation",
        role="baseline",
        title="nearest neighbours on priors",
        fitted_by="closed_form",
    ),
    ModelSpec(
        id="other_screen",
        modality="perturbation",
        role="baseline",
        title="another screen, scaled",
        fitted_by="closed_form",
        citations=(_AHLMANN,),
    ),
    ModelSpec(
        id="dose_interpolation",
        modality="perturbation",
        role="baseline",
        title="interpolation over doses",
        fitted_by="closed_form",
    ),
    ModelSpec(
        id="hill",
        modality="perturbation",
        role="baseline",
        title="hierarchical Hill law",
        fitted_by="closed_form",
    ),
)


def spec(modality: Modality, id: str) -> ModelSpec:
    """The row of one model or baseline.

    Raises:
        ConfigError: There is none.
    """
    for row in CATALOG:
        if (row.modality, row.id) == (modality, id):
            return row
    raise ConfigError(
        f"no {modality} model is called {id!r}", where="catalog", remedy=f"choose among {', '.join(methods(modality))}"
    )


def methods(modality: Modality) -> tuple[str, ...]:
    """What stands for itself in a modality: the model first, then the baselines; no parts."""
    return tuple(row.id for row in CATALOG if row.modality == modality and row.role != "part")


def card(modality: Modality, id: str) -> dict[str, Any]:
    """What a saved model says of itself, JSON-ready: id, title, fitted_by, copies, citations (its parts' too)."""
    row = spec(modality, id)
    rows = [row, *(spec(modality, part) for part in row.parts)]
    return {
        "id": row.id,
        "title": " with a ".join(r.title for r in rows),
        "fitted_by": row.fitted_by,
        "copies": row.copies,
        "citations": list(dict.fromkeys(source for r in rows for source in r.citations)),
    }
