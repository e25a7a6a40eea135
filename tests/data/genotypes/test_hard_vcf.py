"""Other projects' difficult VCF and BCF files: genotypes or a GenesimError, never a crash."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

# Runs in a child, so that a crash of a C library is seen; prints a line before and after each file.
_CHILD = """
import sys
import numpy as np
from genesim.config.inputs import GenotypePolicy
from genesim.data.genotypes import read_genotypes
from genesim.errors import GenesimError
policy = GenotypePolicy(filters="all", max_missing=1.0)
for path in sys.stdin.read().splitlines():
    print("begin", path, flush=True)
    try:
        genotypes = read_genotypes(path, policy=policy)
        assert genotypes.n_variants and genotypes.alleles.min() >= -2 and genotypes.alleles.max() == 1
        print("read", path, genotypes.n_variants, flush=True)
    except GenesimError as error:
        assert error.where and error.remedy and path in str(error), str(error)
        print("refused", path, type(error).__name__, str(error).replace(chr(10), " "), flush=True)
"""


@pytest.mark.slow
def test_every_hard_file_is_read_or_refused(shared_data: Path) -> None:
    files = sorted(str(p) for p in (shared_data / "hard" / "vcf").iterdir() if p.is_file())
    assert len(files) > 700
    child = subprocess.run(
        [sys.executable, "-c", _CHILD],
        input="\n".join(files),
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    lines = child.stdout.splitlines()
    assert child.returncode == 0, (lines[-1:], child.stderr[-2000:])
    assert child.stderr == ""  # htslib prints nothing past us
    outcomes = {}
    for line in lines:
        word, path, *rest = line.split(" ", 2)
        if word != "begin":
            outcomes[path] = (word, *rest)
    assert set(outcomes) == set(files)
    n_read = sum(word == "read" for word, *_ in outcomes.values())
    assert n_read > 100, f"only {n_read} of {len(files)} files were read"
