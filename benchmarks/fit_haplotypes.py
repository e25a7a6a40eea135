"""One fit and one draw of a haplotype generator: `fit_genesim.py` for haplotypes, genesim's and the peers'.

    python fit_haplotypes.py input.npz settings.json output.npz output.json

`input.npz` and `settings.json` as `haplotype_fits.drawn` writes them. Times leave out imports, reading and writing;
they hold compilation. `peak_rss_mb` is the whole process, or its largest child where that is larger.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from fit_genesim import peak_rss_mb

from genesim.config.model import HaplotypeConfig
from genesim.data.genotypes.record import ABSENT, Genotypes
from genesim.estimators.haplotypes import HaplotypeModel


def unpacked(arrays: dict[str, np.ndarray], name: str) -> np.ndarray:
    """Haplotypes of `packed`."""
    n_variants = int(arrays[f"{name}_n_variants"])
    return np.unpackbits(arrays[name], axis=1, count=n_variants).astype(np.int8)


def packed(name: str, haplotypes: np.ndarray) -> dict[str, np.ndarray]:
    """Haplotypes as bits."""
    return {name: np.packbits(haplotypes, axis=1), f"{name}_n_variants": np.int64(haplotypes.shape[1])}


def _genotypes(alleles: np.ndarray, variants: pd.DataFrame) -> Genotypes:
    """Alleles [variant, donor, 2], all phased."""
    donors = pd.Index([f"D{i:05d}" for i in range(alleles.shape[1])], dtype=object)
    index = pd.Index([f"V{i}" for i in range(len(variants))], dtype=object)
    return Genotypes(alleles, np.ones(alleles.shape[:2], bool), variants.set_index(index), donors)


def _haploid(haplotypes: np.ndarray, variants: pd.DataFrame) -> Genotypes:
    """Each haplotype as a donor of its own, so that likelihoods come one a haplotype."""
    alleles = np.full((haplotypes.shape[1], len(haplotypes), 2), ABSENT, np.int8)
    alleles[:, :, 0] = haplotypes.T
    return _genotypes(alleles, variants)


def genesim(arrays: dict[str, np.ndarray], settings: dict[str, Any], variants: pd.DataFrame) -> dict[str, Any]:
    """Fit `HaplotypeModel`, draw the asked populations, score held-out haplotypes under every label."""
    train = unpacked(arrays, "train")
    labels, codes, asked = arrays["labels"].astype(object), arrays["codes"], arrays["asked"]
    geno = _genotypes(np.ascontiguousarray(train.reshape(-1, 2, train.shape[1]).transpose(2, 0, 1)), variants)
    ancestry = pd.Series(labels[codes[::2]], index=geno.donors) if settings["labelled"] else None
    genetic_map = None
    if settings["has_map"]:
        genetic_map = variants.assign(pos=variants["start"] + 1, cM=arrays["centimorgans"])[["contig", "pos", "cM"]]
    config = HaplotypeConfig.model_validate(settings["config"])
    clock = _Clock()
    model = HaplotypeModel.fit(geno, ancestry, config=config, seed=settings["seed"], genetic_map=genetic_map)
    figures = clock.lap("fit")
    wanted = labels[asked[::2]] if settings["labelled"] else np.repeat("all", len(asked) // 2)
    donors = [f"S{i:05d}" for i in range(len(wanted))]
    drawn = model.sample_for(wanted.tolist(), donors=donors, seed=settings["seed"])
    figures |= clock.lap("sample")
    out: dict[str, Any] = packed("drawn", drawn.haplotypes())
    if settings["likelihood"]:
        held_out = _haploid(unpacked(arrays, "test"), variants)
        columns = []
        for label in model.ancestries:
            one = pd.Series(label, index=held_out.donors) if settings["labelled"] else None
            columns.append(model.log_likelihood(held_out, one).to_numpy())
        out["log_likelihood"] = np.stack(columns, axis=1)
        out["mix"] = np.array(list(model.ancestry_mix.values()))
        figures |= clock.lap("score")
    history = [list(map(float, values)) for values in model.history.values()]
    return {"arrays": out, "figures": figures, "config": config.model_dump(mode="json"), "history": history}


def peer(arrays: dict[str, np.ndarray], settings: dict[str, Any], variants: pd.DataFrame) -> dict[str, Any]:
    """Draw by another project's algorithm or program; those that fit do it while they draw."""
    import fastphase
    import hapnest
    import haptools_draw
    import out_of_africa

    train, codes, asked = unpacked(arrays, "train"), arrays["codes"], arrays["asked"]
    labels, seed, morgans = arrays["labels"].tolist(), settings["seed"], arrays["centimorgans"]
    positions, name = variants["start"].to_numpy(), settings["peer"]
    out: dict[str, Any] = {}
    history: list[list[float]] = []
    clock = _Clock()
    if name == "hapnest":
        drawn = hapnest.draw(train, codes, asked, labels, morgans, seed)
    elif name == "fastphase":
        drawn, passes = fastphase.draw(train, codes, asked, labels, seed, **settings["config"])
        history = [passes]
    elif name == "haptools":
        drawn = haptools_draw.draw(train, codes, asked, labels, variants, morgans, seed)
    else:
        first, last = int(positions[0]), int(positions[-1])
        whole = pd.DataFrame({"pos": arrays["map_pos"], "cM": arrays["map_cM"]})
        drawn, out["positions"] = out_of_africa.draw(asked, labels, first, last, whole, seed)
    figures = clock.lap("fit")
    return {
        "arrays": out | packed("drawn", drawn),
        "figures": figures,
        "config": settings["config"],
        "history": history,
    }


class _Clock:
    """Wall and CPU seconds since the last lap, of this process and its children."""

    def __init__(self) -> None:
        self.last = self._now()

    def _now(self) -> tuple[float, float]:
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        return time.perf_counter(), time.process_time() + children.ru_utime + children.ru_stime

    def lap(self, name: str) -> dict[str, float]:
        now, last = self._now(), self.last
        self.last = now
        return {f"{name}_wall_s": now[0] - last[0], f"{name}_cpu_s": now[1] - last[1]}


def main() -> None:
    source, settings_path, arrays_out, figures_out = map(Path, sys.argv[1:5])
    settings = json.loads(settings_path.read_text())
    with np.load(source) as found:
        arrays = dict(found)
    variants = pd.DataFrame({"contig": settings["contig"], "start": arrays["positions"]})
    variants = variants.assign(ref=arrays["ref"].astype(object), alt=arrays["alt"].astype(object))
    work: Callable[..., dict[str, Any]] = peer if settings["peer"] else genesim
    result = work(arrays, settings, variants)
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    result["figures"]["peak_rss_mb"] = max(peak_rss_mb(), children if settings["peer"] == "haptools" else 0.0)
    np.savez(arrays_out, **result.pop("arrays"))
    figures_out.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
