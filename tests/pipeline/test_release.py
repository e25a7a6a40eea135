"""A whole run becomes a bundle; parts of different runs, real genotypes and paths of the machine do not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

import genesim as gs
from genesim.config.release import ReleaseAnswers
from genesim.errors import ArtefactError
from genesim.provenance.manifest import sha256, write_manifest
from genesim.release.check import Checked
from genesim.release.questions import QUESTIONS
from genesim.release.records import DataSheet, Fairness, ModelCard, Privacy, from_json

TIME = "2026-01-02T03:04:05+00:00"
ANSWERS = ReleaseAnswers(
    title="A tiny cohort",
    publisher="Example Institute",
    contact="data@example.org",
    license="https://creativecommons.org/publicdomain/zero/1.0/",
    datasheet={q.id: "not applicable: the training donors of the example are invented" for q in QUESTIONS},
)


@pytest.fixture(scope="module")
def made(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Checked]:
    """The tiny run's bundle, prepared."""
    out = tmp_path_factory.mktemp("release") / "bundle"
    return out, gs.prepare_release(tiny_run / "results", out=out, time=TIME)


def test_a_run_is_approved_released_copied_and_one_flipped_bit_is_found(
    tiny_run: Path, made: tuple[Path, Checked], tmp_path: Path
) -> None:
    out = tmp_path / "bundle"
    found = gs.prepare_release(tiny_run / "results", out=out, answers=ANSWERS, time=TIME)
    assert found.index.not_answered == ()
    person = {"name": "Ann Example", "role": "data steward", "statement": "I release it."}
    gs.approve_release(out, bundle_hash=found.bundle_hash, **person)
    head = gs.finish_release(out).head
    elsewhere = tmp_path / "other disk" / "renamed"
    shutil.copytree(out, elsewhere)
    shutil.rmtree(out)
    assert gs.check_bundle(elsewhere, head).state == "released"
    for name in ("data/sim.h5ad", "data/sim.vcf.gz", "report.html", "cards/expression.json", "audit.jsonl"):
        path = elsewhere / name
        good = path.read_bytes()
        path.write_bytes(good[:77] + bytes([good[77] ^ 4]) + good[78:])
        with pytest.raises(ArtefactError, match=name.replace(".", r"\.")):
            gs.check_bundle(elsewhere, head)
        path.write_bytes(good)
    gs.check_bundle(elsewhere, head)


def test_papers_agree_with_the_run(tiny_run: Path, made: tuple[Path, Checked]) -> None:
    bundle, _ = made
    results = tiny_run / "results"
    cohort = pd.read_parquet(results / "cohort" / "donors.parquet")
    train = cohort[cohort["split"] == "train"]
    scores = pd.read_parquet(results / "evaluation" / "scores.parquet")
    privacy = from_json(Privacy, bundle / "privacy.json")
    expected = scores[scores["family"] == "privacy"]
    assert {(r.subject, r.metric, r.value) for r in privacy.rows} == set(
        expected[["subject", "metric", "value"]].itertuples(index=False, name=None)
    )
    assert privacy.conclusion != "no sign of training data in the tests that were run"  # so few donors show nothing
    # The workflow gives the models: their likelihood and their effects are attacked with as well.
    assert {"donor_attack_white_box", "donor_linkage"} <= {r.metric for r in privacy.rows}
    assert privacy.donor_audit["linkage"]["controls"].keys() == {"memoriser", "honest"}
    card = from_json(ModelCard, bundle / "cards" / "haplotypes-21.json")
    assert card.training.n_donors == int(train["has_genotypes"].sum())
    assert card.model_sha256 == sha256(results / "models" / "haplotypes" / "21" / "manifest.sha256")
    assert card.training.cohort_sha256 == sha256(results / "cohort" / "manifest.sha256")
    assert len(card.scores) == int((scores["subject"] == "haplotypes 21").sum())
    fairness = from_json(Fairness, bundle / "fairness.json")
    made_donors = pd.read_parquet(bundle / "data" / "truth" / "donors.parquet")
    assert sum(g.n_simulated for g in fairness.groups) == len(made_donors) == 12
    assert fairness.rows == ()
    assert any("insufficient" in note for note in fairness.not_scored)
    sheet = from_json(DataSheet, bundle / "datasheet.json")
    said = {item.id: item.answer for item in sheet.items}
    assert said["n_instances"] == "12 donors, 240 cells x 40 genes, 224 variants."


def test_no_file_names_a_real_donor_the_machine_or_the_word(tiny_run: Path, made: tuple[Path, Checked]) -> None:
    bundle, _ = made
    donors = pd.read_parquet(tiny_run / "results" / "cohort" / "donors.parquet")["donor"].astype(str)
    for path in bundle.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert b"anonym" not in content.lower(), path
            assert str(tiny_run).encode() not in content, path
            assert not [d for d in donors if f'"{d}"'.encode() in content or f">{d}<".encode() in content], path
    assert not (bundle / "models").exists()  # weights stay


def test_the_same_run_answers_and_time_give_the_same_hash(
    tiny_run: Path, made: tuple[Path, Checked], tmp_path: Path
) -> None:
    again = gs.prepare_release(tiny_run / "results", out=tmp_path / "again", time=TIME)
    assert again.head == made[1].head


@pytest.fixture
def run(tiny_run: Path, tmp_path: Path) -> Path:
    """A copy of the tiny run's results, to change."""
    parts = ("cohort", "models", "sim", "evaluation")
    for name in parts:
        shutil.copytree(tiny_run / "results" / name, tmp_path / "results" / name)
    return tmp_path / "results"


def edit_provenance(folder: Path, change: Callable[[dict], None]) -> None:
    path = folder / "provenance.json"
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))
    write_manifest(folder)


@pytest.mark.parametrize("part", ["cohort", "models", "sim", "evaluation"])
def test_an_absent_part_is_named(run: Path, tmp_path: Path, part: str) -> None:
    shutil.rmtree(run / part)
    with pytest.raises(ArtefactError, match=f"no folder {part}/"):
        gs.prepare_release(run, out=tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_parts_of_different_runs_are_refused(run: Path, tmp_path: Path) -> None:
    def refused(words: str) -> None:
        with pytest.raises(ArtefactError, match=words):
            gs.prepare_release(run, out=tmp_path / "bundle")
        assert not (tmp_path / "bundle").exists()

    edit_provenance(run / "sim", lambda record: record["config"].update(description="another"))
    refused("evaluation was not made with this simulation")
    edit_provenance(run / "sim", lambda record: record["inputs"].update(effects="0" * 64))
    refused(r"simulation was not made with this model \(models/effects\)")
    edit_provenance(run / "sim", lambda record: record["config"]["population"].update(vcf="people.vcf.gz"))
    refused("genotypes of a VCF that the scenario named")
    edit_provenance(run / "sim", lambda record: record.update(synthetic=False))
    refused("no synthetic mark")
    (run / "evaluation" / "scores.csv").write_text("other")
    refused(r"scores\.csv differs|synthetic mark")


def test_a_page_that_names_a_folder_of_this_machine_stays_out(run: Path, tmp_path: Path) -> None:
    (run / "report.html").write_text("<p>read from /home/ann/project/cells.h5ad</p>")
    with pytest.raises(ArtefactError, match=r"report\.html names a path of this machine \(/home/ann"):
        gs.prepare_release(run, out=tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()
    (run / "report.html").unlink()
    found = gs.prepare_release(run, out=tmp_path / "bundle")
    assert "report.html" not in found.index.files


def test_only_a_bundle_that_nobody_approved_is_replaced(run: Path, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.txt").write_text("years of work")
    with pytest.raises(ArtefactError, match="is no bundle"):
        gs.prepare_release(run, out=precious)
    assert (precious / "thesis.txt").exists()
    found = gs.prepare_release(run, out=tmp_path / "bundle")
    found = gs.prepare_release(run, out=tmp_path / "bundle", answers=ReleaseAnswers(title="Better"))
    assert found.index.title == "Better"
    person = {"name": "Ann Example", "role": "data steward", "statement": "I release it."}
    gs.approve_release(tmp_path / "bundle", bundle_hash=found.bundle_hash, accept_unanswered=True, **person)
    with pytest.raises(ArtefactError, match="is an approved bundle"):
        gs.prepare_release(run, out=tmp_path / "bundle")
