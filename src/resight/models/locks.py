"""One thread at a time in a network whose modes, hooks or layers are changed temporarily."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from weakref import WeakKeyDictionary

from torch import nn

_locks: "WeakKeyDictionary[nn.Module, threading.RLock]" = WeakKeyDictionary()  # type: ignore[valid-type]
_making = threading.Lock()


@contextmanager
def holding(model: nn.Module) -> Iterator[None]:
    """Lock a network, and all networks that share a module with it, against other threads.

    The lock is reentrant. Each module has its own lock, and all threads take them in the same order: networks
    that share a trunk wait for each other, others do not.

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
