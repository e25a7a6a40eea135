"""Simulated cells drawn in shards: the same files as one job's, and no shard of another plan gets in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from genesim.config.base import parse
from genesim.config.scenario import Scenario
from genesim.errors import ArtefactError
from genesim.pipeline.simulate import Models, simulate, simulate_cells
from genesim.simulate.cells import CHUNK, shard_rows


def scenario(n_cells: int = 2 * CHUNK + 100, **blocks: Any) -> Scenario:
    effects = {"random": {"share_of_genes": 0.5, "window": 200_000, "min_maf": 0.1}}
    deviates = {"donor_sd_log2": 0.3}
    people, cells = {"n_donors": 20}, {"n_cells": n_cells, "batches": {"n": 2}}
    return parse(
        Scenario, {"population": people, "cells": cells, "effects": effects, "donor_effects": deviates, **blocks}
    )


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def shards(asked: Scenario, world: Models, n: int, folder: Path, seed: int = 5) -> list[Path]:
    for k in range(n):
        simulate_cells(asked, world, seed, shard=(k, n), out=folder / str(k))
    return [folder / str(k) for k in reversed(range(n))]


@pytest.mark.parametrize("n", [1, 3])
def test_any_number_of_shards_gives_the_same_files(n: int, world: Models, tmp_path: Path) -> None:
    asked = scenario()
    drawn = shards(asked, world, n, tmp_path / "cells")
    whole = simulate(asked, world, 5, out=tmp_path / "whole")
    simulate(asked, world, 5, cells_from=drawn, out=tmp_path / "gathered")
    assert files(tmp_path / "whole") == files(tmp_path / "gathered")
    assert whole.cells.n_obs == 2 * CHUNK + 100


def test_shards_are_whole_chunks_and_cover_all_cells() -> None:
    for n_cells in (1, CHUNK - 1, CHUNK, 5 * CHUNK + 1):
        for n in (1, 2, 3, 7):
            rows = [shard_rows(n_cells, (k, n)) for k in range(n)]
            assert np.concatenate([np.arange(n_cells)[r] for r in rows]).tolist() == list(range(n_cells))
            assert all(r.start % CHUNK == 0 or r.start == n_cells for r in rows)


def test_shards_of_another_plan_and_gaps_are_refused(world: Models, tmp_path: Path) -> None:
    asked = scenario(CHUNK + 10)
    one, two = shards(asked, world, 2, tmp_path / "ours")
    other = shards(asked, world, 2, tmp_path / "seed 6", seed=6)
    with pytest.raises(ArtefactError, match="drawn from another plan"):
        simulate(asked, world, 5, cells_from=[one, other[1]])
    for given in ([one], [one, one, two]):
        with pytest.raises(ArtefactError, match="one is lacking or stands twice"):
            simulate(asked, world, 5, cells_from=given)
    changed = bytearray((one / "data.npy").read_bytes())
    changed[-1] ^= 1
    (one / "data.npy").write_bytes(changed)
    with pytest.raises(ArtefactError):
        simulate(asked, world, 5, cells_from=[one, two])
