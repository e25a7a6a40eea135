"""Several devices share a minibatch: the result is that of one device, whatever the minibatch's size."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).resolve().parent
SCRIPT = """
import json, sys
import jax, numpy as np
from flax import nnx
from scipy import sparse
from train_toys import no_condition
from genesim import rng
from genesim.config.model import ExpressionConfig, TrainPlan
from genesim.data.stream import ArrayStream
from genesim.models.expression.vae import GeneStatistics, NbVae
from genesim.train.loop import _Devices, fit
from genesim.types import Minibatch, SparseRows

size = int(sys.argv[1])
counts = np.random.default_rng(0).poisson(0.1, (90, 40)).astype(np.float32)
counts[:, 0] += 1
plan = TrainPlan(n_steps=30, minibatch_size=size, learning_rate=0.03, steps_per_call=10, validate_every=10)
config = ExpressionConfig(n_latent=2, n_hidden=8, n_layers=1, vae=plan)
model = NbVae(GeneStatistics.zeros(40), (), [], 0, config, rngs=nnx.Rngs(0))
stream, held = (ArrayStream(sparse.csr_matrix(counts), no_condition(90), size, 0, name) for name in ("a", "b"))
assert isinstance(stream(0).values, SparseRows)
result = fit(model, stream, plan, rng.key(0, "fit"), validation=held, checkpoint_dir=sys.argv[2])
again = fit(model, stream, plan, rng.key(0, "fit"), validation=held, checkpoint_dir=sys.argv[2])
divided = jax.jit(_Devices(stream).divided)(stream(0))
leaves = jax.tree.leaves(nnx.state(result.model, nnx.Param))
print(json.dumps({
    "n_devices": jax.local_device_count(),
    "rows_a_device": [len(shard.data) for shard in divided.values.addressable_shards],
    "loss": result.history["loss"].tolist(),
    "validation": result.history["validation_loss"].tolist(),
    "norm": float(sum((np.asarray(leaf) ** 2).sum() for leaf in leaves)),
    "n_traces": [result.n_traces, again.n_traces],
    "devices_of_result": len(leaves[0].devices()),
}))
"""


def trained(n_devices: int, size: int, folder: Path) -> dict:
    env = dict(os.environ, JAX_PLATFORMS="cpu", XLA_FLAGS=f"--xla_force_host_platform_device_count={n_devices}")
    env["PYTHONPATH"] = os.pathsep.join([str(HERE), env.get("PYTHONPATH", "")])
    command = [sys.executable, "-c", SCRIPT, str(size), str(folder)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, cwd=HERE.parent.parent)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("size", [pytest.param(16, marks=pytest.mark.slow), 20])
def test_eight_devices_learn_what_one_does(size: int, tmp_path: Path) -> None:
    one, eight = trained(1, size, tmp_path / "1"), trained(8, size, tmp_path / "8")
    assert (one["n_devices"], eight["n_devices"]) == (1, 8)
    assert one["rows_a_device"] == [size]
    assert eight["rows_a_device"] == [-(-size // 8)] * 8  # 20 rows are filled up to 24
    np.testing.assert_allclose(eight["loss"], one["loss"], rtol=2e-5)
    np.testing.assert_allclose(eight["validation"], one["validation"], rtol=2e-5)
    assert eight["norm"] == pytest.approx(one["norm"], rel=1e-4)
    assert abs(one["loss"][0] - one["loss"][-1]) > 1e-2 * one["loss"][0]
    assert one["n_traces"] == eight["n_traces"] == [1, 0]
    assert eight["devices_of_result"] == 1
