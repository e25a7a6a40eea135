"""Named random streams: a key is derived from a seed and names, never from the order of calls.

A new component therefore never shifts the draws of another one. The same names give the same
stream in JAX (`key`) and NumPy (`generator`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import jax  # only keys need it, and it takes a third of the start of a verb that draws with NumPy alone


def _digest(names: tuple[str | int, ...], n_bytes: int = 4) -> int:
    text = "\x1f".join(f"{type(name).__name__}:{name}" for name in names)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:n_bytes], "little")


def key(seed: int, *names: str | int) -> jax.Array:
    """JAX key of the stream called `names` under `seed`."""
    import jax

    return child(jax.random.key(seed), *names)


def child(parent: jax.Array, *names: str | int) -> jax.Array:
    """Key derived from `parent` by name."""
    import jax

    return jax.random.fold_in(parent, _digest(names)) if names else parent


def keys(parent: jax.Array, names: Sequence[tuple[str | int, ...]]) -> jax.Array:
    """One key a name, for many records (donors, say): 64 bits of each name, so that none coincide."""
    import jax

    digests = np.array([_digest(name, 8) for name in names], np.uint64)
    halves = np.stack([digests >> 32, digests & 0xFFFFFFFF], axis=1).astype(np.uint32)
    fold = jax.random.fold_in
    return jax.vmap(lambda half: fold(fold(parent, half[0]), half[1]))(halves)


def generator(seed: int, *names: str | int) -> np.random.Generator:
    """NumPy generator of the stream called `names` under `seed`."""
    return np.random.default_rng([seed, _digest(names)])


def seed(parent: int, *names: str | int) -> int:
    """Seed derived from `parent` by name, for a component that takes a seed of its own."""
    return _digest((parent, *names)) % 2**31
