"""DistributedDataParallel under `torchrun`: one process per replica."""

import gc
import os
import re

import numpy as np
import torch
from torch import distributed
from torch.distributed.rendezvous import rendezvous

from rankmatch_keras.backend.distribution import Distribution, launcher_variables, whole_number
from rankmatch_keras.backend.replicas import Replicas, own_rows, set_replicas
from rankmatch_keras.backend.torch import step
from rankmatch_keras.backend.torch.replicas import use_synchronized_batch_norm
from rankmatch_keras.errors import UserError, WorkerLost

VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
SIGNS = re.compile("gloo|nccl|connection.*peer", re.IGNORECASE)  # in messages of lost connections
LAUNCH = "Start with e.g. `torchrun --standalone --nproc-per-node 2 -m rankmatch_keras train ...`."


def start(strategy: str, replicas: int | None) -> Distribution:
    """Joins the other processes that `torchrun` started; alone where it started none and the strategy is "auto".

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
        process: the process's rank.
        processes: how many there are.
    """

    name = "ddp"

    def __init__(self, process: int, processes: int):
        self.process = process
        self.processes = self.replicas = processes
        self._steps: list[_ReplicatedSteps] = []
        attempt = int(os.environ.get("TORCHELASTIC_RESTART_COUNT") or 0)
        self.restarted = attempt > 0
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", process)) % torch.cuda.device_count())
        try:
            join(attempt)
        except (RuntimeError, ValueError) as error:
            raise UserError("the other processes", f"none ({reason_of(error)})", LAUNCH) from error
        set_replicas(_Processes(process, processes))

    def rows(self, batch_size):
        """See `Distribution`: mirror pairs of rows."""
        return own_rows(batch_size, self.replicas, self.process)

    def prepare(self, method, sync_batch_norm=True):
        """See `Distribution`: wraps the stages of the step."""
        if sync_batch_norm:
            for network in (*method.students, *method.teachers, *method.heads):
                use_synchronized_batch_norm(network)
        self._steps.append(_ReplicatedSteps(method))
        method.use_steps(self._steps[-1])

    def gather(self, values):
        """See `Distribution`."""
        own = torch.from_numpy(np.array(values))  # a copy, since torch wants arrays that can be written to
        everyone = [torch.empty_like(own) for _ in range(self.processes)]
        _or_lost(distributed.all_gather, everyone, own)
        return torch.stack(everyone).numpy()

    def describe(self, batch_size):
        """See `Distribution`."""
        each = batch_size // self.replicas
        return f"ddp: {self.replicas} processes with {each} of {batch_size} images each, torch"

    def close(self):
        """See `Distribution`."""
        set_replicas(Replicas())
        if distributed.is_initialized():  # not closed before: the end of the program closes once more
            # The group ends its threads once nobody holds it. One that still lets go of the last tensors while Python
            # shuts down ends the process by an abort.
            while self._steps:
                self._steps.pop().release()
            gc.collect()
            distributed.destroy_process_group()


class _Processes(Replicas):
    """Each process is a replica."""

    def __init__(self, process, processes):
        self.count = processes
        self._process = process

    def index(self):
        return self._process

    @torch.no_grad()
    def sum(self, value):
        total = value.detach().clone()
        _or_lost(distributed.all_reduce, total)
        return total


class _Stages(torch.nn.Module):
    """A method as the module that DistributedDataParallel wraps: its forward pass is one stage of the step."""

    def __init__(self, method):
        super().__init__()
        self.method = method

    def forward(self, stage, batch, teacher):
        return stage(batch, teacher)


class _Replicated(torch.nn.parallel.DistributedDataParallel):
    """The stages with their gradients exchanged."""

    def __init__(self, method):
        # Statistics of batch normalisation are made alike by all processes, or kept apart on purpose.
        super().__init__(_Stages(method), forward_sync_buffers=False)

    def average(self, losses):
        """The mean of each scalar over the processes."""
        values = torch.stack([value.float() for value in losses.values()])
        distributed.all_reduce(values)
        return dict(zip(losses, (values / distributed.get_world_size()).unbind(), strict=True))


class _ReplicatedSteps:
    """The training step of `torch.step` with its stages run by DistributedDataParallel."""

    def __init__(self, method):
        self._module: _Replicated | None = _Replicated(method)

    def __getattr__(self, name):
        return getattr(step, name)

    def release(self):
        """Lets go of the process group; no step can follow."""
        self._module = None

    def train_step(self, method, data):
        return _or_lost(step.train_step, method, data, self._module)


def _or_lost(function, *arguments):
    """Runs a function that speaks with the other processes.

    Raises:
        WorkerLost: one of them does not answer.
    """
    try:
        return function(*arguments)
    except RuntimeError as error:
        if is_lost(error):
            raise WorkerLost(reason_of(error)) from error
        raise


def join(attempt: int) -> None:
    """Makes the process group.

    Args:
        attempt: how often the launcher has started the processes before. They find each other by addresses in a store
            that outlives them: without a prefix a process that comes early reads those of the attempt before.
    """
    store, process, processes = next(rendezvous("env://"))
    store = distributed.PrefixStore(f"attempt-{attempt}", store)
    # Arrays of the host go by gloo, tensors of a GPU by nccl.
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    distributed.init_process_group(backend, store=store, rank=process, world_size=processes)


def is_lost(error: BaseException) -> bool:
    """Whether an error of torch tells that another process is gone."""
    return isinstance(error, distributed.DistError) or bool(SIGNS.search(str(error)))


def reason_of(error: BaseException) -> str:
    """The line of an error's message that tells what happened: Keras wraps it in the call of a layer."""
    lines = (str(error).strip() or type(error).__name__).splitlines()
    return next((line.strip() for line in lines if SIGNS.search(line)), lines[0])
