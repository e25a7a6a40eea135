"""Coverage-guided fuzzing of one reader: `python tests/fuzz/atheris_fuzz.py config -max_total_time=60`.

Needs `pip install atheris` (3.0.0 has a wheel for Python 3.11). Finds what random spoiling (`run_fuzz.py`) does not
come to, in readers written in Python. Not part of the suite.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["genesim"]):
    from fuzz_targets import TARGETS

from genesim.errors import GenesimError


def main() -> None:
    target = TARGETS[sys.argv.pop(1)]
    with tempfile.TemporaryDirectory() as corpus, tempfile.TemporaryDirectory() as folder:
        (Path(corpus) / "seed").write_bytes(target.seed)

        def one(content: bytes) -> None:
            with contextlib.suppress(GenesimError):
                target(content, Path(folder))

        atheris.Setup([*sys.argv, corpus], one)
        atheris.Fuzz()  # ends the process


if __name__ == "__main__":
    main()
