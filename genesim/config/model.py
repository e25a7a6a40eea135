"""What a user may set of each model and of its training. Defaults are the measured ones."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import Field, PositiveFloat, PositiveInt

from genesim.config.base import Record
from genesim.config.effect_prior import EffectPriorConfig

Depth: TypeAlias = Annotated[int, Field(ge=1, le=100)]
"""Layers of a network: each is built, so a slip of the finger would take for ever."""


class TrainPlan(Record):
    """How long and how one model is fitted by the training loop."""

    n_steps: PositiveInt = 3000
    """Optimiser steps (passes over the data for EM)."""
    minibatch_size: PositiveInt = 256
    """Examples in a step."""
    learning_rate: PositiveFloat = 1e-3
    weight_decay: float = Field(1e-4, ge=0)
    gradient_clip: PositiveFloat = 5.0
    """Largest global norm of a gradient."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Factors of matrix products in training by gradients; sums and all else stay float32. On a CPU always float32."""
    ema_decay: float = Field(0.0, ge=0, lt=1)
    """Decay of the parameters' moving average; 0 keeps the last parameters."""
    steps_per_call: PositiveInt = 100
    """Steps scanned inside one compiled call."""
    checkpoint_every: PositiveInt = 500
    """Steps between checkpoints, where a checkpoint directory is given."""
    validate_every: PositiveInt = 100
    """Steps between validation rounds, where validation data are given."""
    patience: PositiveInt | None = None
    """Validation rounds without improvement before stopping early; none trains to the end."""


class ExpressionConfig(Record):
    """NB variational autoencoder with a conditional latent flow, and its baselines."""

    method: Literal["auto", "vae", "copula", "independent"] = "auto"
    """`auto` tries `candidates` on held-out cells; `vae`; or a baseline: Gaussian copula with NB margins a label,
    or independent NB genes a label."""
    candidates: tuple[Literal["deep", "regularised", "small", "copula"], ...] = Field(
        default=("deep", "regularised", "small", "copula"), min_length=1
    )
    """What `auto` chooses from: the network without and with a loading penalty, a smaller one, and the copula."""
    trial_cells: int = Field(default=3000, ge=0)
    """Largest data set that `auto` makes a trial on; beyond it the network wins without one."""
    n_latent: PositiveInt = 20
    n_hidden: PositiveInt = 128
    n_layers: Depth = 2
    """Hidden layers of the encoder and of the decoder."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Dropout of encoder and decoder."""
    kl_weight: PositiveFloat = 0.5
    """Weight of the KL term after warm-up (beta)."""
    offset_penalty: float = Field(default=5.0, ge=0)
    """Ridge penalty of the per-level gene offsets, of log rate and of log dispersion."""
    loading_penalty: float | None = Field(default=None, ge=0)
    """Ridge penalty of the decoder's last layer, lest few cells are memorised; none leaves it to `auto`, or is 0."""
    n_flow_layers: Depth = 3
    """Residual blocks of the flow."""
    n_flow_steps: PositiveInt = 6
    """Heun steps when drawing latents."""
    condition_dropout: float = Field(default=0.1, ge=0, lt=1)
    """Share of covariate levels hidden from the flow in training, to learn unknown levels."""
    validation_share: float = Field(default=0.0, ge=0, lt=0.5)
    """Share of the cells held out to measure the VAE's loss on (and, with `vae.patience`, to stop by).
    Stopping by held-out likelihood stops far too early for the fidelity of drawn cells: see benchmarks."""
    vae: TrainPlan = TrainPlan(n_steps=2500, minibatch_size=128, learning_rate=2e-3)
    flow: TrainPlan = TrainPlan(n_steps=2000, learning_rate=2e-3, ema_decay=0.998, weight_decay=0.0)


class HaplotypeConfig(Record):
    """Ancestry-conditioned hidden Markov model of learned ancestral haplotypes (AncHMM), and its nulls."""

    method: Literal["anchmm", "mosaic", "markov", "independent"] = "anchmm"
    n_states: PositiveInt = 128
    """Learned ancestral haplotypes (K), at most."""
    haplotypes_per_state: PositiveInt = 8
    """Fewest training haplotypes a learned one: a small cohort gets fewer, lest its haplotypes are learned by heart.
    16 hides the training donors better, at no loss where populations are alike; 8 keeps the LD of unlike ones."""
    n_passes: PositiveInt = 6
    """EM passes over the haplotypes. More raise the likelihood of the training haplotypes only."""
    block_size: PositiveInt = 12
    """Variants in a block, between whose ends the ancestral haplotype does not change."""
    group_size: PositiveInt = 320
    """Training haplotypes a group, about: an ancestry with more is split by its principal components."""
    ancestry_shrinkage: PositiveFloat = 3.0
    """Weight of the pooled transitions in each group's (lambda)."""
    transition_pseudocount: PositiveFloat = 0.02
    """Pseudocount of the identity-centred transition prior (c)."""
    switch_rate: PositiveFloat = 2e-3
    """Prior switch probability between neighbouring variants where no genetic map is given (rho)."""
    emission_pseudocount: PositiveFloat = 0.02
    """Pseudocount of the allele-frequency-centred emission prior (alpha)."""
    minibatch_size: PositiveInt = 256
    """Haplotypes in one compiled chunk of a pass."""
    window_size: PositiveInt = 10_000
    """Variants whose messages are in memory at once (exact: it changes no result)."""
    fit_window: PositiveInt = 20_000
    """Variants that are fitted together; a longer contig is fitted in windows that overlap, apart from each other."""
    fit_overlap: PositiveInt = 240
    """Variants that a window shares with the next, given which that one is drawn."""
    shards: PositiveInt = 1
    """Jobs of the workflow that fit the windows of a contig at the same time; any number gives the same model."""


class EffectConfig(Record):
    """cis effects by a sum of single effects per gene and cell type."""

    window: PositiveInt = 1_000_000
    """Half-width of the cis window around the TSS, in base pairs."""
    min_maf: float = Field(0.05, gt=0, lt=0.5)
    n_effects: PositiveInt = 5
    """Single effects a gene (L)."""
    coverage: float = Field(0.95, gt=0, lt=1)
    """Posterior mass of a credible set."""
    min_purity: float = Field(0.5, ge=0, le=1)
    """Smallest absolute correlation inside a credible set."""
    min_present: float = Field(0.9, gt=0, lt=1)
    """Least probability that an effect exists for it to get a credible set."""
    share: bool = True
    """Fit the cell types of `labels_key` together: an effect sits at one variant in all of them, and they lend each
    other strength as far as their data are alike. Otherwise each type is fitted alone."""
    n_factors: int = Field(5, ge=0)
    """Hidden expression factors (principal components) removed per cell type."""
    n_genotype_factors: Literal["auto"] | Annotated[int, Field(ge=0)] = "auto"
    """Principal components of the genotypes removed as covariates; `auto` takes those that both halves of the
    genome show: none in a homogeneous cohort."""
    kinship: Literal["none", "auto"] = "auto"
    """`auto` estimates kinship from the genotypes and fits a mixed model if it finds relatives; `none` takes donors
    as unrelated."""
    duplicates: Literal["keep", "error"] = "keep"
    """Pairs of donors with the kinship of twins: reported and kept (the mixed model counts them once), or refused."""
    min_cells: PositiveInt = 5
    """Cells a donor needs in a cell type to count there."""
    gene_minibatch: PositiveInt = 64
    """Genes fitted in one compiled call."""
    method: Literal["cells", "table"] = "cells"
    """`cells` learns effects from the donors, under `prior`; `table` makes the model of `prior.table` alone."""
    prior: EffectPriorConfig = EffectPriorConfig()
    """What is known about effects beforehand."""
    n_permutations: int = Field(200, ge=50)
    """Permutations of the donors that a gene's p-value is extrapolated from."""


class PerturbationConfig(Record):
    """Closed-form stack of baselines (L0) on the user's own control cells (L3), and what is learned beyond them."""

    n_components: PositiveInt = 10
    """Principal components of the perturbation effects in the bilinear candidate."""
    ridge: PositiveFloat = 0.1
    shrinkage: bool = True
    """Shrink each effect by its standard error."""
    coexpression: bool = True
    """Use the co-expression of genes in control cells as a prior for perturbations that were never measured."""
    n_folds: PositiveInt = 5
    residual: Literal["off", "gated"] = "off"
    """Whether a network learns what the stack leaves over of mean effects ("gated"): used in a regime where nested
    cross-validation on these very data gains more than one standard error by it."""
    residual_programs: PositiveInt = 20
    """Leading directions of the training effects that a residual may be made of, at most."""
    residual_steps: PositiveInt = 300
    """Steps that it is trained for, at most."""
    cells: Literal["shift", "flow", "auto"] = "shift"
    """How predicted cells differ from controls: in the mean only ("shift"), or also as a trained flow says ("flow"), or
    in dispersion, in who responds or by the flow ("auto"), where that makes held-out conditions more alike to real
    cells by more than one standard error (the flow) or two; elsewhere in the mean alone."""
    flow_components: PositiveInt = 10
    """Principal components of log expression that the flow works in."""
    flow_steps: PositiveInt = 800
    """Steps that it is trained for."""


class ModelsConfig(Record):
    """The models that a run trains."""

    expression: ExpressionConfig = ExpressionConfig()
    haplotypes: HaplotypeConfig = HaplotypeConfig()
    effects: EffectConfig = EffectConfig()
