"""Model cards: what each model is, what it was trained on, how it does on held-out donors, and where it ends."""

from __future__ import annotations

from genesim.release.facts import ModelFacts, RunFacts, counts
from genesim.release.records import ModelCard, Training, shown

NO_MECHANISM = "none: trained without differential privacy, so there is no epsilon to state"
_DATA = {"expression": ("cells",), "haplotypes": ("genotypes",), "effects": ("cells", "genotypes")}
_GROUP_METRICS = {
    "expression": ("gene_mean_rmse", "group_classifier_auc", "group_typing_error"),
    "haplotypes": ("allele_frequency_rmse", "ld_decay_error", "donor_membership_auc"),
    "effects": ("group_effect_error",),
}
_INTENDED = (
    "Research on methods and pipelines: testing, benchmarking, teaching, planning of sample sizes.",
    "Augmenting training sets of research models, where the gain is measured on real held-out donors.",
)
_AVOID = (
    "Decisions about a person's diagnosis, treatment, insurance or employment.",
    "Estimates of effects or frequencies that real data could give: simulated data hold no new evidence.",
    "Conclusions on ancestries, cell types or conditions that the training data do not have.",
)
_LIMITS = {
    "expression": (
        "Cells are drawn given cell type and covariates as the training donors had them; anything else is not known.",
        "Rare cell types rest on few training cells.",
    ),
    "haplotypes": (
        "Variants that are rare in the training donors are the least faithful.",
        "Only the variants of the training file are known, without structural variants.",
    ),
    "effects": (
        "Effects are linear, additive and in cis; a variant's effect can be that of a neighbour in linkage.",
        "Strength is shrunk towards zero where donors are few.",
    ),
}


def _limits(model: ModelFacts, facts: RunFacts) -> tuple[str, ...]:
    found = list(_LIMITS.get(model.modality, ()))
    if model.card["copies"]:
        found.insert(
            0, "It hands out stretches of training haplotypes by design: its output is as sensitive as they are."
        )
    dealt = facts.info.get("inputs", {}).get("deal", [])
    if "donors" in dealt and model.modality == "effects":
        found.append("Cells were dealt to genotyped donors at random: learned effects are those of no real pair.")
    if "genes" in dealt and model.modality == "effects":
        found.append("Positions of genes without annotation were dealt at random.")
    found.append("Weights can reveal who was in training; they are not in the bundle.")
    return tuple(found)


def model_card(model: ModelFacts, facts: RunFacts) -> ModelCard:
    """The card of one model of the run."""
    needed = _DATA.get(model.modality, ())
    train, held_out = (
        facts.donors[
            (facts.donors["split"] == split) & facts.donors[[f"has_{data}" for data in needed]].all(axis=1).astype(bool)
        ]
        for split in ("train", "test")
    )
    answers, part = facts.answers, model.name.partition("/")[2]
    subject = f"{model.modality} {part}".strip()
    rows = [row for row in facts.weakest_first if row.subject == subject]
    return ModelCard(
        name=model.name,
        modality=model.modality,
        method=model.card["id"],
        title=model.card["title"],
        fitted_by=model.card["fitted_by"],
        hands_out_training_haplotypes=model.card["copies"],
        citations=tuple(model.card["citations"]),
        model_sha256=model.sha256,
        seed=model.provenance["seed"],
        settings=dict(model.provenance["config"]),
        versions=dict(model.provenance["versions"]),
        training=Training(
            cohort_sha256=facts.cohort_sha256,
            n_donors=shown(len(train)),
            n_cells=facts.n_train_cells if "cells" in needed else None,
            n_genes=model.n_genes,
            n_variants=model.n_variants,
            ancestry=counts(train["ancestry"]),
            sex=counts(train["sex"]),
            held_out_donors=shown(len(held_out)),
        ),
        intended_uses=answers.intended_uses or _INTENDED,
        uses_to_avoid=(*answers.uses_to_avoid, *_AVOID),
        limits=_limits(model, facts),
        privacy_mechanism=NO_MECHANISM,
        scores=tuple(rows),
        groups=tuple(row for row in facts.group_rows if row.metric in _GROUP_METRICS.get(model.modality, ())),
    )
