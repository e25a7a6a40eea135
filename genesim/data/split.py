"""Splitting donors into training and test, so that no person is on both sides."""

from __future__ import annotations

import numpy as np
import pandas as pd

from genesim import rng
from genesim.errors import ConfigError, JoinError

TRAIN, TEST = "train", "test"
_REST = "the rest"


def split_donors(donors: pd.DataFrame, held_out: float, seed: int) -> pd.Series:
    """Split donors, stratified by ancestry, by having cells and by having genotypes.

    Every stratum of two or more donors has some on both sides. Strata of one donor are pooled, by having
    cells, and split together; a pool of one trains. Each stratum has a random stream of its own and its
    donors are taken in the order of their names, so the result depends neither on the order of rows nor on
    the donors of other strata.

    Args:
        donors: Indexed by donor; `has_cells`, and where present `ancestry` and `has_genotypes`.
        held_out: Share of the donors to test on, in (0, 1).
        seed: The user's seed.

    Returns:
        "train" or "test" for each donor, in the order of `donors`, named `split`.

    Raises:
        ConfigError: `held_out` is not within (0, 1).
        JoinError: Fewer than two donors have cells.
    """
    if not 0 < held_out < 1:
        raise ConfigError(f"held_out is {held_out}", remedy="give a share between 0 and 1")
    has_cells = donors["has_cells"].to_numpy(dtype=bool)
    if has_cells.sum() < 2:
        raise JoinError(
            f"{int(has_cells.sum())} donors have cells, so none can be held out",
            remedy="give cells of two donors or more",
        )
    strata = _strata(donors, has_cells)
    names = np.array([str(name) for name in donors.index], dtype=object)
    split = np.full(len(donors), TRAIN, dtype=object)
    for stratum in sorted(set(strata)):
        members = np.flatnonzero([other == stratum for other in strata])
        if len(members) < 2:
            continue
        members = members[np.argsort(names[members])]
        n_test = int(np.clip(np.floor(held_out * len(members) + 0.5), 1, len(members) - 1))
        order = rng.generator(seed, "split donors", *stratum).permutation(len(members))
        split[members[order[:n_test]]] = TEST
    return pd.Series(split, index=donors.index, name="split", dtype=object)


def _strata(donors: pd.DataFrame, has_cells: np.ndarray) -> list[tuple[str, str, str]]:
    n = len(donors)
    ancestry = donors["ancestry"].astype(str) if "ancestry" in donors else ["unknown"] * n
    genotyped = donors["has_genotypes"].to_numpy(dtype=bool) if "has_genotypes" in donors else np.ones(n, bool)
    strata = [
        (str(group), f"cells {bool(cells)}", f"genotypes {bool(genotypes)}")
        for group, cells, genotypes in zip(ancestry, has_cells, genotyped)
    ]
    sizes = pd.Series(strata, dtype=object).value_counts()
    return [stratum if sizes[stratum] > 1 else (_REST, stratum[1], "") for stratum in strata]
