"""Training from counts that stay on disk, and writing cells that never stand in memory together."""

import subprocess
import sys
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from genesim.config.model import ExpressionConfig, TrainPlan
from genesim.data import backed_stream
from genesim.data.expression import read_expression
from genesim.data.write import write_blocks
from genesim.errors import ArtefactError, InputError
from genesim.estimators.expression import ExpressionModel
from genesim.estimators.expression_store import generator_arrays
from genesim.provenance.record import Provenance
from genesim.train import loop

ROOT = Path(__file__).resolve().parents[2]
PLAN = TrainPlan(n_steps=60, minibatch_size=32, learning_rate=5e-3, steps_per_call=20, checkpoint_every=20)
SMALL = ExpressionConfig(
    method="vae",
    n_latent=3,
    n_hidden=16,
    n_layers=1,
    n_flow_layers=1,
    n_flow_steps=4,
    loading_penalty=0.0,
    vae=PLAN,
    flow=PLAN,
)
N_GENES = 60


def cells(n: int = 700) -> ad.AnnData:
    """Two types, one after the other in the file, of opposite profiles; few genes are seen in a cell."""
    random = np.random.default_rng(0)
    kind = (np.arange(n) >= n // 2).astype(int)
    profile = np.exp(np.array([np.linspace(-2, 2, N_GENES), np.linspace(2, -2, N_GENES)]))
    profile /= profile.sum(axis=1, keepdims=True)
    counts = random.poisson(random.lognormal(2.5, 0.3, (n, 1)) * profile[kind])
    counts[0, 0] += 1
    obs = pd.DataFrame({"kind": np.array(["B", "T"])[kind]}, index=[f"c{i}" for i in range(n)])
    return ad.AnnData(
        sparse.csr_matrix(counts.astype("f")), obs=obs, var=pd.DataFrame(index=[f"g{i}" for i in range(N_GENES)])
    )


@pytest.fixture(scope="module")
def stored(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("cells") / "cells.h5ad"
    cells().write_h5ad(path)
    return path


def same(a: ExpressionModel, b: ExpressionModel) -> bool:
    flat = [sorted(_flat(generator_arrays(m.generator))) for m in (a, b)]
    return [name for name, _ in flat[0]] == [name for name, _ in flat[1]] and all(
        x.tobytes() == y.tobytes() for (_, x), (_, y) in zip(*flat, strict=True)
    )


def _flat(tree, name: str = ""):
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from _flat(value, f"{name}/{key}")
    else:
        yield name, np.asarray(tree)


def test_one_buffer_on_disk_gives_the_model_of_memory_bit_for_bit(stored, tmp_path) -> None:
    config = SMALL.model_copy(update={"validation_share": 0.1})
    in_memory = ExpressionModel.fit(stored, labels_key="kind", config=config, seed=2, stream=False)
    on_disk = ExpressionModel.fit(stored, labels_key="kind", config=config, seed=2, stream=True)
    assert same(in_memory, on_disk)
    assert in_memory.history["vae_validation_loss"].tobytes() == on_disk.history["vae_validation_loss"].tobytes()
    assert (in_memory.sample(40, seed=1).X != on_disk.sample(40, seed=1).X).nnz == 0
    with ad.settings.override(zarr_write_format=3):
        ad.read_h5ad(stored).write_zarr(tmp_path / "cells.zarr")
    assert same(
        on_disk, ExpressionModel.fit(tmp_path / "cells.zarr", labels_key="kind", config=config, seed=2, stream=True)
    )
    assert not same(in_memory, ExpressionModel.fit(stored, labels_key="kind", config=config, seed=3, stream=True))


@pytest.mark.slow
def test_mixed_chunks_learn_both_types(stored, monkeypatch) -> None:
    """The file is sorted by type; three chunks pass through buffers of two."""
    monkeypatch.setattr(backed_stream, "_CHUNKS", (2, 2))
    long = PLAN.model_copy(update={"n_steps": 300})
    config = SMALL.model_copy(update={"vae": long, "flow": long})
    fitted = [ExpressionModel.fit(stored, labels_key="kind", config=config, stream=stream) for stream in (False, True)]
    assert not same(*fitted)
    real = cells()
    for kind, other in (("B", "T"), ("T", "B")):
        share = {k: real.X[(real.obs["kind"] == k).to_numpy()].sum(axis=0).A1 for k in (kind, other)}
        for model in fitted:
            drawn = model.sample(400, obs={"kind": kind}, seed=1).X.sum(axis=0).A1
            assert np.corrcoef(np.log(drawn + 1), np.log(share[kind] + 1))[0, 1] > 0.95
            assert np.corrcoef(np.log(drawn + 1), np.log(share[other] + 1))[0, 1] < 0
    losses = [model.history["vae_loss"][-50:].mean() for model in fitted]
    assert losses[1] == pytest.approx(losses[0], rel=0.02)


def test_a_killed_training_from_disk_goes_on_exactly(stored, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(backed_stream, "_CHUNKS", (1, 1))
    whole = ExpressionModel.fit(stored, labels_key="kind", config=SMALL, stream=True)
    real = loop.resume.save

    def killed(directory, progress, identity) -> None:
        real(directory, progress, identity)
        if int(progress.state.step) == 40:
            raise KeyboardInterrupt

    monkeypatch.setattr(loop.resume, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        ExpressionModel.fit(stored, labels_key="kind", config=SMALL, stream=True, checkpoint_dir=tmp_path)
    monkeypatch.setattr(loop.resume, "save", real)
    assert (tmp_path / "vae" / "40").is_dir()
    assert same(
        whole, ExpressionModel.fit(stored, labels_key="kind", config=SMALL, stream=True, checkpoint_dir=tmp_path)
    )
    with pytest.raises(ArtefactError, match="another data"):
        ExpressionModel.fit(stored, labels_key="kind", config=SMALL, stream=False, checkpoint_dir=tmp_path)


@pytest.fixture(scope="module")
def model() -> ExpressionModel:
    config = ExpressionConfig(method="independent")
    return ExpressionModel.fit(cells(), labels_key="kind", config=config)


@pytest.mark.parametrize("suffix", [".h5ad", ".zarr"])
def test_written_cells_are_the_cells_of_sample(model: ExpressionModel, tmp_path, monkeypatch, suffix) -> None:
    monkeypatch.setattr("genesim.estimators.expression.block_size", lambda n_genes: 16)
    path = tmp_path / f"drawn{suffix}"
    for n, obs in ((50, {"kind": "B"}), (70, None), (3, pd.DataFrame({"kind": ["T", "B", "T"], "note": [1, 2, 3]}))):
        drawn = model.sample(n, obs, seed=4)
        assert model.write_sample(path, n, obs, seed=4) == path  # the last one is replaced
        found = ad.read_h5ad(path) if suffix == ".h5ad" else ad.read_zarr(path)
        assert found.X.dtype == drawn.X.dtype == np.int32
        assert found.X.format == "csr"
        assert (found.X != drawn.X).nnz == 0
        pd.testing.assert_frame_equal(found.obs, drawn.obs, check_index_type=False)
        pd.testing.assert_frame_equal(found.var, drawn.var, check_index_type=False)
        assert found.uns["genesim"]["synthetic"]
        assert found.uns["genesim"]["seed"] == 4
        assert read_expression(path).X.sum() == drawn.X.sum()
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", [".h5ad", ".zarr"])
def test_a_killed_writer_leaves_nothing_and_wrong_blocks_are_refused(model, tmp_path, monkeypatch, suffix) -> None:
    path = tmp_path / f"drawn{suffix}"
    block = model.sample(5).X

    def interrupted():
        yield block
        raise KeyboardInterrupt

    record = Provenance("sample expression", 0, {}, synthetic=True)
    shell = model.empty_cells(model.sample(12).obs)
    with pytest.raises(KeyboardInterrupt):
        write_blocks(shell, interrupted(), path, record)
    for blocks in ([block], [block, block, block], [block[:, :4]]):
        with pytest.raises(InputError, match=f"12 cells x {N_GENES} genes"):
            write_blocks(shell, blocks, path, record)
    assert not list(tmp_path.iterdir())
    write_blocks(shell, [block, block, block[:2]], path, record)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.slow
def test_memory_does_not_grow_with_the_cells_on_disk(tmp_path) -> None:
    """200,000 cells take little more than 20,000 from disk, and the size of their counts more in memory.

    At 100,000 the counts (61 MiB) are within the noise of a peak between runs, some 30 MiB either way.
    """
    pytest.importorskip("resource")
    peak: dict[tuple[str, int], float] = {}
    for n_cells in (20_000, 200_000):
        command = [sys.executable, str(ROOT / "benchmarks" / "scale.py"), "--formats", "h5ad", "--steps", "20"]
        command += ["--cells", str(n_cells), "--out", str(tmp_path), "--folder", str(tmp_path), "--minibatch", "128"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        found = pd.read_csv(tmp_path / "scale.csv").set_index("source")
        assert (found["n_cells"] == n_cells).all()
        for source in ("disk", "memory"):
            peak[source, n_cells] = found.loc[source, "peak_rss_gib"] * 1024
        assert found.loc["disk", "loader_cells_s"] > 3 * found.loc["disk", "train_cells_s"]
    values_mib = 180_000 * 2000 * 0.05 * 8 / 2**20  # what 180,000 more cells hold, once
    assert peak["memory", 200_000] - peak["memory", 20_000] > 1.5 * values_mib
    assert peak["disk", 200_000] - peak["disk", 20_000] < values_mib
