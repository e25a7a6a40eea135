"""The check of a bundle: it needs the bundle alone, wherever it was copied to.

In the order of trust: the log is a whole chain; the manifest has the hash that the log says; every file has the hash
that the manifest says; the approval has the hash that the log says and approves this manifest; the papers have their
form; nothing names a path of the machine that made them. The first that fails is named, with the file.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from genesim.errors import ArtefactError
from genesim.provenance.chain import Entry, read_chain
from genesim.provenance.manifest import NAME as MANIFEST
from genesim.provenance.manifest import sha256
from genesim.provenance.paths import path_in_file
from genesim.provenance.tree import check_listing, plain_files
from genesim.release.crate import NAME as CRATE
from genesim.release.records import Approval, Bundle, DataSheet, Fairness, Governance, ModelCard, Privacy, from_json

INDEX, AUDIT, APPROVAL = "bundle.json", "audit.jsonl", "approval.json"
APART = (MANIFEST, AUDIT, APPROVAL)
"""Files that the manifest does not list: itself, and those that are written after it."""
PREPARED, APPROVED, RELEASED = "prepared", "approved", "released"
GATHERED = "gathered"
_AGAIN = "take another copy, or prepare it again"
State = Literal["prepared", "approved", "released"]


@dataclass(frozen=True)
class Checked:
    """A bundle that is whole.

    Attributes:
        state: How far it has come.
        bundle_hash: SHA-256 of its manifest: what is approved.
        head: Hash of the last entry of its log; of a released bundle it stands for everything in it.
        log: Every entry.
        index: The bundle's index.
        approval: Who approved it; None where nobody did.
    """

    state: State
    bundle_hash: str
    head: str
    log: tuple[Entry, ...]
    index: Bundle
    approval: Approval | None

    @property
    def words(self) -> str:
        """One line for a person."""
        if self.approval is None:
            return f"whole; not approved by anyone; bundle hash {self.bundle_hash}"
        who = f"approved by {self.approval.name} ({self.approval.role}) on {self.approval.time}"
        if self.state == APPROVED:
            return f"whole; {who}; not released; bundle hash {self.bundle_hash}"
        return f"whole; {who}; release hash {self.head}"


def is_bundle(directory: str | Path) -> bool:
    """Whether a folder is, or was, a bundle: one of the files that only bundles have is there."""
    return any((Path(directory) / name).is_file() for name in (INDEX, AUDIT, APPROVAL))


def _refuse(where: Path, found: str, remedy: str = _AGAIN) -> ArtefactError:
    return ArtefactError(found, where=str(where), remedy=remedy)


def _state(log: tuple[Entry, ...], where: Path) -> State:
    """The state that the log tells.

    Raises:
        ArtefactError: Its actions do not come in the order in which they can happen.
    """
    actions = [entry.action for entry in log if entry.action != GATHERED]
    order: list[State] = ["prepared", "approved", "released"]
    first = next((i for i, entry in enumerate(log) if entry.action != GATHERED), len(log))
    if not actions or actions != order[: len(actions)] or any(e.action == GATHERED for e in log[first:]):
        raise _refuse(where, f"tells of {', '.join(actions) or 'nothing'}, which is no order of events")
    return order[len(actions) - 1]


def _entry(log: tuple[Entry, ...], action: str) -> Entry:
    return next(entry for entry in log if entry.action == action)


def _check_approval(root: Path, log: tuple[Entry, ...], bundle_hash: str) -> Approval:
    path, entry = root / APPROVAL, _entry(log, APPROVED)
    if not path.is_file():
        raise _refuse(root, f"{APPROVAL} is missing")
    if sha256(path) != entry.sha256:
        raise _refuse(root, f"{APPROVAL} differs from what {AUDIT} says was approved")
    approval = from_json(Approval, path)
    if approval.bundle_sha256 != bundle_hash or approval.name != entry.actor:
        raise _refuse(root, f"{APPROVAL} is of another bundle, or of another person than {AUDIT} says")
    return approval


def _check_form(root: Path, files: dict[str, Path]) -> Bundle:
    index = from_json(Bundle, root / INDEX)
    for name, record in (
        ("datasheet.json", DataSheet),
        ("privacy.json", Privacy),
        ("fairness.json", Fairness),
        ("governance.json", Governance),
    ):
        from_json(record, root / name)  # type: ignore[type-var]
    for name, path in files.items():
        if name.startswith("cards/") and name.endswith(".json"):
            from_json(ModelCard, path)
    try:
        graph = json.loads((root / CRATE).read_text(encoding="utf-8"))["@graph"]
        described = {node["@id"] for node in graph if node["@type"] == "File"}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _refuse(root, f"{CRATE} is no RO-Crate ({type(error).__name__})") from error
    apart = {CRATE, MANIFEST, APPROVAL}
    if odd := sorted(described ^ (set(files) - apart)):
        raise _refuse(root, f"{odd[0]} is in {CRATE} or in the bundle, but not in both")
    return index


def check_bundle(directory: str | Path, expected: str | None = None) -> Checked:
    """Check a bundle.

    Args:
        directory: The bundle.
        expected: The release hash, or the bundle hash, that its releaser made known; None compares with nothing.

    Raises:
        ArtefactError: Naming the first file that is altered, missing, not listed or not of its form.
    """
    root = Path(directory)
    for name in (MANIFEST, AUDIT):
        if not (root / name).is_file():
            raise _refuse(root, f"{name} is missing")
    files = plain_files(root)
    log = read_chain(root / AUDIT)
    state = _state(log, root / AUDIT)
    bundle_hash = sha256(root / MANIFEST)
    approved = state != PREPARED
    void = f" (the approval by {_entry(log, APPROVED).actor} is void)" if approved else ""
    if any(entry.sha256 != bundle_hash for entry in log if entry.action in (PREPARED, RELEASED)):
        raise _refuse(root, f"{MANIFEST} differs from what {AUDIT} says{void}")
    try:
        check_listing(root, (root / MANIFEST).read_text(encoding="utf-8", errors="replace"), APART)
    except ArtefactError as error:
        raise _refuse(root, f"{error.found}{void}") from error
    approval = _check_approval(root, log, bundle_hash) if approved else None
    if not approved and (root / APPROVAL).exists():
        raise _refuse(
            root,
            f"{APPROVAL} is there, but {AUDIT} knows of no approval",
            f"remove {APPROVAL} and approve again",
        )
    index = _check_form(root, files)
    for name, path in files.items():
        if found := path_in_file(path):
            raise _refuse(root, f"{name} names a path of the machine that made it ({found})")
    if expected is not None and expected not in (log[-1].hash, bundle_hash):
        raise _refuse(
            root,
            f"is whole, but neither its release hash {log[-1].hash} nor its bundle hash {bundle_hash} is {expected}",
            "take the bundle from whoever made that hash known",
        )
    return Checked(state, bundle_hash, log[-1].hash, log, index, approval)
