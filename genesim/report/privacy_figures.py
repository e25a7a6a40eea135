"""Figures of attacks on privacy: how well an attacker tells training donors from others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from genesim.errors import InputError
from genesim.report.figures import FAINT, GROUPS, INK, Figure, canvas, shorten, to_svg

Curve = tuple[Float[np.ndarray, " point"], Float[np.ndarray, " point"]]
LOW_RATE = 0.01


def area(curve: Curve) -> float:
    """Area under a ROC curve by the trapezoid rule: 0.5 is guessing."""
    return float(np.trapezoid(curve[1], curve[0]))


def _check(name: str, curve: Curve) -> Curve:
    fpr, tpr = (np.asarray(x, np.float64) for x in curve)
    whole = fpr.shape == tpr.shape and fpr.ndim == 1 and len(fpr) >= 2
    rises = whole and bool((np.diff(fpr) >= 0).all() and (np.diff(tpr) >= 0).all())
    if not rises or (fpr[0], tpr[0], fpr[-1], tpr[-1]) != (0, 0, 1, 1):
        raise InputError(
            f"the curve has shapes {fpr.shape} and {tpr.shape} and does not rise from (0, 0) to (1, 1)",
            where=f"ROC of attack '{name}'",
            remedy="give false and true positive rates of one length, ascending from 0 to 1",
        )
    return fpr, tpr


def attack_roc(curves: Mapping[str, Curve], *, controls: Sequence[str] = ()) -> Figure:
    """True against false positive rate of each attack, on plain axes and on logarithmic ones.

    An attack that names few donors with certainty is worse than one that is a little right about all (Carlini et al.
    2022, "Membership inference attacks from first principles"), and only logarithmic axes show the difference.

    Args:
        curves: False and true positive rates of each attack, both ascending from 0 to 1.
        controls: Names of `curves` that are planted controls (a memoriser, an honest generator): drawn dashed.

    Raises:
        InputError: No curve, one that does not rise from (0, 0) to (1, 1), or a control that is not among them.
    """
    unknown = [name for name in controls if name not in curves]
    if not curves or unknown:
        raise InputError(
            f"controls {unknown} are not among the curves" if unknown else "there is no curve",
            where="ROC of attacks",
            remedy="give false and true positive rates of one attack or more",
        )
    checked = {name: _check(name, curve) for name, curve in curves.items()}
    with canvas(2, width=7.4, height=3.9) as (figure, (plain, low)):
        grid = np.geomspace(1e-4, 1, 200)
        # Rates below what so many donors can show are not there to be seen: the axes end at the smallest step.
        steps = [rate[rate > 0].min() for curve in checked.values() for rate in curve]
        least = float(np.clip(min(steps), 1e-4, 0.1))
        for axis in (plain, low):
            axis.plot(grid, grid, color=FAINT, linewidth=0.9, linestyle=(0, (4, 3)))
        for i, (name, (fpr, tpr)) in enumerate(checked.items()):
            dashes = (0, (3, 1.5)) if name in controls else "-"
            words = f"{shorten(str(name), 40)}, AUROC {area((fpr, tpr)):.2f}"
            for axis in (plain, low):
                axis.step(
                    fpr, tpr, where="post", color=GROUPS[i % len(GROUPS)], linestyle=dashes, linewidth=1.5, label=words
                )
        low.axvline(LOW_RATE, color=INK, linewidth=0.6)
        low.set(xscale="log", yscale="log", xlim=(least, 1), ylim=(least, 1.1), xlabel="False positive rate")
        plain.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="False positive rate", ylabel="True positive rate")
        plain.set_title("All rates")
        low.set_title("Low rates, logarithmic")
        plain.set_aspect("equal")
        figure.legend(*plain.get_legend_handles_labels(), loc="outside lower center", ncols=2)
        svg = to_svg(figure)
    tail = " Dashed: planted controls, which tell whether the attacks work at all." if controls else ""
    return Figure(
        "attack-roc",
        "Attacks on membership",
        "How well each attack tells donors that the models were trained on from donors that they were not. On the "
        "dashed grey line an attack guesses; above it, it learns who took part. The thin line marks a false "
        f"positive rate of 1 %.{tail}",
        svg,
    )
