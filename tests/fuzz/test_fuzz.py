"""Spoiled files: every reader gives a typed error or reads them; nothing else, and not for long.

`make fuzz FUZZ_SECONDS=600` goes on for longer (`run_fuzz.py`).
"""

from __future__ import annotations

import contextlib
import tempfile
from datetime import timedelta
from pathlib import Path

import pytest
from fuzz_targets import TARGETS, spoiled
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from genesim.errors import GenesimError

MOVES = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 2**16), st.integers(0, 2**16)), min_size=1, max_size=4)


def attempt(name: str, content: bytes) -> None:
    """Read it; a typed error is as right as success."""
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(GenesimError):
        TARGETS[name](content, Path(folder))


@pytest.mark.parametrize("name", [n for n in TARGETS if n not in ("manifest", "archive", "archive_bytes")])
def test_the_unspoiled_file_is_read(name: str, tmp_path: Path) -> None:
    TARGETS[name](TARGETS[name].seed, tmp_path)


@pytest.mark.parametrize("name", TARGETS)
@settings(
    max_examples=8,
    deadline=timedelta(seconds=60),
    derandomize=True,
    suppress_health_check=list(HealthCheck),
    database=None,
)
@given(moves=MOVES)
def test_a_spoiled_file_is_a_typed_error_or_read(name: str, moves: list[tuple[int, int, int]]) -> None:
    attempt(name, spoiled(TARGETS[name].seed, moves))


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("content", [b"", b"\x00", b"\n", b"\xff" * 64, b"\x1f\x8b\x08\x00", b"\x89HDF\r\n\x1a\n"])
def test_a_file_of_something_else_is_a_typed_error_or_read(name: str, content: bytes) -> None:
    attempt(name, content)
