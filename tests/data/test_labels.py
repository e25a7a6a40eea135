"""Labels with too few cells: dropped and counted, and refused where none would be left."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from genesim.data.expression import read_expression
from genesim.data.labels import drop_rare_labels
from genesim.errors import H5adError


@pytest.fixture
def cells() -> ad.AnnData:
    labels = ["B"] * 5 + ["T"] * 3 + ["NK"] * 2
    counts = sparse.csr_matrix(np.arange(1, 21, dtype=np.int32).reshape(10, 2))
    obs = pd.DataFrame({"kind": labels}, index=[f"c{i}" for i in range(10)])
    return read_expression(ad.AnnData(counts, obs=obs), labels_key="kind")


def test_rare_labels_go_and_are_counted(cells: ad.AnnData, caplog: pytest.LogCaptureFixture) -> None:
    before = cells.copy()
    with caplog.at_level("WARNING", logger="genesim"):
        kept, dropped = drop_rare_labels(cells, "kind", 4)
    assert dropped == {"NK": 2, "T": 3}
    assert list(kept.obs_names) == [f"c{i}" for i in range(5)]
    assert list(kept.obs["kind"].cat.categories) == ["B"]  # no level without cells
    np.testing.assert_array_equal(kept.X.toarray(), before.X[:5].toarray())
    assert "'NK' (2)" in caplog.text
    assert "5 cells" in caplog.text
    assert list(cells.obs_names) == list(before.obs_names)


@pytest.mark.parametrize("least", [1, 2])
def test_labels_with_just_enough_cells_stay(cells: ad.AnnData, least: int) -> None:
    kept, dropped = drop_rare_labels(cells, "kind", least)
    assert kept is cells
    assert dropped == {}


def test_the_first_count_too_many_drops(cells: ad.AnnData) -> None:
    assert drop_rare_labels(cells, "kind", 3)[1] == {"NK": 2}


def test_no_label_left_is_an_error_with_the_largest(cells: ad.AnnData) -> None:
    with pytest.raises(H5adError, match=r"fewer than 6 cells; the largest has 5 -> lower inputs\.min_cells"):
        drop_rare_labels(cells, "kind", 6)
