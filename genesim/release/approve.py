"""Approval by a named person, and the release that waits for it."""

from __future__ import annotations

from pathlib import Path

from genesim.config.release import refuse_unfounded
from genesim.errors import ArtefactError, ConfigError
from genesim.provenance.atomic import atomic_file
from genesim.provenance.chain import next_entry, utc_now, write_chain
from genesim.provenance.manifest import NAME as MANIFEST
from genesim.provenance.manifest import sha256
from genesim.provenance.record import versions
from genesim.release.check import (
    APPROVAL,
    APPROVED,
    AUDIT,
    PREPARED,
    RELEASED,
    Checked,
    check_bundle,
)
from genesim.release.records import Approval, to_json


def _said(what: str, text: str) -> str:
    words = " ".join(text.split())
    try:
        refuse_unfounded(words)
    except ValueError as error:
        raise ConfigError(f"{what} {error}", where="approval", remedy=f"give another {what}") from error
    if sum(c.isalpha() for c in words) < 2:
        raise ConfigError(f"the {what} is {text!r}", where="approval", remedy=f"give the {what} of a person in words")
    return words


def approve_release(
    bundle: str | Path,
    *,
    bundle_hash: str,
    name: str,
    role: str,
    statement: str,
    accept_unanswered: bool = False,
    time: str | None = None,
) -> Checked:
    """Record that a named person approves the bundle of this hash.

    The name is taken as given: who types it is not checked. Sign the bundle's hash with your own means where that
    matters.

    Args:
        bundle: A prepared bundle.
        bundle_hash: The hash that the person has read and means; it must be the bundle's.
        name: Of the person.
        role: What entitles the person.
        statement: What the person states.
        accept_unanswered: The person accepts that questions are left open; they are listed in the approval.
        time: UTC, ISO 8601; None takes now.

    Raises:
        ArtefactError: The bundle is altered, of another hash, approved already, or has questions open.
        ConfigError: No name, role or statement.
    """
    root = Path(bundle)
    name, role, statement = _said("name", name), _said("role", role), _said("statement", statement)
    found = check_bundle(root)
    if found.approval is not None:
        raise ArtefactError(
            f"is approved already, by {found.approval.name}",
            where=str(root),
            remedy="finish the release, or prepare a new bundle",
        )
    if bundle_hash != found.bundle_hash:
        raise ArtefactError(
            f"has the hash {found.bundle_hash}, not {bundle_hash}",
            where=str(root),
            remedy="read this bundle, then approve its own hash",
        )
    open_questions = found.index.not_answered
    if open_questions and not accept_unanswered:
        raise ArtefactError(
            f"{len(open_questions)} questions are not answered: {', '.join(open_questions)}",
            where=str(root),
            remedy="answer them (genesim release questions) and prepare again, or approve with --accept-unanswered",
        )
    approval = Approval(
        bundle_sha256=found.bundle_hash,
        name=name,
        role=role,
        statement=statement,
        time=time or utc_now(),
        accepted_unanswered=open_questions,
    )
    with atomic_file(root / APPROVAL) as temporary:
        temporary.write_text(to_json(approval), encoding="utf-8")
    entry = next_entry(
        found.log,
        actor=name,
        action=APPROVED,
        subject=APPROVAL,
        sha256=sha256(root / APPROVAL),
        time=approval.time,
    )
    write_chain(root / AUDIT, (*found.log, entry))
    return check_bundle(root)


def finish_release(bundle: str | Path, *, time: str | None = None) -> Checked:
    """Release an approved bundle: from then on the head of its log, the release hash, stands for all of it.

    A bundle that is released already stays as it is.

    Raises:
        ArtefactError: Nobody has approved it, or something was changed since.
    """
    root = Path(bundle)
    found = check_bundle(root)
    if found.state == PREPARED:
        raise ArtefactError(
            "nobody has approved it",
            where=str(root),
            remedy=f"a named person runs: genesim release approve {root} --hash {found.bundle_hash} --name ... "
            "--role ... --statement ...",
        )
    if found.state == RELEASED:
        return found
    entry = next_entry(
        found.log,
        actor=f"genesim {versions()['genesim']}",
        action=RELEASED,
        subject=MANIFEST,
        sha256=found.bundle_hash,
        time=time,
    )
    write_chain(root / AUDIT, (*found.log, entry))
    return check_bundle(root)
