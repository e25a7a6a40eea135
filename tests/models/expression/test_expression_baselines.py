"""Independent NB and copula: margins kept by both, dependence by the copula alone."""

import jax
import numpy as np
import pytest
from scipy import sparse

from genesim.models.expression.copula import CopulaNb
from genesim.models.expression.independent_nb import IndependentNb
from genesim.types import Condition

KEY = jax.random.key(2)


def _data(n: int = 700) -> tuple[np.ndarray, Condition]:
    """Two labels of opposite means; in label 0 genes 0-4 share a factor."""
    random = np.random.default_rng(0)
    label = random.integers(0, 2, n)
    library = random.gamma(8.0, 10.0, n)
    frequency = np.array([np.linspace(1, 3, 12), np.linspace(3, 1, 12)])
    frequency /= frequency.sum(axis=1, keepdims=True)
    factor = np.exp(0.7 * random.standard_normal(n)) * (label == 0) + (label == 1)
    mean = library[:, None] * frequency[label]
    mean[:, :5] *= factor[:, None]
    counts = random.poisson(mean * random.gamma(5.0, 0.2, mean.shape))
    return counts, Condition(label[:, None], np.zeros((n, 0)), np.log(counts.sum(axis=1)))


def _within(counts: np.ndarray, condition: Condition, label: int) -> float:
    rows = np.asarray(condition.categories)[:, 0] == label
    scaled = counts[rows] / np.exp(np.asarray(condition.log_library)[rows])[:, None]
    return float(np.corrcoef(scaled[:, :5].T)[np.triu_indices(5, 1)].mean())


@pytest.mark.parametrize("kind", [IndependentNb, CopulaNb])
def test_margins_are_kept_per_label(kind: type[IndependentNb] | type[CopulaNb]) -> None:
    counts, condition = _data()
    drawn = kind.fit(sparse.csr_matrix(counts), condition, 2, 0).sample(KEY, condition).toarray()
    for label in (0, 1):
        rows = np.asarray(condition.categories)[:, 0] == label
        np.testing.assert_allclose(drawn[rows].mean(axis=0), counts[rows].mean(axis=0), rtol=0.12)
        if label == 1:  # label 0's shared factor is no NB
            np.testing.assert_allclose(drawn[rows].std(axis=0), counts[rows].std(axis=0), rtol=0.25)
    assert np.issubdtype(drawn.dtype, np.integer)


def test_only_the_copula_keeps_the_dependence() -> None:
    counts, condition = _data()
    real = _within(counts, condition, 0)
    copula = CopulaNb.fit(counts, condition, 2, 0).sample(KEY, condition).toarray()
    independent = IndependentNb.fit(counts, condition, 2, 0).sample(KEY, condition).toarray()
    assert real > 0.25
    assert _within(copula, condition, 0) == pytest.approx(real, abs=0.1)
    assert abs(_within(independent, condition, 0)) < 0.1
    assert abs(_within(copula, condition, 1)) < 0.15


@pytest.mark.parametrize("kind", [IndependentNb, CopulaNb])
def test_rows_are_keyed_and_unknown_labels_take_the_pool(kind: type[IndependentNb] | type[CopulaNb]) -> None:
    counts, condition = _data(200)
    model = kind.fit(counts, condition, 2, 0)
    whole = model.sample(KEY, condition).toarray()
    tail = Condition(condition.categories[150:], condition.continuous[150:], condition.log_library[150:])
    np.testing.assert_array_equal(model.sample(KEY, tail, start=150).toarray(), whole[150:])
    pooled = Condition(np.full((200, 1), -1), condition.continuous, condition.log_library)
    np.testing.assert_allclose(model.sample(KEY, pooled).toarray().mean(axis=0), counts.mean(axis=0), rtol=0.3)


def test_a_label_of_few_cells_gets_no_copula() -> None:
    counts, condition = _data(200)
    label = np.asarray(condition.categories)[:, 0].copy()
    label[:20] = 2
    model = CopulaNb.fit(counts, Condition(label[:, None], condition.continuous, condition.log_library), 3, 0)
    assert len(model.genes[2]) == 0
    assert len(model.genes[0]) == 12


def test_without_labels_all_cells_are_one_group() -> None:
    counts, condition = _data(200)
    bare = Condition(np.zeros((200, 0), int), condition.continuous, condition.log_library)
    drawn = IndependentNb.fit(counts, bare, 0, None).sample(KEY, bare).toarray()
    np.testing.assert_allclose(drawn.mean(axis=0), counts.mean(axis=0), rtol=0.3)
