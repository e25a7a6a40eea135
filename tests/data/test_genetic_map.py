"""Genetic maps there and back."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from genesim.data.genetic_map import ContigMap, contig_map, sex_maps
from genesim.errors import InputError

TABLE = pd.DataFrame({"chr": "22", "pos": [1_001, 2_001, 4_001], "cM": [1.0, 2.0, 2.5]})


def test_base_is_the_inverse_of_at() -> None:
    scale = contig_map("chr22", TABLE)
    position = np.array([0, 1_000, 1_500, 3_000, 4_000, 9_000])
    np.testing.assert_allclose(scale.at(position)[1:5], [1.0, 1.5, 2.25, 2.5])
    np.testing.assert_array_equal(scale.base(scale.at(position)), position)
    assert scale.morgans(1_000, 4_000) == pytest.approx(0.015)
    assert ContigMap.flat().morgans(0, 1_000_000) == pytest.approx(0.012)
    assert ContigMap.unrecombining().morgans(0, 16_569) == 0


def test_sexes_have_maps_of_their_own_where_the_table_has() -> None:
    both = TABLE.assign(cM_female=[0.0, 2.0, 4.0], cM_male=[0.0, 1.0, 1.0])
    maps = sex_maps("22", both)
    assert [maps[sex].morgans(1_000, 4_000) for sex in ("female", "male")] == pytest.approx([0.04, 0.01])
    assert sex_maps("22", TABLE)["male"].morgans(1_000, 4_000) == pytest.approx(0.015)
    with pytest.raises(InputError, match="cM_female"):
        contig_map("22", TABLE, "cM_female")
