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
    from genesim.config.new_variants import DeNovo as DeNovo
    from genesim.config.new_variants import LossOfFunction as LossOfFunction
    from genesim.config.new_variants import RareVariants as RareVariants
    from genesim.data.allele_factors import DosageRules as DosageRules
    from genesim.data.cohort import load_cohort as load_cohort
    from genesim.data.effect_table import read_effect_table as read_effect_table
    from genesim.data.gene_dosage import GeneDosage as GeneDosage
    from genesim.data.gene_dosage import dosage_from_vcf as dosage_from_vcf
    from genesim.data.gene_priors import read_gene_sets as read_gene_sets
    from genesim.data.gene_priors import screen_effects as screen_effects
    from genesim.data.genotypes import phase as phase
    from genesim.data.genotypes import read_genotypes as read_genotypes
    from genesim.data.genotypes import write_genotype_blocks as write_genotype_blocks
    from genesim.data.genotypes import write_plink as write_plink
    from genesim.data.genotypes import write_vcf as write_vcf
    from genesim.data.ploidy import set_ploidy as set_ploidy
    from genesim.estimators.effect_prior import EffectPrior as EffectPrior
    from genesim.estimators.effects import EffectModel as EffectModel
    from genesim.estimators.expression import ExpressionModel as ExpressionModel
    from genesim.estimators.haplotypes import HaplotypeModel as HaplotypeModel
    from genesim.estimators.perturbation import PerturbationModel as PerturbationModel
    from genesim.pipeline.benchmark import make_benchmark as make_benchmark
    from genesim.pipeline.benchmark import score_benchmark as score_benchmark
    from genesim.pipeline.evaluate_cells import evaluate as evaluate
    from genesim.pipeline.linkage import audit_linkage as audit_linkage
    from genesim.pipeline.load import load as load
    from genesim.pipeline.person import PersonPrediction as PersonPrediction
    from genesim.pipeline.person import simulate_person as simulate_person
    from genesim.pipeline.perturbation import evaluate_perturbations as evaluate_perturbations
    from genesim.pipeline.prepare import prepare as prepare
    from genesim.pipeline.privacy import audit_privacy as audit_privacy
    from genesim.pipeline.release import prepare_release as prepare_release
    from genesim.pipeline.report import report as report
    from genesim.pipeline.simulate import Models as Models
    from genesim.pipeline.simulate import simulate as simulate
    from genesim.pipeline.train import train as train
    from genesim.release.approve import approve_release as approve_release
    from genesim.release.approve import finish_release as finish_release
    from genesim.release.check import check_bundle as check_bundle
    from genesim.simulate.admixture import write_local_ancestry as write_local_ancestry
    from genesim.simulate.new_variants import add_new_variants as add_new_variants
    from genesim.simulate.pedigree import simulate_pedigree as simulate_pedigree
    from genesim.simulate.pedigree_table import first_cousins as first_cousins
    from genesim.simulate.pedigree_table import founders_of as founders_of
    from genesim.simulate.pedigree_table import half_siblings as half_siblings
    from genesim.simulate.pedigree_table import nuclear_families as nuclear_families

_HOMES = {
    "read_genotypes": "genesim.data.genotypes",
    "write_vcf": "genesim.data.genotypes",
    "set_ploidy": "genesim.data.ploidy",
    "write_plink": "genesim.data.genotypes",
    "write_genotype_blocks": "genesim.data.genotypes",
    "phase": "genesim.data.genotypes",
    "load_cohort": "genesim.data.cohort",
    "dosage_from_vcf": "genesim.data.gene_dosage",
    "GeneDosage": "genesim.data.gene_dosage",
    "DosageRules": "genesim.data.allele_factors",
    "read_effect_table": "genesim.data.effect_table",
    "read_gene_sets": "genesim.data.gene_priors",
    "screen_effects": "genesim.data.gene_priors",
    "ExpressionModel": "genesim.estimators.expression",
    "HaplotypeModel": "genesim.estimators.haplotypes",
    "EffectModel": "genesim.estimators.effects",
    "EffectPrior": "genesim.estimators.effect_prior",
    "PerturbationModel": "genesim.estimators.perturbation",
    "write_local_ancestry": "genesim.simulate.admixture",
    "simulate_pedigree": "genesim.simulate.pedigree",
    "nuclear_families": "genesim.simulate.pedigree_table",
    "half_siblings": "genesim.simulate.pedigree_table",
    "first_cousins": "genesim.simulate.pedigree_table",
    "founders_of": "genesim.simulate.pedigree_table",
    "add_new_variants": "genesim.simulate.new_variants",
    "DeNovo": "genesim.config.new_variants",
    "RareVariants": "genesim.config.new_variants",
    "LossOfFunction": "genesim.config.new_variants",
    "prepare": "genesim.pipeline.prepare",
    "train": "genesim.pipeline.train",
    "simulate": "genesim.pipeline.simulate",
    "Models": "genesim.pipeline.simulate",
    "simulate_person": "genesim.pipeline.person",
    "PersonPrediction": "genesim.pipeline.person",
    "evaluate": "genesim.pipeline.evaluate_cells",
    "audit_privacy": "genesim.pipeline.privacy",
    "audit_linkage": "genesim.pipeline.linkage",
    "evaluate_perturbations": "genesim.pipeline.perturbation",
    "make_benchmark": "genesim.pipeline.benchmark",
    "score_benchmark": "genesim.pipeline.benchmark",
    "report": "genesim.pipeline.report",
    "load": "genesim.pipeline.load",
    "prepare_release": "genesim.pipeline.release",
    "approve_release": "genesim.release.approve",
    "finish_release": "genesim.release.approve",
    "check_bundle": "genesim.release.check",
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
