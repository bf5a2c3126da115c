"""One thread at a time in a network whose modes, hooks or layers are changed for a moment."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from weakref import WeakKeyDictionary

from torch import nn

_locks: "WeakKeyDictionary[nn.Module, threading.RLock]" = WeakKeyDictionary()  # type: ignore[valid-type]
_making = threading.Lock()


@contextmanager
def holding(model: nn.Module) -> Iterator[None]:
    """Keep other threads that hold this network, or one that shares a module with it, out until the end.

    A thread may hold a network that it holds already. Each module has a lock of its own, and they are taken
    in one order for all threads: networks that share a trunk wait for each other, others do not.

    Args:
        model: any network.
    """
    modules = sorted(model.modules(), key=id)
    with _making:
        locks = [_locks.setdefault(module, threading.RLock()) for module in modules]
    with ExitStack() as stack:
        for lock in locks:
            stack.enter_context(lock)
        yield
