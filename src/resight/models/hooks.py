"""The only way to set hooks on a network: all of them are taken off again."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager

from torch.utils.hooks import RemovableHandle


@contextmanager
def hooked(handles: Iterable[Callable[[], RemovableHandle]]) -> Iterator[None]:
    """Register hooks one by one; all registered hooks are removed, whatever happens."""
    with ExitStack() as stack:
        for register in handles:
            stack.callback(register().remove)
        yield
