"""Membership attacks on simulated cells: a score a cell, higher where the cell looks like one of the training set.

All but the nearest distance are log ratios of "how likely under the simulated cells" to "how likely in a reference
population": a cell that is common everywhere then tells nothing, whereas plain likelihood calls common cells members
(DOMIAS: van Breugel et al. 2023, AISTATS). Attacks that score exp(-distance squared) underflow to ties: everything
here stays in logarithms or distances, so that ranks are kept.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from genesim.errors import InputError

BLOCK = 1024
Cells = Float[np.ndarray, "cell feature"]
Labels = Int[np.ndarray, " cell"]


def _squared_distances(a: Cells, b: Cells) -> Float[np.ndarray, "m n"]:
    return np.maximum((a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * (a @ b.T), 0.0)


def nearest_score(queries: Cells, simulated: Cells) -> Float[np.ndarray, " cell"]:
    """-min Euclidean distance to a simulated cell (GAN-Leaks, black box: Chen et al. 2020, CCS).

    The distance itself, never exp(-distance squared), which is 0 in float32 beyond a distance of 10.2.
    """
    centre = simulated.mean(axis=0)  # products of centred values keep more digits
    found = [
        _squared_distances(queries[i : i + BLOCK] - centre, simulated - centre).min(axis=1)
        for i in range(0, len(queries), BLOCK)
    ]
    return -np.sqrt(np.concatenate(found))


def log_density(queries: Cells, points: Cells, bandwidth: float) -> Float[np.ndarray, " cell"]:
    """log of the Gaussian kernel density of `points` at `queries`.

    log 1/n sum_i exp(-|x - x_i|^2 / 2 h^2) - d log(h sqrt(2 pi)) (Parzen 1962), summed in logarithms.
    """
    centre, found = points.mean(axis=0), []
    for i in range(0, len(queries), BLOCK):
        squared = _squared_distances(queries[i : i + BLOCK] - centre, points - centre) / (2 * bandwidth**2)
        least = squared.min(axis=1)  # taken out of the sum, which then has a term of 1 and cannot underflow
        found.append(np.log(np.exp(least[:, None] - squared).sum(axis=1)) - least)
    return np.concatenate(found) - np.log(len(points)) - points.shape[1] * np.log(bandwidth * np.sqrt(2 * np.pi))


def neighbour_bandwidth(points: Cells, most: int = 1000) -> float:
    """Half the median distance of a point to its nearest other point, over the first `most` points as queries.

    Far narrower than Scott's rule, which is made for smooth densities: what gives a member away is a bump around its
    own cells. On OneK1K the whole distance exposed a memoriser with an AUC of .79, half of it with .98.
    """
    queries = points[:most]
    squared = _squared_distances(queries, points)
    squared[np.arange(len(queries)), np.arange(len(queries))] = np.inf
    return max(float(np.sqrt(np.median(squared.min(axis=1)))) / 2, 1e-6)


def density_ratio_score(queries: Cells, simulated: Cells, reference: Cells) -> Float[np.ndarray, " cell"]:
    """log p_simulated(x) - log p_reference(x), kernel densities of one bandwidth (DOMIAS, van Breugel et al. 2023)."""
    width = neighbour_bandwidth(reference)
    return log_density(queries, simulated, width) - log_density(queries, reference, width)


@dataclass(frozen=True)
class Margins:
    """Negative-binomial margins of each gene within each label, with the library size as offset.

    Attributes:
        frequency: Share of a cell's counts [label, gene]; the mean of a count is library x frequency.
        theta: Inverse dispersion [label, gene]; the variance is mean + mean^2 / theta.
    """

    frequency: Float[np.ndarray, "label gene"]
    theta: Float[np.ndarray, "label gene"]

    @classmethod
    def fit(
        cls, counts: Float[np.ndarray, "cell gene"], library: Float[np.ndarray, " cell"], labels: Labels, n_labels: int
    ) -> Margins:
        """By moments: theta = sum mu^2 / sum((x - mu)^2 - mu) over the label's cells, kept within 0.05 and 1000.

        Half a count of the pooled profile is added a label, lest an unseen gene makes a cell impossible. Labels
        without cells take the pool's margins.
        """
        share = (counts.sum(axis=0) + 0.5) / (library.sum() + 0.5 * counts.shape[1])
        frequency, theta = np.empty((n_labels, counts.shape[1])), np.empty((n_labels, counts.shape[1]))
        for label in range(n_labels):
            rows = labels == label
            x, size = (counts[rows], library[rows]) if rows.any() else (counts, library)
            weight = 0.5 / share.mean()
            frequency[label] = (x.sum(axis=0) + weight * share) / (size.sum() + weight)
            mean = size[:, None] * frequency[label]
            excess = ((x - mean) ** 2 - mean).sum(axis=0)
            theta[label] = (mean**2).sum(axis=0) / np.maximum(excess, 1e-12)
        return cls(frequency, np.clip(theta, 0.05, 1000.0))

    def log_likelihood(
        self, counts: Float[np.ndarray, "cell gene"], library: Float[np.ndarray, " cell"], labels: Labels
    ) -> Float[np.ndarray, " cell"]:
        """Sum over genes of log NB(x; library x frequency, theta), without the term log x! of the counts alone."""
        from scipy.special import gammaln

        found = np.empty(len(counts))
        for i in range(0, len(counts), BLOCK):
            at = slice(i, i + BLOCK)
            x, theta = counts[at], self.theta[labels[at]]
            mean = library[at][:, None] * self.frequency[labels[at]]
            zero = theta * np.log(theta / (theta + mean))
            cell, gene = np.nonzero(x)  # most counts are 0, and leave nothing else to the sum
            k, r, mu = x[cell, gene], theta[cell, gene], mean[cell, gene]
            terms = gammaln(k + r) - gammaln(r) + k * np.log(mu / (r + mu))
            found[at] = zero.sum(axis=1) + np.bincount(cell, weights=terms, minlength=len(x))
        return found

    def sample(
        self, library: Float[np.ndarray, " cell"], labels: Labels, generator: np.random.Generator
    ) -> Int[np.ndarray, "cell gene"]:
        """Counts with independent genes: Poisson of gamma."""
        theta = self.theta[labels]
        mean = library[:, None] * self.frequency[labels]
        return generator.poisson(mean * generator.gamma(theta) / theta)


def margin_ratio_score(
    counts: Float[np.ndarray, "cell gene"],
    library: Float[np.ndarray, " cell"],
    labels: Labels,
    simulated: Margins,
    reference: Margins,
) -> Float[np.ndarray, " cell"]:
    """sum_g log p_g(x_g | simulated margins) - log p_g(x_g | reference margins).

    Homer et al. 2008 (PLoS Genetics 4:e1000167) and Sankararaman et al. 2009 (Nature Genetics 41:965) for allele
    frequencies, here with negative-binomial margins of genes: it needs no simulated cell near the donor's.
    """
    return simulated.log_likelihood(counts, library, labels) - reference.log_likelihood(counts, library, labels)


def normal_scores(queries: Cells, points: Cells) -> Cells:
    """Each column's mid-rank among `points` as a standard normal value: Phi^-1((below + equal/2 + 1/2) / (n + 1)).

    Ties (zeros, above all) share one value; Phi^-1 is never infinite.
    """
    from scipy.special import ndtri

    n = len(points)
    ranks = np.empty(queries.shape)
    for j in range(queries.shape[1]):
        ordered = np.sort(points[:, j])
        below = np.searchsorted(ordered, queries[:, j], "left")
        upto = np.searchsorted(ordered, queries[:, j], "right")
        ranks[:, j] = (below + upto) / 2
    return ndtri((ranks + 0.5) / (n + 1))


def mahalanobis(scores: Cells, points: Cells, shrinkage: float = 0.1) -> Float[np.ndarray, " cell"]:
    """z' R^-1 z + log|R|: squared Mahalanobis distance under the points' correlations, with its normalising term.

    R = (1 - shrinkage) corr(points) + shrinkage I, so that few points do not make it singular.
    """
    from scipy.linalg import cho_factor, cho_solve

    centred = points - points.mean(axis=0)
    sd = centred.std(axis=0)
    correlation = (centred.T @ centred) / len(points) / np.outer(np.where(sd > 0, sd, 1), np.where(sd > 0, sd, 1))
    np.fill_diagonal(correlation, 1.0)
    size = correlation.shape[0]
    factor = cho_factor((1 - shrinkage) * correlation + shrinkage * np.eye(size), lower=True)
    z = scores - points.mean(axis=0)
    return (z * cho_solve(factor, z.T).T).sum(axis=1) + 2 * float(np.log(np.diag(factor[0])).sum())


def copula_score(queries: Cells, simulated: Cells, reference: Cells, shrinkage: float = 0.1) -> np.ndarray:
    """Half the difference of squared Mahalanobis distances in rank-normalised space, reference less simulated.

    Each distance is under the margins' ranks and the correlations of its own cells, so this is the log ratio of two
    Gaussian copulas' normal parts: the attack on scDesign2-like simulators of Golob et al. (scMAMA-MIA), here on any.

    Raises:
        InputError: Fewer than two cells on a side.
    """
    if min(len(simulated), len(reference)) < 2:
        raise InputError(
            f"{len(simulated)} simulated and {len(reference)} reference cells",
            where="copula attack",
            remedy="give at least two cells of each label on each side",
        )
    found = [
        mahalanobis(normal_scores(queries, points), normal_scores(points, points), shrinkage)
        for points in (reference, simulated)
    ]
    return (found[0] - found[1]) / 2


def calibrated_loss(
    log_likelihood: Float[np.ndarray, " cell"],
    features: Float[np.ndarray, "cell feature"],
    reference_likelihood: Float[np.ndarray, " reference"],
    reference_features: Float[np.ndarray, "reference feature"],
) -> Float[np.ndarray, " cell"]:
    """The model's own log-likelihood of a cell, less what is expected of such a cell that is no member.

    Yeom et al. 2018 (CSF) threshold the loss; calibrating by difficulty is what gives it power (Watson et al. 2022,
    ICLR). The expectation is a least-squares fit over reference cells, which the model has not seen.

    Args:
        log_likelihood: Of the judged cells, by the model (white box).
        features: What likelihood depends on whoever the donor is: label indicators, log library size, ...
        reference_likelihood: Of cells of the reference donors.
        reference_features: Of the same.
    """
    weights, *_ = np.linalg.lstsq(reference_features, reference_likelihood, rcond=None)
    return log_likelihood - features @ weights
