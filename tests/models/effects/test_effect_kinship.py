"""Whitening of relatives against dense generalised least squares, heritability, and type I error among sibs."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import stdtr

from genesim.models.effects.baselines import marginal_correlation
from genesim.models.effects.kinship import (
    HERITABILITY_GRID,
    Families,
    families_of,
    fit_heritability,
    positive_definite,
)
from genesim.models.effects.problem import EffectProblem, make_problem, orthonormal_covariates

N = 60


def sib_kinship(n_families: int, size: int, n_alone: int = 0) -> np.ndarray:
    block = np.full((size, size), 0.25) + 0.25 * np.eye(size)
    k = 0.5 * np.eye(n_families * size + n_alone)
    for f in range(n_families):
        k[f * size : (f + 1) * size, f * size : (f + 1) * size] = block
    return k


@pytest.fixture(scope="module")
def case() -> dict[str, np.ndarray]:
    """Families of 4 and 3 among unrelated donors in any order; unequal weights; two donors absent."""
    rng = np.random.default_rng(0)
    k = sib_kinship(8, 4, N - 32)
    k[40:43, 40:43] = 0.125 + 0.375 * np.eye(3)
    order = rng.permutation(N)
    k = k[np.ix_(order, order)]
    weight = rng.uniform(0.3, 3.0, (2, N))
    weight[:, [3, 11]] = 0
    present = weight[0] > 0
    basis = orthonormal_covariates(rng.normal(size=(N, 2)), present)
    y = rng.normal(size=(2, N)) + 3.0
    return {
        "k": k,
        "weight": weight,
        "y": y * present,
        "basis": np.pad(basis, ((0, 0), (0, 1))),
        "x": rng.binomial(2, 0.4, (2, N, 5)).astype(float),
    }


def covariance(k: np.ndarray, weight: np.ndarray, h: float) -> np.ndarray:
    """Dense V among the donors that are present."""
    inside = weight > 0
    w = weight[inside] / weight[inside].mean()
    return h * 2 * k[np.ix_(inside, inside)] + (1 - h) * np.diag(1 / w)


def problem_of(case: dict[str, np.ndarray], families: Families | None, h: np.ndarray | None) -> EffectProblem:
    arrays = [jnp.asarray(case[name], jnp.float32) for name in ("y", "weight", "x", "basis")]
    return make_problem(*arrays, jnp.ones((2, 5), jnp.float32), families, None if h is None else jnp.asarray(h))


def test_batched_whitening_is_generalised_least_squares(case: dict[str, np.ndarray]) -> None:
    families = families_of(case["k"], 0.0442)
    assert families is not None
    assert families.member.shape == (9, 4)
    h = np.array([0.6, 0.3], np.float32)
    problem = problem_of(case, families, h)
    plain = problem_of(case, None, None)
    for gene in range(2):
        inside = case["weight"][gene] > 0
        inverse = np.linalg.inv(covariance(case["k"], case["weight"][gene], float(h[gene])))
        c = case["basis"][inside][:, :3]
        for v in range(5):
            design = np.column_stack([case["x"][gene, inside, v], c])
            information = design.T @ inverse @ design
            beta = np.linalg.solve(information, design.T @ inverse @ case["y"][gene, inside])
            x, y = (np.asarray(a[gene], np.float64) for a in (problem.genotype[:, :, v], problem.response))
            slope = x @ y / (x @ x) / float(problem.scale[gene, v])
            assert slope == pytest.approx(beta[0], rel=2e-3, abs=2e-4)
            variance = float(problem.scale[gene, v]) ** 2 * (x @ x)
            assert variance == pytest.approx(1 / np.linalg.inv(information)[0, 0], rel=1e-3)
            other = np.asarray(plain.genotype[gene, :, v], np.float64) @ np.asarray(plain.response[gene], np.float64)
            other = other / float(plain.dof[gene]) / float(plain.scale[gene, v])
            assert abs(other - beta[0]) > 2e-3  # the plain fit is another estimator


def test_heritability_is_the_dense_reml_maximum(case: dict[str, np.ndarray]) -> None:
    families = families_of(case["k"], 0.0442)
    assert families is not None
    found = fit_heritability(case["y"], case["weight"], case["basis"], families)
    for gene in range(2):
        inside = case["weight"][gene] > 0
        y, c = case["y"][gene, inside], case["basis"][inside][:, :3]
        curve = []
        for h in HERITABILITY_GRID:
            v = covariance(case["k"], case["weight"][gene], float(h))
            inverse = np.linalg.inv(v)
            gram = c.T @ inverse @ c
            residual = y - c @ np.linalg.solve(gram, c.T @ inverse @ y)
            dof = len(y) - 3
            curve.append(
                -0.5
                * (
                    dof * np.log(residual @ inverse @ residual / dof)
                    + np.linalg.slogdet(v)[1]
                    + np.linalg.slogdet(gram)[1]
                )
            )
        at = int(np.argmin(np.abs(HERITABILITY_GRID - found[gene])))
        assert max(curve) - curve[at] < 1e-3


def sibships(rng: np.random.Generator, n_genes: int, h: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Kinship, null expression of heritability h, and dosages of unlinked variants in 40 sibships of five."""
    k = sib_kinship(40, 5)
    y = np.linalg.cholesky(h * 2 * k + (1 - h) * np.eye(200)) @ rng.normal(size=(200, n_genes))
    parents = rng.random((n_genes, 8, 40, 2, 2)) < 0.4  # gene, variant, family, parent, copy
    pick = rng.integers(0, 2, (n_genes, 8, 40, 5, 2))
    alleles = np.take_along_axis(parents[:, :, :, None], pick[..., None], -1)[..., 0]
    return k, y.T, alleles.sum(-1).reshape(n_genes, 8, 200).transpose(0, 2, 1).astype(float)


def p_values(y: np.ndarray, x: np.ndarray, families: Families | None) -> np.ndarray:
    basis = orthonormal_covariates(np.zeros((200, 0)), np.ones(200, bool))
    weight = np.ones_like(y)
    h = None if families is None else jnp.asarray(fit_heritability(y, weight, basis, families))
    arrays = [jnp.asarray(a, jnp.float32) for a in (y, weight, x, basis)]
    problem = make_problem(*arrays, jnp.ones((len(y), x.shape[2]), jnp.float32), families, h)
    r = np.asarray(marginal_correlation(problem), np.float64)
    return 2 * stdtr(198, -np.abs(r) * np.sqrt(198 / (1 - r**2)))


def test_mixed_model_is_calibrated_among_sibs_and_the_plain_one_is_not() -> None:
    k, y, x = sibships(np.random.default_rng(1), 400, 0.7)
    families = families_of(k, 0.0442)
    mixed, plain = p_values(y, x, families), p_values(y, x, None)
    # The tests of one gene share y: a few hundred independent ones at least.
    assert 0.038 < (mixed < 0.05).mean() < 0.062
    assert (plain < 0.05).mean() > 0.09
    assert (mixed < 0.001).mean() < 0.004 < (plain < 0.001).mean()


def test_heritability_is_recovered_on_average() -> None:
    k, y, _ = sibships(np.random.default_rng(2), 300, 0.5)
    families = families_of(k, 0.0442)
    assert families is not None
    basis = orthonormal_covariates(np.zeros((200, 0)), np.ones(200, bool))
    assert fit_heritability(y, np.ones_like(y), basis, families).mean() == pytest.approx(0.5, abs=0.05)
    unrelated = np.random.default_rng(3).normal(size=y.shape)
    assert fit_heritability(unrelated, np.ones_like(y), basis, families).mean() < 0.15


def test_families_and_positive_definiteness() -> None:
    assert families_of(0.5 * np.eye(5), 0.0442) is None
    k = 0.5 * np.eye(4)
    k[0, 1] = k[1, 0] = k[1, 2] = k[2, 1] = 0.25
    k[0, 3] = k[3, 0] = 0.04
    families = families_of(k, 0.0442)
    assert families is not None
    assert np.asarray(families.member).tolist() == [[0, 1, 2]]
    assert float(families.relationship[0, 0, 2]) == 0
    indefinite = np.array([[1.0, 0.9, 0.0], [0.9, 1.0, 0.9], [0.0, 0.9, 1.0]])
    repaired = positive_definite(indefinite)
    assert np.linalg.eigvalsh(repaired).min() > 0
    np.testing.assert_allclose(np.diag(repaired), 1.0)
    sibs = 2 * sib_kinship(1, 4)
    assert positive_definite(sibs) is sibs
