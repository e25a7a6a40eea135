from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from scipy import stats

from genesim import rng


def test_the_same_names_give_the_same_stream_in_any_process() -> None:
    code = (
        "import jax; from genesim import rng;"
        "print(jax.random.key_data(rng.key(3, 'a', 1)).tolist(), rng.generator(3, 'a', 1).integers(2**62))"
    )
    root = Path(__file__).resolve().parents[1]
    child = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    here = (jax.random.key_data(rng.key(3, "a", 1)).tolist(), rng.generator(3, "a", 1).integers(2**62))
    assert child.stdout.split("\n")[0] == f"{here[0]} {here[1]}"


def test_streams_are_pinned() -> None:
    """The bytes of every simulated data set hang on these numbers; a change is a breaking change."""
    assert rng.generator(0, "a").integers(0, 2**32, 3).tolist() == [4128281979, 1569828176, 4039040539]
    assert jax.random.key_data(rng.key(0, "a")).tolist() == [1561176897, 2775240303]


def test_names_are_told_apart() -> None:
    """Also where joining them as text would not: ("ab",) and ("a", "b"), 1 and "1"."""
    names = [
        (),
        ("a",),
        ("b",),
        ("a", "b"),
        ("ab",),
        ("b", "a"),
        (1,),
        ("1",),
        ("a", 1),
        ("a", "1"),
        (-1,),
        ("",),
    ]
    keys = {tuple(jax.random.key_data(rng.key(0, *n)).tolist()) for n in names}
    draws = {int(rng.generator(0, *n).integers(2**62)) for n in names}
    assert len(keys) == len(draws) == len(names)
    assert tuple(jax.random.key_data(rng.key(1, "a")).tolist()) not in keys
    assert int(rng.generator(1, "a").integers(2**62)) not in draws


def test_a_key_depends_on_its_names_and_not_on_the_calls_before() -> None:
    alone = jax.random.normal(rng.key(5, "late"), 4)
    rng.key(5, "early")
    rng.generator(5, "early").random(100)
    assert (jax.random.normal(rng.key(5, "late"), 4) == alone).all()


def test_child_of_a_key_is_the_key_of_the_names() -> None:
    data = jax.random.key_data
    assert (data(rng.child(jax.random.key(2), "x")) == data(rng.key(2, "x"))).all()
    assert (data(rng.child(rng.key(2, "x"))) == data(rng.key(2, "x"))).all()
    assert (data(rng.child(rng.key(2, "x"), "y")) != data(rng.child(rng.key(2, "x"), "z"))).any()


@pytest.mark.parametrize("kind", ["key", "generator"])
def test_neighbouring_streams_are_uncorrelated_and_equal_ones_are_told_apart(kind: str) -> None:
    def draws(name: int) -> np.ndarray:
        if kind == "key":
            return np.asarray(jax.random.normal(rng.key(0, "stream", name), 2000))
        return rng.generator(0, "stream", name).normal(size=2000)

    assert stats.pearsonr(draws(0), draws(1)).pvalue > 1e-4
    assert stats.kstest(np.concatenate([draws(i) for i in range(5)]), "norm").pvalue > 1e-4
    assert stats.pearsonr(draws(0), draws(0)).pvalue < 1e-10
    first = np.array([draws(i)[0] for i in range(200)])  # the first draws of many streams are a sample too
    assert stats.kstest(first, "norm").pvalue > 1e-4
