"""Training on several processes, each with a part of every batch: data parallelism over MPI.

    mpiexec -n 4 python train.py                          # pip install "convgpu[distributed]"

    convgpu.distributed.init()
    params = convgpu.distributed.broadcast(params)        # everybody begins with rank 0's
    for x, y in convgpu.data.batches(images, labels, batch_size=128, shuffle=True, shard=convgpu.distributed.shard()):
        value, grads = convgpu.distributed.value_and_grad(loss, weight=len(x))(params, x, y)
        params = optimizer.step(params, grads)            # the same on every process, to the bit

Without mpiexec there is one process, and the same program runs as it is; `init` may then be left out. Every function
here is called by all processes in the same order; where one does not come, the job ends with a message that names it.
"""

from __future__ import annotations

from .collectives import allreduce, barrier, broadcast, check_equal, gather
from .gradients import value_and_grad
from .job import init, is_initialized, local_rank, rank, shard, size
from .norm import batch_norm

__all__ = [
    "allreduce", "barrier", "batch_norm", "broadcast", "check_equal", "gather", "init", "is_initialized", "local_rank",
    "rank", "shard", "size", "value_and_grad",
]
