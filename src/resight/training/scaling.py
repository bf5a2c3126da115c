"""The cost of a training step on many processes: a model of computing, communicating and reading.

The step of P processes with b pictures each:

    computing      b / r, with r pictures per second of a single process; two thirds are the backward pass
    gradients      all-reduced inside the nodes, then between them, by the faster of: a ring, 2 (n - 1)
                   (bytes / n / bandwidth + latency), or a tree, 2 log2 n (bytes / bandwidth + latency);
                   during the backward pass, except the last bucket
    statistics     two small all-reduces for each synchronized batch normalization, which nothing overlaps
    reading        b pictures per process from its cores, during the computing

    step = max(computing + max(0, gradients - backward) + last bucket + statistics, reading)

Assumptions: all processes are equal and none is late; no other traffic; nothing else takes time. What this
leaves out is the factor `efficiency`, measured and not explained.
"""

import math
from dataclasses import dataclass

BACKWARD = 2 / 3
"""Share of a step's computing that is the backward pass: twice the forward pass's products."""
BUCKET = 25 * 2**20
"""Bytes of gradients that DistributedDataParallel sends together."""


@dataclass(frozen=True, kw_only=True)
class Network:
    """The network that is trained.

    Attributes:
        parameters: weights, of 4 bytes each.
        norms: batch normalizations.
    """

    parameters: int
    norms: int


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """The hardware it is trained on.

    Attributes:
        rate: pictures per second that a single process trains.
        batch: pictures per process and step.
        node: processes per node.
        inside: bytes per second of an all-reduce inside a node, each process's own traffic.
        between: the same between nodes.
        latency_inside: seconds of a step of the ring inside a node.
        latency_between: between nodes.
        reading: pictures per second that the cores of one process decode.
        efficiency: measured rate over the one computed here, for all that is left out.
    """

    rate: float
    batch: int
    node: int
    inside: float
    between: float
    latency_inside: float
    latency_between: float
    reading: float
    efficiency: float = 1.0


@dataclass(frozen=True)
class StepCost:
    """Seconds of a step, and their parts."""

    computing: float
    gradients: float
    exposed: float
    statistics: float
    reading: float
    step: float


def all_reduce_seconds(size: float, processes: int, cluster: Cluster) -> float:
    """Return the time of an all-reduce of `size` bytes: inside the nodes, then between them."""
    inside, nodes = min(processes, cluster.node), -(-processes // cluster.node)
    near = _ring_or_tree(size, inside, cluster.inside, cluster.latency_inside)
    return near + _ring_or_tree(size / inside, nodes, cluster.between, cluster.latency_between)


def _ring_or_tree(size: float, members: int, bandwidth: float, latency: float) -> float:
    ring = 2 * (members - 1) * (size / members / bandwidth + latency)
    return min(ring, 2 * math.ceil(math.log2(members)) * (size / bandwidth + latency))


def step_cost(network: Network, cluster: Cluster, processes: int, *, sync_norm: bool = True) -> StepCost:
    """Return the cost of a step; see the head of this file."""
    computing = cluster.batch / cluster.rate
    size = 4.0 * network.parameters
    gradients = all_reduce_seconds(size, processes, cluster)
    last = all_reduce_seconds(min(size, BUCKET), processes, cluster)
    exposed = min(gradients, max(gradients - BACKWARD * computing, 0) + last)
    statistics = 0.0
    if sync_norm:
        statistics = 2 * network.norms * all_reduce_seconds(4096, processes, cluster)
    reading = cluster.batch / cluster.reading
    busy = (computing + exposed + statistics) / (cluster.efficiency if processes > 1 else 1)
    return StepCost(computing, gradients, exposed, statistics, reading, max(busy, reading))
