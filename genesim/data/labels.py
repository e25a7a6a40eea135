"""Labels (cell types) with too few cells to learn from."""

from __future__ import annotations

import anndata as ad

from genesim.console import log
from genesim.data.names import plain_labels
from genesim.errors import H5adError


def drop_rare_labels(cells: ad.AnnData, labels_key: str, min_cells: int) -> tuple[ad.AnnData, dict[str, int]]:
    """Leave out the cells of labels that fewer than `min_cells` cells have.

    Args:
        cells: As `read_expression` gives them; not changed.
        labels_key: Column of obs with labels.
        min_cells: Fewest cells of a label that stays.

    Returns:
        The cells that stay (`cells` itself where all do), and the number of cells of each label dropped.

    Raises:
        H5adError: No label has that many cells.
    """
    counts = cells.obs[labels_key].value_counts(sort=False)
    dropped = {str(label): int(n) for label, n in counts.items() if n < min_cells}
    if not dropped:
        return cells, {}
    if len(dropped) == len(counts):
        raise H5adError(
            f"every label of '{labels_key}' has fewer than {min_cells} cells; the largest has {counts.max()}",
            where="min_cells_per_label",
            remedy="lower inputs.min_cells_per_label, or give coarser labels as labels_key",
        )
    kept = cells[~cells.obs[labels_key].isin(dropped).to_numpy()].copy()
    kept.obs[labels_key] = plain_labels(kept.obs[labels_key])
    named = ", ".join(f"'{label}' ({n})" for label, n in dropped.items())
    log.warning("%d cells of labels with fewer than %d were dropped: %s", sum(dropped.values()), min_cells, named)
    return kept, dropped
