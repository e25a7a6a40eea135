"""init, partition and finalise on the command line: which options go together, and what is said where they do not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from genesim.cli.options import shard_of
from genesim.errors import ConfigError

COHORT = ("--cohort", "c", "--out")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("train", "expression", *COHORT, "m", "--shard", "1/2"), "expression is not fitted in shards"),
        (("train", "expression", *COHORT, "m", "--join", "a"), "expression is not fitted in shards"),
        (("train", "haplotypes", *COHORT, "m", "--init"), "only effects have a study"),
        (("train", "effects", "--out", "m", "--init"), "no cohort is given"),
        (("train", "effects", *COHORT, "m", "--shard", "1/2"), "--shard without --study is no step"),
        (("train", "effects", *COHORT, "m", "--init", "--study", "s"), "--init with --study is no step"),
        (("train", "effects", *COHORT, "m", "--study", "s"), "--study with --study is no step"),
        (("train", "effects", *COHORT, "m", "--study", "s", "--shard", "1/2", "--join", "a"), "is no step"),
        (("train", "effects", *COHORT, "m", "--study", "s", "--shard", "3/2"), "'3/2' is no shard"),
        (("train", "effects", *COHORT, "m", "--distributed", "auto"), "effects is not trained by several processes"),
        (("simulate", "--models", "m", "--out", "s", "--shard", "1/2", "--contig", "21"), "--contig cannot go with it"),
        (("simulate", "--models", "m", "--out", "s", "--shard", "1/2", "--cells", "x"), "--cells cannot go with it"),
        (("evaluate", "--out", "e"), "nothing to evaluate is given"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    words: tuple[str, ...], said: str, genesim: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shown = genesim(*words)
    assert shown.code == 2, shown.err
    assert said in shown.err
    assert " -> " in shown.err.splitlines()[-1]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("train", "effects", *COHORT, "m", "--init"), "would learn what genes share of effects on c into m"),
        (("train", "effects", *COHORT, "m", "--study", "s", "--shard", "2/3"), "would fit shard 2/3 of effects"),
        (("train", "effects", *COHORT, "m", "--study", "s", "--join", "a", "--join", "b"), "would join 2 shards"),
        (("evaluate", "--join", "a", "--join", "b", "--out", "e"), "would join the scores of 2 evaluations"),
        (("simulate", "--models", "m", "--out", "s", "--shard", "2/3"), "would draw shard 2/3 of"),
    ],
)
def test_a_dry_run_says_what_would_be_done(words: tuple[str, ...], said: str, genesim: Callable[..., Any]) -> None:
    shown = genesim(*words, "--dry-run")
    assert shown.code == 0, shown.err
    assert said in shown.out


def test_shards_count_from_one() -> None:
    assert shard_of("1/1") == (0, 1)
    assert shard_of("2/5") == (1, 5)
    for text in ("0/2", "3/2", "2", "a/b", "1/2/3", ""):
        with pytest.raises(ConfigError, match="is no shard"):
            shard_of(text)
