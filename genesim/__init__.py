"""genesim: genomics variant and expression generative simulator.

The package imports in a moment; heavy parts load on first use.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from genesim.data.cohort import load_cohort as load_cohort
    from genesim.data.genotypes import phase as phase
    from genesim.data.genotypes import read_genotypes as read_genotypes
    from genesim.data.genotypes import write_genotype_blocks as write_genotype_blocks
    from genesim.data.genotypes import write_plink as write_plink
    from genesim.data.genotypes import write_vcf as write_vcf
    from genesim.estimators.effects import EffectModel as EffectModel
    from genesim.estimators.expression import ExpressionModel as ExpressionModel
    from genesim.estimators.haplotypes import HaplotypeModel as HaplotypeModel
    from genesim.estimators.perturbation import PerturbationModel as PerturbationModel
    from genesim.pipeline.evaluate import evaluate as evaluate
    from genesim.pipeline.load import load as load
    from genesim.pipeline.prepare import prepare as prepare
    from genesim.pipeline.report import report as report
    from genesim.pipeline.simulate import Models as Models
    from genesim.pipeline.simulate import simulate as simulate
    from genesim.pipeline.train import train as train

_HOMES = {
    "read_genotypes": "genesim.data.genotypes",
    "write_vcf": "genesim.data.genotypes",
    "write_plink": "genesim.data.genotypes",
    "write_genotype_blocks": "genesim.data.genotypes",
    "phase": "genesim.data.genotypes",
    "load_cohort": "genesim.data.cohort",
    "ExpressionModel": "genesim.estimators.expression",
    "HaplotypeModel": "genesim.estimators.haplotypes",
    "EffectModel": "genesim.estimators.effects",
    "PerturbationModel": "genesim.estimators.perturbation",
    "prepare": "genesim.pipeline.prepare",
    "train": "genesim.pipeline.train",
    "simulate": "genesim.pipeline.simulate",
    "Models": "genesim.pipeline.simulate",
    "evaluate": "genesim.pipeline.evaluate",
    "report": "genesim.pipeline.report",
    "load": "genesim.pipeline.load",
}
__all__ = sorted([*_HOMES, "__version__"])


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(import_module(_HOMES[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'genesim' has no attribute {name!r}")


class _Package(ModuleType):
    """Verbs and subpackages share names (train, simulate, ...): the verb is what users mean.

    Python binds a subpackage to its name here as soon as anything imports it, so that must not count.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _HOMES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
