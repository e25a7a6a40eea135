"""Simulated haplotypes against held-out real ones, beside a floor (training haplotypes) and a null."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Int, Int8

from genesim import rng
from genesim.config.evaluate import EvaluateConfig
from genesim.errors import InputError
from genesim.evaluate.haplotype_privacy import privacy_scores
from genesim.evaluate.nearest import Nearest
from genesim.evaluate.score import Score, scored
from genesim.metrics import haplotypes as metrics
from genesim.metrics.interval import half_sample_intervals

Haplotypes = Int8[np.ndarray, "haplotype variant"]
Ancestry = np.ndarray | None
DECAY_BINS = (0, 1_000, 3_000, 10_000, 30_000, 100_000, 300_000)
_ORDER = (
    "allele_frequency_rmse",
    "allele_frequency_rmse_within_ancestry",
    "ld_rmse",
    "ld_decay_error",
    "three_point_correlation",
    "pc_wasserstein",
    "adversarial_accuracy_real",
    "adversarial_accuracy_simulated",
)


def comparable_variants(sets: Mapping[str, np.ndarray], most: int) -> Int[np.ndarray, " variant"]:
    """A contiguous run of at most `most` variants that are called in every haplotype of every set.

    Raises:
        InputError: The sets differ in variants, or fewer than 20 variants are called throughout.
    """
    n_variants = next(iter(sets.values())).shape[1]
    for name, values in sets.items():
        if values.ndim != 2 or values.shape[1] != n_variants or len(values) < 10:
            raise InputError(
                f"have shape {values.shape}; at least 10 haplotypes of {n_variants} variants are needed",
                where=f"{name} haplotypes",
                remedy="align all data sets on the same variants, in the same order",
            )
    called = np.ones(n_variants, bool)
    for values in sets.values():
        called &= (values >= 0).all(axis=0)
    return middle_run(called, most)


def middle_run(called: Bool[np.ndarray, " variant"], most: int) -> Int[np.ndarray, " variant"]:
    """At most `most` of the variants that are `called`, from their middle.

    Raises:
        InputError: They are fewer than 20.
    """
    usable = np.flatnonzero(called)
    if len(usable) < 20:
        raise InputError(
            f"only {len(usable)} of {len(called)} variants are called in every haplotype",
            where="haplotypes to compare",
            remedy="impute missing alleles first, and leave absent copies out",
        )
    start = max(0, (len(usable) - most) // 2)
    return usable[start : start + most]


def equal_draws(ancestries: Mapping[str, np.ndarray], most: int, seed: int) -> dict[str, Int[np.ndarray, " haplotype"]]:
    """Rows of each set, equally many of each ancestry in every set, at most `most` in all.

    Raises:
        InputError: No ancestry is in every set, or fewer than 10 haplotypes are left.
    """
    levels = sorted(set.intersection(*(set(a.tolist()) for a in ancestries.values())))
    available = {level: min(int((a == level).sum()) for a in ancestries.values()) for level in levels}
    total = sum(available.values())
    if total < 10:
        raise InputError(
            f"{total} haplotypes share an ancestry label across the data sets",
            where="haplotypes to compare",
            remedy="give all data sets the same ancestry labels, or none",
        )
    share = min(1.0, most / total)
    rows = {}
    for name, ancestry in ancestries.items():
        draw = rng.generator(seed, "evaluate", "haplotypes", name)
        picked = [
            draw.permutation(np.flatnonzero(ancestry == level))[: max(1, round(available[level] * share))]
            for level in levels
            if available[level]
        ]
        rows[name] = np.sort(np.concatenate(picked))
    return rows


class _Comparison:
    """Test haplotypes against one other set: every statistic as a function of row indices."""

    def __init__(
        self,
        sets: Mapping[str, np.ndarray],
        labels: Mapping[str, np.ndarray],
        position: np.ndarray,
        seed: int,
        config: EvaluateConfig,
    ) -> None:
        self.sets, self.labels, self.position, self.seed, self.config = sets, labels, position, seed, config
        p = sets["test"].mean(axis=0)
        self.distances: dict[str, Nearest] = {}
        self.common = np.flatnonzero(np.minimum(p, 1 - p) >= config.min_maf)

    def _decay(self, values: np.ndarray) -> np.ndarray:
        return metrics.ld_decay(values, self.position, bins=DECAY_BINS, common=self.common)

    def nearest(self, name: str) -> Nearest:
        if name not in self.distances:
            self.distances[name] = Nearest(self.sets["test"], self.sets[name])
        return self.distances[name]

    def _structure(self, reference: np.ndarray, other: np.ndarray) -> float:
        return float(np.mean(metrics.pc_wasserstein(reference[:, self.common], other[:, self.common])))

    def statistics(self, name: str, rows_test: np.ndarray, rows_other: np.ndarray) -> dict[str, float]:
        """Every fidelity statistic of set `name` on subsets of the haplotypes."""
        c = self.config
        test, other = self.sets["test"][rows_test], self.sets[name][rows_other]
        triples = rng.generator(self.seed, "evaluate", "haplotypes", "triples")
        gap = np.abs(self._decay(test) - self._decay(other))
        aa = self.nearest(name).accuracy(rows_test, rows_other)
        found = {
            "allele_frequency_rmse": metrics.allele_frequency_rmse(test, other),
            "ld_rmse": metrics.ld_rmse(test, other, self.position, max_distance=c.max_pair_distance, min_maf=c.min_maf),
            "ld_decay_error": float(np.nanmean(gap)) if np.isfinite(gap).any() else float("nan"),
            "three_point_correlation": metrics.three_point_correlation(
                test, other, triples, n_triples=4000, min_maf=c.min_maf
            ),
            "adversarial_accuracy_real": aa[0],
            "adversarial_accuracy_simulated": aa[1],
        }
        if len(self.common) and "train" in self.sets:
            train = self.sets["train"]
            found["pc_wasserstein"] = self._structure(train, test if name == "train" else other)
        elif len(self.common):
            found["pc_wasserstein"] = self._structure(test, other)
        a, b = self.labels["test"][rows_test], self.labels[name][rows_other]
        levels = [x for x in np.unique(a) if (a == x).sum() >= 10 and (b == x).sum() >= 10]
        if len(levels) > 1:
            errors = [metrics.allele_frequency_rmse(test[a == x], other[b == x]) for x in levels]
            found["allele_frequency_rmse_within_ancestry"] = float(np.mean(errors))
        return found

    def whole(self, name: str) -> dict[str, float]:
        return self.statistics(name, np.arange(len(self.sets["test"])), np.arange(len(self.sets[name])))


def evaluate_haplotypes(
    test: Haplotypes,
    simulated: Haplotypes,
    train: Haplotypes | None = None,
    null: Haplotypes | None = None,
    *,
    position: Int[np.ndarray, " variant"],
    ancestry_test: Ancestry = None,
    ancestry_simulated: Ancestry = None,
    ancestry_train: Ancestry = None,
    ancestry_null: Ancestry = None,
    related_test: Bool[np.ndarray, " haplotype"] | None = None,
    seed: int = 0,
    config: EvaluateConfig | None = None,
    subject: str = "haplotypes",
) -> list[Score]:
    """Score simulated haplotypes of one contig against held-out real ones.

    All sets are drawn to the same number of haplotypes (of each ancestry, where every set has labels) and
    to one contiguous run of variants that are called throughout.

    Args:
        test: Held-out real haplotypes, alleles 0 or 1, negative where missing.
        simulated: Simulated haplotypes of the same variants.
        train: Real training haplotypes. Against `test` they give the floor; without them the floor is one
            half of the test haplotypes against the other, and privacy is not judged.
        null: Haplotypes of a naive generator (independent variants); None leaves the null out.
        position: Base-pair position of each variant, ascending.
        ancestry_test: Ancestry label of each haplotype; used where every set has labels.
        ancestry_simulated: Labels of `simulated`.
        ancestry_train: Labels of `train`.
        ancestry_null: Labels of `null`.
        related_test: Which test haplotypes are of donors with relatives among the training donors: privacy is judged
            without them, because they carry training haplotypes whatever the generator gives away.
        seed: Seeds subsampling and intervals.
        config: Sizes and repeats.
        subject: Name of the rows.

    Raises:
        InputError: Too few haplotypes or called variants, or sets that do not match.
    """
    config = config or EvaluateConfig()
    given: dict[str, tuple[np.ndarray | None, Ancestry]] = {
        "test": (test, ancestry_test),
        "simulated": (simulated, ancestry_simulated),
        "train": (train, ancestry_train),
        "null": (null, ancestry_null),
    }
    sets = {name: np.asarray(values) for name, (values, _) in given.items() if values is not None}
    labelled = all(given[name][1] is not None for name in sets)
    labels = {
        name: np.asarray(given[name][1], str) if labelled else np.full(len(values), "all")
        for name, values in sets.items()
    }
    for name, ancestry in labels.items():
        if len(ancestry) != len(sets[name]):
            raise InputError(
                f"{len(ancestry)} ancestry labels for {len(sets[name])} haplotypes",
                where=f"{name} haplotypes",
                remedy="give one label a haplotype (each donor's label twice)",
            )
    columns = comparable_variants(sets, config.max_variants)
    sets = {name: values[:, columns].astype(np.int8) for name, values in sets.items()}
    position = np.asarray(position)[columns]
    reference = "train"
    if train is None:
        reference = "other half"
        order = rng.generator(seed, "evaluate", "haplotypes", "split").permutation(len(sets["test"]))
        # The other half first: "test" is cut last.
        for name, half in ((reference, np.sort(order[::2])), ("test", np.sort(order[1::2]))):
            sets[name], labels[name] = sets["test"][half], labels["test"][half]
    rows = equal_draws(labels, config.max_haplotypes, seed)
    drawn = {name: sets[name][index] for name, index in rows.items()}
    drawn_labels = {name: labels[name][index] for name, index in rows.items()}
    comparison = _Comparison(drawn, drawn_labels, position, seed, config)
    sizes = len(drawn["test"]), len(drawn["simulated"])
    values = half_sample_intervals(
        lambda a, b: comparison.statistics("simulated", a, b),
        sizes,
        n_repeats=config.n_bootstrap,
        generator=rng.generator(seed, "evaluate", "haplotypes", "halves"),
        coverage=config.coverage,
    )
    floor = comparison.whole(reference)
    naive = comparison.whole("null") if null is not None else {}
    nan = float("nan")
    scores = [
        scored(subject, name, values[name], floor.get(name, nan), naive.get(name, nan), min(sizes))
        for name in _ORDER
        if name in values and np.isfinite(values[name].value)
    ]
    if train is not None:
        if related_test is not None and related_test.any():
            sets["test"], labels["test"] = sets["test"][~related_test], labels["test"][~related_test]
        if len(sets["test"]) >= 10:
            scores += privacy_scores(sets, labels, position, subject=subject, seed=seed, config=config)
    return scores
