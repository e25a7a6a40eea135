"""evaluate: simulated data against held-out real data, every figure between its floor and its null."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import anndata as ad
import numpy as np
import pandas as pd

from genesim import rng
from genesim.config.evaluate import DonorAuditConfig, EvaluateConfig
from genesim.config.inputs import GenotypePolicy
from genesim.config.model import EffectConfig, HaplotypeConfig
from genesim.console import log
from genesim.data.cohort import Cohort, load_cohort
from genesim.data.expression import Cells, open_expression, read_expression
from genesim.data.genotypes import Genotypes, called_throughout, read_genotypes
from genesim.data.genotypes.record import ABSENT
from genesim.data.ploidy import kind_of
from genesim.data.write import write_csv, write_parquet
from genesim.errors import InputError
from genesim.estimators.effects import EffectModel
from genesim.estimators.expression import ExpressionModel
from genesim.estimators.haplotypes import HaplotypeModel
from genesim.evaluate.effects import GeneEffects, evaluate_effects, planted_and_estimated
from genesim.evaluate.haplotypes import evaluate_haplotypes, middle_run
from genesim.evaluate.score import Score
from genesim.evaluate.score_table import ScoreTable
from genesim.models.effects.units import slope_from_afc
from genesim.pipeline.evaluate_cells import (
    HAND_CELLS,
    STREAM_BYTES,
    capped_rows,
    cells_of,
    in_memory,
    is_large,
    score_cells,
    select,
)
from genesim.pipeline.linkage_controls import linkage_of_run
from genesim.pipeline.privacy import audit_privacy
from genesim.pipeline.relatives import held_out_relatives
from genesim.pipeline.true_fold import true_fold
from genesim.provenance.atomic import atomic_directory
from genesim.provenance.manifest import verify_manifest
from genesim.provenance.record import Provenance, hash_input
from genesim.simulate.effects import ALL_TYPES

SIDES: tuple[Literal["test", "train"], ...] = ("test", "train")
_DONORS = 1000
"""Simulated donors that the refit of effects sees, drawn at random where there are more."""
_NULL_GENES_A_GENE = 1
"""Genes without an effect that are scored for each gene with one: they show false discoveries."""


def _haplotype_scores(
    cohort: Cohort,
    genotypes: Genotypes,
    ancestry: pd.Series,
    contig: str,
    related: pd.Index,
    config: EvaluateConfig,
    seed: int,
) -> list[Score]:
    ids = genotypes.variants.index[genotypes.variants["contig"].to_numpy() == contig]
    if kind_of(contig) == "autosome":  # nobody lacks a copy: only what will be compared is brought into memory
        everyone = ((genotypes, None), (cohort.genotypes, None))
        ids = ids[middle_run(called_throughout(everyone, ids), config.max_variants)]
    made = genotypes.subset(variants=ids)
    test, train = (cohort.genotypes_of(side, variants=ids) for side in SIDES)
    known = cohort.donors["ancestry"]
    null = HaplotypeModel.fit(
        train, ancestry=known.reindex(train.donors), config=HaplotypeConfig(method="independent"), seed=seed
    ).sample_for(ancestry.reindex(made.donors), seed=rng.seed(seed, "evaluate", "null"))

    def whole(source: Genotypes, labels: pd.Series) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Haplotypes, labels, and whether of `related`; on sex chromosomes and MT without copies that donors lack."""
        haplotypes = source.haplotypes()
        own = np.repeat(labels.reindex(source.donors).astype(str).to_numpy(), 2)
        kin = np.repeat(source.donors.isin(related), 2)
        if kind_of(contig) == "autosome":
            return haplotypes, own, kin
        kept = (haplotypes != ABSENT).all(axis=1) & (haplotypes >= 0).any(axis=1)
        return haplotypes[kept], own[kept], kin[kept]

    sets = {"test": whole(test, known), "simulated": whole(made, ancestry)}
    sets |= {"train": whole(train, known), "null": whole(null, ancestry)}
    return evaluate_haplotypes(
        sets["test"][0],
        sets["simulated"][0],
        sets["train"][0],
        sets["null"][0],
        position=test.variants["start"].to_numpy(),
        ancestry_test=sets["test"][1],
        ancestry_simulated=sets["simulated"][1],
        ancestry_train=sets["train"][1],
        ancestry_null=sets["null"][1],
        related_test=sets["test"][2],
        seed=seed,
        config=config,
        subject=f"haplotypes {contig}",
    )


def _recovered(
    model: EffectModel, genotypes: Genotypes, truth: pd.DataFrame, genes: Sequence[str]
) -> Iterator[GeneEffects]:
    """What `model` found at `genes` in all cells, beside the planted effects (slopes per allele), gene by gene.

    A planted variant that the model gives no effect counts as estimated at 0, lest power forgets what was missed.
    """
    table = model.table(min_pip=0.0)
    by_gene = dict(list(table[table["cell_type"] == "all"].groupby("gene")))
    names = pd.Index(truth["variant"]).unique()
    planted_at = genotypes.subset(variants=list(names[names.isin(genotypes.variants.index)]))
    frequency_there = planted_at.allele_frequency()
    varying = planted_at.variants.index[(frequency_there > 0) & (frequency_there < 1)]
    truth = truth[truth["variant"].isin(varying)]  # what no donor carries has no effect to be found
    for gene in genes:
        rows, planted_here = by_gene.get(gene, table.iloc[:0]), truth[truth["gene"] == gene]
        names = pd.Index(rows["variant"]).append(pd.Index(planted_here["variant"])).unique()
        if not len(names):
            continue
        near = genotypes.subset(variants=list(names))
        planted, estimate = pd.Series(0.0, index=names), pd.Series(0.0, index=names)
        frequency = near.allele_frequency()[names.get_indexer(planted_here["variant"])]
        planted.loc[planted_here["variant"]] = slope_from_afc(planted_here["log2_afc"].to_numpy(float), frequency)
        estimate.loc[rows["variant"]] = rows["effect"].to_numpy(float)
        sets = rows["credible_set"].to_numpy()
        members = tuple(np.flatnonzero(sets == k) for k in np.unique(sets[sets > 0]))
        yield GeneEffects(near.dosage().T, planted.to_numpy(), estimate.to_numpy(), members)


def _effect_scores(
    cohort: Cohort,
    cells: ad.AnnData,
    genotypes: Genotypes,
    truth: pd.DataFrame,
    expression: Path,
    config: EvaluateConfig,
    effects: EffectConfig,
    seed: int,
) -> tuple[list[Score], pd.DataFrame]:
    """Refit on the simulated cells: are the planted effects found? Effects shared by all cell types are scored."""
    planted = sorted(set(truth["gene"]) - set(truth.loc[truth["cell_type"] != ALL_TYPES, "gene"]))
    placed = cohort.genes[(cohort.genes["contig"] != "")]
    without = sorted(set(placed.index) - set(truth["gene"]))
    stream = rng.generator(seed, "evaluate", "effects")
    n_null = min(len(without), _NULL_GENES_A_GENE * len(planted))
    genes = planted + sorted(stream.choice(np.array(without, object), n_null, replace=False)) if n_null else planted
    positions = placed.loc[[g for g in genes if g in placed.index]]
    if not planted:
        return [], pd.DataFrame({"planted": [], "estimated": [], "found": []})

    def fit(geno: Genotypes) -> EffectModel:
        return EffectModel.fit(cells, geno, positions, donor_key="donor", config=effects, seed=seed)

    shuffled = replace(genotypes, donors=pd.Index(stream.permutation(genotypes.donors.to_numpy()), dtype=object))
    # True expression, measured almost without noise: what the refit could find at best.
    wide = true_fold(expression).reindex(genotypes.donors).reindex(columns=positions.index, fill_value=0.0)
    noisy = wide + 0.05 * stream.standard_normal(wide.shape)
    exact = ad.AnnData(
        noisy.to_numpy(np.float64), obs=pd.DataFrame({"donor": noisy.index.to_numpy()}, index=noisy.index)
    )
    exact.var_names = noisy.columns
    best = EffectModel.fit(
        exact,
        genotypes,
        positions,
        bulk=True,
        scale="log2",
        config=effects.model_copy(update={"n_factors": 0}),
        seed=seed,
    )
    refit = fit(genotypes)
    scores = evaluate_effects(
        _recovered(refit, genotypes, truth, genes),
        _recovered(best, genotypes, truth, genes),
        _recovered(fit(shuffled), genotypes, truth, genes),
        seed=seed,
        config=config,
    )
    columns = zip(
        ("planted", "estimated", "found"),
        planted_and_estimated(_recovered(refit, genotypes, truth, genes)),
        strict=True,
    )
    return scores, pd.DataFrame(dict(columns))


def _donor_audit(
    cohort: Cohort,
    cells: ad.AnnData,
    labels_key: str | None,
    config: DonorAuditConfig | None,
    seed: int,
    model: ExpressionModel | None = None,
) -> tuple[list[Score], dict[str, Any]]:
    """Scores of the attacks on donors, and their whole record; or the reason why they cannot be made."""
    if config is None:
        return [], {"conclusion": "not made", "reason": "left out (evaluate.donor_audit)"}
    log.info("attacking donors")
    keys = tuple(key for key in ("ancestry", "sex") if key in cohort.donors)
    sides = []
    for side in ("train", "test"):
        part = cohort.cells_of(side)
        groups = cohort.donors[list(keys)].astype(str).reindex(part.obs["donor"].astype(str).to_numpy())
        obs = part.obs.drop(columns=list(keys), errors="ignore")
        part.obs = pd.concat([obs, groups.set_axis(obs.index)], axis=1)
        sides.append(part)
    try:
        audit = audit_privacy(
            sides[0],
            sides[1],
            cells,
            donor_key="donor",
            labels_key=labels_key,
            model=model,
            group_keys=keys,
            config=config,
            seed=seed,
        )
    except InputError as error:
        # Too few donors or cells is a finding, and the report shows it; the other scores stand.
        log.warning("no attacks on donors: %s", error)
        return [], {"conclusion": "not made", "reason": str(error)}
    for reason in audit.invalid:
        log.warning("the attacks on donors say nothing: %s", reason)
    for reason in audit.invalid_white_box:
        log.warning("the attack with the model's likelihood says nothing: %s", reason)
    return audit.scores(), audit.to_dict()


def _donors(cells: Cells) -> np.ndarray:
    return cells.obs["donor"].astype(str).to_numpy(object)


def _rows_of(cells: Cells, donors: pd.Index) -> np.ndarray:
    return np.flatnonzero(pd.Index(_donors(cells)).isin(donors))


def _opened(path: Path, stack: ExitStack, labels_key: str | None) -> Cells:
    """Cells of donors, in memory or, where there are many, on disk as long as the stack is open."""
    if not is_large(path):
        return cells_of(read_expression(path, donor_key="donor", labels_key=labels_key))
    keys = {"labels_key": labels_key, "covariate_keys": ("donor",)}
    return stack.enter_context(open_expression(path, stream_bytes=STREAM_BYTES, **keys))  # type: ignore[arg-type]


def _opened_cohort(directory: Path, stack: ExitStack, seed: int) -> tuple[Cohort, Cells]:
    """A cohort whose cells are at most `HAND_CELLS`, and all of its cells, perhaps on disk."""
    if not is_large(directory / "cells.h5ad"):
        cohort = load_cohort(directory, genotypes_on_disk=True)
        return cohort, cells_of(cohort.cells)
    cohort = load_cohort(directory, cells=False, genotypes_on_disk=True)
    real = _opened(directory / "cells.h5ad", stack, cohort.info["inputs"]["labels_key"])
    rows = capped_rows(_donors(real), HAND_CELLS, seed, "cells of the cohort")
    return replace(cohort, cells=in_memory(select(real, rows))), real


def _attacking_models(
    models: str | Path | None, config: EvaluateConfig
) -> tuple[ExpressionModel | None, EffectModel | None, dict[str, str]]:
    """The expression model where it has a likelihood, and the model of effects, as far as asked for; their hashes."""
    if models is None:
        return None, None, {}
    root, sources = Path(models), {}
    expression: ExpressionModel | None = None
    effects: EffectModel | None = None
    if config.white_box and config.donor_audit is not None and (root / "expression").is_dir():
        expression = ExpressionModel.load(root / "expression")
        sources["expression"] = hash_input(root / "expression")
        if expression.config.method != "vae":
            log.info("no white-box attack: method %s has no likelihood of a cell", expression.config.method)
            expression = None
    if config.linkage and (root / "effects").is_dir():
        effects = EffectModel.load(root / "effects")
        sources["effects"] = hash_input(root / "effects")
    return expression, effects, sources


def evaluate_run(
    cohort: Cohort | str | Path,
    simulated: str | Path,
    *,
    out: str | Path,
    models: str | Path | None = None,
    config: EvaluateConfig | None = None,
    effects: EffectConfig | None = None,
    seed: int = 0,
) -> ScoreTable:
    """Score a simulated cohort's cells, haplotypes and effects -> `scores.parquet`, `.csv`, `recovery.parquet`.

    Cells are also compared within cell types, batches and held-out donors: rows with a `stratum`.

    Where held-out donors have cells, the attacks on donors of `config.donor_audit` are made too, within groups by
    ancestry and sex as well -> `donor_privacy.json`. They take some seconds for 40 donors.

    Cells of large files stay on disk (`evaluate`). The attacks and the refit of effects then see `HAND_CELLS` of them,
    every donor's all or as many as any other donor's; copies are looked for among all. The refit sees 1,000 of the
    simulated donors where there are more.

    Args:
        cohort: Real donors, or their directory.
        simulated: Directory that `simulate` wrote.
        out: Directory to write.
        models: Directory of the trained models that the simulation was drawn from: the attack with the expression
            model's likelihood, and the linkage attack through the model of effects. None leaves both out.
        config: Sizes, and which attacks are made.
        effects: Of the refit that looks for planted effects.
        seed: Of every draw.
    """
    config, effects = config or EvaluateConfig(), effects or EffectConfig()
    with ExitStack() as stack:
        simulated = Path(simulated)
        verify_manifest(simulated)
        sources = {"simulated": hash_input(simulated)}
        if isinstance(cohort, Cohort):
            real = cells_of(cohort.cells)
        else:
            sources["cohort"] = hash_input(cohort)
            cohort, real = _opened_cohort(Path(cohort), stack, seed)
        labels_key = cohort.info["inputs"]["labels_key"]
        made = _opened(simulated / "sim.h5ad", stack, labels_key)
        cells = in_memory(select(made, capped_rows(_donors(made), HAND_CELLS, seed, "simulated cells")))
        everything = GenotypePolicy(filters="all", min_allele_count=0, max_missing=1)
        genotypes = read_genotypes(simulated / "sim.vcf.gz", policy=everything)
        genotypes = genotypes.subset(variants=genotypes.variants.index.isin(cohort.genotypes.variants.index))
        tables = {n: pd.read_parquet(simulated / "truth" / f"{n}.parquet") for n in ("effects", "donors")}
        ancestry = tables["donors"].set_index("donor")["ancestry"]

        log.info("evaluating cells")
        test, train = (select(real, _rows_of(real, cohort.donors_of(side).index)) for side in SIDES)
        batch_key = cohort.info["inputs"].get("batch_key")
        batch_key = batch_key if batch_key in real.obs and batch_key in made.obs else None
        scores = score_cells(test, made, train, labels_key, config, seed, batch_key, "donor")
        network, effect_map, hashes = _attacking_models(models, config)
        sources |= hashes
        audited, privacy = _donor_audit(cohort, cells, labels_key, config.donor_audit, seed, network)
        if effect_map is not None:
            log.info("linking expression to genotypes")
            linked, privacy["linkage"] = linkage_of_run(cohort, cells, effect_map, seed)
            audited = [*audited, *linked]
        scores = scores + ScoreTable(audited)
        contigs = list(dict.fromkeys(genotypes.variants["contig"]))
        if not set(ancestry) <= set(cohort.donors["ancestry"]):
            log.warning("no real donors are of the simulated ancestries: haplotypes have nothing to be compared with")
            contigs = []
        related, privacy["relatives"] = held_out_relatives(cohort) if contigs else (pd.Index([]), {"told": False})
        for contig in contigs:
            log.info("evaluating haplotypes of contig %s", contig)
            scores = scores + ScoreTable(_haplotype_scores(cohort, genotypes, ancestry, contig, related, config, seed))
        log.info("evaluating effects")
        # A rare allele that abolishes a gene in some donors is no common effect for a refit to find.
        planted = tables["effects"][tables["effects"]["source"] != "loss_of_function"]
        if genotypes.n_donors > _DONORS:
            drawn = rng.generator(seed, "evaluate", "effects", "donors").permutation(genotypes.n_donors)[:_DONORS]
            genotypes = genotypes.subset(donors=np.sort(drawn))
            log.info("effects are looked for again in %d of the simulated donors", _DONORS)
            rows = _rows_of(made, genotypes.donors)
            kept = capped_rows(_donors(made)[rows], HAND_CELLS, seed, "simulated cells")
            cells = in_memory(select(made, rows[kept]))
        effect_scores, recovery = _effect_scores(
            cohort, cells, genotypes, planted, simulated / "truth" / "expression.parquet", config, effects, seed
        )
        scores = scores + ScoreTable(effect_scores)
        settings = config.model_dump(mode="json") | {"effects": effects.model_dump(mode="json")}
        provenance = Provenance("evaluate", seed, settings, sources)
        with atomic_directory(out) as directory:
            write_parquet(scores.to_frame(), directory / "scores.parquet", provenance)
            write_csv(scores.to_frame(), directory / "scores.csv", provenance)
            write_parquet(recovery, directory / "recovery.parquet", provenance)
            (directory / "donor_privacy.json").write_text(json.dumps(privacy, indent=1, allow_nan=False) + "\n")
        return scores
