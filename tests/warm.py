"""A process that has torch loaded and runs each command in a copy of itself, so that none waits for torch.

One JSON line of {"words", "cwd", "env", "out", "err"} comes in; the copy's process number goes out, and, when
it has ended, its exit code. Nothing is computed before copies are made: they begin as fresh processes do, but
for what is loaded.
"""

import importlib
import json
import os
import runpy
import sys

LOADED = (
    "torch._dynamo",  # an optimizer loads it
    "torch.utils.tensorboard",
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


def serve():
    """Answer until there are no more lines; return in a copy, ready to run its command."""
    asked, answers = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    while line := asked.readline():
        call = json.loads(line)
        if not (copy := os.fork()):
            asked.close()
            answers.close()
            return call
        print(copy, file=answers, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(copy, 0)[1]), file=answers, flush=True)
    return None


for loaded in LOADED:
    importlib.import_module(loaded)
if call := serve():
    for place, name in enumerate((os.devnull, call["out"], call["err"])):
        os.dup2(os.open(name, os.O_RDWR | os.O_CREAT), place)
    os.environ.clear()
    os.environ.update(call["env"])
    os.chdir(call["cwd"])
    sys.argv = ["resight", *call["words"]]
    sys.path[0] = call["cwd"]
    runpy.run_module("resight", run_name="__main__", alter_sys=True)
