"""The interface to torch.distributed: a single process, or several started by torchrun.

All other code calls `world()`, never torch.distributed. A single process is a world of one, in which
every function here does nothing and costs nothing.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from resight.core.errors import ResightError

if TYPE_CHECKING:
    from torch import Tensor

Thing = TypeVar("Thing")

PATIENCE = timedelta(minutes=30)
"""How long a process waits for the others before it gives up: one of them may download or read a data set."""
LOST = ("Connection closed by peer", "Connection reset by peer", "NCCL", "gloo")
"""In what torch says when another process is gone, or does not answer in time."""


@dataclass(frozen=True)
class World:
    """The processes that share one job.

    Attributes:
        rank: number of this process, from 0.
        processes: their number.
        local_rank: number of this process on its node: its accelerator.
        restarts: how often the launcher has started the job again.
    """

    rank: int = 0
    processes: int = 1
    local_rank: int = 0
    restarts: int = 0

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and messages for all."""
        return self.rank == 0

    def share(self, count: int) -> range:
        """Return which of `count` things belong to this process: each belongs to exactly one process."""
        return range(self.rank, count, self.processes)

    def all_of(self, thing: Thing) -> list[Thing]:
        """Return every process's thing, in the order of their ranks, on every process."""
        if self.processes == 1:
            return [thing]
        import torch.distributed as dist

        things: list[Any] = [None] * self.processes
        dist.all_gather_object(things, thing, group=_control())
        return things

    def gathered(self, mine: Sequence[Thing]) -> list[Thing]:
        """Return the things of all processes as one list, on every process."""
        return [thing for of_one in self.all_of(mine) for thing in of_one]

    def from_main(self, make: Callable[[], Thing]) -> Thing:
        """Return, on every process, what the main process makes; what it raises is raised on every one."""
        if self.processes == 1:
            return make()
        import torch.distributed as dist

        box: list[Any] = [None, None]
        if self.is_main:
            try:
                box[0] = make()
            except ResightError as error:
                box[1] = error
        dist.broadcast_object_list(box, 0, group=_control())
        if box[1] is not None:
            raise box[1]
        return box[0]

    def greatest(self, values: Sequence[float]) -> list[float]:
        """Return the greatest of every process's numbers, place by place."""
        if self.processes == 1:
            return list(values)
        import torch
        import torch.distributed as dist

        numbers = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(numbers, dist.ReduceOp.MAX, group=_control())
        return numbers.tolist()

    def sum(self, tensor: "Tensor") -> "Tensor":
        """Return the sum of every process's tensor."""
        if self.processes == 1:
            return tensor
        import torch.distributed as dist

        total = tensor.clone()
        dist.all_reduce(total)
        return total

    def wait(self) -> None:
        """Wait until every process is here."""
        self.greatest([0.0])

    @contextmanager
    def main_first(self) -> Iterator[None]:
        """Let the main process run the block before the others, so that they find what it downloaded."""
        if not self.is_main:
            self.wait()
        try:
            yield
        finally:
            if self.is_main:
                self.wait()


def launched() -> bool:
    """Return whether a launcher started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


@cache
def world() -> World:
    """Return the world that this process belongs to; the first call joins it.

    torchrun sets the number of processes and the rank of this one in the environment.

    Raises:
        ResightError: if the others cannot be reached, or there is no GPU left for this process.
    """
    restarts = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))
    if not launched():
        return World(restarts=restarts)
    import torch
    import torch.distributed as dist

    local = int(os.environ.get("LOCAL_RANK", "0"))
    own = torch.device("cuda", local) if torch.cuda.is_available() else None
    if own:
        if local >= (visible := torch.cuda.device_count()):
            raise ResightError(
                f"process {local} of this machine has no GPU: {visible} visible; use --nproc-per-node "
                f"{visible} or fewer, or set CUDA_VISIBLE_DEVICES= to compute on CPUs"
            )
        torch.cuda.set_device(own)
    try:
        dist.init_process_group("nccl" if own else "gloo", timeout=PATIENCE, device_id=own)
    except (ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise ResightError(
            f"the other processes cannot be reached ({reason}); start the command with torchrun"
        ) from error
    return World(dist.get_rank(), dist.get_world_size(), local, restarts)


@cache
def _control() -> Any:
    """Return the group for small messages between CPUs, so that no accelerator has to wait for them."""
    import torch.distributed as dist

    return dist.group.WORLD if dist.get_backend() == "gloo" else dist.new_group(backend="gloo")


@contextmanager
def waiting(seconds: float) -> Iterator[None]:
    """Bound how long a process waits for the others inside the block: a dead link reports no error."""
    _wait_at_most(timedelta(seconds=seconds))
    try:
        yield
    finally:
        _wait_at_most(PATIENCE)


def _wait_at_most(time: timedelta) -> None:
    if world().processes == 1:
        return
    import torch.distributed as dist
    from torch.distributed import distributed_c10d

    # Public since torch 2.14, under another name before.
    name = "set_timeout" if hasattr(distributed_c10d, "set_timeout") else "_set_pg_timeout"
    for group in {dist.group.WORLD, _control()}:
        getattr(distributed_c10d, name)(time, group)


def lost_another(error: BaseException) -> bool:
    """Return whether an error of torch says that another process of the job is gone."""
    if not launched():
        return False
    import torch.distributed as dist

    return isinstance(error, dist.DistError) or any(word in str(error) for word in LOST)


def leave() -> None:
    """Leave the world, if this process has joined one."""
    if world.cache_info().currsize and world().processes > 1:
        import torch.distributed as dist

        dist.destroy_process_group()
    _control.cache_clear()
    world.cache_clear()
