"""A hash chain notices every entry that is edited, dropped from the middle, moved or put in."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from genesim.errors import ArtefactError
from genesim.provenance.chain import START, Entry, next_entry, read_chain, write_chain


def chain(n: int = 5, actor: str = "Ann") -> tuple[Entry, ...]:
    entries: tuple[Entry, ...] = ()
    for i in range(n):
        entry = next_entry(entries, actor=actor, action=f"act {i}", subject="a", sha256=f"{i}" * 64, time=f"t{i}")
        entries = (*entries, entry)
    return entries


@pytest.fixture
def log(tmp_path: Path) -> Path:
    write_chain(tmp_path / "audit.jsonl", chain())
    return tmp_path / "audit.jsonl"


@given(actor=st.text(max_size=40))
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_written_is_read_whatever_the_name(tmp_path: Path, actor: str) -> None:
    entries = chain(3, actor)
    write_chain(tmp_path / "log", entries)
    assert read_chain(tmp_path / "log") == entries
    assert entries[0].previous == START


@given(data=st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_flipped_bit_is_noticed(log: Path, data: st.DataObject) -> None:
    good = log.read_bytes()
    bad = bytearray(good)
    bad[data.draw(st.integers(0, len(good) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    log.write_bytes(bytes(bad))
    with pytest.raises(ArtefactError, match=r"audit\.jsonl"):
        read_chain(log)
    log.write_bytes(good)


@given(order=st.permutations(range(5)))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_entries_that_are_moved_are_noticed(log: Path, order: list[int]) -> None:
    lines = log.read_bytes().splitlines(keepends=True)
    (log.parent / "moved").write_bytes(b"".join(lines[i] for i in order))
    if order == sorted(order):
        assert len(read_chain(log.parent / "moved")) == 5
    else:
        with pytest.raises(ArtefactError, match="does not follow"):
            read_chain(log.parent / "moved")


@pytest.mark.parametrize("gone", [0, 1, 3])
def test_an_entry_that_is_dropped_is_noticed(log: Path, gone: int) -> None:
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join(lines[:gone] + lines[gone + 1 :]))
    with pytest.raises(ArtefactError, match=rf"entry {gone + 1} does not follow"):
        read_chain(log)


def test_a_dropped_end_is_a_chain_with_another_head(log: Path) -> None:
    head = read_chain(log)[-1].hash
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join(lines[:-1]))
    assert read_chain(log)[-1].hash != head


@pytest.mark.parametrize("field", ["time", "actor", "action", "subject", "sha256"])
def test_an_edited_entry_is_noticed_even_where_its_own_hash_is_made_anew(log: Path, field: str) -> None:
    lines = log.read_text().splitlines()
    said = {**json.loads(lines[1]), field: "other"}
    log.write_text("\n".join([lines[0], json.dumps(said, sort_keys=True, separators=(",", ":")), *lines[2:]]) + "\n")
    with pytest.raises(ArtefactError, match="entry 2 differs from its hash"):
        read_chain(log)
    anew = next_entry(
        chain()[:1], **{k: said[k] for k in ("actor", "action", "subject", "sha256", "time")}
    )  # a careful forger
    log.write_text("\n".join([lines[0], anew.line, *lines[2:]]) + "\n")
    with pytest.raises(ArtefactError, match="entry 3 does not follow"):
        read_chain(log)


@pytest.mark.parametrize("content", [b"", b"\n", b"{}\n", b"[1]\n", b"\xff\n", b'{"number": 1}\n', b"null\n"])
def test_what_is_no_log_is_refused(log: Path, content: bytes) -> None:
    log.write_bytes(content)
    with pytest.raises(ArtefactError):
        read_chain(log)


def test_another_spelling_of_the_same_entry_is_refused(log: Path) -> None:
    lines = log.read_text().splitlines()
    log.write_text("\n".join([json.dumps(json.loads(lines[0])), *lines[1:]]) + "\n")
    with pytest.raises(ArtefactError, match="entry 1 is not spelt"):
        read_chain(log)
