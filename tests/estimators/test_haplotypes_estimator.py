"""`HaplotypeModel` on genotypes: fit, sample, impute, save; and what it refuses."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from genesim.config.inputs import GenotypePolicy
from genesim.config.model import HaplotypeConfig
from genesim.data.genotypes import read_genotypes
from genesim.data.genotypes.record import Genotypes
from genesim.errors import ArtefactError, ConditionError, ConfigError, JoinError, TrainingError, VcfError
from genesim.estimators import haplotype_contig
from genesim.estimators.haplotype_inputs import genetic_positions
from genesim.estimators.haplotypes import HaplotypeModel

SIZES = {"21": 12, "22": 12}
SMALL = HaplotypeConfig(n_states=4, n_passes=3, minibatch_size=32)


def genotypes(n_donors: int = 40, seed: int = 0, sizes: dict[str, int] = SIZES) -> tuple[Genotypes, pd.Series]:
    """Donors of two ancestries that copy their own two templates on each contig."""
    stream = np.random.default_rng(seed)
    ancestry = np.arange(n_donors) % 2
    parts, rows = [], []
    for contig, n in sizes.items():
        templates = np.random.default_rng(len(contig) + n).integers(0, 2, (2, 2, n))
        state = stream.integers(0, 2, (n_donors, 2))
        alleles = np.empty((n, n_donors, 2), np.int8)
        for m in range(n):
            state = np.where(stream.random(state.shape) < 0.1, 1 - state, state)
            alleles[m] = templates[ancestry[:, None], state, m] ^ (stream.random(state.shape) < 0.02)
        parts.append(alleles)
        rows += [(f"rs{contig}_{m}", contig, 1000 * m, "A", "C") for m in range(n)]
    alleles = np.concatenate(parts)
    variants = pd.DataFrame(rows, columns=["id", "contig", "start", "ref", "alt"]).set_index("id")
    donors = pd.Index([f"D{i}" for i in range(n_donors)], dtype=object)
    geno = Genotypes(alleles, np.ones(alleles.shape[:2], bool), variants, donors, dict.fromkeys(sizes, 50000))
    return geno, pd.Series(np.array(["YRI", "FIN"], object)[ancestry], index=donors)


@pytest.fixture(scope="module")
def fitted() -> HaplotypeModel:
    geno, ancestry = genotypes()
    return HaplotypeModel.fit(geno, ancestry, config=SMALL)


def test_new_donors_have_the_model_s_variants_and_the_asked_ancestry(fitted: HaplotypeModel) -> None:
    geno, ancestry = genotypes()
    drawn = fitted.sample(48, {"YRI": 24, "FIN": 24}, seed=1)
    assert drawn.donors[:2].tolist() == ["SIM0001", "SIM0002"]
    pd.testing.assert_frame_equal(drawn.variants, geno.variants)
    assert drawn.phased.all()
    assert drawn.contig_lengths == geno.contig_lengths
    labels = fitted.assign_ancestry(48, {"YRI": 24, "FIN": 24})
    assert labels.index.equals(drawn.donors)

    def frequency(of: Genotypes, which: pd.Series, label: str) -> np.ndarray:
        return of.subset(donors=(which == label).to_numpy()).allele_frequency()

    for label, other in (("YRI", "FIN"), ("FIN", "YRI")):
        ours = frequency(drawn, labels, label)
        right = np.abs(ours - frequency(geno, ancestry, label)).mean()
        assert right < 0.1
        assert np.abs(ours - frequency(geno, ancestry, other)).mean() > 2 * right


def test_a_donor_depends_on_seed_contig_and_id_only(fitted: HaplotypeModel) -> None:
    labels = pd.Series(["FIN", "YRI", "FIN"], index=["a", "b", "c"])
    drawn = fitted.sample_for(labels, seed=4)
    alone = fitted.sample_for(["YRI"], ["b"], seed=4)
    np.testing.assert_array_equal(alone.alleles[:, 0], drawn.alleles[:, 1])
    assert (fitted.sample_for(labels, seed=5).alleles != drawn.alleles).any()
    assert len(np.unique(drawn.alleles[:, [0, 2]].reshape(24, 4), axis=1).T) > 1  # same ancestry, other donor


def test_carriers_have_what_is_required_and_the_rest_follows_it(fitted: HaplotypeModel) -> None:
    geno, _ = genotypes()
    everyone = fitted.sample(3000, {"YRI": 3000}, seed=1)
    spread = everyone.allele_frequency()
    at, near, other = 3, 4, 9  # variants of contig 21
    assert 0.1 < spread[at] < 0.9
    for dosage in (0, 1, 2):
        drawn = fitted.sample(600, {"YRI": 600}, seed=2, require={geno.variants.index[at]: dosage})
        assert (drawn.dosage()[at] == dosage).all()
        like = everyone.subset(donors=everyone.dosage()[at] == dosage)
        assert like.n_donors > 100
        difference = drawn.dosage().mean(1) - like.dosage().mean(1)
        assert np.abs(difference).max() < 0.25  # five SE
    neighbour = [fitted.sample(400, {"YRI": 400}, seed=2, require={geno.variants.index[at]: d}) for d in (0, 2)]
    gaps = [abs(float(np.diff([g.dosage()[m].mean() for g in neighbour])[0])) for m in (near, other)]
    assert gaps[0] > 0.5  # carriers differ from the others nearby
    # Two heterozygous variants in coupling are drawn in coupling.
    pair = fitted.sample(400, {"YRI": 400}, seed=3, require=dict.fromkeys(geno.variants.index[[at, near]], 1))
    phase = (pair.alleles[at] == pair.alleles[near]).all(1).mean()
    real = everyone.subset(donors=(everyone.dosage()[[at, near]] == 1).all(0))
    assert abs(phase - (real.alleles[at] == real.alleles[near]).all(1).mean()) < 0.1
    with pytest.raises(JoinError, match="rs_none"):
        fitted.sample(2, {"YRI": 2}, require={"rs_none": 1})
    with pytest.raises(ConfigError, match="dosage"):
        fitted.sample(2, {"YRI": 2}, require={geno.variants.index[0]: 3})


def windowed() -> HaplotypeConfig:
    return SMALL.model_copy(update={"fit_window": 14, "fit_overlap": 4, "block_size": 2, "n_passes": 1})


def test_shards_joined_are_the_model_fitted_at_once(tmp_path: Path) -> None:
    geno, ancestry = genotypes(sizes={"21": 30, "22": 12})
    whole = HaplotypeModel.fit(geno, ancestry, config=windowed())
    shards = [HaplotypeModel.fit(geno, ancestry, config=windowed(), shard=(k, 3)) for k in range(3)]
    for number, shard in enumerate(shards):
        shard.save(tmp_path / str(number))
    joined = HaplotypeModel.join([HaplotypeModel.load(tmp_path / str(number)) for number in (2, 0, 1)])
    joined.save(tmp_path / "joined")
    for model in (joined, HaplotypeModel.load(tmp_path / "joined")):
        np.testing.assert_array_equal(model.sample(6, seed=2).alleles, whole.sample(6, seed=2).alleles)
        pd.testing.assert_series_equal(model.log_likelihood(geno, ancestry), whole.log_likelihood(geno, ancestry))
    with pytest.raises(TrainingError, match="not fitted"):
        HaplotypeModel.join(shards[:1] + shards[2:])
    with pytest.raises(ConfigError, match="settings"):
        HaplotypeModel.join([shards[0], HaplotypeModel.fit(geno, ancestry, config=windowed(), shard=(1, 3), seed=1)])
    with pytest.raises(ConfigError, match="shard 3 of 3"):
        HaplotypeModel.fit(geno, ancestry, config=windowed(), shard=(3, 3))


def test_ld_across_a_seam_is_that_of_the_data_and_not_that_of_windows_apart() -> None:
    geno, ancestry = genotypes(400, sizes={"21": 24})
    config = windowed().model_copy(update={"n_passes": 8, "block_size": 1})
    model = HaplotypeModel.fit(geno, ancestry, config=config)
    (_, end), (_, _) = model.contigs[0].chain.bounds  # type: ignore[union-attr]
    drawn = model.sample(400, seed=1).haplotypes()
    real = geno.haplotypes()

    def across(x: np.ndarray) -> np.ndarray:
        """r of every variant of the last three before the seam with the first three behind it."""
        r = np.corrcoef(x[:, end - 3 : end + 3].T)
        return np.nan_to_num(r[:3, 3:])

    error = np.abs(across(drawn) - across(real)).max()
    apart = drawn.copy()
    apart[:, end:] = np.random.default_rng(0).permutation(apart[:, end:])
    assert error < 0.2  # SE of r with 800 haplotypes of either kind: .05
    assert np.abs(across(apart) - across(real)).max() > 0.4


@pytest.mark.parametrize("name", ["new.bcf", "new.vcf.gz"])
def test_what_is_written_is_what_is_drawn(tmp_path: Path, name: str) -> None:
    geno, ancestry = genotypes(sizes={"21": 30, "X": 12})
    behind_par1 = geno.variants["start"] + 5_000_000 * (geno.variants["contig"] == "X")
    geno = dataclasses.replace(
        geno,
        variants=geno.variants.assign(start=behind_par1),
        contig_lengths={"21": 50_000, "X": 155_270_560},  # GRCh37
    )
    model = HaplotypeModel.fit(geno, ancestry, config=windowed())
    sex = pd.Series(["female", "male", "male"], index=["a", "b", "c"])
    drawn = model.sample(3, {"YRI": 2, "FIN": 1}, seed=5, donors=list(sex.index), sex=sex)
    assert (drawn.alleles[30:, 1, 1] == -2).any()
    path = model.write_sample(tmp_path / name, 3, {"YRI": 2, "FIN": 1}, seed=5, donors=list(sex.index), sex=sex)
    policy = GenotypePolicy(min_allele_count=0, max_missing=1.0)
    found = read_genotypes(path, policy=policy)
    np.testing.assert_array_equal(found.alleles, drawn.alleles)
    pd.testing.assert_index_equal(found.variants.index, drawn.variants.index, check_names=False)


def test_contigs_fitted_apart_are_the_contigs_fitted_together() -> None:
    geno, ancestry = genotypes()
    config = SMALL.model_copy(update={"method": "markov"})
    together = HaplotypeModel.fit(geno, ancestry, config=config).sample(5, seed=4)
    part = geno.subset(variants=(geno.variants["contig"] == "22").to_numpy())
    apart = HaplotypeModel.fit(part, ancestry, config=config).sample(5, seed=4)
    np.testing.assert_array_equal(apart.alleles, together.alleles[12:])


def test_the_training_mix_is_the_default(fitted: HaplotypeModel) -> None:
    assert fitted.ancestry_mix == {"FIN": 0.5, "YRI": 0.5}
    assert fitted.assign_ancestry(5).value_counts().to_dict() == {"FIN": 3, "YRI": 2}
    assert fitted.assign_ancestry(10, {"YRI": 0.9, "FIN": 0.1}).value_counts().to_dict() == {
        "YRI": 9,
        "FIN": 1,
    }
    assert fitted.sample(0).alleles.shape == (24, 0, 2)


def test_missing_alleles_are_imputed_better_than_by_frequency(fitted: HaplotypeModel) -> None:
    truth, ancestry = genotypes(seed=7)
    hidden = truth.alleles.copy()
    mask = np.zeros(hidden.shape, bool)
    mask[1::3] = True
    hidden[mask] = -1
    geno = dataclasses.replace(truth, alleles=hidden)
    filled = fitted.impute(geno, ancestry)
    np.testing.assert_array_equal(filled.alleles[~mask], truth.alleles[~mask])
    right = (filled.alleles == truth.alleles)[mask].mean()
    major = (truth.allele_frequency() > 0.5)[:, None, None]
    assert right > (np.broadcast_to(major, mask.shape) == truth.alleles)[mask].mean() + 0.05
    assert right > 0.75
    shuffled = truth.variants.index[::-1]
    turned = fitted.impute(geno.subset(variants=shuffled), ancestry)
    np.testing.assert_array_equal(turned.alleles[::-1], filled.alleles)
    typed = geno.subset(variants=np.flatnonzero(~mask.any((1, 2))))
    np.testing.assert_array_equal(fitted.impute(typed, ancestry, untyped=True).alleles, filled.alleles)


def test_likelihood_prefers_the_right_ancestry_and_sums_over_contigs(fitted: HaplotypeModel) -> None:
    geno, ancestry = genotypes(seed=7)
    right = fitted.log_likelihood(geno, ancestry)
    wrong = fitted.log_likelihood(geno, ancestry.map({"YRI": "FIN", "FIN": "YRI"}))
    assert (right > wrong).mean() > 0.9
    parts = [
        fitted.log_likelihood(geno.subset(variants=(geno.variants["contig"] == c).to_numpy()), ancestry) for c in SIZES
    ]
    np.testing.assert_allclose(parts[0] + parts[1], right, rtol=1e-5)


@pytest.mark.parametrize("method", ["anchmm", "independent", "markov", "mosaic"])
def test_a_saved_model_draws_the_same(method: str, tmp_path: Path) -> None:
    geno, ancestry = genotypes(20, sizes={"22": 12})
    model = HaplotypeModel.fit(geno, ancestry, config=SMALL.model_copy(update={"method": method, "n_passes": 1}))
    model.save(tmp_path / "m")
    again = HaplotypeModel.load(tmp_path / "m")
    assert again.ancestry_mix == model.ancestry_mix
    assert again.history == model.history
    pd.testing.assert_frame_equal(again.variants, model.variants, check_names=False)
    np.testing.assert_array_equal(again.sample(8, seed=3).alleles, model.sample(8, seed=3).alleles)
    victim = tmp_path / "m" / "model.json"
    victim.write_text(victim.read_text().replace("rs22_0", "rs22_x"))
    with pytest.raises(ArtefactError, match="differs"):
        HaplotypeModel.load(tmp_path / "m")


def test_the_same_seed_gives_the_same_model_and_a_run_goes_on(tmp_path: Path) -> None:
    geno, ancestry = genotypes(20, sizes={"22": 12})
    config = SMALL.model_copy(update={"n_passes": 5})
    whole = HaplotypeModel.fit(geno, ancestry, config=config, checkpoint_dir=tmp_path)
    resumed = HaplotypeModel.fit(geno, ancestry, config=config, checkpoint_dir=tmp_path)
    again = HaplotypeModel.fit(geno, ancestry, config=config)
    assert whole.history == resumed.history == again.history
    (history,) = whole.history.values()
    assert len(history) == 5
    assert history[-1] > history[0] + 1


def test_haploid_and_missing_copies() -> None:
    geno, ancestry = genotypes(20, sizes={"X": 12})
    markov = SMALL.model_copy(update={"method": "markov"})
    alleles = geno.alleles.copy()
    alleles[:, ::4, 1] = -2
    mixed = HaplotypeModel.fit(dataclasses.replace(geno, alleles=alleles), ancestry, config=markov)
    assert (mixed.sample(4).alleles >= 0).all()
    hidden = alleles.copy()
    hidden[3] = np.where(hidden[3] == -2, -2, -1)
    filled = mixed.impute(dataclasses.replace(geno, alleles=hidden), ancestry)
    assert (filled.alleles[:, ::4, 1] == -2).all()
    assert (filled.alleles != -1).all()
    alleles[:, :, 1] = -2
    haploid = HaplotypeModel.fit(dataclasses.replace(geno, alleles=alleles), ancestry, config=markov)
    drawn = haploid.sample(4)
    assert (drawn.alleles[:, :, 1] == -2).all()
    assert (drawn.alleles[:, :, 0] >= 0).all()


def test_unphased_heterozygotes_are_refused_by_name() -> None:
    geno, ancestry = genotypes()
    alleles, phased = geno.alleles.copy(), geno.phased.copy()
    phased[:] = False
    alleles[:, :, 1] = alleles[:, :, 0]
    homozygous = dataclasses.replace(geno, alleles=alleles, phased=phased)
    config = SMALL.model_copy(update={"method": "independent"})
    HaplotypeModel.fit(homozygous, ancestry, config=config)  # homozygotes need no phase
    half = alleles.copy()
    half[2, 0, 1] = -1
    HaplotypeModel.fit(dataclasses.replace(homozygous, alleles=half), ancestry, config=config)
    alleles = alleles.copy()
    alleles[5, 3] = (0, 1)
    with pytest.raises(VcfError, match=r"rs21_5, donor D3.*phase"):
        HaplotypeModel.fit(dataclasses.replace(geno, alleles=alleles, phased=phased), ancestry, config=config)


def test_what_cannot_be_done_is_refused_with_a_remedy(fitted: HaplotypeModel) -> None:
    geno, ancestry = genotypes()
    with pytest.raises(ConditionError, match=r"'CHB'.*FIN, YRI"):
        fitted.sample(2, {"CHB": 2})
    with pytest.raises(ConfigError, match="add up to 3"):
        fitted.sample(2, {"YRI": 3})
    with pytest.raises(ConfigError, match="not negative"):
        fitted.sample(2, {"YRI": -1.0})
    with pytest.raises(ConfigError, match="donor ids"):
        fitted.sample_for(["YRI"])
    with pytest.raises(JoinError, match=r"no ancestry.*'D39'"):
        HaplotypeModel.fit(geno, ancestry.iloc[:-1], config=SMALL)
    with pytest.raises(TrainingError, match="0 variants"):
        HaplotypeModel.fit(geno.subset(variants=[]), ancestry, config=SMALL)
    with pytest.raises(ConfigError, match="several ancestries"):
        fitted.log_likelihood(geno)
    stranger = dataclasses.replace(geno, variants=geno.variants.rename({"rs21_3": "rs9"}))
    with pytest.raises(JoinError, match="rs9"):
        fitted.impute(stranger, ancestry)
    swapped = geno.variants.assign(ref="G")
    with pytest.raises(JoinError, match="G>C here and A>C in the model"):
        fitted.impute(dataclasses.replace(geno, variants=swapped), ancestry)


def test_a_model_too_large_for_memory_is_refused_before_it_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    from genesim.errors import ResourceError

    geno, ancestry = genotypes()
    monkeypatch.setattr(haplotype_contig, "required_bytes", lambda *_: 1 << 60)
    with pytest.raises(ResourceError, match="one contig or region"):
        HaplotypeModel.fit(geno, ancestry, config=SMALL)


def test_a_genetic_map_is_interpolated_checked_and_used(monkeypatch: pytest.MonkeyPatch) -> None:
    table = pd.DataFrame({"chr": [22, 22, 21], "pos": [1001, 3001, 5], "cM": [0.0, 4.0, 0.0]})
    found = genetic_positions("chr22", np.array([0, 1000, 2000, 3000, 1_003_000]), table)
    np.testing.assert_allclose(found, [-0.0012, 0, 2, 4, 5.2])
    with pytest.raises(JoinError):
        genetic_positions("chr1", np.array([0]), table)
    geno, ancestry = genotypes(20, sizes={"22": 12})
    given: list[np.ndarray | None] = []
    start = haplotype_contig.AncHmm.initialise

    def spy(*arguments: object) -> object:
        given.append(arguments[5])  # type: ignore[arg-type]
        return start(*arguments)  # type: ignore[arg-type]

    def stop(*_: object, **__: object) -> None:
        raise TrainingError("far enough")

    monkeypatch.setattr(haplotype_contig.AncHmm, "initialise", spy)
    monkeypatch.setattr(haplotype_contig, "fit", stop)
    for table_or_none in (table, None):
        with pytest.raises(TrainingError, match="far enough"):
            HaplotypeModel.fit(geno, ancestry, config=SMALL, genetic_map=table_or_none)
    np.testing.assert_allclose(given[0], genetic_positions("22", geno.variants["start"].to_numpy(), table))
    assert given[1] is None
