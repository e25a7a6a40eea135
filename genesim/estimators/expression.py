"""`ExpressionModel`: from an AnnData of cells to new cells, embeddings, denoised expression and scores."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy import sparse

from genesim import rng
from genesim.config.base import parse
from genesim.config.model import ExpressionConfig
from genesim.console import progress
from genesim.data.expression import open_expression
from genesim.data.names import plain_frame, plain_labels
from genesim.data.write import provenance_uns, write_blocks
from genesim.errors import ConditionError, ConfigError
from genesim.estimators import expression_store
from genesim.estimators.covariates import LIBRARY_SIZE, Covariates
from genesim.estimators.expression_choice import choose
from genesim.estimators.expression_draw import draw_latents, draw_rates, rates_under
from genesim.estimators.expression_explain import GenePrograms, explained, gene_programs
from genesim.estimators.expression_fit import fit_generator
from genesim.estimators.expression_inputs import Cells, asked_library, codes, counts_of, fit_library, special_columns
from genesim.models.catalog import card, spec
from genesim.models.expression.generator import CountBaseline, ExpressionGenerator, block_size
from genesim.models.expression.library import LibrarySampler
from genesim.models.expression.posterior import encode, given_counts, log_likelihood_bound, rates_at
from genesim.provenance.record import Provenance
from genesim.train.store import restored, save_model
from genesim.types import Condition

KIND = "expression"
UNLABELLED = "cell"
"""The one cell type of a model that was trained without labels."""


@dataclass(frozen=True)
class ExpressionModel:
    """A trained generator of single-cell counts. Make one with `fit` or `load`.

    Attributes:
        generator: Draws counts under a `Condition`.
        library: Draws log library sizes.
        covariates: Levels, scales and the training mix.
        genes: Names, in order of the counts' columns.
        labels_key: Column of cell types or other labels; None where there are none.
        batch_key: Column of experimental batches.
        layer: Layer that counts are read from, in `fit` and later.
        config: Configuration, its open settings resolved.
        seed: Seed of the training.
        history: Training losses by step.
        var: Text columns of var (gene ids, symbols, types), which new cells get too; numbers stay out, as
            they are measured on the training cells.
        selection: How the method came about: the candidate chosen, the reason, and held-out scores.
    """

    generator: ExpressionGenerator | CountBaseline
    library: LibrarySampler
    covariates: Covariates
    genes: pd.Index
    labels_key: str | None
    batch_key: str | None
    layer: str | None
    config: ExpressionConfig
    seed: int
    history: dict[str, np.ndarray] = field(default_factory=dict, repr=False)
    var: pd.DataFrame | None = field(default=None, repr=False)
    selection: dict[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def fit(
        cls,
        adata: Cells,
        labels_key: str | None = None,
        batch_key: str | None = None,
        categorical_covariate_keys: Sequence[str] = (),
        continuous_covariate_keys: Sequence[str] = (),
        layer: str | None = None,
        config: ExpressionConfig | None = None,
        seed: int = 0,
        checkpoint_dir: str | os.PathLike[str] | None = None,
        stream: bool | None = None,
    ) -> ExpressionModel:
        """Train on integer counts.

        Args:
            adata: AnnData (in memory, a view, backed) or the path of an h5ad or a Zarr store; never changed.
            labels_key: Column of obs with cell types.
            batch_key: Column of obs with experimental batches.
            categorical_covariate_keys: Further categorical columns.
            continuous_covariate_keys: Numeric columns.
            layer: Layer of the counts; None takes X, "raw" takes `.raw`.
            config: Method, sizes and training lengths.
            seed: Decides every draw; the same seed, versions and machine give the same model.
            checkpoint_dir: Folder from which a killed training goes on exactly.
            stream: Whether counts stay on disk, so that memory does not grow with them; None does so where reading
                them would take more than 1 GiB. Baselines read them whole.

        Raises:
            H5adError: The input is damaged, is not counts, or lacks a key.
            TrainingError: The loss does not stay finite.
        """
        config = config or ExpressionConfig()
        categorical = [key for key in (labels_key, batch_key) if key is not None] + list(categorical_covariate_keys)
        continuous = list(continuous_covariate_keys)
        with open_expression(
            adata,
            layer=layer,
            labels_key=labels_key,
            batch_key=batch_key,
            covariate_keys=[*categorical_covariate_keys, *continuous],
            stream=stream if config.method in ("auto", "vae") else False,
        ) as cells:
            covariates = Covariates.fit(cells.obs, categorical, continuous)
            counts = cells.counts
            log_library = np.log(cells.library_size.astype(np.float64))
            condition = covariates.condition(cells.obs, log_library)
            label_column, batch_column = special_columns(labels_key, batch_key)
            library = fit_library(log_library, condition, covariates, label_column, batch_column)
            selection: dict[str, Any] = {"chosen": config.method, "reason": "asked for"}
            if config.method == "auto":

                def trial(part: ad.AnnData, candidate: ExpressionConfig) -> ExpressionModel:
                    others = (categorical_covariate_keys, continuous_covariate_keys)
                    return cls.fit(part, labels_key, batch_key, *others, config=candidate, seed=seed)

                small = counts.shape[0] <= config.trial_cells
                x = sparse.csr_matrix(counts[np.arange(counts.shape[0])]) if small else None
                whole = ad.AnnData(x, obs=cells.obs, var=pd.DataFrame(index=cells.var.index))
                config, selection = choose(whole, config, trial, categorical + continuous, labels_key, seed)
            method = spec("expression", config.method)
            history: dict[str, np.ndarray] = {}
            generator: ExpressionGenerator | CountBaseline
            if method.role == "model":
                folder = None if checkpoint_dir is None else Path(checkpoint_dir)
                generator, history = fit_generator(
                    counts, condition, covariates.n_levels, covariates.shares(), config, seed, folder, label_column
                )
            else:
                n_labels = 0 if label_column is None else covariates.n_levels[label_column]
                counts = sparse.csr_matrix(counts[np.arange(counts.shape[0])])
                generator = method.build(counts, condition, n_labels, label_column, seed)
        genes = pd.Index(cells.var.index, dtype=object)
        var = expression_store.text_columns(cells.var)
        keys_ = (labels_key, batch_key, layer)
        return cls(generator, library, covariates, genes, *keys_, config, seed, history, var, selection)

    @property
    def cell_types(self) -> tuple[str, ...]:
        """Known labels."""
        return self.covariates.levels[self.labels_key] if self.labels_key else (UNLABELLED,)

    @property
    def composition(self) -> dict[str, float]:
        """Share of each label among the training cells."""
        if self.labels_key is None:
            return {UNLABELLED: 1.0}
        return dict(zip(self.cell_types, self.covariates.shares()[0].tolist(), strict=True))

    def condition(self, obs: pd.DataFrame, seed: int = 0, first: int = 0) -> Condition:
        """`obs` as model input, one row a cell; absent columns and missing values are unknown levels.

        Log library sizes come from the column `library_size`, or are drawn where it is absent or missing.

        Raises:
            ConditionError: A level was not in training (the known ones are listed), or a library size is
                not positive, or larger than counts can be.
        """
        bare = self.covariates.condition(obs, np.zeros(len(obs)))
        label_column, batch_column = special_columns(self.labels_key, self.batch_key)
        log_library = self.library.sample(
            rng.key(seed, "expression", "library"),
            codes(bare, label_column),
            codes(bare, batch_column),
            first,
        )
        log_library = asked_library(obs, log_library)
        return Condition(bare.categories, bare.continuous, log_library.astype(np.float32))

    def sample(self, n: int, obs: Mapping[str, Any] | pd.DataFrame | None = None, seed: int = 0) -> ad.AnnData:
        """Draw `n` new cells.

        Args:
            n: Number of cells.
            obs: Fixed values for all cells, or a frame of one row a cell; None keeps the training mix.
                Covariates that are left out are drawn from the training cells that share the given ones;
                a value of None is an unknown level, with the mean gene offsets of all levels, or the mean of
                a number; None for the batch gives each cell's mean log rates over the
                batches. Combinations of levels need not have been seen together. `library_size` fixes the
                expected total counts and nothing else: the same seed gives the same cells, sequenced to that
                depth. Further columns of a frame are carried along.
            seed: Decides every draw. The first cells of a longer draw are the cells of a shorter one.

        Returns:
            X is CSR int32; obs has every covariate of the model; `uns["genesim"]` marks it as synthetic.

        Raises:
            ConditionError: An unknown level or column, or a frame of another length.
        """
        table = self._wanted(n, obs, seed)
        cells = self.empty_cells(table)
        cells.X = sparse.vstack(list(self._blocks(table, seed)), format="csr", dtype=np.int32)
        cells.uns["genesim"] = provenance_uns(self._drawn(n, obs, seed))
        return cells

    def sample_blocks(
        self, n: int, obs: Mapping[str, Any] | pd.DataFrame | None = None, seed: int = 0
    ) -> Iterator[sparse.csr_matrix]:
        """The counts of `sample`, some hundred cells at a time.

        Raises:
            ConditionError: An unknown level or column, or a frame of another length.
        """
        return self._blocks(self._wanted(n, obs, seed), seed)

    def write_sample(
        self,
        path: str | os.PathLike[str],
        n: int,
        obs: Mapping[str, Any] | pd.DataFrame | None = None,
        seed: int = 0,
    ) -> Path:
        """Draw the cells of `sample` into an h5ad, or a Zarr store where `path` ends in `.zarr`, block by block.

        Counts take memory for one block only; obs, about 200 bytes a cell, is made whole. Nothing partial is left at
        `path`.

        Raises:
            ConditionError: An unknown level or column, or a frame of another length.
            ResourceError: The location cannot be written, or the disk is full.
        """
        table = self._wanted(n, obs, seed)
        return write_blocks(self.empty_cells(table), self._blocks(table, seed), path, self._drawn(n, obs, seed))

    def _wanted(self, n: int, obs: Mapping[str, Any] | pd.DataFrame | None, seed: int) -> pd.DataFrame:
        """The table of the cells to draw, every covariate given."""
        if n < 1:
            raise ConditionError(f"{n} cells were asked for", where="sample", remedy="ask for at least one")
        table = self.covariates.complete(self.covariates.table(n, obs), seed)
        if not isinstance(obs, pd.DataFrame):
            width = max(6, len(str(n)))
            table.index = pd.Index([f"cell{i:0{width}d}" for i in range(1, n + 1)], dtype=object)
        return table

    def _blocks(self, table: pd.DataFrame, seed: int) -> Iterator[sparse.csr_matrix]:
        """Counts of the cells of `table`, some hundred at a time."""
        size = block_size(len(self.genes))
        key = rng.key(seed, "expression", "sample")
        for first in progress(range(0, len(table), size), "drawing cells"):
            rows = table.iloc[first : first + size]
            if isinstance(self.generator, ExpressionGenerator):
                rates, library = self.draw_rates(rows, seed, first)
                yield self.draw_counts(rates, library, rows, seed, first)
            else:
                yield self.generator.sample(key, self.condition(rows, seed, first), first)

    def _drawn(self, n: int, obs: Mapping[str, Any] | pd.DataFrame | None, seed: int) -> Provenance:
        settings = {
            "n": n,
            "method": self.config.method,
            "obs": dict(obs) if isinstance(obs, Mapping) else None,
        }
        return Provenance("sample expression", seed, settings, synthetic=True)

    def empty_cells(self, obs: pd.DataFrame) -> ad.AnnData:
        """AnnData of this model's genes without counts, for cells with this obs (levels categorical)."""
        obs = plain_frame(obs)
        for name in self.covariates.levels:
            if name in obs:
                obs[name] = plain_labels(obs[name])
        x = sparse.csr_matrix((len(obs), len(self.genes)), dtype=np.int32)
        return ad.AnnData(X=x, obs=obs, var=self._var())

    def _var(self) -> pd.DataFrame:
        return pd.DataFrame(index=self.genes.copy()) if self.var is None else self.var.copy()

    def draw_rates(
        self, obs: pd.DataFrame, seed: int, first: int = 0
    ) -> tuple[Float[np.ndarray, "cell gene"], Float[np.ndarray, " cell"]]:
        """Rates (rows sum to 1) and library sizes of cells `first`, `first` + 1, ... of a draw.

        Planted effects are the `fold` of `draw_counts`, which adds the noise of measurement.

        Raises:
            ConfigError: The method is a baseline, which has no rates apart from its counts.
        """
        generator = self._vae_generator("draw_rates")
        obs, key = self.covariates.complete(obs, seed, first), rng.key(seed, "expression", "sample")
        condition = self.condition(obs, seed, first)
        library = np.exp(np.asarray(condition.log_library, np.float64))
        if LIBRARY_SIZE in obs:
            # A depth that is asked for is an intervention: the cell's state goes with the depth it would have had.
            condition = self.condition(obs.drop(columns=LIBRARY_SIZE), seed, first)
        _, batch_column = special_columns(self.labels_key, self.batch_key)
        return draw_rates(generator, self.covariates, key, condition, batch_column, first), library

    def draw_counts(
        self,
        rates: Float[np.ndarray, "cell gene"],
        library: Float[np.ndarray, " cell"],
        obs: pd.DataFrame,
        seed: int,
        first: int = 0,
        fold: Float[np.ndarray, "cell gene"] | None = None,
        between: Float[np.ndarray, "cell gene"] | None = None,
    ) -> sparse.csr_matrix:
        """Counts around library size times rate, for the `obs` that `draw_rates` was given.

        `fold` multiplies each expected count. A cell keeps its molecules as far as it can: with the same seed,
        counts with and without `fold` differ by its effect only. `between` is the relative variance over donors that
        folds bring and that the training cells have in them too: the dispersion gives way by so much.
        """
        generator = self._vae_generator("draw_counts")
        obs = self.covariates.complete(obs, seed, first).drop(columns=LIBRARY_SIZE, errors="ignore")
        condition = self.condition(obs, seed, first)
        # Margins are known at the depth that the cell would have had: another depth thins or adds molecules.
        depth = library / np.exp(np.asarray(condition.log_library, np.float64))
        if fold is not None or (depth != 1.0).any():
            fold = depth[:, None] * (np.ones(rates.shape) if fold is None else fold)
        # A label's margins are of the combinations that it was seen in: they would draw an unseen one back to these.
        unmapped = self.covariates.by_analogy(np.asarray(condition.categories))
        key = rng.key(seed, "expression", "sample")
        return generator.counts(key, rates, condition, first, fold, between, unmapped=unmapped)

    def embed(self, adata: Cells) -> Float[np.ndarray, "cell latent"]:
        """Posterior means of the latents, one row a cell; covariates are not needed.

        Raises:
            H5adError: Genes of the model are absent, or a cell has no counts.
        """
        generator = self._vae_generator("embed")
        counts, _ = counts_of(adata, self.layer, self.genes)
        return encode(generator.vae, counts)[:, : self.config.n_latent]

    def denoise(
        self,
        adata: Cells,
        library_size: float = 1e4,
        obs: Mapping[str, Any] | None = None,
        own_counts: bool = True,
    ) -> ad.AnnData:
        """Expected counts of each cell at one common library size (float32, dense), given its own counts.

        Args:
            adata: Cells with counts of the model's genes, and with covariates as they are.
            library_size: Total of each cell's expected counts.
            obs: Covariates to change, the cells staying the same otherwise: `{"batch": "b1"}` carries every cell
                over to one batch, `{"batch": None}` removes the batch (the cell's mean log rates over the
                training cells' batches; a number is set to its mean). None changes nothing.
            own_counts: Whether a gene's own count counts beyond the cell's latent, as far as its dispersion says that
                cells differ there: the posterior mean of its rate, which predicts unseen molecules best. False gives
                the rates at the latent's posterior mean: smoother, as all that the latent does not hold is left out.

        Returns:
            obs tells the covariates as changed; `var` and its identifiers are the model's.

        Raises:
            ConditionError: An unknown level or column.
        """
        generator = self._vae_generator("denoise")
        counts, table = counts_of(adata, self.layer, self.genes)
        z = encode(generator.vae, counts)[:, : self.config.n_latent]
        own = self.covariates.condition(table, np.log(np.asarray(counts.sum(axis=1), np.float64).ravel()))
        if obs:
            rates, table = rates_under(generator, self.covariates, z, own, table, obs)
        else:
            rates = rates_at(generator.vae, z, own)
        if own_counts:
            rates = given_counts(generator.vae, rates, z, counts, own)
        return ad.AnnData(X=rates * np.float32(library_size), obs=table, var=self._var())

    def score_cells(self, adata: Cells, seed: int = 0) -> pd.Series:
        """Evidence lower bound of each cell's log-likelihood, in nats (mean of 8 posterior draws).

        Low values mark cells that the training data do not resemble; compare cells of like library size.
        """
        vae = self._vae_generator("score_cells").vae
        counts, obs = counts_of(adata, self.layer, self.genes)
        condition = self.covariates.condition(obs, np.log(np.asarray(counts.sum(axis=1), np.float64).ravel()))
        found = log_likelihood_bound(vae, counts, condition, rng.key(seed, "expression", "score"))
        return pd.Series(found, index=obs.index, name="log_likelihood_bound")

    def programs(
        self, n_programs: int | None = None, n_top: int = 20, n_cells: int = 2048, seed: int = 0
    ) -> GenePrograms:
        """Gene programs: what the decoder makes of the latent, as ranked linear readouts with their genes.

        Covariates' own offsets are held at their mean, so a program shows what moves cells beside them and through
        the latent. Read `r_squared` and `linearity` first: they say how much of the decoder is linear.

        Args:
            n_programs: The most programs; None takes one a latent.
            n_top: Genes named a program, by absolute loading.
            n_cells: New cells of the training mix whose latents and rates are read.
            seed: Decides those cells.
        """
        generator = self._vae_generator("programs")
        mix = self.condition(self.covariates.complete(self.covariates.table(n_cells, None), seed), seed)
        neutral = self.covariates.condition(pd.DataFrame(index=range(n_cells)), np.zeros(n_cells))
        key = rng.key(seed, "expression", "programs")
        return gene_programs(generator, key, mix, neutral, self.genes, n_programs, n_top)

    def program_scores(self, adata: Cells, programs: GenePrograms | None = None) -> pd.DataFrame:
        """Each cell's programs [cell, program], in SDs over new cells of the training mix.

        Args:
            adata: Cells with counts of the model's genes; covariates are not needed.
            programs: What `programs` returned; None calls it with its defaults.
        """
        generator = self._vae_generator("program_scores")
        counts, obs = counts_of(adata, self.layer, self.genes)
        latents = encode(generator.vae, counts)[:, : self.config.n_latent]
        return (programs or self.programs()).scores(latents, obs.index)

    def explain(
        self,
        obs: Mapping[str, Any],
        reference: Mapping[str, Any] | None = None,
        n_cells: int = 1000,
        seed: int = 0,
    ) -> pd.DataFrame:
        """Which covariate moves which genes between a reference and a simulated group.

        Covariates that a group does not name follow the training cells that share the named ones: a group's cells
        may thus be of other batches or depths than the reference's, and that difference has a term of its own.
        Name a covariate in both groups to hold it.

        Args:
            obs: Values of covariates that make the group, as in `sample`.
            reference: Those of the reference; None is the training mix.
            n_cells: Cells drawn of each.
            seed: Decides the draws, the same for both groups.

        Returns:
            One row a gene, the largest change first. `log2_fold_change` of the mean rate, the mean counts per
            10,000 in reference and group, and its terms in log2, which add up to `log2_fold_change`:
            `<covariate>: direct` by the decoder's offsets or slopes, `<covariate>: latent` by the cells' states
            that the flow draws.

        Raises:
            ConditionError: An unknown level or column.
        """
        generator = self._vae_generator("explain")
        before, after = (
            self.condition(self.covariates.complete(self.covariates.table(n_cells, group), seed), seed)
            for group in (reference, obs)
        )
        key = rng.key(seed, "expression", "explain")

        def draw(condition: Condition) -> Float[np.ndarray, "cell latent"]:
            return draw_latents(generator, self.covariates, key, condition)

        return explained(generator.vae, draw, before, after, self.covariates, self.genes)

    def _vae_generator(self, wanted: str) -> ExpressionGenerator:
        if not isinstance(self.generator, ExpressionGenerator):
            raise ConfigError(
                f"the baseline {self.config.method!r} has no {wanted}",
                where="ExpressionModel",
                remedy="fit with ExpressionConfig(method='vae')",
            )
        return self.generator

    def save(self, directory: str | os.PathLike[str], provenance: Provenance | None = None) -> Path:
        """Write one directory that `load` needs nothing else for."""
        described, arrays = self.covariates.to_dict()
        settings = self.config.model_dump(mode="json")
        metadata = {
            "card": card("expression", self.config.method),
            "selection": self.selection,
            "covariates": described,
            "genes": list(self.genes),
            "var": [[name, list(column)] for name, column in self._var().items()],  # in their order
            "labels_key": self.labels_key,
            "batch_key": self.batch_key,
            "layer": self.layer,
            "config": settings,
            "seed": self.seed,
        }
        return save_model(
            Path(directory),
            KIND,
            {
                "generator": expression_store.generator_arrays(self.generator),
                "library": {"quantiles": self.library.quantiles, "bandwidth": self.library.bandwidth},
                "covariates": arrays,
                "history": self.history,
            },
            metadata,
            provenance or Provenance("train expression", self.seed, settings),
        )

    @classmethod
    def load(cls, directory: str | os.PathLike[str]) -> ExpressionModel:
        """Read what `save` wrote.

        Raises:
            ArtefactError: The directory is incomplete, altered, or no expression model.
        """
        with restored(directory, KIND) as stored:
            found, arrays = stored.metadata, stored.arrays
            config = parse(ExpressionConfig, found["config"], where=str(directory))
            covariates = Covariates.from_dict(found["covariates"], arrays["covariates"])
            label_column, _ = special_columns(found["labels_key"], found["batch_key"])
            generator = expression_store.build_generator(
                arrays["generator"], config, covariates.n_levels, len(covariates.centre), label_column
            )
            library = LibrarySampler(arrays["library"]["quantiles"], arrays["library"]["bandwidth"])
            genes = pd.Index(found["genes"], dtype=object)
            return cls(
                generator,
                library,
                covariates,
                genes,
                found["labels_key"],
                found["batch_key"],
                found["layer"],
                config,
                found["seed"],
                arrays["history"],
                pd.DataFrame(dict(found.get("var", [])), index=genes, dtype=object),
                found.get("selection", {}),
            )
