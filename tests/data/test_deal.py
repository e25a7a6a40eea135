from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from genesim.data.deal import deal_donors, deal_genes, dealt_table
from genesim.errors import JoinError


def test_donors_are_dealt_one_to_one_whatever_their_order():
    cells = ["c1", "c2", "c3", "c1"]
    pool = pd.DataFrame(index=[f"g{i}" for i in range(10)])
    dealt = deal_donors(cells, pool, seed=1)
    assert set(dealt) == {"c1", "c2", "c3"}
    assert len(set(dealt.values())) == 3
    assert set(dealt.values()) <= set(pool.index)
    assert deal_donors(reversed(cells), pool.iloc[::-1].index, seed=1) == dealt
    assert any(deal_donors(cells, pool, seed=s) != dealt for s in range(2, 5))


def test_every_pairing_is_equally_likely():
    counts = np.zeros((4, 4))
    pool = pd.Index(list("wxyz"))
    for seed in range(400):
        for donor, genotype in deal_donors("abcd", pool, seed).items():
            counts["abcd".index(donor), "wxyz".index(genotype)] += 1
    assert stats.chisquare(counts.ravel()).pvalue > 1e-4
    assert stats.chisquare((np.eye(4) * 400).ravel()).pvalue < 1e-4  # as dealing in order would give


def test_too_few_genotyped_donors():
    with pytest.raises(JoinError, match="3 donors have cells and only 2"):
        deal_donors(["a", "b", "c"], pd.Index(["x", "y"]), 0)


def variants(positions):
    rows = [(contig, start) for contig, starts in positions.items() for start in starts]
    return pd.DataFrame(rows, columns=["contig", "start"])


def test_genes_are_spread_evenly_over_the_regions():
    where = variants(
        {
            "21": np.arange(5_000_000, 6_000_001, 500),
            "22": np.r_[np.arange(0, 500_001, 500), np.arange(9_000_000, 9_500_001, 500)],
        }
    )
    names = [f"g{i}" for i in range(200)]
    genes = deal_genes(names, where, seed=0)
    assert list(genes.index) == names
    assert genes.dealt.all()
    assert genes.contig.value_counts().to_dict() == {"21": 100, "22": 100}
    per_region = pd.cut(genes.tss[genes.contig == "22"], [-1, 600_000, 8_999_999, 10_000_000]).value_counts(sort=False)
    assert per_region.tolist() == [50, 0, 50]
    gaps = np.diff(np.sort(genes.tss[genes.contig == "21"]))
    assert gaps.min() > 9_900
    assert gaps.max() < 10_100
    assert abs((genes.strand == "+").mean() - 0.5) < 0.15
    # The first base read is inside the gene, at the end that the strand says.
    assert (genes.tss == np.where(genes.strand == "+", genes.start, genes.end - 1)).all()
    assert ((genes.end - genes.start).between(1, 10_000)).all()
    inside = genes[genes.contig == "21"]
    assert inside.start.min() >= 5_000_000
    assert inside.end.max() <= 6_000_001
    # Neighbours in the list are not neighbours on the genome.
    assert abs(stats.spearmanr(np.arange(100), inside.tss).statistic) < 0.4
    pd.testing.assert_frame_equal(genes, deal_genes(names, where, seed=0))
    assert not genes.equals(deal_genes(names, where, seed=1))


def test_one_variant_and_no_variant():
    genes = deal_genes(["a", "b"], variants({"1": [7]}), 0)
    assert genes.tss.tolist() == [7, 7]
    assert deal_genes([], variants({"1": [7]}), 0).empty
    with pytest.raises(JoinError, match="no variants"):
        deal_genes(["a"], variants({}), 0)


def test_a_dealt_donor_is_the_genotyped_person():
    table = pd.DataFrame(
        {"genotype_id": ["HG1", "", ""], "ancestry": ["YRI", "FIN", "CHB"], "age": [1.0, 2.0, 3.0]},
        index=pd.Index(["p1", "HG2", "HG3"], name="donor"),
    )
    joined = dealt_table({"c1": "HG1", "c2": "HG9", "HG3": "HG2"}, table)
    assert joined.loc["c1", ["genotype_id", "ancestry", "age", "dealt"]].tolist() == ["HG1", "YRI", 1.0, True]
    assert joined.loc["c2", ["genotype_id", "ancestry", "dealt"]].tolist() == ["HG9", "unknown", True]
    assert joined.loc["HG3", ["genotype_id", "ancestry", "dealt"]].tolist() == ["HG2", "FIN", True]
    assert "p1" not in joined.index
    assert joined.index.is_unique
    assert dealt_table({"c": "g"}, None).loc["c"].to_dict() == {"genotype_id": "g", "dealt": True}
