"""The laws that every row of the catalog keeps."""

from __future__ import annotations

import copy
import json
import pickle
import pickletools
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import jax
import numpy as np
import pytest
from contract_case import Case, compilations, differences, leaves, not_finite
from contract_table import CASES, missing, under

from genesim.errors import ArtefactError, GenesimError
from genesim.models.base import ModelSpec
from genesim.models.catalog import CATALOG, card
from genesim.train import store


def law_of(name: str) -> pytest.MarkDecorator:
    """Ask it of every row that is not excused from law `name`; conftest turns rows into cases."""

    def label(spec: ModelSpec) -> str:
        return f"{spec.modality}-{spec.id}"

    return pytest.mark.parametrize("case", under(CATALOG, name), ids=label, indirect=True, scope="session")


law = law_of("everything")


def test_every_row_of_the_catalog_has_its_laws() -> None:
    assert list(missing(CATALOG, CASES)) == []


def test_a_row_without_laws_is_noticed() -> None:
    new = ModelSpec("new", "expression", "model", "a model without tests", "gradient")
    assert list(missing((*CATALOG, new), CASES)) == ["expression/new has no case"]
    assert list(missing(CATALOG[1:], CASES)) == ["expression/vae is not in the catalog"]

    class Lazy(Case):
        exempt: ClassVar = {"training": "no time", "draw": "no time"}

    found = list(missing((*CATALOG, new), {**CASES, ("expression", "new"): Lazy}))
    assert found == [
        "expression/new cannot be excused from draw",
        "expression/new: no storage",
        "expression/new cannot be excused from training",
        "expression/new: no padding",
        "expression/new: no finite",
    ]


@law_of("draw")
def test_the_same_seed_gives_the_same_draw_and_another_seed_another(case: Case) -> None:
    first, again, other = (case.draw(case.model, seed) for seed in (1, 1, 2))
    assert differences(first, again) == []
    assert [name for name in first if not differences(first[name], other[name])] == []


@law
def test_the_same_seed_gives_the_same_model(case: Case) -> None:
    again = case.fitted(again=True).model
    assert again is not case.model
    assert differences(case.answers(case.model, case.inputs()), case.answers(again, case.inputs())) == []


@law_of("storage")
def test_a_stored_model_answers_and_draws_the_same(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case.save(case.model, tmp_path / "model")

    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("something was unpickled")

    with monkeypatch.context() as patched:
        for name in ("load", "loads", "Unpickler"):
            patched.setattr(pickle, name, refuse)
        loaded = case.load(tmp_path / "model")
    assert differences(case.answers(case.model, case.inputs()), case.answers(loaded, case.inputs())) == []
    if "draw" not in case.exempt:
        assert differences(case.draw(case.model, 1), case.draw(loaded, 1)) == []
    stored = json.loads((tmp_path / "model" / "model.json").read_text())["metadata"]["card"]
    assert stored == card(case.spec.modality, case.method)
    if case.spec.role != "baseline":
        assert set(case.spec.citations) <= set(stored["citations"])


def is_pickle(content: bytes) -> bool:
    try:
        return bool(list(pickletools.genops(content)))
    except (ValueError, UnicodeDecodeError):
        return False


@law_of("storage")
def test_a_stored_model_holds_no_pickle_and_a_bit_flipped_in_any_file_is_noticed(case: Case, tmp_path: Path) -> None:
    assert is_pickle(pickle.dumps({"array": np.ones(3)}))
    case.save(case.model, tmp_path / "model")
    files = sorted(path for path in (tmp_path / "model").rglob("*") if path.is_file())
    assert len(files) > 3
    for path in files:
        content = path.read_bytes()
        assert not is_pickle(content), path
        assert path.suffix not in (".pkl", ".pickle", ".joblib", ".npy"), path
        if content:
            at = len(content) // 2
            path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
            with pytest.raises(ArtefactError, match="manifest"):
                case.load(tmp_path / "model")
            path.write_bytes(content)
    case.load(tmp_path / "model")


def places(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in nested dicts and lists; of long lists the first two."""
    parts = tree.items() if isinstance(tree, dict) else enumerate(tree[:2]) if isinstance(tree, list) else ()
    for name, part in parts:
        yield (*path, name)
        yield from places(part, (*path, name))


def altered(tree: Any, path: tuple[Any, ...], random: np.random.Generator) -> Any:
    """The tree without what stands at a place, or with something else there."""
    tree = copy.deepcopy(tree)
    at = tree
    for name in path[:-1]:
        at = at[name]
    old = at.pop(path[-1])
    if random.random() < 0.7:
        others = [old[None], old[..., :-1]] if isinstance(old, np.ndarray) and old.ndim else OTHER_THINGS
        other = others[random.integers(len(others))]
        at.insert(path[-1], other) if isinstance(at, list) else at.update({path[-1]: other})
    return tree


OTHER_THINGS: list[Any] = [None, "x", -1, 10**15, 0.5, [], {}, True]


@law_of("storage")
def test_a_model_that_another_version_wrote_is_loaded_or_an_artefact_error(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its manifest is right, and something lacks in it or has another form."""
    case.save(case.model, tmp_path / "model")
    stored, refused = store.load_model(tmp_path / "model"), 0
    random = np.random.default_rng(zlib.crc32(f"{case.spec.modality}-{case.spec.id}".encode()))
    for name, tree in (("arrays", stored.arrays), ("metadata", stored.metadata)):
        found = list(places(tree))
        for number in random.choice(len(found), min(25, len(found)), replace=False):
            other = replace(stored, **{name: altered(tree, found[number], random)})
            monkeypatch.setattr(store, "load_model", lambda *_, other=other: other)
            try:
                case.load(tmp_path / "model")
            except GenesimError:
                refused += 1
            except Exception as error:
                raise AssertionError(f"{name} altered at {found[number]}") from error
    assert refused


@law_of("training")
def test_training_compiles_its_step_once_however_many_calls_it_makes(case: Case) -> None:
    assert case.fitted().compiled.count("run") == case.n_trainings()


def test_the_counter_counts_compilations() -> None:
    double = jax.jit(lambda x: 2 * x)
    arrays = [np.ones(3), np.ones(4), np.zeros(3)]
    with compilations() as names:
        for array in arrays:
            double(array)
    assert len(names) == 2


@law
def test_the_same_shapes_are_compiled_once(case: Case) -> None:
    def use(seed: int) -> None:
        case.answers(case.model, case.inputs())
        if "draw" not in case.exempt:
            case.draw(case.model, seed)

    use(1)
    with compilations() as names:
        use(2)
        use(3)
    assert names == []


@law
def test_padding_chunks_and_neighbours_change_nothing(case: Case) -> None:
    pairs = list(case.padding(case.model))
    assert pairs
    wrong = {pair.what: differences(pair.plain, pair.other, pair.rtol) for pair in pairs}
    assert {what: found for what, found in wrong.items() if found} == {}


@law
def test_extreme_input_gives_finite_numbers(case: Case) -> None:
    seen = [(name, leaves(value), not_finite(value)) for name, value in case.extremes(case.model)]
    assert seen
    assert all(arrays for _, arrays, _ in seen)
    assert [(name, places) for name, _, places in seen if places] == []


@law
def test_input_is_not_changed(case: Case) -> None:
    given = case.fitted().given
    case.answers(case.model, given)
    assert differences(given, case.inputs()) == []
