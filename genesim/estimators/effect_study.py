"""What the steps of the cis effects' fit leave on disk for the next: the study of all genes, and fitted parts."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pandas as pd

from genesim.config.base import parse
from genesim.config.model import EffectConfig
from genesim.models.effects.draws import SharedPrior
from genesim.models.effects.kinship import Families
from genesim.models.effects.location import TssCurve
from genesim.models.effects.mixture import EffectMixture
from genesim.models.effects.posterior import EffectPosterior
from genesim.provenance.record import Provenance
from genesim.train.store import restored, save_model

STUDY, PART = "effect-study", "effect-part"


@dataclass(frozen=True)
class EffectStudy:
    """What the fit of any gene needs beside genotypes.

    Attributes:
        genes: Index gene; `contig`, `tss`.
        donors: Ids, in the order of all arrays.
        labels: Cell types of the cells, fitted or not.
        response, weight: Of each fitted type, gene x donor.
        basis: Of each fitted type, orthonormal covariates, donor x rank.
        groups: Types that are fitted together.
        mixtures: The prior of effect sizes of each group.
        families: Relatives, None without any.
        heritability: Of each type, by gene; empty without relatives.
        donor_sd: See `EffectModel`.
        config: Of the fit.
        seed: Of the permutations.
        settings, inputs: For the provenance: what was found out about donors and tables.
        curve: Prior weight by distance to the TSS, where there is one.
        digest: SHA-256 of the manifest that it was loaded from; empty in memory.
    """

    genes: pd.DataFrame
    donors: list[str]
    labels: list[str]
    response: dict[str, np.ndarray]
    weight: dict[str, np.ndarray]
    basis: dict[str, np.ndarray]
    groups: list[list[str]]
    mixtures: list[EffectMixture]
    families: Families | None
    heritability: dict[str, np.ndarray]
    donor_sd: pd.DataFrame
    config: EffectConfig
    seed: int
    settings: dict[str, Any] = field(default_factory=dict)
    inputs: dict[str, str] = field(default_factory=dict)
    curve: TssCurve | None = None
    digest: str = ""

    def save(self, directory: str | Path) -> Path:
        """Write the study as one directory."""
        arrays: dict[str, Any] = {
            "gene_tss": self.genes["tss"].to_numpy(),
            "types": {
                str(i): {"response": self.response[n], "weight": self.weight[n], "basis": self.basis[n]}
                for i, n in enumerate(self.response)
            },
            "mixtures": {str(i): mixture.to_dict() for i, mixture in enumerate(self.mixtures)},
        }
        if self.donor_sd.size:
            arrays["donor_sd"] = self.donor_sd.to_numpy(np.float64)
        if self.families is not None:
            families = {name: np.asarray(getattr(self.families, name)) for name in Families.__dataclass_fields__}
            shares = {str(i): self.heritability[name] for i, name in enumerate(self.response)}
            arrays |= {"families": families, "heritability": shares}
        curve = None if self.curve is None else [list(self.curve.edges), list(self.curve.weights)]
        metadata = {
            "genes": self.genes.index.tolist(),
            "gene_contig": self.genes["contig"].tolist(),
            "donors": self.donors,
            "labels": self.labels,
            "cell_types": list(self.response),
            "groups": self.groups,
            "donor_sd_genes": self.donor_sd.index.tolist(),
            "donor_sd_types": self.donor_sd.columns.tolist(),
            "config": self.config.model_dump(mode="json"),
            "settings": self.settings,
            "inputs": self.inputs,
            "curve": curve,
        }
        provenance = Provenance("train effects --init", self.seed, self.settings, self.inputs)
        return save_model(directory, STUDY, arrays, metadata, provenance)

    @classmethod
    def load(cls, directory: str | Path) -> EffectStudy:
        """Read a study that `save` wrote.

        Raises:
            ArtefactError: It is not one, is incomplete, or was altered.
        """
        from genesim.provenance.record import hash_input

        with restored(directory, STUDY) as stored:
            a, m = stored.arrays, stored.metadata
            genes = pd.DataFrame(
                {"contig": pd.Series(m["gene_contig"], dtype=object).to_numpy(), "tss": a["gene_tss"]},
                index=pd.Index(m["genes"], dtype=object, name="gene"),
            )
            deviations = pd.DataFrame(
                np.asarray(a["donor_sd"]) if "donor_sd" in a else None,
                index=pd.Index(m["donor_sd_genes"], dtype=object, name="gene"),
                columns=m["donor_sd_types"],
            )
            names = list(m["cell_types"])

            def of_types(what: str) -> dict[str, np.ndarray]:
                return {name: np.asarray(a["types"][str(i)][what]) for i, name in enumerate(names)}

            families = None
            if "families" in a:
                families = Families(**{k: jnp.asarray(v) for k, v in a["families"].items()})
            mixtures = [
                EffectMixture(**{k: jnp.asarray(v) for k, v in a["mixtures"][str(i)].items()})
                for i in range(len(m["groups"]))
            ]
            return cls(
                genes,
                m["donors"],
                m["labels"],
                of_types("response"),
                of_types("weight"),
                of_types("basis"),
                m["groups"],
                mixtures,
                families,
                {n: np.asarray(a["heritability"][str(i)]) for i, n in enumerate(names)} if families is not None else {},
                deviations,
                parse(EffectConfig, m["config"]),
                int(stored.provenance["seed"]),
                m["settings"],
                m["inputs"],
                None if m["curve"] is None else TssCurve(*(tuple(side) for side in m["curve"])),
                hash_input(directory),
            )


@dataclass(frozen=True)
class EffectPart:
    """Some of the genes, fitted.

    Attributes:
        shard: `(k, n)`: the k-th (from 0) of n parts.
        genes: Of each group of types, positions of the genes that it has fitted, ascending.
        posteriors: Of each group, those of its types.
        shared: Of each group.
        study: `EffectStudy.digest` that it was fitted under.
    """

    shard: tuple[int, int]
    genes: list[np.ndarray]
    posteriors: list[list[EffectPosterior]]
    shared: list[SharedPrior]
    study: str = ""

    def save(self, directory: str | Path, seed: int) -> Path:
        """Write the part as one directory."""
        arrays = {
            "groups": {
                str(g): {
                    "genes": self.genes[g],
                    "types": {str(i): p.to_dict() for i, p in enumerate(posteriors)},
                    "shared": shared.to_dict(),
                }
                for g, (posteriors, shared) in enumerate(zip(self.posteriors, self.shared, strict=True))
            },
        }
        metadata = {"shard": list(self.shard), "types": [len(p) for p in self.posteriors], "study": self.study}
        provenance = Provenance("train effects --shard", seed, {"shard": list(self.shard)}, {"study": self.study})
        return save_model(directory, PART, arrays, metadata, provenance)

    @classmethod
    def load(cls, directory: str | Path) -> EffectPart:
        """Read a part that `save` wrote.

        Raises:
            ArtefactError: It is not one, is incomplete, or was altered.
        """
        with restored(directory, PART) as stored:
            groups = [stored.arrays["groups"][str(g)] for g in range(len(stored.metadata["types"]))]

            def plain(values: dict[str, Any]) -> dict[str, np.ndarray]:
                return {k: np.asarray(v) for k, v in values.items()}

            return cls(
                (stored.metadata["shard"][0], stored.metadata["shard"][1]),
                [np.asarray(group["genes"]) for group in groups],
                [
                    [EffectPosterior(**plain(group["types"][str(i)])) for i in range(n)]
                    for group, n in zip(groups, stored.metadata["types"], strict=True)
                ],
                [SharedPrior(**plain(group["shared"])) for group in groups],
                stored.metadata["study"],
            )
