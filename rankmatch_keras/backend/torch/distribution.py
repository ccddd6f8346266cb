"""DistributedDataParallel under `torchrun`: one process per replica."""

import functools
import gc
import os
from typing import Any

import numpy as np
import torch
from torch import distributed
from torch.distributed.rendezvous import rendezvous

from rankmatch_keras.backend.engine import Distribution, launcher_variables, whole_number
from rankmatch_keras.backend.replicas import Replicas, own_rows, set_replicas
from rankmatch_keras.backend.torch import step
from rankmatch_keras.backend.torch.replicas import ProcessReplicas, or_lost, reason_of, use_synchronized_batch_norm
from rankmatch_keras.errors import UserError

VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
LAUNCH = "Start with e.g. `torchrun --standalone --nproc-per-node 2 -m rankmatch_keras train ...`."


def start(strategy: str, replicas: int | None) -> Distribution:
    """Join the other processes that `torchrun` started; with "auto" and none of them this process trains alone.

    Raises:
        UserError: incomplete variables, or "ddp" without a launcher.
    """
    if replicas not in (None, 1):
        raise UserError("one replica per process on torch", f"--replicas {replicas}", LAUNCH)
    variables = launcher_variables(VARIABLES)
    if variables is None and strategy == "ddp":
        raise UserError("the variables of torchrun", f"none of {', '.join(VARIABLES)}", LAUNCH)
    if variables is None:
        return Distribution()
    processes = whole_number(variables, "WORLD_SIZE", 1)
    process = whole_number(variables, "RANK", 0, processes - 1)
    whole_number(variables, "MASTER_PORT", 1, 65535)
    return DataParallel(process, processes)


class DataParallel(Distribution):
    """This process's replica of torch's DistributedDataParallel.

    Args:
        process: rank of this process.
        processes: number of processes.
    """

    name = "ddp"

    def __init__(self, process: int, processes: int):
        self.process = process
        self.processes = self.replicas = processes
        self._methods: list[Any] = []
        attempt = int(os.environ.get("TORCHELASTIC_RESTART_COUNT") or 0)
        self.restarted = attempt > 0
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", process)) % torch.cuda.device_count())
        try:
            join(attempt)
        except (RuntimeError, ValueError) as error:
            raise UserError("the other processes", f"none ({reason_of(error)})", LAUNCH) from error
        set_replicas(ProcessReplicas(process, processes))

    def rows(self, batch_size):
        """See `Distribution`: mirrored pairs of rows."""
        return own_rows(batch_size, self.replicas, self.process)

    def prepare(self, method, sync_batch_norm=True):
        """See `Distribution`: wraps the stages of the step."""
        if sync_batch_norm:
            for network in (*method.students, *method.teachers, *method.heads):
                use_synchronized_batch_norm(network)
        self._methods.append(method)
        replicated_step = functools.partial(step.train_step, replicated=_Replicated(method))
        method.use_step(functools.partial(or_lost, replicated_step))

    def gather(self, values):
        """See `Distribution`."""
        own = torch.from_numpy(np.array(values))  # a copy, since torch wants writable arrays
        everyone = [torch.empty_like(own) for _ in range(self.processes)]
        or_lost(distributed.all_gather, everyone, own)
        return torch.stack(everyone).numpy()

    def describe(self, batch_size):
        """See `Distribution`."""
        each = batch_size // self.replicas
        return f"ddp: {self.replicas} processes with {each} of {batch_size} images each, torch"

    def close(self):
        """See `Distribution`."""
        set_replicas(Replicas())
        if distributed.is_initialized():  # the end of the program closes once more
            # The group ends its threads once nobody holds it; a thread that still frees tensors while Python shuts down
            # aborts the process.
            while self._methods:
                self._methods.pop().use_step(step.train_step)
            gc.collect()
            distributed.destroy_process_group()


class _Stages(torch.nn.Module):
    """A method as a module for DistributedDataParallel: its forward pass is one stage of the step."""

    def __init__(self, method):
        super().__init__()
        self.method = method

    def forward(self, stage, batch, teacher):
        return stage(batch, teacher)


class _Replicated(torch.nn.parallel.DistributedDataParallel):
    """The stages with their gradients exchanged."""

    def __init__(self, method):
        # Batch statistics are computed alike by all processes, or kept apart on purpose.
        super().__init__(_Stages(method), forward_sync_buffers=False)

    def average(self, losses):
        """Average each scalar over the processes."""
        values = torch.stack([value.float() for value in losses.values()])
        distributed.all_reduce(values)
        return dict(zip(losses, (values / distributed.get_world_size()).unbind(), strict=True))


def join(attempt: int) -> None:
    """Make the process group.

    Args:
        attempt: number of times that the launcher has started the processes before. They find each other by addresses
            in a store that outlives them: without a prefix an early process would read those of the last attempt.
    """
    store, process, processes = next(rendezvous("env://"))
    store = distributed.PrefixStore(f"attempt-{attempt}", store)
    # Host arrays are exchanged by gloo, GPU tensors by nccl.
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    distributed.init_process_group(backend, store=store, rank=process, world_size=processes)
