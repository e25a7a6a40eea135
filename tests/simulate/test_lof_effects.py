"""Loss of function changes expression: escape from decay, carriers, compound heterozygotes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from genesim.config.effects import EffectsScenario
from genesim.config.new_variants import LossOfFunction
from genesim.data.allele_factors import DosageRules
from genesim.data.coding import CodingTranscript
from genesim.data.genotypes import Genotypes
from genesim.simulate.effects import log2_fold_changes, plant_effects
from genesim.simulate.lof_effects import gene_of, loss_of_function_effects, lost_shares
from genesim.simulate.loss_of_function import escapes_decay
from genesim.simulate.new_variants import add_new_variants

FORWARD = CodingTranscript("g", "G", "t", "1", "+", ((100, 200), (300, 400), (500, 600)))
REVERSE = CodingTranscript("g", "G", "t", "1", "-", ((100, 200), (300, 400), (500, 600)))


@pytest.mark.parametrize(
    ("gene", "start", "escapes"),
    [
        (FORWARD, 550, True),  # last exon
        (FORWARD, 399, True),  # its neighbour's last base
        (FORWARD, 351, True),  # 49 bases before the junction
        (FORWARD, 350, False),  # 50
        (FORWARD, 150, False),
        (REVERSE, 150, True),
        (REVERSE, 300, True),
        (REVERSE, 348, True),
        (REVERSE, 349, False),
        (REVERSE, 550, False),
    ],
)
def test_late_stops_escape_decay(gene: CodingTranscript, start: int, escapes: bool) -> None:
    assert escapes_decay(gene, "stop_gained", start) is escapes
    assert not escapes_decay(gene, "splice_donor_variant", start)
    single = CodingTranscript("g", "G", "t", "1", "+", ((100, 600),))
    assert escapes_decay(single, "frameshift_variant", start)


def test_a_short_exon_between_counts_coding_bases() -> None:
    gene = CodingTranscript("g", "G", "t", "1", "+", ((100, 200), (300, 320), (500, 600)))
    assert escapes_decay(gene, "stop_gained", 171)  # 29 + 20 bases to the junction
    assert not escapes_decay(gene, "stop_gained", 170)


def test_the_default_efficiency_is_that_of_gene_dosage() -> None:
    assert LossOfFunction(genes={"g": 0.1}).nmd_efficiency == DosageRules().nmd_efficiency


def test_genes_are_found_by_id_version_or_name() -> None:
    genes = pd.Index(["ENSG00000000001.4", "TP53"], dtype=object)
    assert gene_of("x", "ENSG00000000001.4", genes) == "ENSG00000000001.4"
    assert gene_of("x", "ENSG00000000001.7", genes) == "ENSG00000000001.4"
    assert gene_of("TP53", "ENSG00000000009", genes) == "TP53"
    assert gene_of("BRCA1", "ENSG00000000009", genes) is None


@pytest.fixture
def genotypes() -> Genotypes:
    alleles = np.zeros((2, 5, 2), np.int8)
    alleles[0, 0] = (1, 0)  # heterozygote
    alleles[0, 1] = (1, 1)  # homozygote
    alleles[0, 2] = (1, 0)
    alleles[1, 2] = (0, 1)  # compound: one allele on each copy
    alleles[:, 3, 0] = 1  # both on one copy
    variants = pd.DataFrame({"contig": "1", "start": [1, 2], "ref": "A", "alt": "C", "frequency": 0.0})
    variants.index = pd.Index(["v0", "v1"], dtype=object)
    return Genotypes(alleles, np.ones((2, 5), bool), variants, pd.Index(list("abcde"), dtype=object), {})


def test_carriers_express_what_their_copies_leave(genotypes: Genotypes) -> None:
    planted = pd.DataFrame(
        {"variant": ["v0", "v1"], "gene": "g", "gene_name": "G", "expression": [0.2, 0.5], "kind": "stop_gained"}
    )
    genes = pd.DataFrame({"contig": "1", "tss": 1}, index=pd.Index(["G"], name="gene"))
    rows, unknown = loss_of_function_effects(planted, genes.index)
    assert unknown == []
    truth = plant_effects(EffectsScenario(), genes, genotypes.variants, ["B"], 0, loss_of_function=rows)
    assert set(truth["source"]) == {"loss_of_function"}
    fold, _ = log2_fold_changes(truth, genotypes, ["B"])
    expected = [0.6, 0.2, (0.2 + 0.5) / 2, (0.1 + 1) / 2, 1.0]
    np.testing.assert_allclose(2.0 ** fold[:, 0, 0], expected, rtol=1e-5)
    lost = lost_shares(truth, genotypes)
    assert lost["c"] == {"G": pytest.approx(0.65)}
    assert set(lost) == set("abcd")


def test_escaping_alleles_and_unknown_genes_change_nothing() -> None:
    planted = pd.DataFrame(
        {"variant": ["v0", "v1"], "gene": ["g", "h"], "gene_name": ["G", "H"], "expression": [1.0, 0.2]}
    )
    rows, unknown = loss_of_function_effects(planted, pd.Index(["g"]))
    assert rows.empty
    assert unknown == ["h"]
    complete = planted.assign(expression=0.0, gene="g")
    assert (loss_of_function_effects(complete, pd.Index(["g"]))[0]["log2_afc"] == -10).all()


def test_planted_alleles_say_what_they_leave(genotypes: Genotypes, tmp_path) -> None:  # type: ignore[no-untyped-def]
    gtf = tmp_path / "a.gtf"
    about = 'gene_id "g"; transcript_id "t"; gene_name "G";'
    lines = [f"1\tx\tCDS\t{a}\t{a + 299}\t.\t+\t0\t{about}" for a in (1001, 2001, 3001)]
    gtf.write_text("\n".join(lines) + "\n")
    law = LossOfFunction(genes={"G": 1.0}, kinds={"stop_gained": 1.0}, diversity=1e6, nmd_efficiency=0.7)
    _, table = add_new_variants(genotypes, loss_of_function=law, annotation=gtf, seed=1)
    assert len(table) >= 5
    assert set(table["gene_name"]) == {"G"}
    late = table["position"] > 2250
    np.testing.assert_allclose(table["expression"], np.where(late, 1.0, 0.3))
    assert late.any()
    assert not late.all()
