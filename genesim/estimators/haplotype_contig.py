"""The haplotype model of one contig: which method fits it, and its arrays on disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pandas as pd
from jaxtyping import Float, Int, Int8

from genesim import rng
from genesim.config.model import HaplotypeConfig, TrainPlan
from genesim.console import log
from genesim.data.memory import check_fits
from genesim.data.stream import WholeStream
from genesim.errors import ConfigError
from genesim.models.catalog import spec
from genesim.models.haplotypes.anchmm import AncHmm, required_bytes
from genesim.models.haplotypes.chain import HiddenChain, check_trainable
from genesim.models.haplotypes.groups import group_haplotypes
from genesim.models.haplotypes.mosaic import Mosaic
from genesim.models.haplotypes.windows import WindowedChain, window_bounds
from genesim.train.loop import fit
from genesim.types import Condition

CHECKPOINT_EVERY = 4  # EM passes


@dataclass(frozen=True)
class ContigModel:
    """A fitted contig.

    Attributes:
        contig: Its name.
        variants: Its variants, as in `Genotypes`, and `frequency` of ALT among the training donors.
        chain: The model of its haplotypes.
        haploid: True where no training donor had a second copy (chrY, MT): one copy is drawn.
        history: Mean log-likelihood a haplotype, in nats, before each EM pass, window after window.
    """

    contig: str
    variants: pd.DataFrame
    chain: HiddenChain | WindowedChain | Mosaic
    haploid: bool
    history: tuple[float, ...] = ()

    def joined(self, other: ContigModel) -> ContigModel:
        """The windows of both, which are of one contig.

        Raises:
            ConfigError: They are not parts of one fit.
        """
        if not (
            isinstance(self.chain, WindowedChain)
            and isinstance(other.chain, WindowedChain)
            and self.variants.equals(other.variants)
            and np.array_equal(self.chain.bounds, other.chain.bounds)
        ):
            raise ConfigError(
                f"two parts of contig '{self.contig}' do not belong together",
                where="haplotype model",
                remedy="join the shards of one fit, each once",
            )
        return replace(self, chain=self.chain.joined(other.chain), history=self.history + other.history)

    def store(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Arrays and JSON-ready description, from which `restore` makes the contig again."""
        arrays = {"model": self.chain.arrays(), "start": self.variants["start"].to_numpy(np.int64)}
        arrays["training_frequency"] = self.variants["frequency"].to_numpy(np.float64)
        described = {
            "contig": self.contig,
            "id": self.variants.index.astype(str).tolist(),
            "ref": self.variants["ref"].astype(str).tolist(),
            "alt": self.variants["alt"].astype(str).tolist(),
            "haploid": self.haploid,
            "history": list(self.history),
        }
        return arrays, described

    @classmethod
    def restore(
        cls, arrays: dict[str, Any], described: dict[str, Any], config: HaplotypeConfig, n_ancestries: int
    ) -> ContigModel:
        """Undo `store`."""
        variants = pd.DataFrame(
            {
                "contig": np.full(len(described["id"]), described["contig"], object),
                "start": arrays["start"],
                "ref": np.array(described["ref"], object),
                "alt": np.array(described["alt"], object),
                "frequency": arrays["training_frequency"],
            },
            index=pd.Index(described["id"], dtype=object),
        )
        restore = spec("haplotypes", config.method).restore
        chain = (
            WindowedChain.restore(arrays["model"], config, n_ancestries, restore)
            if "windows" in arrays["model"]
            else restore(arrays["model"], config, n_ancestries)
        )
        return cls(described["contig"], variants, chain, described["haploid"], tuple(described["history"]))


def contig_windows(n_variants: int, config: HaplotypeConfig) -> list[tuple[int, int]]:
    """First variant and end of each window that `config.method` fits on its own; one where it needs none."""
    if spec("haplotypes", config.method).fitted_by != "em":
        return [(0, n_variants)]
    return window_bounds(n_variants, config.fit_window, config.fit_overlap)


def _fit_anchmm(
    alleles: np.ndarray,
    codes: np.ndarray,
    n_ancestries: int,
    config: HaplotypeConfig,
    centimorgans: np.ndarray | None,
    key: jax.Array,
    checkpoint_dir: Path | None,
) -> tuple[AncHmm, tuple[float, ...]]:
    alleles, codes = check_trainable(alleles, codes, n_ancestries)
    seed = int(jax.random.randint(rng.child(key, "groups"), (), 0, 2**31 - 1))
    group, groups = group_haplotypes(alleles, codes, n_ancestries, config.group_size, seed)
    n_groups = groups.shape[1]
    most = max(2, len(alleles) // config.haplotypes_per_state)
    if config.n_states > most:
        log.info("%d haplotypes are enough for %d states, not %d", len(alleles), most, config.n_states)
        config = config.model_copy(update={"n_states": most})
    check_fits(
        required_bytes(n_groups, alleles.shape[1], config),
        None,
        what=f"fitting {config.n_states} states, {n_groups} groups of haplotypes and {alleles.shape[1]} variants",
        where="haplotype model (train one contig or region at a time, or lower n_states)",
    )
    # Sorted by group, most chunks hold one group, and the E step runs only those present.
    order = np.argsort(group, kind="stable")
    alleles, group = alleles[order], group[order]
    n = len(group)
    model = AncHmm.initialise(rng.child(key, "initial"), alleles, group, n_groups, config, centimorgans, groups)
    condition = Condition(group[:, None], np.zeros((n, 0), np.float32), np.zeros(n, np.float32))
    plan = TrainPlan(n_steps=config.n_passes, minibatch_size=n, steps_per_call=1, checkpoint_every=CHECKPOINT_EVERY)
    result = fit(
        model,
        WholeStream(alleles, condition, n),
        plan,
        rng.child(key, "fit"),
        checkpoint_dir=checkpoint_dir,
    )
    return result.model, tuple(float(-loss) for loss in result.history["loss"])


def fit_contig(
    contig: str,
    variants: pd.DataFrame,
    alleles: Int8[np.ndarray, "haplotype variant"],
    codes: Int[np.ndarray, " haplotype"],
    n_ancestries: int,
    *,
    config: HaplotypeConfig,
    centimorgans: Float[np.ndarray, " variant"],
    has_map: bool,
    key: jax.Array,
    checkpoint_dir: Path | None,
    windows: Sequence[int] = (0,),
) -> ContigModel:
    """Fit `config.method` to the haplotypes of one contig (a donor's copies in neighbouring rows).

    `windows` are the numbers of those to fit, among `contig_windows`.

    Raises:
        TrainingError: No haplotypes or variants.
        ResourceError: The model does not fit into memory.
    """
    absent = (alleles == -2).all(1)
    haploid = bool(absent[1::2].all()) and bool(len(alleles))
    if absent.any():  # the copy is as large as the genotypes
        alleles, codes = alleles[~absent], codes[~absent]
    history: tuple[float, ...] = ()
    chain: HiddenChain | WindowedChain | Mosaic
    method = spec("haplotypes", config.method)
    if method.fitted_by != "em":
        chain = method.build(alleles, codes, n_ancestries, centimorgans)
    else:
        fitted = {}
        bounds = contig_windows(len(variants), config)
        for number in windows:
            start, stop = bounds[number]
            name = () if len(bounds) == 1 else ("window", number)
            fitted[number], passes = _fit_anchmm(
                alleles[:, start:stop],
                codes,
                n_ancestries,
                config,
                centimorgans[start:stop] if has_map else None,
                rng.child(key, *name) if name else key,
                checkpoint_dir if checkpoint_dir is None or not name else checkpoint_dir / f"{number:03d}",
            )
            history += passes
        chain = fitted[0] if len(bounds) == 1 else WindowedChain(np.array(bounds), fitted)
    if method.copies:
        log.warning("method '%s' copies stretches of its training haplotypes: it is not private", method.id)
    return ContigModel(contig, variants, chain, haploid, history)
