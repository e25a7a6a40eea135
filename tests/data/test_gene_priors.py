"""Prior knowledge as places: what is read, what is refused, and who ends up near whom."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from genesim.data.gene_priors import (
    coexpression_prior,
    gene_embedding,
    gene_set_prior,
    read_gene_sets,
    read_tf_targets,
    screen_effects,
    tf_target_prior,
)
from genesim.errors import InputError


def near(places: np.ndarray, i: int, j: int) -> float:
    return float(((places[i] - places[j]) ** 2).sum())


def test_genes_of_one_set_lie_together_and_say_which() -> None:
    sets = {f"s{k}": [f"g{i}" for i in range(10 * k, 10 * k + 12)] for k in range(5)}
    prior = gene_set_prior(sets)
    places = prior.places(["g1", "g5", "g25", "unknown"])
    assert near(places, 0, 1) < 1e-12 < near(places, 0, 2)
    assert np.isnan(places[3]).all()
    np.testing.assert_allclose(np.linalg.norm(places[:3], axis=1), 1)
    assert prior.shared("g10", "g11") == "s0, s1"
    assert prior.shared("g1", "g25") == ""
    assert prior.shared("g1", "unknown") == ""


def test_large_tables_take_the_sparse_way_to_the_same_places() -> None:
    random = np.random.default_rng(0)
    sets = {f"s{k}": [f"g{i}" for i in random.choice(200, 12, replace=False)] for k in range(90)}
    prior = gene_set_prior(sets, n_dimensions=10)
    assert prior.features is not None
    left, size, _ = np.linalg.svd(prior.features.toarray(), full_matrices=False)
    dense = (left * size)[:, :10]
    dense /= np.linalg.norm(dense, axis=1, keepdims=True)
    np.testing.assert_allclose(prior.values @ prior.values.T, dense @ dense.T, atol=1e-6)


def test_factors_with_the_same_targets_lie_together_and_opposite_signs_apart() -> None:
    edges = [(tf, f"t{i}", sign) for tf, sign in (("A", 1), ("B", 1), ("C", -1)) for i in range(6)]
    prior = tf_target_prior(pd.DataFrame(edges, columns=["source", "target", "weight"]))
    places = prior.places(["A", "B", "C", "t0"])
    assert near(places, 0, 1) < 0.1 < near(places, 0, 2)
    assert prior.shared("A", "B", 2) == "-> t0, -> t1"


def test_genes_that_vary_together_lie_together() -> None:
    random = np.random.default_rng(1)
    programme = random.normal(size=(300, 2))
    x = np.repeat(programme, 4, axis=1) + 0.3 * random.normal(size=(300, 8))
    x = np.column_stack([x, np.ones(300)])
    prior = coexpression_prior(x, [f"g{i}" for i in range(9)], 2)
    assert prior is not None
    places = prior.places([f"g{i}" for i in range(9)])
    assert near(places, 0, 1) < 0.1 * near(places, 0, 5)
    assert np.isnan(places[8]).all()
    assert coexpression_prior(np.ones((20, 3)), ["a", "b", "c"]) is None


def test_columns_of_a_table_weigh_the_same_whatever_their_unit() -> None:
    table = pd.DataFrame({"x": [0.0, 1.0, 2.0], "y": [0.0, 1000.0, 0.0], "z": [5.0, 5.0, 5.0]}, index=["a", "b", "c"])
    prior = gene_embedding(table)
    np.testing.assert_allclose(prior.values.std(0), [1, 1])


def test_files_are_read(tmp_path: Path) -> None:
    (tmp_path / "s.gmt").write_text("ONE\tabout\tA\tB\tA\n\nTWO\t\tC\n")
    assert read_gene_sets(tmp_path / "s.gmt") == {"ONE": ("A", "B"), "TWO": ("C",)}
    (tmp_path / "e.csv").write_text('"source","target","weight"\n"MYC","TERT",1\n')
    assert read_tf_targets(tmp_path / "e.csv").to_numpy().tolist() == [["MYC", "TERT", 1]]


@pytest.mark.parametrize(
    ("text", "said"),
    [("", "no gene set"), ("ONE\tabout\n", "line 1"), ("A\t\tx\nA\t\ty\n", "occurs twice"), ("a,b,c\n", "line 1")],
)
def test_broken_gene_sets_are_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "s.gmt").write_text(text)
    with pytest.raises(InputError, match=said):
        read_gene_sets(tmp_path / "s.gmt")


def test_other_bad_input_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_gene_sets(tmp_path / "none.gmt")
    with pytest.raises(InputError, match="cannot be read"):
        read_tf_targets(tmp_path / "none.csv")
    (tmp_path / "e.csv").write_text("source,target\nA,B\n")
    with pytest.raises(InputError, match="no column weight"):
        read_tf_targets(tmp_path / "e.csv")
    with pytest.raises(InputError, match="weight"):
        tf_target_prior(pd.DataFrame({"source": ["A"], "target": ["B"], "weight": ["up"]}))
    with pytest.raises(InputError, match="5 to 500"):
        gene_set_prior({"s": ["A", "B"]})
    with pytest.raises(InputError, match="empty"):
        screen_effects(pd.DataFrame())


def test_real_files_are_read(shared_data: Path) -> None:
    folder = shared_data / "priors"
    reactome = gene_set_prior(read_gene_sets(folder / "human_reactome_v2025.gmt"))
    assert len(reactome.names) > 10_000
    edges = tf_target_prior(read_tf_targets(folder / "collectri.csv"))
    places = edges.places(["STAT1", "STAT2", "MYC"])
    assert near(places, 0, 1) < near(places, 0, 2)
