"""Preprocessing face, scverse style: the checks and the cohort on AnnData."""

from genesim.data.expression import read_expression
from genesim.pipeline.prepare import prepare

__all__ = ["prepare", "read_expression"]
