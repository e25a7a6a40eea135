"""A cohort of the user's VCF: its donors, its genotypes in the models' names, and what did not fit, counted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from genesim import rng
from genesim.config.inputs import GenotypePolicy
from genesim.config.scenario import Scenario
from genesim.console import log
from genesim.data.contigs import reconcile_contigs
from genesim.data.donors import UNKNOWN, read_donor_table
from genesim.data.genotypes import Genotypes, read_genotypes
from genesim.errors import ConfigError, InputError, JoinError
from genesim.estimators.effect_donors import match_sites
from genesim.simulate.disease import Liability
from genesim.simulate.donor_effects import draw_ages
from genesim.simulate.population import assign_batches


def read_cohort(scenario: Scenario, variants: pd.DataFrame, seed: int) -> tuple[Genotypes, pd.DataFrame, pd.Series]:
    """Genotypes, donors and frequencies of the cohort that the scenario names.

    Variants that the models know carry the models' names and training frequencies; others keep theirs, with the
    cohort's own frequency. `report` counts `known_variants`, `other_variants`, `swapped_variants` (REF and ALT the
    other way round: treated as others), `absent_variants` (of the models, not in the VCF) and `unphased_calls`.

    Args:
        variants: Of the models: contig, start, ref, alt, frequency.

    Raises:
        VcfError: The VCF cannot be read.
        JoinError: None of its variants is known, or the donor table and the VCF do not fit.
        ConfigError: More donors are asked for than there are.
    """
    population = scenario.population
    policy = GenotypePolicy(min_allele_count=0)
    read = read_genotypes(population.vcf, policy=policy)  # type: ignore[arg-type]
    where = str(population.vcf)
    contigs = list(dict.fromkeys(variants["contig"].astype(str)))
    names = reconcile_contigs(dict.fromkeys(read.variants["contig"].astype(str)), contigs, missing="skip", where=where)
    mine = {there: here for here, there in names.items()}
    kept = read.variants["contig"].isin(list(mine)).to_numpy()
    if not kept.any():
        raise JoinError(
            f"has no variant on the models' contigs {', '.join(contigs[:5])}",
            where=where,
            remedy="give genotypes of the genome that the models were trained on",
        )
    geno = read.subset(variants=kept)
    table = geno.variants.assign(contig=geno.variants["contig"].map(mine).to_numpy(object))
    match = match_sites(variants, table)
    same = match.found & ~match.turned
    if not same.any():
        raise JoinError(
            f"has none of the models' {len(variants)} variants ({match.n_other_alleles} have their position and other "
            "alleles)",
            where=where,
            remedy="give genotypes of the models' genome build, with REF as in its reference",
        )
    own = geno.allele_frequency()
    frequency = np.nan_to_num(own)
    frequency[match.row[same]] = variants["frequency"].to_numpy()[same]
    ids = table.index.to_numpy(object).copy()
    known = np.zeros(len(ids), bool)
    known[match.row[same]] = True
    taken = set(variants.index)
    # Another variant of the file may bear the name of one of the models'.
    for at in np.flatnonzero(~known):
        if ids[at] in taken:
            row = table.iloc[at]
            ids[at] = f"{row['contig']}_{row['start'] + 1}_{row['ref']}_{row['alt']}_other"
    ids[match.row[same]] = variants.index.to_numpy(object)[same]
    table.index = pd.Index(ids, dtype=object, name="variant")
    lengths = {mine.get(name, name): length for name, length in geno.contig_lengths.items()}
    unphased = int((~geno.phased & (geno.alleles[:, :, 0] != geno.alleles[:, :, 1]) & (geno.alleles >= 0).all(2)).sum())
    report = {
        **geno.report,
        "known_variants": int(same.sum()),
        "other_variants": int((~known).sum()),
        "swapped_variants": int(match.turned.sum()),
        "absent_variants": int((~match.found).sum()),
        "other_contigs": int((~kept).sum()),
        "unphased_calls": unphased,
    }
    log.info("cohort of %s: %s", where, ", ".join(f"{name} {n}" for name, n in report.items() if n))
    if unphased:
        log.warning("%d heterozygous calls are not phased: copies are taken as they are written", unphased)
    geno = replace(geno, variants=table, contig_lengths=lengths, report=report)
    donors = _donors(scenario, geno.donors, where, seed)
    chosen = geno.subset(donors=donors.pop("genotype_id").to_numpy(object))
    return replace(chosen, donors=donors.index), donors, pd.Series(frequency, index=table.index)


def _donors(scenario: Scenario, genotyped: pd.Index, where: str, seed: int) -> pd.DataFrame:
    """Index donor; genotype_id, ancestry, sex, batch, age and the donor table's other columns; in the file's order."""
    population = scenario.population
    ids = [str(name) for name in genotyped]
    if population.donor_table is None:
        donors = pd.DataFrame({"genotype_id": ids}, index=pd.Index(ids, dtype=object, name="donor"))
    else:
        table = read_donor_table(population.donor_table)
        own = table["genotype_id"] if "genotype_id" in table else pd.Series("", index=table.index, dtype=object)
        table["genotype_id"] = np.where(own == "", table.index.to_numpy(object), own)
        absent = [name for name in table["genotype_id"] if name not in set(ids)]
        if absent:
            raise JoinError(
                f"names {len(absent)} donors that the VCF lacks: {', '.join(absent[:8])}",
                where=str(population.donor_table),
                remedy=f"name donors as {where} does, in the column donor or genotype_id",
            )
        place = {name: at for at, name in enumerate(ids)}
        donors = table.iloc[np.argsort([place[name] for name in table["genotype_id"]], kind="stable")].copy()
        donors.index = pd.Index(donors.index.to_numpy(object), dtype=object, name="donor")
    for column in ("ancestry", "sex"):
        if column not in donors:
            donors[column] = np.full(len(donors), UNKNOWN, object)
    donors = donors[["ancestry", "sex", *[name for name in donors if name not in ("ancestry", "sex")]]]
    reserved = sorted({"batch", "cell_type", "n_cells", "risk", "liability", "case", "candidate"} & set(donors))
    if reserved:
        raise InputError(
            f"has the column '{reserved[0]}', which the simulation writes itself",
            where=str(population.donor_table),
            remedy="rename it",
        )
    n = population.n_donors
    if n is not None and scenario.disease is not None and scenario.disease.is_sampled:
        n = None  # all are candidates: `take_given` takes so many of either status
    if n is not None and n > len(donors):
        raise ConfigError(
            f"population.n_donors is {n}, and there are {len(donors)}", where=where, remedy="ask for fewer"
        )
    if n is not None:
        rows = rng.generator(seed, "population", "of vcf").permutation(len(donors))[:n]
        donors = donors.iloc[np.sort(rows)]
    if population.age is not None and "age" not in donors:
        donors["age"] = draw_ages(population.age, len(donors), rng.generator(seed, "population", "age"))
    if "age" in donors and not pd.api.types.is_numeric_dtype(donors["age"]):
        raise InputError("has an age that is no number", where=str(population.donor_table), remedy="give years")
    if population.age is not None and donors["age"].isna().any():
        raise InputError(
            f"has no age of donor '{donors.index[donors['age'].isna()][0]}'",
            where=str(population.donor_table),
            remedy="give every donor's age, or leave the column out to draw them",
        )
    donors = donors.copy()
    donors.insert(2, "batch", assign_batches(len(donors), scenario.cells.batches.n, seed))
    return donors


def take_given(
    scenario: Scenario, genotypes: Genotypes, donors: pd.DataFrame, liability: Liability, seed: int
) -> tuple[Genotypes, pd.DataFrame]:
    """So many cases and controls of a given cohort as the disease asks for, taken at random.

    Raises:
        ConfigError: There are fewer.
    """
    disease, n = scenario.disease, scenario.population.n_donors
    if disease is None or n is None:
        return genotypes, donors
    case = liability.scores(liability.risk(genotypes), donors, scenario.population, donors.index)["case"].to_numpy()
    n_cases = disease.cases_of(n)
    stream = rng.generator(seed, "population", "of vcf", "status")
    rows = []
    for value, wanted in ((True, n_cases), (False, n - n_cases)):
        there = np.flatnonzero(case == value)
        if len(there) < wanted:
            raise ConfigError(
                f"{len(there)} donors of the VCF are {'cases' if value else 'controls'}, {wanted} are asked for",
                where="scenario.disease",
                remedy="ask for fewer, or change the prevalence",
            )
        rows.append(stream.permutation(there)[:wanted])
    chosen = np.sort(np.concatenate(rows))
    return genotypes.subset(donors=chosen), donors.iloc[chosen].copy()
