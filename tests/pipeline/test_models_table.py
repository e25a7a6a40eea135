"""The report's table of models: what was used, its sources, what it is scored beside."""

from genesim.models.catalog import CATALOG
from genesim.pipeline.report import models_table


def test_it_lists_the_used_models_with_sources_and_baselines() -> None:
    table = models_table({"haplotypes": "mosaic", "expression": "vae"}).set_index("of")
    assert list(table.index) == ["expression", "haplotypes"]
    for row in CATALOG:
        if row.modality == "expression":
            assert row.title in table.loc["expression", "baselines" if row.role == "baseline" else "model"]
    assert "Lopez 2018" in table.loc["expression", "sources"]
    assert "Lipman 2023" in table.loc["expression", "sources"]
    assert table.loc["haplotypes", "model"] == "Li-Stephens mosaic"
    assert not len(models_table({}))
