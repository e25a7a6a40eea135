"""The catalog agrees with what uses it: configuration, estimators, score tables, README."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

import genesim.models
from genesim.config.model import ExpressionConfig, HaplotypeConfig
from genesim.errors import ConfigError
from genesim.models.base import EmModel, GenerativeModel, Modality
from genesim.models.catalog import CATALOG, card, methods, spec
from genesim.models.perturbation.candidates import CANDIDATES, RELEVANT, EffectLibrary
from genesim.models.perturbation.stack import fit_stack, hold_out

README_ROWS = {"expression": "cells", "haplotypes": "haplotypes", "effects": "cis effects"} | {
    "perturbation": "perturbations"
}


def test_rows_are_distinct_and_each_modality_has_one_model_first() -> None:
    assert len({(row.modality, row.id) for row in CATALOG}) == len(CATALOG)
    for modality in get_args(Modality):
        roles = [spec(modality, name).role for name in methods(modality)]
        assert roles == ["model"] + ["baseline"] * (len(roles) - 1)
        assert len(roles) > 1
    assert all(row.citations for row in CATALOG if row.role != "baseline")
    parts = {(row.modality, part) for row in CATALOG for part in row.parts}
    assert parts == {(row.modality, row.id) for row in CATALOG if row.role == "part"}


@pytest.mark.parametrize(("modality", "config"), [("expression", ExpressionConfig), ("haplotypes", HaplotypeConfig)])
def test_the_configuration_offers_what_the_catalog_holds(modality: Modality, config: type) -> None:
    field = config.model_fields["method"]
    choice = {"auto"} if modality == "expression" else set()  # made among the catalog's rows
    assert set(get_args(field.annotation)) == set(methods(modality)) | choice
    assert field.default in choice or spec(modality, field.default).role == "model"
    for name in methods(modality):
        row = spec(modality, name)
        assert callable(row.build)
        # The expression model's networks are restored by the estimator, all else by its own class.
        assert callable(row.restore) or (modality, row.role) == ("expression", "model")


def test_score_tables_name_their_methods_as_the_catalog_does() -> None:
    assert {*CANDIDATES, "stack", "no_change"} == set(methods("perturbation"))
    effect = np.random.default_rng(0).normal(size=(4, 6))
    se = np.full_like(effect, 0.1)
    library = EffectLibrary(np.zeros(4, int), np.eye(4), effect, se, effect, se, np.full(4, -1))
    _, scores = fit_stack(hold_out(library, "new_perturbation", 2, 0.1, 5, 0), "new_perturbation")
    of_priors = {"kernel_ridge", "neighbours", "other_screen"}  # and this library has none
    relevant = set(RELEVANT["new_perturbation"]) - of_priors
    assert {str(record["method"]) for record in scores} - {"model"} == {"stack", "no_change", *relevant}
    assert {name for names in RELEVANT.values() for name in names} == set(CANDIDATES)


def test_every_trained_class_is_in_the_catalog() -> None:
    """A class that the training loop fits and no row builds would escape every law."""
    modules = pkgutil.walk_packages(genesim.models.__path__, "genesim.models.")
    found = {
        value
        for module in (importlib.import_module(info.name) for info in modules)
        for _, value in inspect.getmembers(module, inspect.isclass)
        if issubclass(value, GenerativeModel | EmModel) and value not in (GenerativeModel, EmModel)
    }
    built = {getattr(row.build, "__self__", row.build) for row in CATALOG if row.fitted_by in ("gradient", "em")}
    assert found == built


def test_a_card_cites_the_parts_too() -> None:
    found = card("expression", "vae")
    assert found["title"] == "NB variational autoencoder with a conditional latent flow"
    assert set(found["citations"]) == {*spec("expression", "vae").citations, *spec("expression", "flow").citations}
    assert card("haplotypes", "mosaic")["copies"]
    with pytest.raises(ConfigError, match=r"no haplotypes model is called 'vae'.*anchmm, mosaic"):
        spec("haplotypes", "vae")


def test_the_readme_lists_every_row() -> None:
    lines = Path(__file__).resolve().parents[2].joinpath("README.md").read_text().splitlines()
    for row in CATALOG:
        _, _, model, baselines, _ = next(
            line for line in lines if line.startswith(f"| {README_ROWS[row.modality]} |")
        ).split("|")
        assert row.title in (baselines if row.role == "baseline" else model), row
