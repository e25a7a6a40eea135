"""Local ancestry follows the law of its pulses: tract lengths, means, variation between donors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from genesim.config.scenario import Pulse
from genesim.data.genetic_map import ContigMap
from genesim.data.genotypes import Genotypes
from genesim.errors import ConfigError
from genesim.simulate.admixture import (
    Admixture,
    check_pulses,
    codes_at,
    expected_shares,
    global_shares,
    write_local_ancestry,
)
from genesim.simulate.pedigree import simulate_pedigree

SCALE = ContigMap(np.array([0, 300_000_000]), np.array([0.0, 300.0]))  # 3 morgans
END = 300_000_000
ONE = (Pulse(generations=12, ancestry={"A": 0.3, "B": 0.7}),)


def tracts(pulses: tuple[Pulse, ...], n: int, seed: int = 0, names: tuple[str, ...] = ("A", "B")) -> pd.DataFrame:
    return Admixture(names, pulses).tracts([f"d{i}" for i in range(n)], "1", END, SCALE, seed)


def lengths(table: pd.DataFrame, ancestry: str) -> np.ndarray:
    """Lengths in morgans of tracts that begin in the first 2 of 3 morgans, cut at 1, so that none is censored."""
    here = table[(table["ancestry"] == ancestry) & (table["start"] > 0) & (table["start"] < 2e8)]
    return ((here["end"] - here["start"]) / 1e8).to_numpy().clip(max=1.0)


def agrees(found: np.ndarray, rate: float) -> float:
    """p value of an exponential law of this rate (a morgan), below 1 morgan."""
    law = stats.expon(scale=1 / rate)
    return float(stats.kstest(found[found < 1], lambda x: law.cdf(x) / law.cdf(1)).pvalue)


@pytest.mark.parametrize("generations", [25, 60])
def test_tract_lengths_are_exponential_of_the_generations_and_not_of_three_times_as_many(generations: int) -> None:
    law = (Pulse(generations=generations, ancestry={"A": 0.4, "B": 0.6}),)
    table = tracts(law, 1200 // generations)
    for ancestry, share in (("A", 0.4), ("B", 0.6)):
        found = lengths(table, ancestry)
        assert len(found) > 500
        assert agrees(found, generations * (1 - share)) > 1e-3
        assert agrees(found, 3 * generations * (1 - share)) < 1e-9
        assert agrees(found, generations / 3 * (1 - share)) < 1e-9


def test_mean_shares_are_the_proportions_and_later_pulses_dilute() -> None:
    two = (Pulse(generations=15, ancestry={"A": 0.5, "B": 0.5}), Pulse(generations=4, ancestry={"C": 0.2}))
    assert expected_shares(two) == pytest.approx({"A": 0.4, "B": 0.4, "C": 0.2})
    shares = global_shares(tracts(two, 250, names=("A", "B", "C")))
    error = shares.std() / np.sqrt(len(shares))
    for name, mean in expected_shares(two).items():
        assert abs(shares[name].mean() - mean) < 4 * error[name]
    assert abs(shares["A"].mean() - 0.5) > 4 * error["A"]
    recent = lengths(tracts(two, 250, names=("A", "B", "C")), "C")
    np.testing.assert_allclose(np.median(recent), np.log(2) / (4 * 0.8), rtol=0.2)  # 4 generations, not 15


def test_donors_vary_as_their_pedigrees_do() -> None:
    """At one generation a copy is a mosaic of two people's copies: shares are spread; at 60, hardly."""
    spread = {}
    for generations in (1, 4, 60):
        law = (Pulse(generations=generations, ancestry={"A": 0.5, "B": 0.5}),)
        spread[generations] = float(global_shares(tracts(law, 80))["A"].std())
    assert spread[1] > 1.5 * spread[4] > 3 * spread[60]
    # One ancestor on all contigs: the shares of two contigs go together in recent admixture, not in old one.
    for generations, related in ((2, True), (60, False)):
        law = Admixture(("A", "B"), (Pulse(generations=generations, ancestry={"A": 0.5, "B": 0.5}),))
        donors = [f"d{i}" for i in range(150)]
        a, b = (global_shares(law.tracts(donors, c, END, SCALE, 0))["A"] for c in ("1", "2"))
        assert (stats.pearsonr(a, b).pvalue < 1e-6) == related


def test_a_return_to_an_ancestor_keeps_its_meiosis() -> None:
    """Two generations: the four ancestors of a copy; the walk's stationary shares and Haldane's function hold."""
    law = Admixture(
        ("A", "B"),
        (Pulse(generations=2, ancestry={"A": 0.5, "B": 0.5}),),
    )
    donors = [f"d{i}" for i in range(1500)]
    at = np.array([50_000_000, 100_000_000])
    local = codes_at(law.tracts(donors, "1", END, SCALE, 1), at, donors, ("A", "B"))
    # Not recombined by Haldane: (1 - r)^2 keeps the ancestor, else its ancestry is drawn anew.
    r = (1 - np.exp(-2 * 0.5)) / 2
    same = float((local[:, 0] == local[:, 1]).mean())
    keeps = (1 - r) ** 2
    expected = keeps + (1 - keeps) / 2
    assert stats.binomtest(int(same * len(local)), len(local), expected).pvalue > 1e-3
    assert stats.binomtest(int(same * len(local)), len(local), 0.5).pvalue < 1e-6


def test_given_shares_are_each_donor_s_own() -> None:
    shares = pd.DataFrame(
        {"A": [0.9] * 40 + [0.1] * 40, "B": [0.1] * 40 + [0.9] * 40}, index=[f"d{i}" for i in range(80)]
    )
    table = Admixture(("A", "B"), shares=shares, generations=20).tracts(list(shares.index), "1", END, SCALE, 0)
    found = global_shares(table)["A"]
    assert found.iloc[:40].mean() == pytest.approx(0.9, abs=0.03)
    assert found.iloc[40:].mean() == pytest.approx(0.1, abs=0.03)


def test_tracts_cover_every_copy_and_a_donor_depends_on_itself_only() -> None:
    table = tracts(ONE, 5)
    for _, rows in table.groupby(["donor", "copy"]):
        assert rows["start"].iloc[0] == 0
        assert rows["end"].iloc[-1] == END
        assert (rows["start"].to_numpy()[1:] == rows["end"].to_numpy()[:-1]).all()
        assert (rows["ancestry"].to_numpy()[1:] != rows["ancestry"].to_numpy()[:-1]).all()
    alone = Admixture(("A", "B"), ONE).tracts(["d3"], "1", END, SCALE, 0)
    pd.testing.assert_frame_equal(alone, table[table["donor"] == "d3"].reset_index(drop=True))
    at = np.array([0, 123_456_789, END - 1])
    local = codes_at(table, at, [f"d{i}" for i in range(5)], ("A", "B"))
    for row, (_, rows) in zip(local, table.groupby(["donor", "copy"], sort=False), strict=True):
        for code, position in zip(row, at, strict=True):
            inside = rows[(rows["start"] <= position) & (position < rows["end"])]
            assert inside["ancestry"].item() == ("A", "B")[code]


def test_tracts_are_written_as_parquet_and_as_bp(tmp_path: Path) -> None:
    table = tracts(ONE, 2)
    write_local_ancestry(table, tmp_path / "a.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "a.parquet"), table, check_dtype=False)
    lines = write_local_ancestry(table, tmp_path / "a.bp").read_text().splitlines()
    heads = [line for line in lines if "\t" not in line]
    assert heads == ["d0_1", "d0_2", "d1_1", "d1_2"]
    ancestry, contig, end, centimorgans = lines[1].split("\t")
    assert (ancestry, contig, int(end)) == tuple(table.iloc[0][["ancestry", "contig", "end"]])
    assert float(centimorgans) == pytest.approx(int(end) * 1.2e-6, rel=1e-4)
    assert len(lines) == len(table) + 4
    with pytest.raises(ConfigError, match="suffix"):
        write_local_ancestry(table, tmp_path / "a.txt")


def test_pulses_that_do_not_add_up_are_refused() -> None:
    for bad in (
        (),
        (Pulse(generations=3, ancestry={"A": 0.5}),),
        (ONE[0], Pulse(generations=3, ancestry={"A": 0.7, "B": 0.6})),
        (ONE[0], ONE[0]),
    ):
        with pytest.raises(ConfigError, match="pulse"):
            check_pulses(bad)


def test_the_walk_is_the_pedigree_that_it_stands_for() -> None:
    """Three generations, against meioses of an explicit pedigree whose eight founder copies have labels."""
    n = 400
    rows = []
    for k in range(n):
        rows += [(f"{k}_{name}", "", "", sex) for name, sex in zip("abcd", ("male", "female") * 2, strict=True)]
        rows += [(f"{k}_e", f"{k}_a", f"{k}_b", "male"), (f"{k}_f", f"{k}_c", f"{k}_d", "female")]
        rows += [(f"{k}_g", f"{k}_e", f"{k}_f", "female"), (f"{k}_x", f"{k}_a", f"{k}_g", "male")]
    pedigree = pd.DataFrame(rows, columns=["donor", "father", "mother", "sex"])
    founders = pd.Index([row[0] for row in rows if not row[1]], dtype=object)
    variants = pd.DataFrame({"contig": "1", "start": [0], "ref": "A", "alt": "C"}, index=["v"])
    alleles = np.zeros((1, len(founders), 2), np.int8)
    geno = Genotypes(alleles, np.ones((1, len(founders)), bool), variants, founders, {"1": END})
    table = pd.DataFrame({"contig": "1", "pos": [1, END + 1], "cM": [0.0, 300.0]})
    ibd = simulate_pedigree(geno, pedigree, table, seed=5)[1]
    ibd = ibd[ibd["donor"].str.endswith("_x") & (ibd["copy"] == 0)]
    label = np.random.default_rng(0).random((len(founders), 2)) < 0.3
    ibd = ibd.assign(A=label[founders.get_indexer(pd.Index(ibd["founder"])), ibd["founder_copy"]])
    explicit, shares = [], []
    for _, part in ibd.groupby("donor", sort=False):
        explicit.append(int((part["A"].to_numpy()[1:] != part["A"].to_numpy()[:-1]).sum()))
        shares.append(float(((part["end"] - part["start"]) * part["A"]).sum() / END))
    walked = tracts((Pulse(generations=3, ancestry={"A": 0.3, "B": 0.7}),), n)
    walked = walked[walked["copy"] == 0]
    switches = walked.groupby("donor").size().to_numpy() - 1
    assert abs(np.mean(explicit) - switches.mean()) < 4 * np.std(explicit) * np.sqrt(2 / n)
    assert stats.ks_2samp(shares, _share_of_a(walked)).pvalue > 1e-3
    five = tracts((Pulse(generations=6, ancestry={"A": 0.3, "B": 0.7}),), n)
    other = five[five["copy"] == 0]
    assert abs(np.mean(explicit) - (other.groupby("donor").size().mean() - 1)) > 6 * np.std(explicit) * np.sqrt(2 / n)


def _share_of_a(table: pd.DataFrame) -> list[float]:
    length = (table["end"] - table["start"]) * (table["ancestry"] == "A")
    return (length.groupby(table["donor"]).sum() / END).tolist()
