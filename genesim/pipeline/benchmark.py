"""benchmark: a data set with planted truth and a card; and the score of an answer to it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy import sparse

from genesim import rng
from genesim.config.scenario import Population
from genesim.console import log
from genesim.data.genotypes import concatenate, write_vcf
from genesim.data.names import plain_frame
from genesim.data.write import write_h5ad, write_parquet
from genesim.errors import ArtefactError, InputError
from genesim.estimators.expression import ExpressionModel
from genesim.evaluate.benchmark_format import Suite, suite
from genesim.evaluate.benchmarks import score_answer
from genesim.pipeline.simulate import Models, haplotype_folders
from genesim.provenance.atomic import atomic_directory
from genesim.provenance.manifest import verify_manifest
from genesim.provenance.record import Provenance, hash_input
from genesim.simulate.benchmarks import MAKERS
from genesim.simulate.benchmarks.builtin import builtin_world
from genesim.simulate.benchmarks.world import BenchmarkData, Design, Difficulty, Genotyped, Size, World
from genesim.simulate.population import draw_donors

_SCHEMA = "genesim-benchmark-1"


@dataclass(frozen=True)
class _ModelCells:
    """An expression model as a source of cells whose obs says `cell_type` alone; the rest is the training mix."""

    model: ExpressionModel

    @property
    def genes(self) -> pd.Index:
        return self.model.genes

    def _obs(self, obs: pd.DataFrame) -> pd.DataFrame:
        key = self.model.labels_key
        return obs[[]] if key is None else obs[["cell_type"]].rename(columns={"cell_type": key})

    def draw_rates(
        self, obs: pd.DataFrame, seed: int, first: int
    ) -> tuple[Float[np.ndarray, "cell gene"], Float[np.ndarray, " cell"]]:
        """As `CellSource` says."""
        return self.model.draw_rates(self._obs(obs), seed, first)

    def draw_counts(
        self,
        rates: Float[np.ndarray, "cell gene"],
        library: Float[np.ndarray, " cell"],
        obs: pd.DataFrame,
        seed: int,
        first: int,
        fold: Float[np.ndarray, "cell gene"],
    ) -> sparse.csr_matrix:
        """As `CellSource` says."""
        return self.model.draw_counts(rates, library, self._obs(obs), seed, first, fold)


def world_of(models: Models) -> World:
    """Trained models as the world that a benchmark is drawn from."""

    def genotyped(n: int, seed: int) -> Genotyped:
        donors = draw_donors(Population(n_donors=n), models.haplotypes[0].ancestry_mix, 1, seed)
        seed = rng.seed(seed, "benchmark", "genotypes")
        parts = [m.sample_for(donors["ancestry"], seed=seed, sex=donors["sex"]) for m in models.haplotypes]
        frequency = pd.concat([m.variants["frequency"] for m in models.haplotypes])
        return Genotyped(donors[["ancestry"]], concatenate(parts), frequency)

    origin = "Cells and donors are drawn from the user's own trained models; the licence of their data holds."
    expression = models.expression
    return World(_ModelCells(expression), expression.composition, models.genes, genotyped, origin)


def _card(name: str, wanted: Suite, made: BenchmarkData, design: Design, origin: str) -> dict[str, Any]:
    columns = {
        column: {"about": about.about, "kind": about.kind, "required": about.required}
        for column, about in {**wanted.keys, **wanted.values}.items()
    }
    if wanted.prefix:
        about = "coordinates of the embedding: this column, and as many more as it has dimensions"
        columns[f"{wanted.prefix}1"] = {"about": about, "kind": "number", "required": True}
    return {
        "schema": _SCHEMA,
        "benchmark": name,
        "task": wanted.task,
        "size": design.size,
        "difficulty": design.difficulty,
        "seed": design.seed,
        "planted": made.planted,
        "origin": origin,
        "answer": columns,
        "answer_file": "a table: .csv, .tsv or .parquet",
        "keys": list(wanted.keys),
        "metrics": wanted.metrics,
        "null": "every score stands beside its null: the same answer dealt to random rows",
        "synthetic": True,
    }


def _markdown(card: dict[str, Any]) -> str:
    lines = [f"# Benchmark {card['benchmark']}", "", card["task"], "", "All of it is synthetic. " + card["origin"], ""]
    lines += [f"Size {card['size']}, difficulty {card['difficulty']}, seed {card['seed']}.", "", "## What was planted"]
    lines += ["", *[f"- {key}: {value}" for key, value in card["planted"].items()]]
    lines += [
        "",
        "## Answer format",
        "",
        card["answer_file"][0].upper() + card["answer_file"][1:] + ", with the columns:",
    ]
    lines += ["", "| column | kind | required | what |", "| --- | --- | --- | --- |"]
    lines += [
        f"| {name} | {c['kind']} | {'yes' if c['required'] else 'no'} | {c['about']} |"
        for name, c in card["answer"].items()
    ]
    lines += ["", "## Metrics", "", *[f"- {name}: {text}" for name, text in card["metrics"].items()]]
    lines += ["", card["null"][0].upper() + card["null"][1:] + ".", "", "## Score an answer", ""]
    lines += [f"    genesim benchmark score {card['benchmark']} --data DIR --answer FILE", ""]
    lines += ["`truth/` holds what was planted: solvers are not to read it.", ""]
    return "\n".join(lines)


def make_benchmark(
    name: str,
    out: str | Path,
    *,
    models: Models | str | Path | None = None,
    size: Size = "small",
    difficulty: Difficulty = "medium",
    seed: int = 0,
) -> Path:
    """Write a benchmark: `data.h5ad`, `genotypes.vcf.gz` where due, `truth/*.parquet`, `card.md`, `card.json`.

    Args:
        name: "eqtl", "eqtl_specific", "eqtl_dynamic", "de", "rare_type", "batch", "doublets", "donors" or
            "grn".
        out: Directory to write.
        models: Trained models that cells and donors are drawn from, or their directory; None takes the built-in
            example, which needs no data of the user's.
        size: How many cells and donors.
        difficulty: How large the planted effects are.
        seed: Decides every draw: the same seed gives the same data and truth.

    Returns:
        `out`.

    Raises:
        ConfigError: An unknown name, size or difficulty, or models that cannot serve (a baseline without rates).
        ResourceError: The location cannot be written.
    """
    wanted, design = suite(name), Design(size, difficulty, seed)
    inputs: dict[str, str] = {}
    if models is None:
        world = builtin_world()
    else:
        if not isinstance(models, Models):
            root = Path(models)
            loaded = Models.load(root)
            folders = {"expression": root / "expression", "effects": root / "effects"}
            folders |= {f"haplotypes/{p.name}": p for p in haplotype_folders(root)}
            inputs = {key: hash_input(path) for key, path in folders.items() if path.is_dir()}
        else:
            loaded = models
        world = world_of(loaded)
    made = MAKERS[name](world, design)
    settings = {"benchmark": name, "size": size, "difficulty": difficulty, "planted": made.planted}
    provenance = Provenance("benchmark", seed, settings, inputs, synthetic=True)
    card = _card(name, wanted, made, design, world.origin)
    with atomic_directory(out) as directory:
        write_h5ad(made.cells, directory / "data.h5ad", provenance)
        if made.genotypes is not None:
            write_vcf(made.genotypes, directory / "genotypes.vcf.gz", provenance=provenance)
        for table_name, table in made.truth.items():
            write_parquet(table, directory / "truth" / f"{table_name}.parquet", provenance)
        (directory / "card.json").write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
        (directory / "card.md").write_text(_markdown(card), encoding="utf-8")
        (directory / "provenance.json").write_text(provenance.to_json() + "\n", encoding="utf-8")
    log.info("benchmark %s: %d cells x %d genes: %s", name, *made.cells.shape, out)
    return Path(out)


def _read_answer(answer: pd.DataFrame | str | Path) -> pd.DataFrame:
    if isinstance(answer, pd.DataFrame):
        return answer
    path = Path(answer)
    try:
        if path.suffix == ".parquet":
            return pd.read_parquet(path)
        return pd.read_csv(path, sep="\t" if path.suffix == ".tsv" else ",", keep_default_na=False, na_values=["NaN"])
    except (OSError, ValueError) as error:
        raise InputError(
            f"cannot be read as a table ({error})", where=str(path), remedy="give a .csv, .tsv or .parquet"
        ) from error


def _known(name: str, directory: Path, truth: dict[str, pd.DataFrame]) -> dict[str, pd.Index]:
    """Values that each key column can have, read from the data."""
    cells = ad.read_h5ad(directory / "data.h5ad", backed="r")
    known = {"gene": pd.Index(cells.var_names), "target": pd.Index(cells.var_names), "cell": pd.Index(cells.obs_names)}
    if "cell_type" in cells.obs:
        known["cell_type"] = pd.Index(cells.obs["cell_type"].astype(str).unique())
    cells.file.close()
    if name.startswith("eqtl"):
        import pysam

        with pysam.VariantFile(str(directory / "genotypes.vcf.gz")) as file:
            known["variant"] = pd.Index([record.id for record in file])
    if name == "donors":
        known["donor"] = pd.Index(truth["donors"]["donor"])
    if name == "grn":
        known["regulator"] = pd.Index(truth["edges"]["regulator"].unique())
    return known


def score_benchmark(directory: str | Path, answer: pd.DataFrame | str | Path, name: str | None = None) -> pd.DataFrame:
    """Score an answer to a benchmark that `make_benchmark` wrote.

    Args:
        directory: Of the benchmark.
        answer: A table, or its file (.csv, .tsv, .parquet), with the columns that the card lists.
        name: The benchmark that is expected; None takes what the card says.

    Returns:
        One row a metric: `metric`, `value`, `null`, `null_sd`, `n_answered`, `about`.

    Raises:
        ArtefactError: The directory is incomplete, altered, no benchmark, or another one.
        InputError: The answer does not have the format; the column is named.
    """
    directory = Path(directory)
    verify_manifest(directory)
    card_file = directory / "card.json"
    card = json.loads(card_file.read_text(encoding="utf-8")) if card_file.is_file() else {}
    if card.get("schema") != _SCHEMA:
        raise ArtefactError("is no benchmark", where=str(directory), remedy="give what `genesim benchmark` wrote")
    found = str(card["benchmark"])
    if name is not None and name != found:
        raise ArtefactError(f"is the benchmark {found!r}, not {name!r}", where=str(directory), remedy=f"name {found}")
    truth = {p.stem: plain_frame(pd.read_parquet(p)) for p in sorted((directory / "truth").glob("*.parquet"))}
    return score_answer(found, _read_answer(answer), truth, _known(found, directory, truth))
