"""A bundle is whole wherever it lies, and any change to any of its files is found, named, and voids the approval."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from genesim.errors import ArtefactError, ConfigError
from genesim.provenance.manifest import sha256
from genesim.release.approve import approve_release, finish_release
from genesim.release.check import check_bundle, is_bundle

ANN = {"name": "Ann Example", "role": "data steward", "statement": "I have read this bundle and release it."}


def approved(bundle: Path) -> Path:
    approve_release(bundle, bundle_hash=sha256(bundle / "manifest.sha256"), accept_unanswered=True, **ANN)
    return bundle


@pytest.fixture
def released(bundle: Path) -> Path:
    finish_release(approved(bundle))
    return bundle


def test_nothing_is_released_without_an_approval(bundle: Path) -> None:
    before = (bundle / "audit.jsonl").read_bytes()
    with pytest.raises(ArtefactError, match="nobody has approved") as caught:
        finish_release(bundle)
    assert sha256(bundle / "manifest.sha256") in str(caught.value.remedy)
    assert caught.value.exit_code == 4
    assert (bundle / "audit.jsonl").read_bytes() == before
    assert check_bundle(bundle).state == "prepared"


def test_the_states_follow_each_other_and_a_copy_has_them_too(bundle: Path, copied: Callable[[Path], Path]) -> None:
    hash = check_bundle(bundle).bundle_hash
    assert check_bundle(copied(approved(bundle))).state == "approved"
    found = finish_release(bundle)
    assert found.state == "released"
    assert found.bundle_hash == hash  # approval and release are beside what is approved, not in it
    elsewhere = copied(bundle)
    shutil.rmtree(bundle)
    again = check_bundle(elsewhere, found.head)
    assert again == found
    assert again.approval is not None
    assert again.approval.name == "Ann Example"
    assert finish_release(elsewhere) == again  # a second time changes nothing


def test_another_hash_is_not_approved(bundle: Path) -> None:
    with pytest.raises(ArtefactError, match="has the hash"):
        approve_release(bundle, bundle_hash="0" * 64, accept_unanswered=True, **ANN)
    assert not (bundle / "approval.json").exists()


def test_open_questions_are_listed_and_have_to_be_accepted(bundle: Path) -> None:
    hash = check_bundle(bundle).bundle_hash
    with pytest.raises(ArtefactError, match=r"questions are not answered: title, .*training_consent"):
        approve_release(bundle, bundle_hash=hash, **ANN)
    found = approve_release(bundle, bundle_hash=hash, accept_unanswered=True, **ANN)
    assert found.approval is not None
    assert "training_consent" in found.approval.accepted_unanswered


@pytest.mark.parametrize("field", ["name", "role", "statement"])
@pytest.mark.parametrize("text", ["", "  ", "?", "the data are Anonymised", "x\x07y", "y" * 6_000])
def test_a_person_says_who_and_what_in_words(bundle: Path, field: str, text: str) -> None:
    with pytest.raises(ConfigError, match=field):
        approve_release(bundle, bundle_hash=check_bundle(bundle).bundle_hash, **{**ANN, field: text})


def test_it_is_approved_once(bundle: Path) -> None:
    with pytest.raises(ArtefactError, match="approved already, by Ann Example"):
        approve_release(approved(bundle), bundle_hash=check_bundle(bundle).bundle_hash, **ANN)


def test_any_changed_byte_of_any_file_is_found_and_the_file_named(released: Path) -> None:
    names = sorted(p.relative_to(released).as_posix() for p in released.rglob("*") if p.is_file())
    assert {"audit.jsonl", "approval.json", "manifest.sha256", "data/manifest.sha256"} <= set(names)

    @given(name=st.sampled_from(names), where=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
    @settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def flipped(name: str, where: float, bit: int) -> None:
        path = released / name
        good = path.read_bytes()
        bad = bytearray(good)
        bad[int(where * len(bad))] ^= 1 << bit
        path.write_bytes(bytes(bad))
        try:
            with pytest.raises(ArtefactError) as caught:
                check_bundle(released)
        finally:
            path.write_bytes(good)
        assert name in str(caught.value)
        assert caught.value.exit_code == 4

    flipped()
    for name in names:  # each file at least once
        path = released / name
        good = path.read_bytes()
        path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
        with pytest.raises(ArtefactError, match=name.replace(".", r"\.")):
            check_bundle(released)
        path.write_bytes(good)
    assert check_bundle(released).state == "released"


def test_a_change_after_approval_voids_it_and_stops_the_release(bundle: Path) -> None:
    path = approved(bundle) / "datasheet.md"
    path.write_text(path.read_text() + "\nOne more line.\n")
    for step in (check_bundle, finish_release):
        with pytest.raises(ArtefactError, match=r"datasheet\.md differs .*approval by Ann Example is void"):
            step(bundle)


@pytest.mark.parametrize("name", ["data/sim.h5ad", "manifest.sha256", "audit.jsonl", "approval.json", "privacy.json"])
def test_a_missing_file_is_named(released: Path, name: str) -> None:
    (released / name).unlink()
    assert is_bundle(released)
    with pytest.raises(ArtefactError, match=name.replace(".", r"\.")):
        check_bundle(released)


def test_a_file_too_many_is_named(released: Path) -> None:
    (released / "data" / "more.txt").write_text("more")
    with pytest.raises(ArtefactError, match=r"data/more\.txt is not in the manifest"):
        check_bundle(released)


@pytest.mark.parametrize("inside", [True, False])
def test_links_are_refused(released: Path, tmp_path: Path, inside: bool) -> None:
    target = released / "data" / "sim.h5ad"
    if not inside:
        shutil.move(target, tmp_path / "outside.h5ad")
    link = released / "data" / ("again.h5ad" if inside else "sim.h5ad")
    link.symlink_to(target if inside else tmp_path / "outside.h5ad")
    with pytest.raises(ArtefactError, match=r"\.h5ad is a link"):
        check_bundle(released)


def test_a_link_in_the_simulation_never_enters_a_bundle(sources: tuple[Path, Path], write: Callable[..., Path]) -> None:
    (sources[0] / "passwords").symlink_to("/etc/passwd")
    with pytest.raises(ArtefactError, match="data/passwords is a link"):
        write()


def test_an_approval_of_another_bundle_is_no_approval(write: Callable[..., Path]) -> None:
    one, other = approved(write("one")), approved(write("other", n_genes=8))
    shutil.copyfile(one / "approval.json", other / "approval.json")
    with pytest.raises(ArtefactError, match=r"approval\.json differs"):
        check_bundle(other)
    shutil.copyfile(one / "audit.jsonl", other / "audit.jsonl")  # and the log with it
    with pytest.raises(ArtefactError, match=r"manifest\.sha256 differs .*void"):
        check_bundle(other)


def test_an_approval_without_its_entry_is_no_approval(bundle: Path) -> None:
    before = (bundle / "audit.jsonl").read_bytes()
    approved(bundle)
    (bundle / "audit.jsonl").write_bytes(before)
    with pytest.raises(ArtefactError, match=r"approval\.json is there, but audit\.jsonl knows of no approval"):
        check_bundle(bundle)


def test_a_bundle_made_anew_is_told_apart_by_the_release_hash(write: Callable[..., Path]) -> None:
    true, forged = approved(write("true")), approved(write("forged", n_genes=8))
    head = finish_release(true).head
    finish_release(forged)
    assert check_bundle(forged).state == "released"
    assert check_bundle(true, head).head == head
    with pytest.raises(ArtefactError, match="neither its release hash"):
        check_bundle(forged, head)


def test_a_log_cut_short_is_told_apart_by_the_release_hash(released: Path) -> None:
    head = check_bundle(released).head
    lines = (released / "audit.jsonl").read_bytes().splitlines(keepends=True)
    (released / "audit.jsonl").write_bytes(b"".join(lines[:-1]))
    assert check_bundle(released).state == "approved"
    with pytest.raises(ArtefactError, match="neither its release hash"):
        check_bundle(released, head)


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="sha256sum is not installed")
def test_sha256sum_checks_the_files_without_genesim(released: Path) -> None:
    command = ["sha256sum", "--check", "--strict", "--quiet", "manifest.sha256"]
    assert subprocess.run(command, cwd=released, check=False).returncode == 0
    (released / "data" / "sim.h5ad").write_bytes(b"other")
    assert subprocess.run(command, cwd=released, capture_output=True, check=False).returncode != 0


def test_papers_have_their_form_whatever_the_manifest_says(write: Callable[..., Path], monkeypatch) -> None:
    from genesim.release import assemble

    true = assemble.to_json

    def odd(record: object) -> str:
        text = json.loads(true(record))  # type: ignore[arg-type]
        if text["format"] == "genesim-privacy-1":
            text["conclusion"] = "private"
        return json.dumps(text)

    monkeypatch.setattr(assemble, "to_json", odd)
    with pytest.raises(ArtefactError, match=r"privacy\.json: conclusion"):
        check_bundle(write())
