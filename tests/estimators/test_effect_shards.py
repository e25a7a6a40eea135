"""The effects' fit in jobs: init, partition, finalise give the very model of one fit, whatever the number of parts."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from genesim.config.effect_prior import EffectPriorConfig
from genesim.config.model import EffectConfig
from genesim.data.genotypes.record import Genotypes
from genesim.errors import ArtefactError, TrainingError
from genesim.estimators.effect_fit import fit_part, init_study
from genesim.estimators.effect_study import EffectPart, EffectStudy
from genesim.estimators.effects import EffectModel
from genesim.models.effects.posterior import EffectPosterior

N_DONORS, N_VARIANTS, N_GENES = 40, 90, 30
CONFIG = EffectConfig(
    window=30_000,
    n_factors=1,
    min_cells=2,
    n_effects=2,
    gene_minibatch=8,
    n_permutations=50,
    kinship="none",
    prior=EffectPriorConfig(tss="learn"),
)


@pytest.fixture(scope="module")
def geno() -> Genotypes:
    random = np.random.default_rng(0)
    alleles = (random.random((N_VARIANTS, N_DONORS, 2)) < random.uniform(0.2, 0.5, N_VARIANTS)[:, None, None]).astype(
        np.int8
    )
    names = pd.Index([f"v{i}" for i in range(N_VARIANTS)], dtype=object)
    start = np.arange(N_VARIANTS) * 1000
    variants = pd.DataFrame({"contig": "22", "start": start, "ref": "A", "alt": "G"}, index=names)
    donors = pd.Index([f"D{i}" for i in range(N_DONORS)], dtype=object)
    return Genotypes(alleles, np.ones(alleles.shape[:2], bool), variants, donors)


@pytest.fixture(scope="module")
def cells(geno: Genotypes) -> ad.AnnData:
    random = np.random.default_rng(1)
    donor = np.repeat(np.arange(N_DONORS), 8)
    kind = np.tile(["T", "T", "T", "T", "B", "B", "B", "B"], N_DONORS)
    rate = np.tile(random.lognormal(0.5, 0.5, N_GENES), (len(donor), 1))
    for gene in range(0, N_GENES, 3):
        rate[:, gene] *= (2.0 ** geno.alleles[3 * gene]).mean(1)[donor]
    obs = pd.DataFrame({"donor": [f"D{i}" for i in donor], "cell_type": kind})
    obs.index = pd.Index([f"c{i}" for i in range(len(obs))], dtype=object)
    place = {"contig": "22", "tss": np.linspace(0, 1000 * N_VARIANTS - 1000, N_GENES).astype(int)}
    var = pd.DataFrame(place, index=pd.Index([f"g{i}" for i in range(N_GENES)], dtype=object))
    return ad.AnnData(sparse.csr_matrix(random.poisson(rate).astype(np.float32)), obs=obs, var=var)


@pytest.fixture(scope="module")
def study(cells: ad.AnnData, geno: Genotypes, tmp_path_factory: pytest.TempPathFactory) -> EffectStudy:
    folder = tmp_path_factory.mktemp("study") / "study"
    init_study(cells, geno, labels_key="cell_type", config=CONFIG, seed=3).save(folder)
    return EffectStudy.load(folder)


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def parts_of(study: EffectStudy, geno: Genotypes, n: int, folder: Path) -> list[EffectPart]:
    for k in range(n):
        fit_part(study, geno, (k, n)).save(folder / str(k), study.seed)
    return [EffectPart.load(folder / str(k)) for k in reversed(range(n))]


@pytest.mark.parametrize("n", [1, 3])
def test_parts_make_the_model_of_one_fit_bit_for_bit(
    n: int, study: EffectStudy, cells: ad.AnnData, geno: Genotypes, tmp_path: Path
) -> None:
    whole = EffectModel.fit(cells, geno, labels_key="cell_type", config=CONFIG, seed=3)
    assert sum(len(p.gene) for p in whole.posteriors.values()) > 0
    parts = parts_of(study, geno, n, tmp_path)
    assert all(0 < len(part.genes[0]) <= N_GENES for part in parts)  # every part has work
    assert sorted(np.concatenate([part.genes[0] for part in parts])) == list(range(N_GENES))
    joined = EffectModel.join(study, parts, geno)
    for name in whole.posteriors:
        for f in fields(EffectPosterior):
            a, b = (getattr(m.posteriors[name], f.name) for m in (whole, joined))
            assert a.dtype == b.dtype, f.name
            np.testing.assert_array_equal(a, b, err_msg=f.name)
    whole.save(tmp_path / "whole")
    joined.save(tmp_path / "joined")
    assert files(tmp_path / "whole") == files(tmp_path / "joined")
    pd.testing.assert_frame_equal(whole.sample(seed=1), EffectModel.load(tmp_path / "joined").sample(seed=1))


def test_more_parts_than_batches_leave_some_empty(study: EffectStudy, geno: Genotypes, tmp_path: Path) -> None:
    parts = parts_of(study, geno, 9, tmp_path)
    assert min(len(part.genes[0]) for part in parts) == 0
    whole = EffectModel.join(study, [fit_part(study, geno)], geno)
    joined = EffectModel.join(study, parts, geno)
    pd.testing.assert_frame_equal(whole.table(), joined.table())


def test_what_does_not_belong_together_is_refused(study: EffectStudy, geno: Genotypes, tmp_path: Path) -> None:
    one, two = (EffectPart((k, 2), [], [], [], study.digest) for k in range(2))
    with pytest.raises(TrainingError, match="parts 1 of 2 are given"):
        EffectModel.join(study, [one], geno)
    with pytest.raises(TrainingError, match="parts 1, 1 of 2 are given"):
        EffectModel.join(study, [one, one], geno)
    with pytest.raises(TrainingError, match=r"parts are of \[2, 3\] parts in all"):
        EffectModel.join(study, [one, replace(two, shard=(1, 3))], geno)
    with pytest.raises(TrainingError, match="under another study"):
        EffectModel.join(study, [one, replace(two, study="else")], geno)
    with pytest.raises(ArtefactError, match="donor D0 of the study has no genotypes"):
        fit_part(study, geno.subset(donors=list(geno.donors[1:])))
    study.save(tmp_path / "study")
    with pytest.raises(ArtefactError, match="is a model of kind 'effect-study'"):
        EffectModel.load(tmp_path / "study")
