"""Committed notebooks hold the outputs of a whole run from top to bottom, and still run."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
TINY = {
    "expression": """
from genesim.config.model import TrainPlan
plan = TrainPlan(n_steps=20, minibatch_size=64)
sizes = dict(n_latent=6, n_hidden=16, n_layers=1, n_flow_layers=1, n_flow_steps=4)
config = ExpressionConfig(method="vae", **sizes, vae=plan, flow=plan)
""",
    "effects": """
paired = None
n_picked, n_strongest = 2, 4
n_new, donor_numbers, heritabilities = 120, (120,), (0.1, 0.4)
""",
    "perturbation": """
kang = None
n_genes, embedding = 120, "pca"
""",
    "haplotypes": """
config = HaplotypeConfig(n_states=4, n_passes=2)
""",
}
"""Stands in for the cell tagged `settings` of each notebook, so that a run takes seconds."""
LONG = ("effects", "expression", "haplotypes")
"""Those that take up to a minute even so."""


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def code_cells(notebook: dict[str, Any]) -> list[dict[str, Any]]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_stored_outputs_are_of_one_clean_run(path: Path) -> None:
    assert path.stat().st_size < 500_000
    cells = code_cells(read(path))
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert not [o for o in outputs if o["output_type"] == "error" or o.get("name") == "stderr"]
    images = {"image/png", "image/svg+xml"}
    assert sum(bool(images & o.get("data", {}).keys()) for o in outputs) >= 2
    folders = re.findall(r"(?:/home/|/root/|/tmp/|/Users/)\S+", json.dumps(outputs))
    assert not folders


@pytest.mark.parametrize(
    "path",
    [pytest.param(path, marks=[pytest.mark.slow] if path.stem in LONG else [], id=path.stem) for path in NOTEBOOKS],
)
def test_a_notebook_runs_from_top_to_bottom(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ipykernel", reason="the dev group is not installed")
    # OpenMP threads that wait for cores which other tests hold make the scores 30 times slower.
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    settings = [cell for cell in notebook.cells if "settings" in cell.metadata.get("tags", [])]
    assert len(settings) == 1
    settings[0]["source"] += TINY[path.stem]
    client = NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()  # raises CellExecutionError
    stored, made = code_cells(read(path)), code_cells(notebook)
    kinds = [[[output["output_type"] for output in cell["outputs"]] for cell in cells] for cells in (stored, made)]
    assert kinds[0] == kinds[1]
    assert not list(tmp_path.iterdir())


def test_there_are_notebooks() -> None:
    assert NOTEBOOKS
