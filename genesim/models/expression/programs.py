"""Gene programs: the best linear readout of the decoder's log rates, rotated to principal directions.

The decoder is not linear. Its least-squares readout over the latents that cells are drawn from is the linear map
that explains most of its log rates, and is their mean Jacobian wherever those latents are Gaussian (Stein's
lemma: E[df/dz] = Cov(z)^-1 Cov(z, f)). Principal components of the fitted values then rank orthogonal directions
(reduced-rank regression; Izenman 1975, J Multivariate Anal), as in the linearly decoded VAE of Svensson et al. 2020,
Bioinformatics, without making the decoder itself linear.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True)
class Programs:
    """Ranked linear readouts of latents and the genes that they move.

    Attributes:
        centre: Mean latent.
        to_score: Score = (latent - centre) @ to_score; scores have mean 0, SD 1 and no correlation over the
            latents of the fit.
        loadings: Change of each gene's log rate (natural log) by one SD of the score; columns are orthogonal.
        share: Part of the log rates' variance, summed over genes, that each program's readout explains.
        linearity: Squared correlation of each program's linear score with the decoder's own, curved value along
            the same loadings: 1 where the program is as linear as it is shown.
        r_squared: Part of the variance that all linear readouts together explain; 1 - r_squared is curvature,
            which no program shows. Kept programs' shares add up to at most this.
    """

    centre: Float[np.ndarray, " latent"]
    to_score: Float[np.ndarray, "latent program"]
    loadings: Float[np.ndarray, "gene program"]
    share: Float[np.ndarray, " program"]
    linearity: Float[np.ndarray, " program"]
    r_squared: float

    @classmethod
    def fit(
        cls,
        latents: Float[np.ndarray, "cell latent"],
        log_rates: Float[np.ndarray, "cell gene"],
        n_programs: int | None = None,
    ) -> Programs:
        """Readouts of `log_rates` that come of `latents` (many more cells than latents); None keeps them all.

        Signs make each program's largest loading positive.
        """
        z = np.asarray(latents, np.float64)
        centre = z.mean(axis=0)
        # A latent that carries nothing has no variance: the SVD leaves it out where a plain inverse would fail.
        scores, size, axes = np.linalg.svd(z - centre, full_matrices=False)
        kept = size > 1e-6 * size[0]
        scores, size, axes = scores[:, kept], size[kept], axes[kept]
        changes = log_rates - log_rates.mean(axis=0, dtype=np.float64).astype(log_rates.dtype)
        total = float(np.einsum("cg,cg->", changes, changes, dtype=np.float64))
        readout = np.asarray(scores.T.astype(changes.dtype) @ changes, np.float64)
        rotation, strength, directions = np.linalg.svd(readout, full_matrices=False)
        n = min(n_programs or len(strength), len(strength))
        rotation, strength, directions = rotation[:, :n], strength[:n], directions[:n]
        sign = np.sign(directions[np.arange(n), np.abs(directions).argmax(axis=1)])
        rotation, directions = rotation * sign, directions * sign[:, None]
        root = np.sqrt(len(z))
        actual = np.asarray(changes @ directions.T.astype(changes.dtype), np.float64)
        power = np.maximum((actual**2).sum(axis=0), np.finfo(float).tiny)
        return cls(
            centre,
            root * (axes.T / size) @ rotation,
            directions.T * (strength / root),
            strength**2 / total,
            strength**2 / power,
            float((readout**2).sum() / total),
        )

    def scores(self, latents: Float[np.ndarray, "cell latent"]) -> Float[np.ndarray, "cell program"]:
        """Each cell's programs, in SDs over the latents of the fit."""
        return (latents - self.centre) @ self.to_score
