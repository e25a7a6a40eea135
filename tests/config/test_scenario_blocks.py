"""Scenarios that cannot be are refused, naming why; those that can survive being written and read."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genesim.config.base import parse
from genesim.config.disease import Disease
from genesim.config.population import AgeLaw
from genesim.config.scenario import Scenario
from genesim.errors import ConfigError

AGE = {"age": {"law": "uniform"}}
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"effects": {"random": {"h2": 0.3}}}, "donor_sd_log2"),
    ({"effects": {"random": {"h2": 1.0}}, "donor_effects": {"donor_sd_log2": 0.2}}, "h2"),
    ({"effects": {"random": {"law": "constant", "effect_correlation": 0.5}}}, "law is 'constant'"),
    ({"effects": {"random": {"law": "t", "degrees_of_freedom": 2}}}, "degrees_of_freedom"),
    ({"effects": {"random": {"dynamic": {}}}}, "cells.state"),
    ({"effects": {"declared": [{"gene": "g", "variant": "v", "log2_afc": 1, "log2_afc_slope": 1}]}}, "cells.state"),
    (
        {
            "effects": {"random": {"dynamic": {}, "h2": 0.2}},
            "donor_effects": {"donor_sd_log2": 0.2},
            "cells": {"state": {}},
        },
        "either 'h2' or 'dynamic'",
    ),
    ({"donor_effects": {"age": {}}}, "population.age"),
    ({"disease": {"age": 0.2}}, "population.age"),
    ({"composition_effects": [{"cell_type": "B", "of": "age", "log_odds": 1}]}, "population.age"),
    ({"composition_effects": [{"cell_type": "B", "of": "disease", "log_odds": 1}]}, "set 'disease'"),
    ({"composition_effects": [{"cell_type": "B", "of": "age", "variant": "v", "log_odds": 1}]}, "of: genotype"),
    ({"population": {"sex": {"f": 1}}, "donor_effects": {"sex": {}}}, "female and male only"),
    ({"population": {"age": {"low": 50, "high": 40}}}, "below high"),
    ({"population": {"age": {"law": "list", "values": [30]}}}, "two or more"),
    ({"population": {"n_donors": None}}, "n_donors is null"),
    ({"population": {"donor_table": "d.tsv"}}, "about the donors of 'vcf'"),
    ({"population": {"vcf": "a.vcf", "ancestry": {"X": 1}}}, "leave it out with 'vcf'"),
    ({"effects": {"trans": True}}, "loss_of_function"),
    ({"disease": {"n_cases": 3, "case_share": 0.1}}, "not both"),
    ({"disease": {"n_cases": 100}}, "leave some of each"),
    ({"disease": {"case_share": 0.001}}, "leave some of each"),
    ({"disease": {"h2_liability": 0.9, "age": 0.5}, "population": AGE}, "which is 1"),
    ({"disease": {"weights": {"v": 0.0}}}, "a weight is 0"),
    ({"disease": {"n_cases": 5}, "population": {"vcf": "a.vcf"}}, "needs population.n_donors"),
    (
        {
            "disease": {"n_cases": 5},
            "population": {"n_donors": 20, "relatives": {"design": "half_siblings"}},
        },
        "of relatives",
    ),
]


@pytest.mark.parametrize(("values", "message"), REFUSED)
def test_what_cannot_be_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse(Scenario, values)


def test_a_vcf_brings_all_its_donors_unless_told_otherwise() -> None:
    assert parse(Scenario, {"population": {"vcf": "a.vcf"}}).population.n_donors is None
    asked = parse(Scenario, {"population": {"vcf": "a.vcf", "n_donors": 7}})
    assert asked.population.n_donors == 7
    assert parse(Scenario, asked.model_dump(mode="json")) == asked
    assert parse(Scenario, {}).population.n_donors == 100


def test_cases_of_a_share_are_rounded() -> None:
    assert Disease(case_share=0.5).cases_of(7) == 4
    assert Disease(n_cases=3).cases_of(7) == 3
    assert not Disease().is_sampled


def test_moments_of_ages_are_those_of_draws() -> None:
    stream = np.random.default_rng(0)
    law = AgeLaw(law="list", values=(20, 20, 50))
    drawn = stream.choice(np.array(law.values), 100_000)
    assert law.moments == pytest.approx((drawn.mean(), drawn.std()), rel=0.01)
    assert AgeLaw(low=20, high=80).moments == pytest.approx((50, 60 / np.sqrt(12)))


BLOCKS = st.fixed_dictionaries(
    {
        "population": st.fixed_dictionaries(
            {
                "n_donors": st.integers(4, 50),
                "age": st.sampled_from(
                    [{"law": "normal", "mean": 40, "sd": 9}, {"law": "list", "values": [1, 2.5]}, {"low": 3, "high": 4}]
                ),
            }
        ),
        "effects": st.fixed_dictionaries(
            {
                "random": st.fixed_dictionaries(
                    {
                        "law": st.sampled_from(["normal", "laplace", "t"]),
                        "h2": st.none() | st.floats(0.01, 0.99),
                        "tss_decay": st.none() | st.floats(1, 1e6),
                        "effect_correlation": st.none() | st.floats(0, 1),
                    }
                )
            }
        ),
        "donor_effects": st.fixed_dictionaries(
            {"donor_sd_log2": st.floats(0.01, 2), "age": st.none() | st.just({"share_of_genes": 0.3})}
        ),
        "disease": st.none()
        | st.fixed_dictionaries(
            {"prevalence": st.floats(0.001, 0.999), "h2_liability": st.floats(0, 0.9), "case_share": st.just(0.5)}
        ),
        "cells": st.just({"n_cells": 1000, "state": {"law": "beta"}}),
    }
)


@settings(max_examples=40, deadline=None)
@given(BLOCKS)
def test_a_scenario_survives_being_written_and_read(values: dict[str, Any]) -> None:
    asked = parse(Scenario, values)
    assert parse(Scenario, asked.model_dump(mode="json")) == asked
