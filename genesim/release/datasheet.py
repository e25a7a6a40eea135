"""The data sheet: what the record of a run answers is answered, the releaser answers the rest or leaves it open."""

from __future__ import annotations

import difflib

from genesim.errors import ConfigError
from genesim.release.facts import RunFacts
from genesim.release.privacy import MIN_DONORS
from genesim.release.questions import QUESTIONS
from genesim.release.records import Answer, DataSheet, shown


def _recorded(facts: RunFacts) -> dict[str, tuple[str, str | None]]:
    """Answers that the record gives, and the file that shows each."""
    made, inputs = facts.simulated_donors, facts.info.get("inputs", {})
    n_effects_table = "data/truth/effects.parquet"
    types = ", ".join(f"{name}: {n:,}" for name, n in sorted(facts.cell_types.items()))
    groups = ", ".join(f"{name}: {n}" for name, n in made["ancestry"].astype(str).value_counts().sort_index().items())
    sexes = ", ".join(f"{name}: {n}" for name, n in made["sex"].astype(str).value_counts().sort_index().items())
    models = ", ".join(f"{m.name} ({m.card['title']})" for m in facts.models)
    dealt = inputs.get("deal", [])
    found: dict[str, tuple[str, str | None]] = {
        "instances": (
            "Simulated donors: each has phased genotypes and single cells with integer counts. No instance describes a "
            "real person or cell.",
            "data/provenance.json",
        ),
        "n_instances": (
            f"{len(made):,} donors, {facts.n_simulated_cells:,} cells x {facts.n_genes:,} genes, "
            f"{facts.n_variants:,} variants.",
            "data/provenance.json",
        ),
        "sample": (
            "They are draws from trained models; any number more could be drawn. How well they represent the training "
            "donors is measured, not assumed.",
            "fairness.json",
        ),
        "features": (
            "Genotypes: phased alleles at biallelic variants (VCF). Cells: integer counts per gene (h5ad). Truth: "
            f"tables of {', '.join(facts.tables)}.",
            "data/provenance.json",
        ),
        "labels": (
            f"Cell type ({types or 'none'}), donor, ancestry and sex; and the planted effects as ground truth.",
            n_effects_table,
        ),
        "missing": (f"{facts.n_missing_calls:,} genotype calls; no count is missing.", "data/sim.vcf.gz"),
        "relationships": (
            "Every cell names its donor; donors of a scenario with families have a pedigree table.",
            "data/truth/donors.parquet",
        ),
        "errors": (
            "Simulated data differ from real ones; each known difference is a row of the scores, beside what real data "
            "reach and what a naive generator reaches.",
            "evidence/scores.csv",
        ),
        "self_contained": ("Self-contained.", "manifest.sha256"),
        "offensive": ("No: numbers and identifiers of genes and variants.", None),
        "subpopulations": (f"Ancestry ({groups}) and sex ({sexes}), as the scenario asked.", "fairness.json"),
        "identify_persons": (
            "No simulated donor is a person. Whether training donors can be learned about was tested in part; "
            "privacy.json lists what was tested, what was found and what was not tested.",
            "privacy.json",
        ),
        "acquired": (f"Drawn from trained models: {models}.", "cards/"),
        "mechanisms": (
            f"genesim {facts.simulation['versions']['genesim']} with the versions and seed of the provenance record; "
            "validated on donors kept from all training.",
            "evidence/scores.csv",
        ),
        "sampling": ("Random draws given the scenario; the seed is recorded.", "data/scenario.yaml"),
        "preprocessing": (
            "Of the training data: checks and policies with counts, donors joined and split so that none is on both "
            f"sides ({inputs.get('held_out', 'a')} held out)."
            + (f" Assigned at random because the inputs are not paired: {', '.join(dealt)}." if dealt else ""),
            "training.json",
        ),
        "raw_saved": ("The raw training data are not in the bundle; their hashes are.", "training.json"),
        "software": ("Yes, genesim, with the versions that the provenance records.", "ro-crate-metadata.json"),
        "use_impact": (
            "Groups with few training donors may be simulated worse, or cannot be judged: see the worst group.",
            "fairness.json",
        ),
        "older_versions": (
            "A bundle is never changed: any change voids its approval, so a new version is a new bundle.",
            "manifest.sha256",
        ),
    }
    train = facts.donors_with("genotypes", "train")
    if len(train) < MIN_DONORS:
        found["use_impact"] = (
            f"Only {shown(len(train))} genotyped donors were trained on; no group can be judged.",
            "fairness.json",
        )
    return found


def _given(facts: RunFacts) -> dict[str, str]:
    """What the releaser said, also under the general keys."""
    answers = facts.answers
    known = {question.id for question in QUESTIONS}
    for id in answers.datasheet:
        if id not in known:
            near = difflib.get_close_matches(id, known, 1)
            raise ConfigError(
                f"the data sheet has no question {id!r}",
                where="answers.datasheet",
                remedy=f"did you mean {near[0]!r}?" if near else "`genesim release questions` lists them",
            )
    general = {
        "creators": answers.publisher,
        "contact": answers.contact,
        "license": answers.license,
        "other_uses": "; ".join(answers.intended_uses) or None,
        "unfit_uses": "; ".join(answers.uses_to_avoid) or None,
    }
    return {id: text for id, text in (general | answers.datasheet).items() if text}


def data_sheet(facts: RunFacts) -> DataSheet:
    """The data sheet of a run.

    Raises:
        ConfigError: An answer to a question that there is not.
    """
    recorded, given = _recorded(facts), _given(facts)
    items = []
    for question in QUESTIONS:
        text, file = recorded.get(question.id, (None, None))
        by = None if text is None else "record"
        if question.id in given:
            text, file, by = given[question.id], None, "releaser"
        items.append(
            Answer(
                id=question.id,
                section=question.section,
                question=question.text,
                answer=text,
                answered_by=by,  # type: ignore[arg-type]
                file=file,
            )
        )
    return DataSheet(items=tuple(items), not_answered=tuple(item.id for item in items if item.answer is None))
