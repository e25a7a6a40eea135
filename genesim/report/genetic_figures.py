"""Figures of simulated haplotypes beside real ones, and of recovered beside planted variant effects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int

from genesim.errors import InputError
from genesim.metrics import haplotypes as metrics
from genesim.report.figures import (
    FAINT,
    INK,
    NULL,
    REAL,
    SIMULATED,
    Figure,
    canvas,
    group_colours,
    group_legend,
    shorten,
    square_limits,
    to_svg,
)

_LINES = {"real": (REAL, "-"), "simulated": (SIMULATED, "-"), "null": (NULL, (0, (2, 2)))}


LD_BINS = (0, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000)


def ld_decay_of(
    haplotypes: Mapping[str, Int[np.ndarray, "haplotype variant"]],
    position: Int[np.ndarray, " variant"],
    *,
    min_maf: float = 0.05,
    max_variants: int = 5000,
) -> Figure:
    """`ld_decay` computed from haplotypes (alleles 0 or 1) of the same variants.

    Args:
        haplotypes: One array a data set; the first one ("real") decides which variants are common.
        position: Base pairs, ascending.
        min_maf: Smallest minor allele frequency in the first set.
        max_variants: The middle run of so many variants is used.
    """
    start = max(0, (len(position) - max_variants) // 2)
    run = slice(start, start + max_variants)
    frequency = next(iter(haplotypes.values()))[:, run].mean(axis=0)
    common = np.flatnonzero(np.minimum(frequency, 1 - frequency) >= min_maf)
    curves = {
        name: metrics.ld_decay(values[:, run], np.asarray(position)[run], bins=LD_BINS, common=common)
        for name, values in haplotypes.items()
    }
    edges = np.array(LD_BINS, float)
    centre = np.sqrt(np.maximum(edges[:-1], edges[1] / 2) * edges[1:])
    seen = np.isfinite(next(iter(curves.values())))
    return ld_decay(centre[seen], {name: curve[seen] for name, curve in curves.items()})


def ld_decay(distance: Float[np.ndarray, " bin"], mean_r2: Mapping[str, Float[np.ndarray, " bin"]]) -> Figure:
    """Mean r2 of pairs of variants by distance.

    Args:
        distance: Centre of each bin, base pairs.
        mean_r2: Curve of each data set; the names "real", "simulated" and "null" have fixed colours.
    """
    with canvas(width=5.6, height=3.2) as (figure, axis):
        for name, curve in mean_r2.items():
            colour, dashes = _LINES.get(name, (FAINT, ":"))
            axis.plot(
                distance / 1000,
                curve,
                color=colour,
                linestyle=dashes,
                linewidth=1.8,
                marker="o",
                ms=3,
                label=name,
            )
        axis.set(xscale="log", xlabel="Distance, kb", ylabel="Mean r²", ylim=(0, None))
        axis.xaxis.set_major_formatter("{x:g}")
        axis.legend()
        svg = to_svg(figure)
    return Figure(
        "ld-decay",
        "Decay of linkage disequilibrium",
        "Common variants. The simulated line should lie on the real one; the null generator has no linkage "
        "beyond population structure.",
        svg,
    )


def allele_frequencies(
    real: Float[np.ndarray, " variant"],
    simulated: Float[np.ndarray, " variant"],
    max_points: int = 5000,
) -> Figure:
    """Frequency of the alternate allele of each variant, real against simulated."""
    step = max(1, len(real) // max_points)
    x, y = real[::step], simulated[::step]
    with canvas(width=4.4, height=3.8) as (figure, axis):
        axis.scatter(x, y, s=6, alpha=0.4, linewidths=0, color=SIMULATED, rasterized=True)
        square_limits(axis, np.array([0.0, 1.0]), margin=0.02)
        axis.set(xlabel="Real haplotypes", ylabel="Simulated haplotypes")
        svg = to_svg(figure)
    return Figure(
        "allele-frequencies",
        "Alternate allele frequencies",
        f"{len(x):,} variants. Necessary, never sufficient: independent sites pass this too.",
        svg,
    )


def genotype_pca(
    real: Float[np.ndarray, "donor variant"] | Int[np.ndarray, "donor variant"],
    simulated: Float[np.ndarray, "donor variant"] | Int[np.ndarray, "donor variant"],
    ancestry_real: Sequence[str] | np.ndarray | None = None,
    ancestry_simulated: Sequence[str] | np.ndarray | None = None,
) -> Figure:
    """Donors on the principal components of the real donors' dosages, coloured by ancestry.

    Components come from the real donors alone and the simulated ones are projected: fitted on both, a
    collapsed generator would look spread out. Missing dosages (NaN or negative) count as the mean.

    Raises:
        InputError: Fewer than three real donors or variants, or other variants in `simulated`.
    """

    def filled(values: np.ndarray, mean: np.ndarray) -> np.ndarray:
        values = values.astype(np.float64)
        return np.where(np.isfinite(values) & (values >= 0), values - mean, 0.0)

    if min(real.shape) < 3 or real.shape[1] != simulated.shape[1]:
        raise InputError(
            f"real dosages have shape {real.shape}, simulated ones {simulated.shape}",
            where="genotype principal components",
            remedy="give donor x variant arrays of the same three or more variants",
        )
    known = np.where(np.isfinite(real.astype(float)) & (real >= 0), real, np.nan).astype(float)
    seen = np.isfinite(known).sum(axis=0)
    mean = np.where(seen > 0, np.nansum(known, axis=0) / np.maximum(seen, 1), 0.0)
    centred = filled(real, mean)
    _, vectors = np.linalg.eigh(centred @ centred.T)
    axes_of_variation = centred.T @ vectors[:, ::-1][:, :2]
    axes_of_variation /= np.maximum(np.linalg.norm(axes_of_variation, axis=0), 1e-12)
    # The sign of a component is arbitrary: make its largest loading positive, so that runs agree.
    axes_of_variation *= np.sign(
        axes_of_variation[np.abs(axes_of_variation).argmax(axis=0), np.arange(axes_of_variation.shape[1])]
    )
    labels_a = np.full(len(real), "donors") if ancestry_real is None else np.asarray(ancestry_real, str)
    labels_b = np.full(len(simulated), "donors") if ancestry_simulated is None else np.asarray(ancestry_simulated, str)
    colours = group_colours(labels_a)
    colours |= {str(k): "#000000" for k in np.unique(labels_b) if str(k) not in colours}
    sets = (
        ("Real", centred @ axes_of_variation, labels_a),
        ("Simulated", filled(simulated, mean) @ axes_of_variation, labels_b),
    )
    with canvas(2, height=3.8, sharex=True, sharey=True) as (figure, axes):
        for axis, (title, places, labels) in zip(axes, sets):
            axis.scatter(*places.T, s=13, c=[colours[x] for x in labels], alpha=0.65, linewidths=0, rasterized=True)
            axis.set_title(f"{title}, {len(places):,} donors")
            axis.set_xlabel("PC 1")
        axes[0].set_ylabel("PC 2")
        if len(colours) > 1:
            group_legend(figure, colours)
        svg = to_svg(figure)
    return Figure(
        "genotype-pca",
        "Population structure",
        "Principal components of the real donors' genotypes, simulated donors projected on them.",
        svg,
    )


def expression_by_genotype(
    expression: Float[np.ndarray, " donor"],
    dosage: Float[np.ndarray, " donor"],
    *,
    gene: str,
    variant: str,
    cell_type: str | None = None,
    alleles: tuple[str, str] | None = None,
) -> Figure:
    """Expression of one gene by donors' genotypes at one variant: boxes, and a point a donor.

    Args:
        expression: Log-normalised expression of each donor (mean over its cells).
        dosage: Alternate alleles, 0 to 2; rounded to genotypes.
        gene: Gene shown.
        variant: Variant shown.
        cell_type: Cell type shown; None for all cells.
        alleles: Reference and alternate allele, for the axis.
    """
    genotype = np.rint(dosage)
    groups = [expression[genotype == k] for k in (0, 1, 2)]
    # Points are spread by rank, not by chance: the same data give the same picture.
    spread = [((np.arange(len(g)) * 0.618) % 1 - 0.5) * 0.34 for g in groups]
    names = ["0", "1", "2"]
    if alleles is not None:
        ref, alt = (shorten(x, 4) for x in alleles)
        names = [f"{ref}/{ref}", f"{ref}/{alt}", f"{alt}/{alt}"]
    with canvas(width=4.6, height=3.6) as (figure, axis):
        shown = [i for i in range(3) if len(groups[i])]
        axis.boxplot(
            [groups[i] for i in shown], positions=shown, widths=0.5, showfliers=False, patch_artist=True,
            boxprops={"facecolor": "#f3e3d4", "edgecolor": FAINT},
            medianprops={"color": INK, "linewidth": 1.5},
            whiskerprops={"color": FAINT}, capprops={"color": FAINT},
        )  # fmt: skip
        for i in shown:
            axis.scatter(
                i + spread[i], groups[i], s=9, color=SIMULATED, alpha=0.7, linewidths=0, zorder=3, rasterized=True
            )
        axis.set_xlim(-0.5, 2.5)
        axis.set_xticks(range(3), [f"{name}\nn = {len(g)}" for name, g in zip(names, groups)])
        axis.set(xlabel=shorten(variant, 40), ylabel=f"{shorten(gene)}, log-normalised mean")
        svg = to_svg(figure)
    where = f", cell type {cell_type}" if cell_type else ", all cells"
    return Figure(
        "expression-by-genotype",
        f"{gene} by genotype at {variant}",
        f"Simulated donors{where}. Each point is a donor; boxes show the quartiles.",
        svg,
    )
