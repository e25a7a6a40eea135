"""Tools face, scverse style: the models and verbs on AnnData."""

from genesim.estimators.effects import EffectModel
from genesim.estimators.expression import ExpressionModel
from genesim.estimators.haplotypes import HaplotypeModel
from genesim.estimators.perturbation import PerturbationModel
from genesim.pipeline.evaluate_cells import evaluate
from genesim.pipeline.simulate import simulate

__all__ = ["EffectModel", "ExpressionModel", "HaplotypeModel", "PerturbationModel", "evaluate", "simulate"]
