"""Benchmarks with planted truth: one maker a suite, listed in `MAKERS`."""

from __future__ import annotations

from collections.abc import Callable

from genesim.simulate.benchmarks.eqtl import make_eqtl, make_eqtl_specific
from genesim.simulate.benchmarks.eqtl_dynamic import make_eqtl_dynamic
from genesim.simulate.benchmarks.grn import make_grn
from genesim.simulate.benchmarks.groups import make_de, make_donors
from genesim.simulate.benchmarks.hidden import make_batch, make_doublets, make_rare_type
from genesim.simulate.benchmarks.world import BenchmarkData, Design, World

MAKERS: dict[str, Callable[[World, Design], BenchmarkData]] = {
    "eqtl": make_eqtl,
    "eqtl_specific": make_eqtl_specific,
    "eqtl_dynamic": make_eqtl_dynamic,
    "de": make_de,
    "rare_type": make_rare_type,
    "batch": make_batch,
    "doublets": make_doublets,
    "donors": make_donors,
    "grn": make_grn,
}
"""Makers by the names of `evaluate.benchmark_format.SUITES`."""
