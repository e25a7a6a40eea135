"""The haplotype model of one contig: which method fits it, and its arrays on disk."""

from __future__ import annotations

from dataclasses import dataclass
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
from genesim.models.catalog import spec
from genesim.models.haplotypes.anchmm import AncHmm, required_bytes
from genesim.models.haplotypes.chain import HiddenChain, check_trainable
from genesim.models.haplotypes.groups import group_haplotypes
from genesim.models.haplotypes.mosaic import Mosaic
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
        history: Mean log-likelihood a haplotype, in nats, before each EM pass.
    """

    contig: str
    variants: pd.DataFrame
    chain: HiddenChain | Mosaic
    haploid: bool
    history: tuple[float, ...] = ()

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
        chain = spec("haplotypes", config.method).restore(arrays["model"], config, n_ancestries)
        return cls(described["contig"], variants, chain, described["haploid"], tuple(described["history"]))


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
) -> ContigModel:
    """Fit `config.method` to the haplotypes of one contig (a donor's copies in neighbouring rows).

    Raises:
        TrainingError: No haplotypes or variants.
        ResourceError: The model does not fit into memory.
    """
    absent = (alleles == -2).all(1)
    haploid = bool(absent[1::2].all()) and bool(len(alleles))
    alleles, codes = alleles[~absent], codes[~absent]
    history: tuple[float, ...] = ()
    chain: HiddenChain | Mosaic
    method = spec("haplotypes", config.method)
    if method.fitted_by == "em":
        chain, history = _fit_anchmm(
            alleles, codes, n_ancestries, config, centimorgans if has_map else None, key, checkpoint_dir
        )
    else:
        chain = method.build(alleles, codes, n_ancestries, centimorgans)
    if method.copies:
        log.warning("method '%s' copies stretches of its training haplotypes: it is not private", method.id)
    return ContigModel(contig, variants, chain, haploid, history)
