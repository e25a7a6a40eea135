"""One person's genotypes and trained models -> predicted expression per gene and cell type, and what moved it.

The chain is variant -> gene -> program -> cell type. Every link is linear: a genetic value is the sum of effect times
centred dosage, a program's shift the projection of the genetic values on its loadings.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from genesim.config.inputs import GenotypePolicy
from genesim.console import log
from genesim.data.genotypes import Genotypes, input_files, read_genotypes
from genesim.data.write import write_csv, write_parquet
from genesim.errors import ArtefactError, ConfigError, JoinError
from genesim.estimators.effect_donors import SiteMatch, match_sites, matched_dosages
from genesim.estimators.effects import EffectModel
from genesim.estimators.expression import ExpressionModel
from genesim.estimators.haplotypes import HaplotypeModel
from genesim.models.expression.generator import ExpressionGenerator
from genesim.pipeline import person_tables as tables
from genesim.pipeline.person_population import n_linked, population_dosages
from genesim.pipeline.simulate import Models, haplotype_folders
from genesim.provenance.atomic import atomic_directory
from genesim.provenance.record import Provenance, hash_input, hash_inputs
from genesim.report.figures import Figure
from genesim.report.person_figures import person_genes, write_person_png

MIN_FOUND = 0.01
"""Share of the model's variants below which the genotypes are of another build, or another place."""
MIN_POPULATION = 20
CAVEAT = (
    "Predicted, not measured: genetic values of cis effects only. Trans effects, environment, age and state of the "
    "cells are not in them, and held-out R2 of such predictions can be as low as 5 %; the intervals hold the "
    "uncertainty of the effects, not the spread of measured expression."
)

Absent = Literal["mean", "reference"]


@dataclass(frozen=True)
class PersonPrediction:
    """What the models say of one person's expression.

    Attributes:
        donor: Who.
        genes: gene, cell_type; log2_fold (posterior mean against the mean training donor), low, high (95 %);
            percentile and z among the population's genetic values; baseline_rate (mean fraction of a cell's counts in
            the expression model; NaN where it lacks gene or type); predicted_cp10k (counts per 10,000), predicted_low,
            predicted_high; n_variants, n_variants_absent (no call; the mean is taken), n_credible_sets;
            population_low, _q25, _median, _q75, _high (2.5 to 97.5 % quantiles). Genes without an effect have no row.
        variants: gene, cell_type, variant, contig, position (1-based), ref, alt, dosage (of alt; NaN where absent),
            mean_dosage, pip, effect and effect_sd (log2 a copy), contribution = effect * (dosage - mean_dosage),
            credible_set. Contributions of a gene and cell type add up to its log2_fold.
        programs: cell_type, program; shift (projection of the person's log2 fold changes on the program's loadings,
            in SDs of the program among cells: linear, first order), its population_sd and z; share_of_change (squared
            length of all changes that lies along the program); n_genes; genes (those that carry it, with their
            signed share). Loadings are those of the decoder and the same in all types: types differ by the person's
            changes. Empty without an expression model that has programs.
        notes: What was assumed and what was lacking.
        provenance: How it was made.
    """

    donor: str
    genes: pd.DataFrame
    variants: pd.DataFrame
    programs: pd.DataFrame
    notes: tuple[str, ...]
    provenance: Provenance

    def _title(self) -> str:
        return f"{self.donor}: predicted from genotypes, not measured"

    def figure(self, n_genes: int = 20) -> Figure:
        """The genes of largest |z|, each in its strongest cell type, against the population."""
        return person_genes(tables.strongest(self.genes, n_genes), self._title())

    def write(self, out: str | Path) -> None:
        """Write `genes`, `variants`, `programs` (.parquet and .csv), `person.png`, `notes.txt` and a manifest."""
        with atomic_directory(out) as directory:
            for name in ("genes", "variants", "programs"):
                table: pd.DataFrame = getattr(self, name)
                write_parquet(table, directory / f"{name}.parquet", self.provenance)
                write_csv(table, directory / f"{name}.csv", self.provenance)
            write_person_png(tables.strongest(self.genes, 20), self._title(), directory / "person.png")
            (directory / "notes.txt").write_text("\n".join(self.notes) + "\n", encoding="utf-8")
            (directory / "provenance.json").write_text(self.provenance.to_json() + "\n")


@dataclass(frozen=True)
class _Parts:
    """The models there are: only the effects are needed."""

    effects: EffectModel
    expression: ExpressionModel | None
    haplotypes: tuple[HaplotypeModel, ...]
    inputs: dict[str, str]


def _parts(models: Models | EffectModel | str | Path) -> _Parts:
    if isinstance(models, EffectModel):
        return _Parts(models, None, (), {})
    if isinstance(models, Models):
        if models.effects is None:
            raise ArtefactError("have no effect model", where="models", remedy="train effects first")
        return _Parts(models.effects, models.expression, models.haplotypes, {})
    root = Path(models)
    if not (root / "effects").is_dir():
        raise ArtefactError("has no effect model", where=str(root), remedy="train effects first")
    folders = haplotype_folders(root) if (root / "haplotypes").is_dir() else []
    has_expression = (root / "expression").is_dir()
    used = [root / "effects", *([root / "expression"] if has_expression else []), *folders]
    return _Parts(
        EffectModel.load(root / "effects"),
        ExpressionModel.load(root / "expression") if has_expression else None,
        tuple(HaplotypeModel.load(folder) for folder in folders),
        {str(path.relative_to(root)): hash_input(path) for path in used},
    )


def _one_donor(genotypes: Genotypes, donor: str | None, where: str) -> Genotypes:
    if donor is not None:
        return genotypes.subset(donors=[donor])
    if genotypes.n_donors != 1:
        raise ConfigError(
            f"holds {genotypes.n_donors} donors ({', '.join(map(str, genotypes.donors[:5]))} ...)",
            where=where,
            remedy="say which one: donor= (--donor)",
        )
    return genotypes


def _read(person: Genotypes | str | Path, donor: str | None) -> tuple[Genotypes, str]:
    """The person's genotypes, and what to call them in messages."""
    if isinstance(person, Genotypes):
        return _one_donor(person, donor, "genotypes"), "genotypes"
    # One person's homozygous sites do not vary, and are as good as any other.
    policy = GenotypePolicy(max_missing=1.0, min_allele_count=0)
    read = read_genotypes(person, donors=None if donor is None else [donor], policy=policy)
    return _one_donor(read, donor, str(person)), str(person)


def _some_sites(variants: pd.DataFrame) -> str:
    shown = variants.iloc[np.linspace(0, len(variants) - 1, 3).astype(int)] if len(variants) else variants
    return ", ".join(f"{c}:{s + 1} {r}>{a}" for c, s, r, a in shown[["contig", "start", "ref", "alt"]].to_numpy())


def _check_found(match: SiteMatch, model: EffectModel, genotypes: Genotypes, where: str) -> None:
    n, total = int(match.found.sum()), len(match.row)
    if n and n >= MIN_FOUND * total:
        return
    raise JoinError(
        f"{n} of {total} variants of the effect model are found ({match.n_other_alleles} more have their position but "
        f"other alleles); the model has {_some_sites(model.variants)}, ..., the person has "
        f"{_some_sites(genotypes.variants)}, ...",
        where=where,
        remedy="give genotypes of the model's genome build, with REF as in its reference, that cover its contigs",
    )


def _notes(match: SiteMatch, known: np.ndarray, absent: Absent, n: int, parts: _Parts, n_drawn: int) -> list[str]:
    total, found = len(match.row), int(match.found.sum())
    notes = [
        CAVEAT,
        f"{found} of {total} variants of the effect model are in the genotypes, {int(match.turned.sum())} of them with "
        f"REF and ALT swapped; {match.n_other_alleles} have other alleles there.",
    ]
    if absent == "reference":
        notes.append(
            f"{int((known & ~match.found).sum())} absent variants are taken as homozygous reference, as asked."
        )
    notes.append(
        f"{int((~known).sum())} variants have no call: each is taken at the training mean, and the variance of its "
        "dosage (2pq times the squared effect) widens the interval."
    )
    sources = []
    if n_drawn:
        sources.append(f"{n_drawn} variants from the haplotype model, of the training ancestry mix")
    if n_drawn < total:
        sources.append(
            f"{total - n_drawn} variants, which no haplotype model has, under Hardy-Weinberg at training frequencies, "
            "unlinked"
        )
    notes.append(f"Population: {n} new donors drawn, {'; '.join(sources)}.")
    if parts.expression is None:
        notes.append("There is no expression model: no baseline rates, no programs.")
    elif not isinstance(parts.expression.generator, ExpressionGenerator):
        notes.append("The expression model is a baseline, which has no programs.")
    return notes


def simulate_person(
    person: Genotypes | str | Path,
    models: Models | EffectModel | str | Path,
    *,
    donor: str | None = None,
    n_population: int = 500,
    seed: int = 0,
    absent: Absent = "mean",
    out: str | Path | None = None,
) -> PersonPrediction:
    """Predict one person's expression from genotypes.

    Args:
        person: Genotypes, or a file that `read_genotypes` reads.
        models: Trained models or their directory; effects are needed, expression and haplotypes are used where there.
        donor: Which donor, where there are several.
        n_population: New donors that the person is compared with, at least 20.
        seed: Decides those donors and the baseline cells.
        absent: A variant without a record is taken at the training "mean", which widens the interval, or as
            homozygous "reference": for a call set that holds sites other than reference only. Contigs
            without any record, and missing calls, are taken at the mean either way. Records without an
            alternate allele count as absent.
        out: Directory to write; nothing is written without one.

    Raises:
        ArtefactError: There is no effect model.
        ConfigError: Several donors and no `donor`, or a population too small.
        JoinError: The donor is not there, or less than 1 % of the effect model's variants are: another build.
    """
    if n_population < MIN_POPULATION:
        raise ConfigError(
            f"n_population is {n_population}", where="simulate_person", remedy=f"ask for {MIN_POPULATION} or more"
        )
    if absent not in ("mean", "reference"):
        raise ConfigError(f"absent is {absent!r}", where="simulate_person", remedy="give 'mean' or 'reference'")
    parts = _parts(models)
    effects, expression = parts.effects, parts.expression
    genotypes, where = _read(person, donor)
    match = match_sites(effects.variants, genotypes.variants)
    _check_found(match, effects, genotypes, where)
    dosage = matched_dosages(genotypes, match)[:, 0].astype(np.float64)
    if absent == "reference":
        dosage[~match.found & match.contig_known] = 0.0
    known = ~np.isnan(dosage)
    n_drawn = n_linked(effects.variants, parts.haplotypes)
    notes = _notes(match, known, absent, n_population, parts, n_drawn)

    population = _population_values(effects, parts.haplotypes, n_population, seed)
    loadings = None
    if expression is not None and isinstance(expression.generator, ExpressionGenerator):
        loadings = expression.programs(seed=seed).loadings
    genes, links, programs = {}, {}, {"": pd.DataFrame(columns=list(tables.PROGRAM_COLUMNS))}
    for cell_type in effects.posteriors:
        links[cell_type] = tables.variant_table(effects, cell_type, dosage, known)
        variance = tables.value_variance(effects, cell_type, dosage, known)
        baseline = None if expression is None else tables.baseline_rates(expression, cell_type, seed)
        drawn = population[cell_type]
        table = tables.gene_table(effects.genes.index, cell_type, links[cell_type], variance, drawn, baseline)
        genes[cell_type] = table
        if loadings is not None:
            fold = table.set_index("gene")["log2_fold"]
            values = pd.DataFrame(drawn, index=effects.genes.index)
            programs[cell_type] = tables.program_table(loadings, fold, values, cell_type)
    who = str(genotypes.donors[0])
    inputs = dict(parts.inputs)
    if not isinstance(person, Genotypes):
        inputs["person"] = hash_inputs(input_files(person))
    settings = {
        "donor": who, "n_population": n_population, "absent": absent, "predicted": True, "notes": notes,
    }  # fmt: skip
    filled = {name: part for name, part in programs.items() if len(part)} or programs
    prediction = PersonPrediction(
        who,
        tables.joined(genes),
        tables.joined(links),
        tables.joined(filled),
        tuple(notes),
        Provenance("simulate person", seed, settings, inputs),
    )
    if out is not None:
        prediction.write(out)
        log.info("predicted: %d genes of %s: %s", prediction.genes["gene"].nunique(), who, out)
    return prediction


def _population_values(
    effects: EffectModel, haplotypes: tuple[HaplotypeModel, ...], n_donors: int, seed: int
) -> dict[str, np.ndarray]:
    """Genetic values of new donors by cell type, float32 [gene, donor]; dosages are kept for a block only."""
    shape = len(effects.genes), len(effects.variants)
    weights = {name: tables.coefficients(posterior, *shape) for name, posterior in effects.posteriors.items()}
    centre = 2 * effects.variants["frequency"].to_numpy(float)[:, None]
    blocks: dict[str, list[np.ndarray]] = {name: [] for name in weights}
    for dosage in population_dosages(effects.variants, haplotypes, n_donors, seed):
        for name, weight in weights.items():
            blocks[name].append((weight @ (dosage - centre)).astype(np.float32))
    return {name: np.hstack(parts) for name, parts in blocks.items()}
