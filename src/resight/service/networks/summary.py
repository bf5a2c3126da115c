"""A network layer by layer: shapes, parameters, cost, memory, receptive field."""

from collections.abc import Sequence
from pathlib import Path

from resight.core.errors import UsageError
from resight.core.networks import Summary, counted
from resight.core.registry import lookup


def summary(name: str, size: int | None = None, changes: Sequence[str] = ()) -> Summary:
    """Return a network layer by layer: counts of one image, without heads used only in training.

    A network as in its paper is looked up; with another size or options it is built, which loads torch. So is
    the network of a run, with the head of its task.

    Args:
        name: of a network; or a run folder or model file.
        size: side of the square input, in pixels; by default the paper's.
        changes: options of the network, as key=value.

    Raises:
        UsageError: for an unknown network or option, or a size that the network does not take.
    """
    if name not in counted() and Path(name).exists():
        from resight.service.networks.counting import summary_of_run

        if changes:
            raise UsageError(f"{name}: is a run, whose options are its own; leave --set out")
        return summary_of_run(name, size)
    known = lookup(counted(), name, "model", "All names: resight models").summary
    if not changes and size in (None, known.input_size):
        return known
    from resight.service.networks.counting import summary_of

    return summary_of(name, size, changes)
