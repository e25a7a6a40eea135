"""The provenance record that every output carries, and the machine-readable "synthetic" mark.

The record holds no wall-clock time: the same seed, versions and machine give the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from genesim.provenance.atomic import atomic_file
from genesim.provenance.manifest import sha256

_PACKAGES = ("genesim", "jax", "jaxlib", "flax", "optax", "numpy", "scipy", "pandas", "anndata", "pysam")


@cache
def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide a result."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


@dataclass(frozen=True)
class Provenance:
    """How an artefact was made.

    Attributes:
        verb: The genesim verb ("prepare", "train expression", "simulate", ...).
        seed: The user's seed.
        config: The resolved configuration of that verb, JSON-ready.
        inputs: SHA-256 of every input file or manifest, by name.
        synthetic: True where the artefact's records describe no real person or cell.
        versions: Package versions.
    """

    verb: str
    seed: int
    config: dict[str, Any] = field(default_factory=dict)
    inputs: dict[str, str] = field(default_factory=dict)
    synthetic: bool = False
    versions: dict[str, str] = field(default_factory=versions)

    def to_dict(self) -> dict[str, Any]:
        return {"schema": "genesim-provenance-1", **asdict(self)}

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), indent=1, sort_keys=True, default=str)

    def vcf_header_lines(self) -> list[str]:
        """Header lines (`##key=value`) for a VCF: source and, where true, the synthetic mark."""
        config = json.dumps(self.config, sort_keys=True, default=str)
        lines = [
            f"##source=genesim-{self.versions['genesim']}",
            f"##genesim_verb={self.verb}",
            f"##genesim_seed={self.seed}",
            f"##genesim_config={config}",
        ]
        return ["##genesim_synthetic=true", *lines] if self.synthetic else lines


def hash_input(path: str | Path) -> str:
    """SHA-256 of a file, or of a directory artefact's manifest."""
    path = Path(path)
    return sha256(path / "manifest.sha256" if path.is_dir() else path)


def hash_inputs(paths: Sequence[Path]) -> str:
    """SHA-256 of a file, or of the list of digests and names of the files of a set."""
    if len(paths) == 1:
        return sha256(paths[0])
    lines = "".join(f"{sha256(path)}  {path.name}\n" for path in paths)
    return hashlib.sha256(lines.encode()).hexdigest()


def write_sidecar(provenance: Provenance, beside: str | Path) -> Path:
    """Write `<file>.provenance.json` beside an output that cannot carry a record itself."""
    target = Path(f"{beside}.provenance.json")
    with atomic_file(target) as temporary:
        temporary.write_text(provenance.to_json() + "\n")
    return target
