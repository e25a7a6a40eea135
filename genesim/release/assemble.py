"""The bundle as a folder: data and evidence copied, papers written, everything listed and logged."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from genesim.config.release import ReleaseAnswers
from genesim.errors import ArtefactError
from genesim.provenance.atomic import atomic_directory
from genesim.provenance.chain import Entry, next_entry, write_chain
from genesim.provenance.manifest import NAME as MANIFEST
from genesim.provenance.manifest import sha256
from genesim.provenance.paths import path_in_file, without_folders
from genesim.provenance.record import versions
from genesim.provenance.tree import listing, plain_files
from genesim.release import markdown
from genesim.release.cards import model_card
from genesim.release.check import APART, APPROVAL, AUDIT, GATHERED, INDEX, PREPARED
from genesim.release.crate import NAME as CRATE
from genesim.release.crate import crate
from genesim.release.datasheet import data_sheet
from genesim.release.facts import RunFacts
from genesim.release.fairness import fairness
from genesim.release.governance import governance
from genesim.release.privacy import privacy
from genesim.release.records import Bundle, to_json

_FILES = {
    "data/": "the simulation: cells (h5ad), genotypes (VCF), truth tables, scenario, provenance",
    "evidence/": "scores against held-out real data, each with its interval, floor and null",
    "report.html": "the evaluation as one page",
    "cards/": "one model card a model",
    "datasheet.md": "the data sheet; datasheet.json is the same for machines",
    "privacy.json": "what was tested of privacy, what it found, what was not tested",
    "fairness.json": "representation and scores by ancestry and sex, and by cell type within them, worst first",
    "governance.md": "which file answers what GMLP, the EU AI Act, HIPAA and NIST SP 800-226 ask for",
    "training.json": "what the training cohort is, as counts and hashes",
    CRATE: "RO-Crate metadata",
    INDEX: "the bundle's index",
    MANIFEST: "SHA-256 of every file but the log and the approval",
    AUDIT: "hash-chained log: what was gathered, approved, released, by whom and when",
    APPROVAL: "the approval, once there is one",
}


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _open_questions(answers: ReleaseAnswers, sheet_open: tuple[str, ...]) -> tuple[str, ...]:
    general = [name for name in ("title", "publisher", "contact", "license") if getattr(answers, name) is None]
    return (*general, *(name for name in sheet_open if name not in general))


def _write_papers(out: Path, facts: RunFacts, training: Mapping[str, Any], time: str) -> None:
    answers = facts.answers
    for model in facts.models:
        card, stem = model_card(model, facts), model.name.replace("/", "-")
        _write(out / "cards" / f"{stem}.json", to_json(card))
        _write(out / "cards" / f"{stem}.md", markdown.card(card))
    sheet, told, table = data_sheet(facts), privacy(facts), governance()
    _write(out / "datasheet.json", to_json(sheet))
    _write(out / "datasheet.md", markdown.data_sheet(sheet))
    _write(out / "privacy.json", to_json(told))
    _write(out / "fairness.json", to_json(fairness(facts)))
    _write(out / "governance.json", to_json(table))
    _write(out / "governance.md", markdown.governance(table))
    cohort = {"format": "genesim-training-1", **without_folders(training), "manifest_sha256": facts.cohort_sha256}
    _write(out / "training.json", json.dumps(cohort, indent=1, sort_keys=True) + "\n")
    title = answers.title or f"Simulated cohort {facts.simulation['config'].get('name', '')}".strip()
    absent = set() if (out / "report.html").exists() else {"report.html"}
    index = Bundle(
        title=title,
        genesim=versions()["genesim"],
        publisher=answers.publisher,
        contact=answers.contact,
        license=answers.license,
        cohort_sha256=facts.cohort_sha256,
        simulated_sha256=facts.simulated_sha256,
        evaluation_sha256=facts.evaluation_sha256,
        models_sha256={model.name: model.sha256 for model in facts.models},
        not_answered=_open_questions(answers, sheet.not_answered),
        files={name: about for name, about in _FILES.items() if name not in absent},
    )
    _write(out / INDEX, to_json(index))
    _write(out / "README.md", markdown.readme(title, told.conclusion, index.files, index.not_answered))
    _write(out / AUDIT, "")  # the crate lists it; its entries come last
    document = crate(
        plain_files(out),
        title=title,
        description=f"Simulated donors, genotypes and single cells with ground truth, made by genesim. {title}.",
        time=time,
        version=versions()["genesim"],
        license=answers.license,
        publisher=answers.publisher,
        cohort=facts.cohort_sha256,
        models=index.models_sha256,
    )
    for node in document["@graph"]:
        if node["@id"] == AUDIT:  # it grows: size and hash would be wrong from the first approval on
            del node["contentSize"], node["sha256"]
    _write(out / CRATE, json.dumps(document, indent=1) + "\n")


def _log_of(facts: RunFacts, bundle_hash: str, time: str) -> tuple[Entry, ...]:
    software = f"genesim {versions()['genesim']}"
    parts = {"cohort": facts.cohort_sha256, **{f"model {m.name}": m.sha256 for m in facts.models}}
    parts |= {"simulation": facts.simulated_sha256, "evaluation": facts.evaluation_sha256}
    entries: tuple[Entry, ...] = ()
    events = [(GATHERED, name, digest) for name, digest in parts.items()] + [(PREPARED, MANIFEST, bundle_hash)]
    for action, subject, digest in events:
        entry = next_entry(entries, actor=software, action=action, subject=subject, sha256=digest, time=time)
        entries = (*entries, entry)
    return entries


def _check_paths(out: Path, known: Sequence[Path]) -> None:
    folders = {str(p) for p in (Path.home(), Path.cwd(), *known) if len(p.parts) > 1}
    for name, path in plain_files(out).items():
        if found := path_in_file(path, sorted(folders)):
            raise ArtefactError(
                f"{name} names a path of this machine ({found})",
                where="release",
                remedy="run the step that wrote it again with paths relative to the working directory",
            )


def write_bundle(
    out: Path,
    facts: RunFacts,
    *,
    data: Path,
    evidence: Path,
    page: Path | None,
    training: Mapping[str, Any],
    known: Sequence[Path] = (),
    time: str,
) -> None:
    """Write a bundle, whole or not at all.

    Args:
        out: Folder to write; one that is there is replaced.
        facts: What the papers are written from.
        data: Folder of the simulation.
        evidence: Folder of the evaluation.
        page: The report, where there is one.
        training: The cohort's description.
        known: Folders of this machine that no file may name, besides home and working directory.
        time: UTC, ISO 8601.

    Raises:
        ArtefactError: A file is a link, or names a path of this machine.
        ConfigError: An answer to a question that there is not.
        ResourceError: The location cannot be written.
    """

    def seal(directory: Path) -> None:
        files = {name: path for name, path in plain_files(directory).items() if name not in APART}
        _write(directory / MANIFEST, listing(files))
        write_chain(directory / AUDIT, _log_of(facts, sha256(directory / MANIFEST), time))

    with atomic_directory(out, seal) as directory:
        # Links stay links, so that `plain_files` refuses them instead of copying what they point at.
        shutil.copytree(data, directory / "data", symlinks=True)
        shutil.copytree(evidence, directory / "evidence", symlinks=True)
        if page is not None:
            shutil.copyfile(page, directory / "report.html")
        _write_papers(directory, facts, training, time)
        _check_paths(directory, known)
