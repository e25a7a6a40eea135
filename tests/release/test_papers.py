"""What the papers say, and what they must not say."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from release_facts import donors, make_facts, row

from genesim.config.base import parse
from genesim.config.release import ReleaseAnswers
from genesim.errors import ConfigError
from genesim.metrics.membership import smallest_detectable_auc
from genesim.release import markdown
from genesim.release.cards import model_card
from genesim.release.datasheet import data_sheet
from genesim.release.fairness import fairness, log_ratio
from genesim.release.governance import governance
from genesim.release.privacy import privacy
from genesim.release.questions import QUESTIONS, template
from genesim.release.records import GroupRow, shown

TEXTS = {".json", ".jsonl", ".md", ".sha256"}


def test_no_paper_says_the_word_or_names_a_donor_or_a_folder(bundle: Path) -> None:
    papers = [p for p in bundle.rglob("*") if p.suffix in TEXTS]
    assert len(papers) > 12
    for path in papers:
        text = path.read_text()
        assert "anonym" not in text.casefold(), path
        assert "real1" not in text, path
        assert "/somewhere" not in text, path
    assert "complian" in (bundle / "governance.md").read_text()


def test_the_word_is_refused_in_answers() -> None:
    for answers in (
        {"title": "An anonymised cohort"},
        {"intended_uses": ["use of anonymised data"]},
        {"datasheet": {"purpose": "to be ANONYMISED"}},
    ):
        with pytest.raises(ConfigError, match="which no test can show"):
            parse(ReleaseAnswers, answers)


def test_the_template_parses_as_it_is_printed_and_lists_every_question() -> None:
    empty = parse(ReleaseAnswers, yaml.safe_load(template()))
    assert set(empty.datasheet) == {q.id for q in QUESTIONS}
    assert data_sheet(make_facts(answers=empty)) == data_sheet(make_facts())


def test_the_releaser_answers_what_the_record_does_not() -> None:
    open_before = data_sheet(make_facts()).not_answered
    assert {"purpose", "training_consent", "maintainer"} <= set(open_before)
    assert not {"instances", "n_instances", "software", "identify_persons"} & set(open_before)
    answers = ReleaseAnswers(datasheet={"purpose": "To test.", "instances": "Mine."}, license="CC0-1.0")
    sheet = data_sheet(make_facts(answers=answers))
    assert set(open_before) - set(sheet.not_answered) == {"purpose", "license"}
    by = {item.id: (item.answer, item.answered_by) for item in sheet.items}
    assert by["instances"] == ("Mine.", "releaser")
    assert by["n_instances"][1] == "record"


def test_an_answer_to_no_question_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"no question 'purpos'.*did you mean 'purpose'"):
        data_sheet(make_facts(answers=ReleaseAnswers(datasheet={"purpos": "x"})))


def test_privacy_is_inconclusive_where_donors_are_few() -> None:
    both = (row("expression", "nearest_neighbour_share"), row("haplotypes 21", "membership_auc"))
    assert privacy(make_facts(scores=both)).conclusion == "no sign of training data in the tests that were run"
    few = privacy(make_facts(scores=both, donors=donors(38)))
    assert few.conclusion == "inconclusive"
    assert "fewer than 20" in few.reasons[0]


@pytest.mark.parametrize(
    ("scores", "conclusion"),
    [
        ((), "inconclusive"),
        ((row("expression", "nearest_neighbour_share"),), "inconclusive"),  # nothing on haplotypes
        (
            (row("expression", "x"), row("haplotypes 1", "y", level="unknown", verdict="too noisy to place")),
            "inconclusive",
        ),
        (
            (row("expression", "x"), row("haplotypes 1", "y", verdict="no sign of copying; weak test here")),
            "inconclusive",
        ),
        (
            (row("expression", "x"), row("haplotypes 1", "y", level="bad", verdict="copies training data")),
            "signs of training data",
        ),
        (
            (row("expression", "x", level="middle", verdict="leans to training data"), row("haplotypes 1", "y")),
            "signs of training data",
        ),
    ],
)
def test_the_conclusion_is_the_most_cautious_that_the_rows_allow(scores: tuple, conclusion: str) -> None:
    assert privacy(make_facts(scores=scores)).conclusion == conclusion


def test_a_group_whose_donors_are_found_out_is_a_sign() -> None:
    both = (row("expression", "x"), row("haplotypes 1", "y"))
    attack = group_row("BBB", 0.2, "donor_membership_auc").model_copy(update={"gap_low": 0.05})
    told = privacy(make_facts(scores=both, group_rows=(attack,)))
    assert told.conclusion == "signs of training data"
    assert "ancestry BBB" in told.reasons[0]
    noise = attack.model_copy(update={"gap_low": -0.05})
    told = privacy(make_facts(scores=both, group_rows=(noise,)))
    assert told.conclusion == "no sign of training data in the tests that were run"


def test_attacks_on_donors_that_say_nothing_are_a_reason_for_doubt() -> None:
    both = (row("expression", "x"), row("haplotypes 1", "y"))
    broken = privacy(make_facts(scores=both, donor_audit={"conclusion": "not valid", "invalid": ["blind"]}))
    assert broken.conclusion == "inconclusive"
    assert broken.reasons[0] == "donors: the attacks say nothing: blind"
    assert broken.donor_audit["invalid"] == ["blind"]
    absent = privacy(make_facts(scores=both, donor_audit={"conclusion": "not made", "reason": "two donors"}))
    assert absent.reasons == ("donors: no attacks on their cells: two donors",)
    attacked = privacy(make_facts(scores=(*both, row("donors", "donor_attack_copula"))))
    assert any(threat.metrics == ("donor_attack_copula",) for threat in attacked.tested)


def test_privacy_keeps_every_row_and_lists_what_was_not_tried() -> None:
    told = privacy(make_facts(scores=(*make_facts().scores, row("pair", "linkage_auc"))))
    assert {r.metric for r in told.rows} == {"nearest_neighbour_share", "membership_auc", "linkage_auc"}
    tried = {m for threat in told.tested for m in threat.metrics}
    assert tried == {r.metric for r in told.rows}
    assert all(not threat.metrics for threat in told.not_tested)
    assert any("weights" in threat.threat for threat in told.not_tested)
    assert told.epsilon is None


def test_the_detectable_auc_is_what_chance_exceeds_once_in_forty() -> None:
    draw = np.random.default_rng(0)
    m, n = 18, 25
    a, b = draw.random((4_000, m)), draw.random((4_000, n))
    auc = (a[:, :, None] > b[:, None, :]).mean(axis=(1, 2))
    assert (auc > smallest_detectable_auc(m, n)).mean() == pytest.approx(0.025, abs=0.008)
    assert math.isnan(smallest_detectable_auc(0, 5))
    assert smallest_detectable_auc(1, 1) == 1.0


def test_the_ratio_covers_the_true_one_and_no_other() -> None:
    draw = np.random.default_rng(1)
    n, n0, p, p0 = 100, 150, 0.2, 0.4
    made = [log_ratio(int(draw.binomial(n, p)), n, int(draw.binomial(n0, p0)), n0) for _ in range(2_000)]
    held = np.mean([low <= math.log(p / p0) <= high for _, low, high in made])
    assert held == pytest.approx(0.95, abs=0.02)
    assert np.mean([low <= 0 <= high for _, low, high in made]) < 0.2
    assert all(math.isnan(x) for x in log_ratio(0, 10, 3, 10))


def test_small_numbers_of_real_donors_are_not_written_out() -> None:
    assert [shown(n) for n in (0, 1, 4, 5, 30)] == [0, "<5", "<5", 5, 30]
    real = donors(120)
    real.loc[real.index[:2], "ancestry"] = "CCC"
    made = pd.DataFrame({"ancestry": ["CCC", "AAA"], "sex": ["female", "male"], "n_cells": 1})
    found = fairness(make_facts(donors=real, simulated_donors=made))
    rare = [g for g in found.groups if g.ancestry == "CCC"]
    assert {g.n_train for g in rare} <= {0, "<5"}
    assert all(g.log_ratio is None and not g.enough for g in rare)


def group_row(group: str, gap: float, metric: str = "allele_frequency_rmse") -> GroupRow:
    numbers = {"value": gap, "low": 0.0, "high": 1.0, "floor": 0.0, "gap": gap, "gap_low": 0.0, "gap_high": 1.0}
    fixed = {"attribute": "ancestry", "label": "x", "n_held_out": 30, "n_simulated": 30, "unit": ""}
    return GroupRow(group=group, metric=metric, **fixed, **numbers)


def test_the_worst_group_is_named_and_not_averaged_away() -> None:
    rows = (group_row("AAA", 0.01), group_row("BBB", 0.3), group_row("CCC", float("nan")), group_row("AAA", 0.2, "m"))
    assert fairness(make_facts(group_rows=rows)).worst == {
        "allele_frequency_rmse": "ancestry: BBB",
        "m": "ancestry: AAA",
    }


def test_a_card_shows_the_worst_groups_of_its_own_metrics() -> None:
    rows = (
        *(group_row(f"G{i}", 0.3 - i / 100) for i in range(7)),
        group_row("elsewhere", 0.9, "gene_mean_rmse"),
    )
    facts = make_facts(group_rows=rows)
    found = model_card(facts.models[0], facts)
    assert [row.group for row in found.groups] == [f"G{i}" for i in range(7)]
    written = markdown.card(found)
    assert "By group of donors, worst first" in written
    assert "ancestry: G4" in written
    assert "G5" not in written
    assert "elsewhere" not in written
    assert "No group of donors was scored" in markdown.card(model_card(facts.models[0], make_facts()))


def test_a_model_that_copies_says_so_first() -> None:
    facts = make_facts()
    copies = facts.models[0].card | {"copies": True}  # type: ignore[operator]
    card = model_card(replace(facts.models[0], card=copies), facts)
    assert "training haplotypes by design" in card.limits[0]
    plain = model_card(facts.models[0], facts)
    assert not any("by design" in limit for limit in plain.limits)
    assert [r.metric for r in plain.scores] == ["ld_rmse", "membership_auc"]  # its own rows, weakest first
    assert plain.training.n_donors == 60


def test_governance_points_at_files_that_a_bundle_has_and_leaves_gaps_open(bundle: Path) -> None:
    table = governance()
    assert "claims no compliance" in table.statement
    assert [len(text.items) for text in table.texts] == [10, 16, 3, 8]
    for text in table.texts:
        assert any(item.status == "not answered here" for item in text.items)
        for item in text.items:
            assert bool(item.files) or item.status == "not answered here", item
            for name in item.files:
                made_later = name in ("approval.json", "data/provenance.json")
                assert made_later or (bundle / name).exists(), name


NASTY = '<script>alert("x")</script>|[a](javascript:x)`*_#'


def test_names_with_markup_stay_text(write: Callable[..., Path]) -> None:
    real = donors(120)
    real["ancestry"] = NASTY
    answers = ReleaseAnswers(title=NASTY, publisher=NASTY, datasheet={"purpose": NASTY + "\n# head"})
    bundle = write(donors=real, answers=answers)
    for path in bundle.rglob("*.md"):
        text = path.read_text()
        assert "<script" not in text, path
        assert not re.search(r"(?<!\\)\]\(", text), path  # no bracket that is not escaped makes a link
        assert not any(line.startswith("# head") for line in text.splitlines()), path
    assert json.loads((bundle / "bundle.json").read_text())["title"] == NASTY  # the record keeps the name as it is


@given(st.text(max_size=60))
@settings(max_examples=200, deadline=None)
def test_any_text_is_one_cell_of_one_row(text: str) -> None:
    lines = markdown.table(("a", "b"), [(text, 1)])
    assert len(lines) == 3
    assert len(lines[2].splitlines()) == 1
    assert lines[2].replace("\\\\", "").replace("\\|", "").count("|") == 3
    assert "<" not in lines[2]


def test_the_crate_describes_every_file_and_every_reference_is_known(bundle: Path) -> None:
    document = json.loads((bundle / "ro-crate-metadata.json").read_text())
    nodes = {node["@id"]: node for node in document["@graph"]}
    assert len(nodes) == len(document["@graph"])
    files = {p.relative_to(bundle).as_posix() for p in bundle.rglob("*") if p.is_file()}
    described = {id for id, node in nodes.items() if node["@type"] == "File"}
    assert described == files - {"ro-crate-metadata.json", "manifest.sha256"}
    assert {part["@id"] for part in nodes["./"]["hasPart"]} == described

    def references(value: object) -> set[str]:
        if isinstance(value, dict):
            own = {value["@id"]} if set(value) == {"@id"} else set()
            return own | set().union(*(references(v) for v in value.values()))
        return set().union(*(references(v) for v in value)) if isinstance(value, list) else set()

    for id in references([list(node.values()) for node in nodes.values()]):
        assert id in nodes or id.startswith(("https://w3id.org/ro/crate", "http://schema.org/")), id
    actions = [node for node in nodes.values() if node["@type"] == "CreateAction"]
    assert {a["name"] for a in actions} >= {"genesim simulate", "genesim evaluate", "genesim train: haplotypes/21"}
    assert not [v for node in nodes.values() for v in node.values() if isinstance(v, list) and len(v) == 1]
    assert all(nodes[a["instrument"]["@id"]]["@type"] == "SoftwareApplication" and a["result"] for a in actions)
