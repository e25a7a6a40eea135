"""A long contig as overlapping windows of variants, each a chain of its own, fitted apart, that agree where they meet.

A haplotype is drawn window by window: in the next window the alleles of the overlap are given, and what follows
them is drawn from that window's chain conditional on them (exactly: its hidden state at the end of the overlap is
drawn given its alleles). With x_w the alleles that window w adds and o_w those it shares with the window before,

    p(x) = p_1(x_1) prod_{w>1} p_w(o_w, x_w) / p_w(o_w)

which is the likelihood below. Windows may be fitted at the same time on different machines.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, Int, Int8

from genesim.config.model import HaplotypeConfig
from genesim.errors import ConfigError, TrainingError
from genesim.models.haplotypes.chain import Draw, HiddenChain, check_alleles, local_ancestry, row_keys

WINDOW_STREAM = 2**31 - 2  # folded into a haplotype's key, before the window's number


def window_bounds(n_variants: int, size: int, overlap: int) -> list[tuple[int, int]]:
    """Start and end (exclusive) of windows of nearly equal length, at most `size`, that share `overlap` with the next.

    Raises:
        ConfigError: The overlap is not smaller than half of a window.
    """
    if 2 * overlap >= size:
        raise ConfigError(
            f"windows of {size} variants cannot overlap by {overlap}",
            where="haplotype model",
            remedy="make fit_window more than twice as long as fit_overlap",
        )
    if n_variants <= size:
        return [(0, n_variants)]
    n_windows = -(-(n_variants - overlap) // (size - overlap))
    edges = np.linspace(0, n_variants - overlap, n_windows + 1).astype(int)
    return [(int(start), int(end) + overlap) for start, end in itertools.pairwise(edges)]


class WindowedChain:
    """Chains of overlapping windows; the methods of a `HiddenChain`.

    Args:
        bounds: [window, 2] first variant and end (exclusive) of every window of the contig.
        chains: The fitted windows by number; all of them, or those of one shard.
    """

    def __init__(self, bounds: Int[np.ndarray, "window 2"], chains: Mapping[int, HiddenChain]) -> None:
        self.bounds = np.asarray(bounds, int)
        self.fitted = dict(sorted(chains.items()))

    @property
    def n_variants(self) -> int:
        return int(self.bounds[-1, 1])

    @property
    def n_ancestries(self) -> int:
        return next(iter(self.fitted.values())).n_ancestries

    def joined(self, other: WindowedChain) -> WindowedChain:
        """The windows of both."""
        return WindowedChain(self.bounds, self.fitted | other.fitted)

    def check_complete(self) -> None:
        """Refuse to go on without a window.

        Raises:
            TrainingError: A window has not been fitted.
        """
        lacking = sorted(set(range(len(self.bounds))) - set(self.fitted))
        if lacking:
            raise TrainingError(
                f"windows {', '.join(map(str, lacking))} of {len(self.bounds)} are not fitted",
                where="haplotype model",
                remedy="fit the other shards and join them with HaplotypeModel.join",
            )

    def _windows(self) -> Iterator[tuple[HiddenChain, slice, int]]:
        """Chain, variants, and overlap with the window before, of every window."""
        self.check_complete()
        before = 0
        for number, (start, stop) in enumerate(self.bounds.tolist()):
            yield self.fitted[number], slice(start, stop), max(before - start, 0)
            before = stop

    def arrays(self) -> dict[str, Any]:
        """What `restore` needs."""
        return {"bounds": self.bounds, "windows": {f"{k:05d}": chain.arrays() for k, chain in self.fitted.items()}}

    @classmethod
    def restore(
        cls,
        arrays: dict[str, Any],
        config: HaplotypeConfig,
        n_ancestries: int,
        one: Callable[[dict[str, Any], HaplotypeConfig, int], HiddenChain],
    ) -> WindowedChain:
        """Undo `arrays`, with the `restore` of one window's chain."""
        stored = {int(name): one(part, config, n_ancestries) for name, part in arrays["windows"].items()}
        return cls(arrays["bounds"], stored)

    def log_likelihood(
        self, alleles: Int8[np.ndarray, "haplotype variant"], ancestry: Int[np.ndarray, " haplotype"]
    ) -> Float[np.ndarray, " haplotype"]:
        """Natural-log probability of each haplotype, window given overlap; alleles below 0 are summed out in each."""
        alleles = check_alleles(alleles, self.n_variants)
        total = np.zeros(len(alleles))
        for chain, variants, overlap in self._windows():
            here = alleles[:, variants]
            total += chain.log_likelihood(here, ancestry)
            if overlap:
                head = chain.head(overlap)
                shared = np.full((len(here), head.n_variants), -1, np.int8)
                shared[:, :overlap] = here[:, :overlap]
                total -= head.log_likelihood(shared, ancestry)
        return total.astype(np.float32)

    def impute(
        self, alleles: Int8[np.ndarray, "haplotype variant"], ancestry: Int[np.ndarray, " haplotype"]
    ) -> Float[np.ndarray, "haplotype variant"]:
        """Posterior probability of the alternative allele, each variant from the window whose ends are farther."""
        alleles = check_alleles(alleles, self.n_variants)
        out = np.zeros(alleles.shape, np.float32)
        for chain, variants, overlap in self._windows():
            found = chain.impute(alleles[:, variants], ancestry)
            out[:, variants.start + overlap // 2 : variants.stop] = found[:, overlap // 2 :]
        return out

    def _keys(self, key: jax.Array, n_rows: int, number: int) -> jax.Array:
        keys = row_keys(key, n_rows)
        if number == 0:
            return keys
        return jax.vmap(lambda k: jax.random.fold_in(jax.random.fold_in(k, WINDOW_STREAM), number))(keys)

    @staticmethod
    def _codes(codes: np.ndarray, variants: slice) -> np.ndarray:
        return codes[:, variants] if codes.shape[1] > 1 else codes[:, 0]

    def walk(
        self,
        key: jax.Array,
        ancestry: Int[np.ndarray, " haplotype"] | Int[np.ndarray, "haplotype variant"],
    ) -> Iterator[Draw]:
        """Draw one haplotype a row of `ancestry`, a run of variants at a time, as `HiddenChain.walk`."""
        codes = local_ancestry(ancestry, self.n_ancestries, self.n_variants)
        last: list[np.ndarray] = []
        for number, (chain, variants, overlap) in enumerate(self._windows()):
            prefix = np.concatenate(last, axis=1)[:, -overlap:] if overlap else None
            following = int(self.bounds[number + 1, 0]) if number + 1 < len(self.bounds) else variants.stop
            at, last = variants.start + overlap, []
            keys = self._keys(key, len(codes), number)
            for part in chain.walk(keys, self._codes(codes, variants), prefix):
                at += part.alleles.shape[1]
                if at > following:  # what the next window shares is kept
                    last.append(part.alleles if last else part.alleles[:, following - at :])
                yield part

    def sample(
        self,
        key: jax.Array,
        ancestry: Int[np.ndarray, " haplotype"] | Int[np.ndarray, "haplotype variant"],
        given: Int8[np.ndarray, "haplotype variant"] | None = None,
    ) -> Draw:
        """Draw one haplotype a row of `ancestry`; see `HiddenChain.sample`.

        A given allele weighs on the variants of its own windows and, through them, on those of later windows.
        """
        if given is None:
            parts = list(self.walk(key, ancestry))
            return Draw(*(np.concatenate(arrays, axis=1) for arrays in zip(*parts, strict=True)))
        codes = local_ancestry(ancestry, self.n_ancestries, self.n_variants)
        alleles = np.maximum(check_alleles(given, self.n_variants), -1)
        states = []
        for number, (chain, variants, _) in enumerate(self._windows()):
            keys = self._keys(key, len(codes), number)
            drawn = chain.sample(keys, self._codes(codes, variants), given=alleles[:, variants])
            alleles[:, variants] = drawn.alleles
            states.append(drawn.states)
        return Draw(alleles, np.concatenate(states, axis=1))
