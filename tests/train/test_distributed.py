"""Two processes, each with its own devices, learn what one process does."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from genesim.errors import ConfigError
from genesim.train.distributed import join_processes

HERE = Path(__file__).resolve().parent
SCRIPT = """
import json, sys
from genesim.train.distributed import join_processes
first = join_processes(sys.argv[2], timeout_s=120) if len(sys.argv) > 2 else True
import jax, numpy as np
from flax import nnx
from scipy import sparse
from train_toys import no_condition
from genesim import rng
from genesim.config.model import ExpressionConfig, TrainPlan
from genesim.data.stream import ArrayStream
from genesim.models.expression.vae import GeneStatistics, NbVae
from genesim.provenance.record import Provenance
from genesim.train.loop import fit
from genesim.train.store import load_model, save_model

counts = np.random.default_rng(0).poisson(0.1, (90, 40)).astype(np.float32)
counts[:, 0] += 1
plan = TrainPlan(n_steps=20, minibatch_size=16, learning_rate=0.03, steps_per_call=10, validate_every=10,
                 checkpoint_every=10)
config = ExpressionConfig(n_latent=2, n_hidden=8, n_layers=1, vae=plan)
model = NbVae(GeneStatistics.zeros(40), (), [], 0, config, rngs=nnx.Rngs(0))
stream, held = (ArrayStream(sparse.csr_matrix(counts), no_condition(90), 16, 0, name) for name in ("a", "b"))
result = fit(model, stream, plan, rng.key(0, "fit"), validation=held, checkpoint_dir=sys.argv[1])
leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(nnx.state(result.model, nnx.Param))]
folder = f"{sys.argv[1]}-model"
stored = {str(i): leaf for i, leaf in enumerate(leaves)}
if first:  # who writes does not wait for the others
    save_model(folder, "toy", stored, {}, Provenance("train", 0))
    stored = load_model(folder, "toy").arrays
print(json.dumps({
    "first": first,
    "processes": jax.process_count(),
    "devices": [jax.device_count(), jax.local_device_count()],
    "loss": result.history["loss"].tolist(),
    "validation": result.history["validation_loss"].tolist(),
    "norm": float(sum((leaf ** 2).sum() for leaf in leaves)),
    "stored": all((stored[str(i)] == leaf).all() for i, leaf in enumerate(leaves)),
}))
"""


def start(folder: Path, *words: str) -> subprocess.Popen[str]:
    env = dict(os.environ, JAX_PLATFORMS="cpu", XLA_FLAGS="--xla_force_host_platform_device_count=1")
    env["PYTHONPATH"] = os.pathsep.join([str(HERE), env.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(folder), *words],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=HERE.parent.parent,
    )


def ended(*processes: subprocess.Popen[str]) -> list[dict]:
    said = []
    try:
        for process in processes:
            out, err = process.communicate(timeout=400)
            assert process.returncode == 0, err[-3000:]
            said.append(json.loads(out.splitlines()[-1]))
    finally:
        for process in processes:
            process.kill()
    return said


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.slow
def test_two_processes_learn_what_one_does(tmp_path: Path) -> None:
    (one,) = ended(start(tmp_path / "one"))
    address = f"127.0.0.1:{free_port()}"
    two = ended(*(start(tmp_path / "two", f"{k}/2@{address}") for k in (1, 2)))
    assert one["processes"] == 1
    assert [found["processes"] for found in two] == [2, 2]
    assert [found["first"] for found in two] == [True, False]
    assert two[0]["devices"] == [2, 1]
    for found in two:
        np.testing.assert_allclose(found["loss"], one["loss"], rtol=2e-5)
        np.testing.assert_allclose(found["validation"], one["validation"], rtol=2e-5)
        assert found["norm"] == pytest.approx(one["norm"], rel=1e-4)
        assert found["stored"]
    assert two[0]["loss"] == two[1]["loss"]
    assert abs(one["loss"][0] - one["loss"][-1]) > 1e-2 * one["loss"][0]
    # One of them wrote the checkpoints, whole; and the run goes on from them, in one process.
    (again,) = ended(start(tmp_path / "two"))
    assert again["loss"] == two[0]["loss"]


@pytest.mark.parametrize("given", ["2", "3/2@localhost:1", "0/2@localhost:1", "1/2@localhost", "slurm"])
def test_a_place_that_is_none_is_refused(given: str) -> None:
    with pytest.raises(ConfigError, match="names no process"):
        join_processes(given)
