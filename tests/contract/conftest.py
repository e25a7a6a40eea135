"""Every row of the catalog as a case, one instance a row and process."""

from __future__ import annotations

from collections.abc import Iterator

import jax
import pytest
from contract_case import Case
from contract_table import CASES
from jax.experimental.compilation_cache import compilation_cache

from genesim.models.base import ModelSpec


@pytest.fixture(scope="module", autouse=True)
def quick_compilation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Programs are compiled without costly optimisation (they run for milliseconds) and kept for a second fit."""
    settings = {
        "jax_disable_most_optimizations": True,
        "jax_compilation_cache_dir": str(tmp_path_factory.mktemp("programs")),
        "jax_persistent_cache_min_compile_time_secs": 0.1,
    }
    before = {name: jax.config.values[name] for name in settings}
    compilation_cache.reset_cache()
    for name, value in settings.items():
        jax.config.update(name, value)
    yield
    compilation_cache.reset_cache()
    for name, value in before.items():
        jax.config.update(name, value)


@pytest.fixture(scope="session")
def case(request: pytest.FixtureRequest) -> Case:
    """The row that a test is parametrised with; one without a case fails every law."""
    spec: ModelSpec = request.param
    if (spec.modality, spec.id) not in CASES:
        pytest.fail(f"{spec.modality}/{spec.id} is in the catalog and has no case in tests/contract")
    return CASES[spec.modality, spec.id](spec)
