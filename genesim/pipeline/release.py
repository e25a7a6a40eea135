"""release: gather a run's simulation, evidence and papers into one bundle that a named person can approve.

Real data and trained weights are not in it. Every part has to be of the same run: the simulation of these models,
the models of this cohort, the evaluation of both.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from genesim.config.base import load as load_record
from genesim.config.inputs import GenotypePolicy
from genesim.config.release import ReleaseAnswers
from genesim.console import log
from genesim.data.cohort import Cohort, load_cohort
from genesim.data.expression import read_expression
from genesim.data.genotypes import Genotypes, read_genotypes
from genesim.data.genotypes.record import MISSING
from genesim.errors import ArtefactError
from genesim.evaluate.score_table import ScoreTable
from genesim.pipeline.release_groups import attack_rows, group_rows
from genesim.pipeline.simulate import haplotype_folders
from genesim.provenance.atomic import check_writable
from genesim.provenance.chain import utc_now
from genesim.provenance.manifest import verify_manifest
from genesim.provenance.paths import without_folders
from genesim.provenance.record import hash_input
from genesim.release.assemble import write_bundle
from genesim.release.check import APPROVAL, Checked, check_bundle, is_bundle
from genesim.release.facts import ModelFacts, RunFacts
from genesim.release.records import Row


@dataclass(frozen=True)
class _Run:
    """The folders of one run, whole and of one another."""

    root: Path
    cohort: Path
    simulated: Path
    evaluation: Path
    models: dict[str, Path]
    simulation: dict[str, Any]

    @classmethod
    def find(cls, root: Path) -> _Run:
        """Check every part of a run.

        Raises:
            ArtefactError: A part is absent, altered or not of this run, or its simulation bears no synthetic mark.
        """
        for name in ("cohort", "models", "sim", "evaluation"):
            if not (root / name).is_dir():
                raise ArtefactError(
                    f"has no folder {name}/",
                    where=str(root),
                    remedy="give the results folder of a whole run: cohort/, models/, sim/, evaluation/",
                )
        simulated, evaluation = root / "sim", root / "evaluation"
        verify_manifest(simulated)
        verify_manifest(evaluation)
        record = json.loads((simulated / "provenance.json").read_text(encoding="utf-8"))
        if record.get("synthetic") is not True:
            raise ArtefactError(
                "bears no synthetic mark", where=str(simulated), remedy="release what `genesim simulate` wrote"
            )
        if (record["config"].get("population") or {}).get("vcf"):
            raise ArtefactError(
                "holds the genotypes of a VCF that the scenario named (population.vcf), not simulated ones",
                where=str(simulated),
                remedy="release a simulation whose donors were drawn from a model",
            )
        folders = {"expression": root / "models" / "expression", "effects": root / "models" / "effects"}
        folders |= {f"haplotypes/{path.name}": path for path in haplotype_folders(root / "models")}
        models = {name: path for name, path in folders.items() if path.is_dir()}
        run = cls(root, root / "cohort", simulated, evaluation, models, record)
        run._check_links()
        return run

    def _check_links(self) -> None:
        def same(what: str, of: str, recorded: Mapping[str, str], key: str, path: Path) -> None:
            if recorded.get(key) != hash_input(path):
                raise ArtefactError(
                    f"the {what} was not made with this {of} ({path.relative_to(self.root)})",
                    where=str(self.root),
                    remedy=f"make the {what} again, so that all parts are of one run",
                )

        for name, path in self.models.items():
            same("simulation", "model", self.simulation["inputs"], name, path)
        scored = self.evaluation / "scores.parquet.provenance.json"
        recorded = json.loads(scored.read_text(encoding="utf-8"))["inputs"]
        same("evaluation", "simulation", recorded, "simulated", self.simulated)
        same("evaluation", "cohort", recorded, "cohort", self.cohort)


def _model_facts(run: _Run) -> Iterator[ModelFacts]:
    # Reading a model imports JAX, which nothing before this needs.
    from genesim.train.store import describe_model

    for name, path in run.models.items():
        described = describe_model(path)
        metadata, provenance = described["metadata"], described["provenance"]
        cohort = provenance["inputs"].get("cohort")
        if cohort is not None and cohort != hash_input(run.cohort):
            raise ArtefactError(
                f"the model {name} was not trained on this cohort",
                where=str(run.root),
                remedy="train it again, so that all parts are of one run",
            )
        contigs = metadata.get("contigs")
        variants = metadata.get("variants") if contigs is None else [v for part in contigs for v in part["ref"]]
        yield ModelFacts(
            name=name,
            modality=described["kind"],
            card=metadata["card"],
            provenance=without_folders(provenance),
            sha256=hash_input(path),
            n_genes=len(metadata["genes"]) if "genes" in metadata else None,
            n_variants=None if variants is None else len(variants),
        )


def _rows(table: ScoreTable) -> list[Row]:
    fields = Row.model_fields
    rows = table.overall.to_frame().to_dict("records")
    return [Row(**{str(k): v for k, v in row.items() if k in fields}) for row in rows]


def _facts(run: _Run, answers: ReleaseAnswers, cohort: Cohort, seed: int) -> RunFacts:
    cells = read_expression(run.simulated / "sim.h5ad", donor_key="donor", labels_key=None)
    everything = GenotypePolicy(filters="all", min_allele_count=0, max_missing=1)
    genotypes: Genotypes = read_genotypes(run.simulated / "sim.vcf.gz", policy=everything)
    donors = pd.read_parquet(run.simulated / "truth" / "donors.parquet").set_index("donor")
    if shared := set(donors.index.astype(str)) & set(cohort.donors.index.astype(str)):
        raise ArtefactError(
            f"{len(shared)} simulated donors are called as real ones of the cohort",
            where=str(run.simulated),
            remedy="set population.prefix in the scenario to a prefix that no real donor has, and simulate again",
        )
    scores = ScoreTable.from_frame(pd.read_parquet(run.evaluation / "scores.parquet"))
    rows, not_scored = group_rows(cohort, cells, genotypes, donors, seed, run.simulated / "truth")
    record = run.evaluation / "donor_privacy.json"
    audit = json.loads(record.read_text(encoding="utf-8")) if record.is_file() else {}
    attacked, not_attacked = attack_rows(audit)
    labels = cells.obs["cell_type"].astype(str).value_counts() if "cell_type" in cells.obs else pd.Series(dtype=int)
    return RunFacts(
        answers=answers,
        cohort_sha256=hash_input(run.cohort),
        simulated_sha256=hash_input(run.simulated),
        evaluation_sha256=hash_input(run.evaluation),
        donors=cohort.donors,
        simulated_donors=donors,
        n_train_cells=int(cohort.cells.obs["donor"].isin(cohort.donors_of("train").index).sum()),
        n_variants=genotypes.n_variants,
        n_missing_calls=int((genotypes.alleles == MISSING).sum()),
        n_genes=cells.n_vars,
        n_simulated_cells=cells.n_obs,
        cell_types={str(k): int(v) for k, v in labels.items()},
        info=without_folders(dict(cohort.info)),
        simulation=run.simulation,
        models=tuple(_model_facts(run)),
        scores=tuple(_rows(scores)),
        group_rows=(*rows, *attacked),
        groups_not_scored=(*not_scored, *not_attacked),
        donor_audit={k: v for k, v in audit.items() if k != "curves"},
        tables=tuple(sorted(p.stem for p in (run.simulated / "truth").glob("*.parquet"))),
    )


def _check_target(out: Path) -> None:
    check_writable(out)
    if not out.exists():
        return
    if not is_bundle(out):
        raise ArtefactError("is there and is no bundle", where=str(out), remedy="choose another folder")
    if (out / APPROVAL).exists():
        raise ArtefactError("is an approved bundle", where=str(out), remedy="choose another folder, or remove it first")


def prepare_release(
    run: str | Path,
    *,
    out: str | Path,
    answers: ReleaseAnswers | str | Path | None = None,
    seed: int = 0,
    time: str | None = None,
) -> Checked:
    """Gather a run into a bundle that waits for approval.

    Args:
        run: Results folder: `cohort/`, `models/`, `sim/`, `evaluation/` and, where there is one, `report.html`.
        out: Folder to write; a bundle that nobody has approved is replaced.
        answers: What only the releaser knows, or its YAML file; `genesim release questions` prints one to fill in.
        seed: Of the scores by group.
        time: UTC, ISO 8601; None takes now.

    Returns:
        The bundle as `check_bundle` finds it, with its hash.

    Raises:
        ArtefactError: A part is absent, altered or of another run; or a file names a path of this machine.
        ConfigError: Answers that cannot be used.
        ResourceError: The location cannot be written.
    """
    out, time = Path(out), time or utc_now()
    if answers is None:
        answers = ReleaseAnswers()
    elif not isinstance(answers, ReleaseAnswers):
        answers = load_record(ReleaseAnswers, answers)
    _check_target(out)
    found = _Run.find(Path(run))
    cohort = load_cohort(found.cohort, genotypes_on_disk=True)
    facts = _facts(found, answers, cohort, seed)

    page = found.root / "report.html"
    write_bundle(
        out,
        facts,
        data=found.simulated,
        evidence=found.evaluation,
        page=page if page.is_file() else None,
        training=json.loads((found.cohort / "cohort.json").read_text(encoding="utf-8")),
        known=[found.root.resolve()],
        time=time,
    )
    checked = check_bundle(out)
    log.info("bundle: %s, hash %s", out, checked.bundle_hash)
    return checked
