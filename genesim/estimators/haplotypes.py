"""`HaplotypeModel`: phased genotypes of new donors, learned from phased genotypes of real ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from genesim import rng
from genesim.config.base import parse
from genesim.config.model import HaplotypeConfig
from genesim.config.scenario import Pulse
from genesim.console import log, progress
from genesim.data.genotypes.record import ABSENT, MISSING, Genotypes, stack_variants
from genesim.data.ploidy import Intervals, expected_copies, kind_of, set_ploidy, sexes
from genesim.errors import ConfigError, JoinError, TrainingError
from genesim.estimators.haplotype_admixture import Shares, sample_admixed
from genesim.estimators.haplotype_carriers import check_required, required_alleles
from genesim.estimators.haplotype_contig import ContigModel, contig_windows, fit_contig
from genesim.estimators.haplotype_impute import impute_genotypes
from genesim.estimators.haplotype_inputs import (
    ALL,
    aligned_alleles,
    ancestry_codes,
    ancestry_labels,
    apportioned,
    genetic_positions,
    phased_haplotypes,
    stacked_copies,
    training_copies,
)
from genesim.estimators.haplotype_write import write_drawn
from genesim.models.catalog import card, spec
from genesim.models.haplotypes.windows import WindowedChain
from genesim.provenance.record import Provenance
from genesim.train.store import restored, save_model

KIND = "haplotypes"


class HaplotypeModel:
    """One chain a contig, independent of each other given a donor's ancestry. Make one with `fit` or `load`.

    The default method, `anchmm`, learns ancestral haplotypes and does not store donors; yet its weights
    let their holder test who was in the training data better than the haplotypes it draws do, so share
    haplotypes, not weights, where training data are confidential. `mosaic` stores the donors outright.

    Attributes:
        ancestries: Labels that donors can be drawn of.
        ancestry_mix: Share of each in the training donors.
        config: How it was fitted.
        contigs: The fitted contigs.
    """

    kind = KIND

    def __init__(
        self,
        contigs: Sequence[ContigModel],
        ancestry_mix: Mapping[str, float],
        config: HaplotypeConfig,
        seed: int,
        contig_lengths: Mapping[str, int | None],
    ) -> None:
        self.contigs = tuple(contigs)
        self.ancestry_mix = dict(ancestry_mix)
        self.config = config
        self.seed = seed
        self.contig_lengths = dict(contig_lengths)

    @property
    def ancestries(self) -> tuple[str, ...]:
        return tuple(self.ancestry_mix)

    @property
    def variants(self) -> pd.DataFrame:
        """Every variant of the model, in order, with the `frequency` of ALT among the training donors."""
        return pd.concat([part.variants for part in self.contigs])

    @property
    def history(self) -> dict[str, tuple[float, ...]]:
        """Mean log-likelihood a haplotype (nats) before each EM pass, by contig."""
        return {part.contig: part.history for part in self.contigs}

    @classmethod
    def fit(
        cls,
        geno: Genotypes,
        ancestry: pd.Series | None = None,
        *,
        config: HaplotypeConfig | None = None,
        seed: int = 0,
        checkpoint_dir: str | Path | None = None,
        genetic_map: pd.DataFrame | None = None,
        sex: pd.Series | None = None,
        par: Intervals | None = None,
        shard: tuple[int, int] | None = None,
    ) -> HaplotypeModel:
        """Learn from phased genotypes.

        Args:
            geno: Phased genotypes; missing alleles are summed out, haploid donors count once.
            ancestry: Label of each donor, indexed by donor id; None treats everyone alike.
            config: Method and sizes.
            seed: Decides the start of the EM.
            checkpoint_dir: Where to keep checkpoints and go on from the newest (anchmm).
            genetic_map: Columns `contig`, `pos` (1-based), `cM`; where switches are expected.
            sex: `female` or `male`, indexed by donor: makes calls of chrX, chrY and MT those of the copies that
                donors have (`set_ploidy`), so that males called homozygous on chrX count once too.
            par: Pseudoautosomal regions of chrX, 0-based half-open; by the contig's length where None.
            shard: `(k, n)`, k from 0, fits every n-th window of the contigs only; `join` makes the n shards, fitted
                anywhere, the very model that one fit gives.

        Raises:
            VcfError: An unphased heterozygote.
            JoinError: A donor without ancestry or sex, or a map without a contig.
            ConditionError, ConfigError: A sex, or a chrX, whose copies are not known (see `set_ploidy`).
            TrainingError: No donors or no variants.
            ResourceError: The model does not fit into memory.
        """
        config = config or HaplotypeConfig()
        if not geno.n_donors or not geno.n_variants:
            raise TrainingError(
                f"there are {geno.n_donors} donors and {geno.n_variants} variants to learn from",
                where="genotypes",
                remedy="relax the filters or choose another region",
            )
        labels = ancestry_labels(geno, ancestry)
        known = sorted(set(labels))
        codes = np.repeat(ancestry_codes(labels, known), 2)
        geno = geno if sex is None else set_ploidy(geno, sex, par)
        haplotypes = phased_haplotypes(geno)
        copying = spec("haplotypes", config.method).copies
        names = geno.variants["contig"].to_numpy(object)
        frequency = np.nan_to_num(geno.allele_frequency())
        k, n_shards = shard or (0, 1)
        if not 0 <= k < n_shards:
            raise ConfigError(f"shard {k} of {n_shards}", where="fit", remedy="count shards from 0")
        parts, n_windows = [], 0
        for number, contig in enumerate(dict.fromkeys(names)):
            rows = np.flatnonzero(names == contig)
            here = np.arange(n_windows, n_windows + len(contig_windows(len(rows), config)))
            n_windows += len(here)
            mine = np.flatnonzero(here % n_shards == k)
            if not len(mine):
                continue
            variants = geno.variants.iloc[rows].assign(frequency=frequency[rows])
            log.info("haplotypes of contig %s: %d variants", contig, len(rows))
            alleles = haplotypes if len(rows) == haplotypes.shape[1] else haplotypes[:, rows]
            if kind_of(str(contig)) != "autosome":
                alleles = training_copies(
                    alleles, codes, rng.generator(seed, KIND, contig, "fill") if copying else None
                )
            parts.append(
                fit_contig(
                    contig,
                    variants,
                    alleles,
                    codes,
                    len(known),
                    config=config,
                    centimorgans=genetic_positions(contig, variants["start"].to_numpy(), genetic_map),
                    has_map=genetic_map is not None,
                    key=rng.key(seed, KIND, contig),
                    checkpoint_dir=None if checkpoint_dir is None else Path(checkpoint_dir) / f"{number:03d}",
                    windows=mine.tolist(),
                )
            )
        mix = {name: float(np.mean(labels == name)) for name in known}
        return cls(parts, mix, config, seed, geno.contig_lengths)

    @classmethod
    def join(cls, shards: Sequence[HaplotypeModel]) -> HaplotypeModel:
        """The model whose shards these are.

        Raises:
            ConfigError: They are not shards of one fit.
            TrainingError: A shard is lacking.
        """
        if not shards or any(
            (part.config, part.seed, part.ancestry_mix) != (shards[0].config, shards[0].seed, shards[0].ancestry_mix)
            for part in shards
        ):
            raise ConfigError(
                "shards differ in their settings, or there are none", where="join", remedy="fit them alike"
            )
        found: dict[str, ContigModel] = {}
        for part in (contig for model in shards for contig in model.contigs):
            found[part.contig] = found[part.contig].joined(part) if part.contig in found else part
        first = shards[0]
        order = list(dict.fromkeys([*first.contig_lengths, *found]))
        whole = cls(
            sorted(found.values(), key=lambda part: order.index(part.contig)),
            first.ancestry_mix,
            first.config,
            first.seed,
            first.contig_lengths,
        )
        for part in whole.contigs:
            if isinstance(part.chain, WindowedChain):
                part.chain.check_complete()
        return whole

    def assign_ancestry(
        self,
        n_donors: int,
        ancestry: Mapping[str, int | float] | None = None,
        donors: Sequence[str] | None = None,
    ) -> pd.Series:
        """Labels of the donors that `sample` draws with the same arguments, in blocks of one ancestry.

        Raises:
            ConditionError: An ancestry that the model does not know.
            ConfigError: Counts that do not add up, or another number of donor ids.
        """
        if ancestry is not None:
            ancestry_codes(list(ancestry), self.ancestries)
        if n_donors < 0:
            raise ConfigError(f"n_donors is {n_donors}", where="sample", remedy="ask for 0 or more")
        if donors is None:
            width = max(4, len(str(n_donors)))
            donors = [f"SIM{number:0{width}d}" for number in range(1, n_donors + 1)]
        if len(donors) != n_donors:
            raise ConfigError(
                f"{len(donors)} donor ids were given for {n_donors} donors",
                where="donors",
                remedy="give one id a donor",
            )
        counts = apportioned(self.ancestry_mix if ancestry is None else ancestry, n_donors)
        labels = np.repeat(np.array(list(counts), object), list(counts.values()))
        return pd.Series(labels, index=pd.Index(list(donors), dtype=object, name="donor"), name="ancestry")

    def sample(
        self,
        n_donors: int,
        ancestry: Mapping[str, int | float] | None = None,
        seed: int = 0,
        donors: Sequence[str] | None = None,
        sex: pd.Series | None = None,
        par: Intervals | None = None,
        require: Mapping[str, int] | None = None,
    ) -> Genotypes:
        """Phased genotypes of new donors `SIM0001`, `SIM0002`, ...

        Args:
            n_donors: How many.
            ancestry: Counts (whole numbers) or shares (other numbers) by label; the training mix where
                None. `assign_ancestry` with the same arguments tells who is of which.
            seed: A donor's genotypes depend on the seed, the contig, its id and its ancestry only.
            donors: Ids instead of `SIM...`.
            sex, par, require: See `sample_for`.

        Raises:
            ConditionError, ConfigError, JoinError: See `assign_ancestry` and `sample_for`.
        """
        labels = self.assign_ancestry(n_donors, ancestry, donors)
        return self.sample_for(labels, seed=seed, sex=sex, par=par, require=require)

    def sample_for(
        self,
        ancestry: Sequence[str] | pd.Series,
        donors: Sequence[str] | pd.Index | None = None,
        seed: int = 0,
        sex: pd.Series | None = None,
        par: Intervals | None = None,
        require: Mapping[str, int] | None = None,
    ) -> Genotypes:
        """Phased genotypes of the given donors, each of its given ancestry.

        Args:
            ancestry: One label a donor; a Series carries the donor ids in its index.
            donors: One id a donor, where `ancestry` has none.
            seed: As in `sample`.
            sex: `female` or `male`, indexed by donor. Males then have one copy of chrX outside PAR (the second
                is absent) and of chrY, females a missing call on chrY, everyone one copy of MT. Without it a
                contig has one copy where no training donor had two.
            par: Pseudoautosomal regions of chrX, 0-based half-open; by the contig's length where None.
            require: Copies of ALT (0, 1 or 2), by variant id, that every donor has: a cohort of carriers. All
                other alleles, and who carries on which copy, are drawn given them. Autosomes only.

        Raises:
            ConditionError: An ancestry that the model does not know, or a sex other than female or male.
            ConfigError: No donor ids, another number of them, or a chrX of unknown build.
            InputError: A repeated donor id.
            JoinError: A donor without sex, or a required variant that the model does not have.
        """
        check_required(require or {}, self.variants)
        ids = ancestry.index if donors is None and isinstance(ancestry, pd.Series) else donors
        if ids is None or len(ids) != len(ancestry):
            raise ConfigError(
                f"{0 if ids is None else len(ids)} donor ids were given for {len(ancestry)} labels",
                where="donors",
                remedy="give one id a label, or a Series indexed by donor",
            )
        index = pd.Index([str(donor) for donor in ids], dtype=object, name="donor")
        codes = np.repeat(ancestry_codes([str(label) for label in ancestry], self.ancestries), 2)
        labels = None if sex is None else sexes(sex, index)
        alleles = [
            self.with_ploidy(part, self._draw(part, index, codes, seed, require), labels, par)
            for part in progress(self.contigs, "haplotypes")
        ]
        return self.genotypes(alleles, index)

    def write_sample(
        self,
        path: str | Path,
        n_donors: int,
        ancestry: Mapping[str, int | float] | None = None,
        seed: int = 0,
        donors: Sequence[str] | None = None,
        sex: pd.Series | None = None,
        par: Intervals | None = None,
        provenance: Provenance | None = None,
    ) -> Path:
        """Draw new donors straight into a VCF or BCF, a run of variants at a time: for more than memory holds.

        Args:
            path: `.bcf` (fastest), `.vcf.gz` or `.vcf`; the file holds what `sample` with the same arguments gives.
            n_donors, ancestry, seed, donors, sex, par: See `sample`.
            provenance: Adds its header lines; how the sample was made where None.

        Raises:
            ConditionError, ConfigError: See `assign_ancestry` and `sample_for`.
            ResourceError: The file cannot be written.
        """
        drawn = self.assign_ancestry(n_donors, ancestry, donors)
        record = provenance or Provenance("sample haplotypes", seed, {"n_donors": n_donors})
        return write_drawn(self, path, drawn, seed, sex, par, record)

    def sample_admixed(
        self,
        n_donors: int,
        pulses: Sequence[Pulse | tuple[int, Mapping[str, float]]] | None = None,
        *,
        seed: int = 0,
        donors: Sequence[str] | None = None,
        shares: Shares | None = None,
        generations: float = 10,
        genetic_map: pd.DataFrame | None = None,
        sex: pd.Series | None = None,
        par: Intervals | None = None,
    ) -> tuple[Genotypes, pd.DataFrame]:
        """Phased genotypes of admixed donors, and the true ancestry of every stretch of every copy.

        Args:
            n_donors: How many.
            pulses: `(generations ago, {ancestry: share})`. The oldest pulse's shares add up to 1: the first
                admixed people were born then. A later one's are the part of the population's copies that
                it replaces. How donors differ follows from their pedigrees (`genesim.simulate.admixture`).
            seed: A donor depends on the seed, the contig, its id and these arguments only.
            donors: Ids instead of `SIM...`.
            shares: Instead of pulses, global proportions: {ancestry: share} for all, or a table [donor,
                ancestry].
            generations: With `shares`, switches a morgan.
            genetic_map: Columns `contig`, `pos` (1-based), `cM`; 1.2 cM/Mb without one.
            sex, par: See `sample_for`.

        Returns:
            Genotypes, and tracts: `donor`, `copy` (0 or 1), `contig`, `start`, `end` (0-based half-open,
            bp), `ancestry`; they cover every copy from 0 to the contig's end. `write_local_ancestry` writes them.

        Raises:
            ConditionError: An ancestry that the model does not know.
            ConfigError: Pulses that do not add up, neither or both of pulses and shares.
            InputError: Shares that cannot be used.
        """
        return sample_admixed(
            self,
            n_donors,
            pulses,
            seed=seed,
            donors=donors,
            shares=shares,
            generations=generations,
            genetic_map=genetic_map,
            sex=sex,
            par=par,
        )

    @staticmethod
    def _draw(
        part: ContigModel, donors: pd.Index, codes: np.ndarray, seed: int, require: Mapping[str, int] | None
    ) -> np.ndarray:
        """Haplotypes [2 * donor, variant] of one contig."""
        if not len(donors):
            return np.zeros((0, len(part.variants)), np.int8)
        keys = rng.keys(rng.key(seed, KIND, part.contig), [(donor, copy) for donor in donors for copy in (0, 1)])
        given = required_alleles(part, require, donors, codes, seed) if require else None
        return part.chain.sample(keys, codes, given=given).alleles

    def with_ploidy(
        self, part: ContigModel, haplotypes: np.ndarray, sex: np.ndarray | None, par: Intervals | None = None
    ) -> np.ndarray:
        """Drawn haplotypes as alleles [variant, donor, 2], without the copies that donors do not have."""
        alleles = stacked_copies(haplotypes)
        if sex is None or kind_of(part.contig) == "autosome":
            if part.haploid:
                alleles[:, :, 1] = ABSENT
            return alleles
        copies = expected_copies(part.contig, part.variants["start"].to_numpy(), sex, self.contig_lengths, par)
        alleles[:, :, 1][copies < 2] = ABSENT
        alleles[:, :, 0][copies == 0] = MISSING
        return alleles

    def genotypes(self, alleles: Sequence[np.ndarray], donors: pd.Index) -> Genotypes:
        """The contigs' drawn alleles as phased genotypes of the model's variants."""
        together = stack_variants(list(alleles))
        return Genotypes(
            alleles=together,
            phased=together[:, :, 0] != MISSING,
            variants=self.variants.drop(columns="frequency"),
            donors=donors,
            contig_lengths=dict(self.contig_lengths),
        )

    def _labels(self, geno: Genotypes, ancestry: pd.Series | None) -> np.ndarray:
        if ancestry is None and self.ancestries != (ALL,):
            raise ConfigError(
                "the model knows several ancestries and the donors' own are not given",
                where="ancestry",
                remedy="pass a Series of labels indexed by donor",
            )
        return np.repeat(ancestry_codes(ancestry_labels(geno, ancestry), self.ancestries), 2)

    def _checked(self, geno: Genotypes) -> np.ndarray:
        unknown = geno.variants.index.difference(self.variants.index)
        if len(unknown):
            raise JoinError(
                f"{len(unknown)} variants are not in the model, the first is '{unknown[0]}'",
                where="genotypes",
                remedy="keep the model's variants only: geno.subset(variants=...)",
            )
        return phased_haplotypes(geno)

    def log_likelihood(self, geno: Genotypes, ancestry: pd.Series | None = None) -> pd.Series:
        """Natural-log probability of each donor's haplotypes, summed over copies and contigs.

        Missing alleles, and variants of the model that `geno` lacks, are summed out exactly.

        Raises:
            VcfError: An unphased heterozygote.
            JoinError: Variants that the model does not have, or donors without ancestry.
        """
        haplotypes, codes = self._checked(geno), self._labels(geno, ancestry)
        total = np.zeros(geno.n_donors)
        for part in self.contigs:
            alleles, _ = aligned_alleles(geno, haplotypes, part.variants)
            rows = part.chain.log_likelihood(alleles, codes).astype(float)
            total += rows.reshape(-1, 2).sum(1)
        return pd.Series(total, index=geno.donors, name="log_likelihood")

    def impute(self, geno: Genotypes, ancestry: pd.Series | None = None, *, untyped: bool = False) -> Genotypes:
        """Fill missing alleles with the likelier one, given the rest of the haplotype.

        Args:
            geno: Phased genotypes at variants of the model.
            ancestry: Label of each donor; not needed where the model was given none.
            untyped: Also return the model's variants that `geno` lacks, all of them imputed.

        Raises:
            VcfError: An unphased heterozygote.
            JoinError: Variants that the model does not have, or donors without ancestry.
        """
        return impute_genotypes(self, geno, self._checked(geno), self._labels(geno, ancestry), untyped=untyped)

    def save(self, directory: str | Path, provenance: Provenance | None = None) -> Path:
        """Write the model as one directory, atomically.

        Raises:
            ResourceError: It cannot be written.
        """
        settings = self.config.model_dump(mode="json")
        stored = [part.store() for part in self.contigs]
        arrays = {f"{number:03d}": part for number, (part, _) in enumerate(stored)}
        metadata = {
            "card": card("haplotypes", self.config.method),
            "config": settings,
            "seed": self.seed,
            "ancestry_mix": self.ancestry_mix,
            "contig_lengths": self.contig_lengths,
            "contigs": [described for _, described in stored],
        }
        record = provenance or Provenance("train haplotypes", self.seed, settings)
        return save_model(directory, KIND, arrays, metadata, record)

    @classmethod
    def load(cls, directory: str | Path) -> HaplotypeModel:
        """Read what `save` wrote.

        Raises:
            ArtefactError: Absent, incomplete, altered, or not a haplotype model.
        """
        with restored(directory, KIND) as stored:
            metadata = stored.metadata
            config = parse(HaplotypeConfig, metadata["config"], where=str(directory))
            mix = metadata["ancestry_mix"]
            parts = [
                ContigModel.restore(stored.arrays[f"{number:03d}"], described, config, len(mix))
                for number, described in enumerate(metadata["contigs"])
            ]
            return cls(parts, mix, config, metadata["seed"], metadata["contig_lengths"])
