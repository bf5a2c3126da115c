"""A process that has torch loaded and runs each command in a copy of itself, so that none waits for torch.

One JSON line of {"words", "program", "cwd", "env", "out", "err", "told"} comes in for each copy. A keeper,
which is a copy too, starts it and writes to the pipe `told`: its process number and, when it has ended, its
exit code. So several copies run at once. Nothing is computed before copies are made: they begin as fresh
processes do, but for what is loaded.
"""

import atexit
import gc
import importlib
import json
import os
import runpy
import signal
import sys
import threading
from contextlib import suppress

LOADED = (
    "resight.cli.main",
    "torch._dynamo",  # an optimizer loads it
    "torch.utils.tensorboard",
    "torch.distributed.tensor",  # sharded weights
    *(
        f"resight.service.{name}"
        for name in (
            "train.train",
            "test.test",
            "test.predict",
            "explain.explain",
            "locate.locate",
            "report.report",
        )
    ),
)


def reap(*_):
    """Take away the keepers that have ended."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def serve():
    """Answer until there are no more lines; return in a copy, ready to run its command."""
    asked = os.fdopen(os.dup(0))
    signal.signal(signal.SIGCHLD, reap)
    while line := asked.readline():
        call = json.loads(line)
        if not os.fork():
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            asked.close()
            return keep(call)
    return None


def keep(call):
    """Start a copy and say how it ends; return in the copy."""
    told = os.open(call["told"], os.O_WRONLY | os.O_CLOEXEC)
    if not (copy := os.fork()):
        os.close(told)
        return call
    with suppress(BrokenPipeError):  # the test does not wait for the end
        os.write(told, f"{copy}\n".encode())
        os.write(told, f"{os.waitstatus_to_exitcode(os.waitpid(copy, 0)[1])}\n".encode())
    os._exit(0)


def run(call):
    """Be the process that was asked for."""
    import torch

    for place, name in enumerate((os.devnull, call["out"], call["err"])):
        os.dup2(os.open(name, os.O_RDWR | os.O_CREAT | os.O_APPEND), place)
    os.environ.clear()
    os.environ.update(call["env"])
    if threads := call["env"].get("OMP_NUM_THREADS"):
        torch.set_num_threads(int(threads))
    os.chdir(call["cwd"])
    sys.path[0] = call["cwd"]
    if call["program"] is None:
        sys.argv = ["resight", *call["words"]]
        runpy.run_module("resight", run_name="__main__", alter_sys=True)
    else:
        sys.argv = ["-c", *call["words"]]
        exec(compile(call["program"], "<program>", "exec"), sys.modules["__main__"].__dict__)


def ended(call):
    """Run it and end as Python does, but leave all modules as they are: taking them apart takes long."""
    try:
        run(call)
        code = 0
    except SystemExit as end:
        code = 0 if end.code is None else end.code
        if not isinstance(code, int):
            raise
    threading._shutdown()  # waits for the threads that Python waits for
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code & 255)


if __name__ == "__main__":
    for loaded in LOADED:
        importlib.import_module(loaded)
    gc.collect()
    gc.freeze()  # else each copy's first collection touches, and so copies, all of this memory
    if found := serve():
        ended(found)
