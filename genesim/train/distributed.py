"""Several processes train one network: `srun -n 4 genesim train expression --distributed auto ...`.

Every process reads the data and makes the same minibatches; each step's examples are divided over the devices of all
processes (`loop`), whose gradients are summed by JAX's collectives (gloo on CPUs, NCCL on GPUs). All end with the same
parameters. The first process writes; the others' outputs are thrown away.
"""

from __future__ import annotations

import re

from genesim.console import log
from genesim.errors import ConfigError, ResourceError


def join_processes(given: str = "auto", timeout_s: int = 300) -> bool:
    """Join the other processes of this job; True in the first of them, which writes what is made.

    Has to be called before anything is computed.

    Args:
        given: "auto" (SLURM, Open MPI and Kubernetes tell each process its place), or `k/n@host:port`: this is the
            k-th of n processes, and the first one listens at that address.
        timeout_s: How long to wait for the others.

    Raises:
        ConfigError: Neither of these, or "auto" outside of such a job.
        ResourceError: The others cannot be reached.
    """
    import jax

    remedy = "start one process a task (`srun -n 2 genesim train ...`), or give k/n@host:port"
    place = re.fullmatch(r"(\d+)/(\d+)@(\S+:\d+)", given)
    if given != "auto" and (place is None or not 1 <= int(place[1]) <= int(place[2])):
        raise ConfigError(f"{given!r} names no process", where="--distributed", remedy=remedy)
    try:
        if place is None:
            jax.distributed.initialize(initialization_timeout=timeout_s)
        else:
            # A SLURM job around it must not fill in what was not asked for.
            jax.distributed.initialize(
                place[3],
                int(place[2]),
                int(place[1]) - 1,
                cluster_detection_method="deactivate",
                initialization_timeout=timeout_s,
            )
    except ValueError as error:
        raise ConfigError(f"no processes were found ({error})", where="--distributed", remedy=remedy) from error
    except RuntimeError as error:
        raise ResourceError(
            f"the other processes cannot be reached ({str(error).splitlines()[0]})",
            where="--distributed",
            remedy="check that all were started, and that the address and port are free and open",
        ) from error
    log.info("process %d of %d, %d devices", jax.process_index() + 1, jax.process_count(), jax.device_count())
    return jax.process_index() == 0
