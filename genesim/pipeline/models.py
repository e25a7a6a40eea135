"""The trained models that a scenario draws from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from genesim.errors import ArtefactError
from genesim.estimators.effects import EffectModel
from genesim.estimators.expression import ExpressionModel
from genesim.estimators.haplotypes import HaplotypeModel
from genesim.estimators.perturbation import PerturbationModel


@dataclass(frozen=True)
class Models:
    """The trained models that a scenario draws from.

    Attributes:
        haplotypes: One model, or one a contig; may be empty where the scenario's donors are of a VCF.
        perturbation: Needed for trans effects only.
    """

    expression: ExpressionModel
    haplotypes: tuple[HaplotypeModel, ...]
    effects: EffectModel | None = None
    perturbation: PerturbationModel | None = None

    @property
    def methods(self) -> dict[str, str]:
        """Catalog ids by modality."""
        found: dict[str, str] = {"expression": self.expression.config.method}
        if self.haplotypes:
            found["haplotypes"] = self.haplotypes[0].config.method
        if self.effects is not None:
            found["effects"] = "susie"
        return found | ({} if self.perturbation is None else {"perturbation": "stack"})

    @property
    def genes(self) -> pd.DataFrame:
        """Index: genes of the expression model; `contig`, `tss` (0-based) of those that the effect model places."""
        table = pd.DataFrame({"contig": "", "tss": -1}, index=self.expression.genes)
        if self.effects is not None:
            placed = self.effects.genes.loc[self.effects.genes.index.isin(table.index), ["contig", "tss"]]
            table.loc[placed.index, ["contig", "tss"]] = placed
        return table.rename_axis("gene")

    @property
    def variants(self) -> pd.DataFrame:
        """contig, start, ref, alt and training `frequency` of the haplotype models' variants, else the effect model's.

        Raises:
            ArtefactError: There is neither.
        """
        columns = ["contig", "start", "ref", "alt", "frequency"]
        if self.haplotypes:
            return pd.concat([model.variants[columns] for model in self.haplotypes])
        if self.effects is None:
            raise ArtefactError(
                "have no haplotype model and no effect model", where="models", remedy="train one of them first"
            )
        return self.effects.variants[columns]

    @classmethod
    def load(cls, directory: str | Path, need_haplotypes: bool = True) -> Models:
        """Load `expression/`, `haplotypes/` or `haplotypes/<contig>/`, and `effects/`, `perturbation/` where there.

        Raises:
            ArtefactError: The expression model, or needed haplotype models, are absent.
        """
        directory = Path(directory)
        if not (directory / "expression").is_dir():
            raise ArtefactError("has no expression model", where=str(directory), remedy="train expression first")
        effects, perturbation = directory / "effects", directory / "perturbation"
        folders = haplotype_folders(directory) if need_haplotypes or (directory / "haplotypes").is_dir() else []
        return cls(
            ExpressionModel.load(directory / "expression"),
            tuple(HaplotypeModel.load(path) for path in folders),
            EffectModel.load(effects) if effects.is_dir() else None,
            PerturbationModel.load(perturbation) if perturbation.is_dir() else None,
        )


def haplotype_folders(models: str | Path) -> list[Path]:
    """Directories of the haplotype models below `models`: one, or one a contig."""
    root = Path(models) / "haplotypes"
    folders = [root] if (root / "model.json").is_file() else sorted(p.parent for p in root.glob("*/model.json"))
    if not folders:
        raise ArtefactError("has no haplotype model", where=str(models), remedy="train haplotypes first")
    return folders
