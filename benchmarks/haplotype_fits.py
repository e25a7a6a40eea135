"""The haplotype generators of the benchmark, by name, and what each drew for a panel; fits are kept in a cache."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from fit_haplotypes import packed, unpacked
from fits import PACKAGE, run, sources
from haplotype_panels import Panel
from jaxtyping import Float, Int, Int8

from genesim import rng
from genesim.config.model import HaplotypeConfig

FLOOR, HELD_OUT, RESAMPLED = "floor", "held_out", "resampled"
SCRIPT = Path(__file__).resolve().parent / "fit_haplotypes.py"
PEERS_FOLDER = SCRIPT.parent / "peers"
MODEL_SOURCES = (
    "models/haplotypes/*.py",
    "models/base.py",
    "estimators/haplotype*.py",
    "train/*.py",
    "config/model.py",
    "types.py",
    "rng.py",
)
"""Files of the package that decide what a fit of `HaplotypeModel` draws."""
BASELINES = ("independent_pooled", "independent", "markov", "mosaic")
BASELINES_VERSION = 1  # raise it when their draws change
GENESIM: dict[str, dict[str, Any]] = {
    "independent_pooled": {"method": "independent"},
    "independent": {"method": "independent"},
    "markov": {"method": "markov"},
    "mosaic": {"method": "mosaic"},
    "anchmm": {},
}
"""Changes to `HaplotypeConfig` of each genesim generator; `independent_pooled` is given no populations."""
SWEEP: dict[str, dict[str, Any]] = {
    **{f"anchmm_k{k}": {"n_states": k} for k in (16, 32, 64, 192)},
    "anchmm_no_groups": {"group_size": 1_000_000},
}
"""The trade-off of fidelity and privacy: learned haplotypes, and groups within a population."""
PEERS: dict[str, dict[str, Any]] = {"hapnest": {}, "fastphase": {}, "haptools": {}, "out_of_africa": {}}
"""Sizes of the peers' fits that differ from their defaults."""


@dataclass(frozen=True)
class Drawn:
    """What a generator gave for a panel.

    Attributes:
        haplotypes: As many as there are training haplotypes.
        codes: Their populations.
        positions: Of its sites, where they are not the panel's.
        log_likelihood: Of each held-out haplotype (nats) under each label; None where it has none.
        mix: Share of each label in training.
        figures: Seconds and memory.
    """

    haplotypes: Int8[np.ndarray, "haplotype variant"]
    codes: Int[np.ndarray, " haplotype"]
    positions: Int[np.ndarray, " variant"] | None = None
    log_likelihood: Float[np.ndarray, "haplotype label"] | None = None
    mix: Float[np.ndarray, " label"] | None = None
    figures: dict[str, float] = field(default_factory=dict)


def reason_to_skip(method: str, panel: Panel) -> str | None:
    """Why a generator has no row; None where it can run."""
    if method == "haptools":
        if shutil.which(os.environ.get("HAPTOOLS", "haptools")) is None:
            return "haptools is neither $HAPTOOLS nor on the path"
        if not panel.train.variants["start"].is_unique:
            return "haptools needs one record a position, and the panel has split multiallelic sites"
    modelled = panel.genetic_map is not None and set(panel.labels) <= {"YRI", "CHB", "FIN"}
    if method == "out_of_africa" and not modelled:
        return "the demographic model does not have the panel's populations"
    return None


def drawn(cache: Path, panel: Panel, method: str, changes: dict[str, Any]) -> Drawn:
    """Haplotypes of one generator, fitted in a process of its own or read from the cache.

    Args:
        cache: Folder of finished fits.
        panel: What to learn from; as many haplotypes of each population are drawn.
        method: `FLOOR`, `HELD_OUT`, `RESAMPLED`, a key of `PEERS`, or the name of a genesim generator.
        changes: To `HaplotypeConfig`, or the peer's sizes.

    Raises:
        subprocess.CalledProcessError: The fit failed; its message is on standard error.
    """
    train, codes = panel.haplotypes("train"), panel.codes("train")
    if method in (FLOOR, HELD_OUT):
        part = "train" if method == FLOOR else "test"
        return Drawn(panel.haplotypes(part), panel.codes(part))
    if method == RESAMPLED:
        random, rows = rng.generator(panel.seed, "benchmark", RESAMPLED), np.arange(len(codes))
        for code in np.unique(codes):
            inside = np.flatnonzero(codes == code)
            rows[inside] = random.choice(inside, len(inside))
        return Drawn(train[rows], codes)
    config = changes if method in PEERS else HaplotypeConfig.model_validate(changes).model_dump(mode="json")
    # The mosaic's likelihood takes haplotypes x panel x variants operations for each label.
    likelihood = method not in PEERS and config.get("method") != "mosaic"
    settings = {
        "peer": method if method in PEERS else "",
        "config": config,
        "seed": panel.seed,
        "labelled": method != "independent_pooled",
        "has_map": panel.genetic_map is not None,
        "likelihood": likelihood,
        "contig": str(panel.train.variants["contig"].iloc[0]),
        "code": _code(method, config),
    }
    arrays = packed("train", train) | {
        "codes": codes,
        "asked": codes,
        "labels": np.asarray(panel.labels, str),
        "positions": panel.positions,
        "ref": panel.train.variants["ref"].to_numpy(dtype=str),
        "alt": panel.train.variants["alt"].to_numpy(dtype=str),
        "centimorgans": panel.centimorgans,
    }
    if likelihood:
        arrays |= packed("test", panel.haplotypes("test"))
    if method == "out_of_africa" and panel.genetic_map is not None:
        arrays |= {f"map_{name}": panel.genetic_map[name].to_numpy() for name in ("pos", "cM")}
    environment = {
        "OMP_NUM_THREADS": "1",
        "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",
        "PYTHONPATH": os.pathsep.join(map(str, (PACKAGE.parent, SCRIPT.parent, PEERS_FOLDER))),
    }
    fit = run(cache, f"haplotypes_{method}", [sys.executable, str(SCRIPT)], arrays, settings, environment)
    assert fit is not None
    found = fit.arrays
    return Drawn(
        unpacked(found, "drawn"),
        codes,
        found.get("positions"),
        found.get("log_likelihood"),
        found.get("mix"),
        fit.figures,
    )


def _code(method: str, config: dict[str, Any]) -> str:
    """What changes when the source of a generator does."""
    if method in PEERS:
        name = "haptools_draw" if method == "haptools" else method
        return hashlib.sha256((PEERS_FOLDER / f"{name}.py").read_bytes()).hexdigest()[:12]
    return str(BASELINES_VERSION) if config["method"] in BASELINES else sources(MODEL_SOURCES)
