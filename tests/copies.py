"""Processes that need not load torch, which takes seconds: copies of one that has it, see warm.py.

Elsewhere than on Linux they are ordinary processes.
"""

import atexit
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

START = 300.0
"""Seconds in which torch is loaded and a copy made, on a machine that has much else to do."""


class Copy:
    """A command that runs; its methods are those of `subprocess.Popen`."""

    def __init__(self, told, out, err):
        self.out, self.err = Path(out), Path(err)
        self._told, self._said, self.returncode = os.open(told, os.O_RDONLY | os.O_NONBLOCK), b"", None
        assert self._read_to(1, START), "no copy was made; run tests/warm.py by hand to see why"
        self.pid = int(self._said.split(b"\n")[0])

    def _read_to(self, lines, timeout):
        """Read until so many lines have come; returns whether they have."""
        until = None if timeout is None else time.monotonic() + timeout
        while self._said.count(b"\n") < lines:
            left = None if until is None else max(0, until - time.monotonic())
            if not select.select([self._told], [], [], left)[0]:
                return False
            part = os.read(self._told, 64)
            assert part, "the process that starts copies has ended"
            self._said += part
        return True

    def poll(self):
        """Return the exit code, or None while it runs."""
        with suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout=None):
        """Return the exit code when it has ended."""
        if self.returncode is None:
            if not self._read_to(2, timeout):
                raise subprocess.TimeoutExpired("resight", timeout)
            self.returncode = int(self._said.split(b"\n")[1])
            os.close(self._told)
        return self.returncode

    def send_signal(self, number):
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self):
        self.send_signal(signal.SIGTERM)

    def kill(self):
        self.send_signal(signal.SIGKILL)

    def texts(self):
        """Return what it wrote to standard output and standard error."""
        return tuple(file.read_bytes().decode() for file in (self.out, self.err))


class Warm:
    """The process that copies are made of; it begins with the first of them."""

    def __init__(self):
        self.process, self.place = None, ""

    def start(self, words, program, env, cwd, log=None):
        """Start the command, or a program with these words as its `sys.argv[1:]`.

        What it writes is added to a log, if there is one.
        """
        if self.process is None:
            command = [sys.executable, Path(__file__).with_name("warm.py")]
            own = {**os.environ, "PYTORCH_NVML_BASED_CUDA_CHECK": "1"}  # CUDA begins in the copies
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, text=True, env=own)
            self.place = tempfile.mkdtemp()
            atexit.register(shutil.rmtree, self.place)
            atexit.register(self.process.communicate)  # ends it; runs before the line above
        place = Path(tempfile.mkdtemp(dir=self.place))
        out, err = (str(log or place / name) for name in ("out", "err"))
        told = str(place / "told")
        os.mkfifo(told)
        for name in (out, err):
            Path(name).touch()
        call = {"words": words, "program": program, "cwd": cwd, "env": env}
        print(json.dumps({**call, "out": out, "err": err, "told": told}), file=self.process.stdin, flush=True)
        return Copy(told, out, err)


class Fresh(subprocess.Popen):
    """What is started where copies cannot be made."""

    def __init__(self, words, program, env, cwd):
        place = Path(tempfile.mkdtemp())
        self.out, self.err = place / "out", place / "err"
        launch = ["-c", program] if program else ["-m", "resight"]
        with self.out.open("w") as out, self.err.open("w") as err:
            super().__init__([sys.executable, *launch, *words], env=env, cwd=cwd, stdout=out, stderr=err)

    texts = Copy.texts


WARM = Warm()


def start(*words, program=None, env=None, cwd=None):
    """Start the command `resight`, or a program, and do not wait for it."""
    make = WARM.start if sys.platform.startswith("linux") else Fresh
    return make(list(map(str, words)), program, {**os.environ, **(env or {})}, str(cwd or Path.cwd()))


def run(*words, program=None, env=None, cwd=None, timeout=300):
    """Run the command `resight`, or a program, to its end; returns what `subprocess.run` does."""
    copy = start(*words, program=program, env=env, cwd=cwd)
    try:
        code = copy.wait(timeout)
    except subprocess.TimeoutExpired:
        copy.kill()
        raise
    return subprocess.CompletedProcess(list(words), code, *copy.texts())


def together(count, *words, program=None, env=None, cwd=None, timeout=300):
    """Run the command in several processes on the CPU, as torchrun does; returns what all of them said.

    test_processes.py runs torchrun itself. When a process fails the others are ended.
    """
    env = {**(env or {}), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    if count == 1:
        return run(*words, program=program, env=env, cwd=cwd, timeout=timeout)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(count)}
    env["LOCAL_WORLD_SIZE"] = str(count)
    copies = [
        start(*words, program=program, env={**env, "RANK": str(n), "LOCAL_RANK": str(n)}, cwd=cwd)
        for n in range(count)
    ]
    until = time.monotonic() + timeout
    try:
        while None in (codes := [copy.poll() for copy in copies]) and not any(codes):
            if time.monotonic() > until:
                raise subprocess.TimeoutExpired(list(words), timeout)
            time.sleep(0.01)
    finally:
        for copy in copies:
            copy.kill()
            copy.wait()
    out, err = ("".join(texts) for texts in zip(*(copy.texts() for copy in copies), strict=True))
    return subprocess.CompletedProcess(list(words), next(filter(None, codes), 0), out, err)
