"""`genesim perturb`: one or many, from a screen or a saved model, with amounts, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import genesim as gs
from genesim.config.perturbation import name_of, named_requests, parse_amounts
from genesim.errors import ArtefactError, ConfigError
from genesim.pipeline.perturb import join_effects
from genesim.provenance.manifest import verify_manifest

N_GENES = 30


@pytest.fixture(scope="module")
def screen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    random = np.random.default_rng(0)
    effects = {name: np.random.default_rng(i).normal(0, 0.6, N_GENES) for i, name in enumerate(("g1", "g2"))}
    labels = [label for label in ("ntc", "g1", "g2") for _ in range(40)]
    rate = np.random.default_rng(9).uniform(0.5, 20, N_GENES)
    counts = np.stack([random.poisson(rate * np.exp(effects.get(label, 0.0))) for label in labels])
    obs = pd.DataFrame({"guide": labels, "n": 500.0}, index=[f"c{i}" for i in range(len(labels))])
    var = pd.DataFrame(index=[f"g{i}" for i in range(N_GENES)])
    path = tmp_path_factory.mktemp("screen") / "screen.h5ad"
    ad.AnnData(sparse.csr_matrix(counts.astype(np.float32)), obs=obs, var=var).write_h5ad(path)
    return path


@pytest.fixture
def keys(screen: Path) -> list[object]:
    return ["--h5ad", screen, "--perturbation-key", "guide", "--control", "ntc", "--library-key", "n"]


def test_one_into_an_h5ad_and_the_model_kept_gives_the_same(
    genesim: Callable[..., Any], screen: Path, keys: list[object], tmp_path: Path
) -> None:
    model = tmp_path / "model"
    ask = ["--perturbation", "g1+g2:0.5", "--n-cells", 20, "--seed", 3]
    shown = genesim("perturb", *keys, *ask, "--save-model", model, "--out", tmp_path / "a.h5ad")
    assert (shown.code, shown.out) == (0, f"{tmp_path / 'a.h5ad'}\n")
    assert isinstance(gs.load(model), gs.PerturbationModel)
    assert genesim("perturb", "--model", model, "--h5ad", screen, *ask, "--out", tmp_path / "b.h5ad").code == 0
    a, b = (ad.read_h5ad(tmp_path / f"{name}.h5ad") for name in "ab")
    assert (a.X != b.X).nnz == 0
    assert a.n_obs == 20
    assert set(a.obs["perturbation"]) == {"g1+g2"}
    assert a.uns["genesim"]["synthetic"]


def test_a_sweep_writes_an_h5ad_each_and_one_table_and_parts_join_to_it(
    genesim: Callable[..., Any], keys: list[object], tmp_path: Path
) -> None:
    (tmp_path / "sweep.tsv").write_text("perturbation\tnote\ng1:0.5\tweak\ng2+g1\t\n")
    assert genesim("perturb", *keys, "--sweep", tmp_path / "sweep.tsv", "--out", tmp_path / "whole").code == 0
    verify_manifest(tmp_path / "whole")
    assert {p.name for p in (tmp_path / "whole").glob("*.h5ad")} == {"g1@0.5.h5ad", "g1+g2.h5ad"}
    whole = pd.read_parquet(tmp_path / "whole" / "effects.parquet")
    assert list(whole.columns) == ["perturbation", "context", "gene", "regime", "support", "delta", "low", "high"]
    parts: list[object] = []
    for text in ("g1:0.5", "g1+g2"):
        out = tmp_path / f"part {text}"
        assert genesim("perturb", *keys, "--perturbation", text, "--out", out).code == 0
        parts += ["--join", out]
    assert genesim("perturb", *parts, "--out", tmp_path / "joined.parquet").code == 0
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "joined.parquet"), whole)
    half, full = (whole.loc[whole["perturbation"] == n, "delta"].to_numpy() for n in ("g1@0.5", "g1+g2"))
    assert 0 < np.abs(half).mean() < np.abs(full).mean()
    with pytest.raises(ArtefactError, match="in two parts"):
        join_effects([parts[1], parts[1]], out=tmp_path / "no.parquet")  # type: ignore[list-item]
    assert not (tmp_path / "no.parquet").exists()


def test_train_perturbation_from_a_config_and_many_at_once(
    genesim: Callable[..., Any], screen: Path, tmp_path: Path
) -> None:
    import json

    block = {
        "h5ad": str(screen),
        "perturbation_key": "guide",
        "control": "ntc",
        "library_key": "n",
        "sweep": ["g1", "g2"],
    }
    config = ["--config", json.dumps({"perturbation": block})]
    assert genesim("train", "perturbation", *config, "--out", tmp_path / "model").code == 0
    assert genesim("perturb", *config, "--model", tmp_path / "model", "--out", tmp_path / "out").code == 0
    assert {p.stem for p in (tmp_path / "out").glob("*.h5ad")} == {"g1", "g2"}
    assert gs.load(tmp_path / "model").provenance.inputs["h5ad"]
    assert "no 'perturbation'" in genesim("train", "perturbation", "--out", tmp_path / "x").err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "no perturbation is asked for"),
        (["--perturbation", "g1", "--sweep", "x.tsv"], "both given"),
        (["--perturbation", "g1:-1"], "is no perturbation"),
        (["--perturbation", "g1", "--perturbation", "g1"], "there twice"),
        (["--perturbation", "g1", "--perturbation", "g2"], "do not fit into one h5ad"),
        (["--sweep", "/nowhere.tsv"], "cannot be read"),
        (["--perturbation", "g1", "--person", "p.vcf"], "beside other"),
    ],
)
def test_what_is_refused_leaves_nothing(
    arguments: list[str], said: str, genesim: Callable[..., Any], keys: list[object], tmp_path: Path
) -> None:
    shown = genesim("perturb", *keys, *arguments, "--out", tmp_path / "out.h5ad")
    assert shown.code != 0
    assert said in shown.err
    assert list(tmp_path.iterdir()) == []


def test_a_person_s_alleles_are_a_perturbation(genesim: Callable[..., Any], keys: list[object], tmp_path: Path) -> None:
    csq = "Allele|Consequence|IMPACT|SYMBOL|Gene|CANONICAL|BIOTYPE"
    effect = "T|stop_gained|HIGH|g1|ENSG1|YES|protein_coding"
    lines = [
        "##fileformat=VCFv4.2",
        "##contig=<ID=1>",
        f'##INFO=<ID=CSQ,Number=.,Type=String,Description="Consequence annotations from Ensembl VEP. Format: {csq}">',
        '##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">',
        "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\tD1",
        f"1\t100\t.\tC\tT\t.\tPASS\tCSQ={effect}\tGT\t0/1",
    ]
    (tmp_path / "p.vcf").write_text("\n".join(lines) + "\n")
    assert genesim("perturb", *keys, "--person", tmp_path / "p.vcf", "--out", tmp_path / "out").code == 0
    table = pd.read_parquet(tmp_path / "out" / "effects.parquet")
    assert set(table["perturbation"]) == {"D1"}
    assert table["delta"].abs().max() > 0.05


def test_amounts_in_words() -> None:
    assert parse_amounts(" B + A:0.5 ") == {"A": 0.5, "B": 1.0}
    assert parse_amounts("HLA:A:2") == {"HLA:A": 2.0}
    assert name_of({"B": 1.0, "A": 0.5}) == "A@0.5+B"
    assert named_requests(["A", "B:2"]) == {"A": {"A": 1.0}, "B@2": {"B": 2.0}}
    for bad in ("", "A++B", "A:x", "A:0", "A:inf", "A+A", ":1"):
        with pytest.raises(ConfigError):
            parse_amounts(bad)
