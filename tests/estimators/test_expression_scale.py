"""Training from counts that stay on disk, and writing cells that never stand in memory together."""

from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from genesim.config.model import ExpressionConfig, TrainPlan
from genesim.data import backed_stream
from genesim.errors import ArtefactError
from genesim.estimators.expression import ExpressionModel
from genesim.estimators.expression_store import generator_arrays
from genesim.train import loop

PLAN = TrainPlan(n_steps=60, minibatch_size=32, learning_rate=5e-3, steps_per_call=20, checkpoint_every=20)
SMALL = ExpressionConfig(
    n_latent=3, n_hidden=16, n_layers=1, n_flow_layers=1, n_flow_steps=4, loading_penalty=0.0, vae=PLAN, flow=PLAN
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
