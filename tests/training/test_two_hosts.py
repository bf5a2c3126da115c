"""Two hosts are one training: their link, its loss, and a host that dies and comes back.

The hosts are two network namespaces of this machine, joined by a pair of virtual adapters: nothing but that
link leads from one to the other. They share the disk, as a cluster's nodes share the run folder.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from safetensors.torch import load_file

from resight.training.journal import read_csv
from support import make_folder

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("on_the_cpu")]

WORDS = (
    "--set", "model=speednet8_narrow", "--set", "image_size=16", "--set", "batch_size=8", "--set", "lr=0.02",
    "--epochs", "12", "--set", "timeout=15",
)  # fmt: skip
"""At the precision that users get. Another process counts as lost after twice the timeout."""
BOUND = 400
"""Seconds in which whatever is waited for must come; a loaded machine needs a tenth of them to load torch."""


class Hosts:
    """Two network namespaces and the link between them."""

    def __init__(self):
        self.names = [f"resight-{os.getpid()}-{letter}" for letter in "ab"]
        self.links = [f"rs{os.getpid() % 10**8}{letter}" for letter in "ab"]
        self.addresses = ["10.203.7.1", "10.203.7.2"]
        self.started = []

    def __enter__(self):
        try:
            for name in self.names:
                ip("netns", "add", name)
            ip("link", "add", self.links[0], "type", "veth", "peer", "name", self.links[1])
            for number, name in enumerate(self.names):
                ip("link", "set", self.links[number], "netns", name)
                ip("-n", name, "address", "add", f"{self.addresses[number]}/24", "dev", self.links[number])
                ip("-n", name, "link", "set", "lo", "up")
                self.link("up", number)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for number, name in enumerate(self.names):
            self.kill(number)
            subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False, timeout=30)
        subprocess.run(["ip", "link", "delete", self.links[0]], capture_output=True, check=False, timeout=30)
        for process in self.started:
            process.communicate(timeout=30)

    def link(self, state, number=0):
        ip("-n", self.names[number], "link", "set", self.links[number], state)

    def start(self, number, *words, restarts=0):
        """The command on one host, started as docs/scaling.md says."""
        command = [
            "ip", "netns", "exec", self.names[number], sys.executable, "-m", "torch.distributed.run",
            "--nnodes", "2", "--nproc-per-node", "1", "--max-restarts", str(restarts),
            "--rdzv-backend", "c10d", "--rdzv-id", "test", "--rdzv-endpoint", f"{self.addresses[0]}:29500",
            # Namespaces share the machine's name, by which torchrun would tell who of them is the first.
            "--local-addr", self.addresses[number],
            "--rdzv-conf", f"is_host={number == 0}", "-m", "resight", *map(str, words),
        ]  # fmt: skip
        own = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": self.links[number]}
        # Else a launcher that comes back waits for an address that the first one says once only (torch 2.14).
        own["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=own
        )
        self.started.append(process)
        return process

    def processes(self, number):
        """What runs on a host: process numbers, each with its command."""
        found = subprocess.run(
            ["ip", "netns", "pids", self.names[number]],
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )
        running = {}
        for process in map(int, found.stdout.split()):
            with suppress(OSError):
                running[process] = Path(f"/proc/{process}/cmdline").read_text().replace("\0", " ")
        return running

    def kill(self, number):
        """End every process of a host at once."""
        for process in self.processes(number):
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)

    def wait_for_workers(self):
        """Wait until no host trains any more; the launchers may still be there."""
        deadline = time.monotonic() + BOUND
        while any("distributed.run" not in c for n in (0, 1) for c in self.processes(n).values()):
            assert time.monotonic() < deadline
            time.sleep(0.2)


def ip(*words):
    done = subprocess.run(["ip", *words], capture_output=True, text=True, timeout=30, check=False)
    if done.returncode:
        raise OSError(f"ip {' '.join(words)}: {done.stderr.strip()}")


@pytest.fixture
def hosts():
    if not shutil.which("ip"):
        pytest.skip("needs iproute2, which makes network namespaces")
    try:
        joined = Hosts().__enter__()
    except OSError as error:
        pytest.skip(f"network namespaces cannot be made here ({error})")
    yield joined
    joined.__exit__()


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """The pictures, and what two processes of one host learn without a fault."""
    place = tmp_path_factory.mktemp("hosts")
    make_folder(place / "colours", count=16)
    done = subprocess.run(
        [
            sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone", "-m",
            "resight", "train", "colours", *WORDS, "--out", "run",
        ],
        cwd=place, check=False, capture_output=True, text=True, timeout=BOUND,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return place


def ended(*processes):
    """Wait until the command has ended on every host; returns exit codes and what each said."""
    deadline = time.monotonic() + BOUND
    said = [process.communicate(timeout=max(1, deadline - time.monotonic()))[1] for process in processes]
    return [process.returncode for process in processes], said


def until_epoch(number, *processes):
    """Wait until the run in ./run has come so far."""
    deadline, metrics = time.monotonic() + BOUND, Path("run") / "metrics.csv"
    while not (metrics.exists() and len(read_csv(metrics)) >= number):
        assert time.monotonic() < deadline and all(process.poll() is None for process in processes)
        time.sleep(0.02)


def same_weights(run, other):
    left, right = (load_file(Path(r) / "last" / "state.safetensors") for r in (run, other))
    return left.keys() == right.keys() and all(left[k].equal(right[k]) for k in left)


def test_two_hosts_learn_what_two_processes_of_one_do(straight, hosts):
    words = ("train", straight / "colours", *WORDS, "--out", "run")
    codes, said = ended(hosts.start(0, *words), hosts.start(1, *words))
    assert codes == [0, 0], said[0][-2000:] + said[1][-2000:]
    assert same_weights("run", straight / "run") and Path("run/report.html").exists()


def test_a_link_that_goes_down_ends_the_training_in_time_and_it_resumes(straight, hosts):
    words = ("train", straight / "colours", *WORDS, "--out", "run")
    both = hosts.start(0, *words), hosts.start(1, *words)
    until_epoch(3, *both)
    hosts.link("down")
    hosts.wait_for_workers()
    assert len(read_csv(Path("run") / "metrics.csv")) < 12
    hosts.link("up")  # the second host's launcher hears of nothing else before TCP gives up, in 15 minutes
    codes, said = ended(*both)
    assert 0 not in codes
    for text in said:
        lines = [line for line in text.splitlines() if line.startswith(("resight: ", "resight ("))]
        assert len(lines) == 1, text[-3000:]
        assert "another process of this training run ended or does not respond; resume with" in lines[0]
        assert "--resume" in lines[0]
    codes, said = ended(hosts.start(0, *words, "--resume"), hosts.start(1, *words, "--resume"))
    assert codes == [0, 0], said[0][-2000:] + said[1][-2000:]
    assert same_weights("run", straight / "run")


def test_a_host_that_dies_and_comes_back_costs_nothing(straight, hosts):
    words = ("train", straight / "colours", *WORDS, "--out", "run")
    first, second = hosts.start(0, *words, restarts=3), hosts.start(1, *words, restarts=3)
    until_epoch(3, first, second)
    hosts.kill(1)
    assert first.poll() is None
    codes, said = ended(first, hosts.start(1, *words, restarts=3))
    assert codes == [0, 0], said[0][-2000:] + said[1][-2000:]
    assert same_weights("run", straight / "run")
