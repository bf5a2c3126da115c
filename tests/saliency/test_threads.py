"""Several threads, one network: they take turns, and leave it as it was."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

from resight import explain
from resight.models.cost import evaluating
from resight.models.locks import holding
from resight.saliency.capture import maps_at

METHODS = ("grad_cam", "layer_cam", "ablation_cam", "score_cam", "gradient", "guided_grad_cam", "rise", "cam")
QUICK = {"rise": {"samples": 8}, "score_cam": {"batch": 8}}
WAIT = 60


class Net(nn.Module):
    """Another answer in train mode than in eval mode, and so often switched that threads meet."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout(0.5))
        self.fc = nn.Linear(6, 4)

    def forward(self, x):
        return self.fc(self.body(x).mean((2, 3)))


def net():
    torch.manual_seed(0)
    model = Net().train()
    model(torch.randn(8, 3, 16, 16))
    model.body[1].eval()
    return model


def in_threads(count, work, jobs):
    with ThreadPoolExecutor(count) as pool:
        return [future.result(WAIT) for future in [pool.submit(work, job) for job in jobs]]


def test_maps_from_six_threads_are_those_of_one():
    model = net()
    modes = [m.training for m in model.modules()]
    state = {k: v.clone() for k, v in model.state_dict().items()}
    jobs = [(METHODS[i % len(METHODS)], torch.randn(2, 3, 16, 16), i % 4) for i in range(80)]

    def work(job):
        method, images, target = job
        return explain(model, images, method, target, **QUICK.get(method, {})).maps

    alone = [work(job) for job in jobs]
    for _ in range(3):
        found = in_threads(6, work, jobs)
        assert sum(not torch.equal(a, b) for a, b in zip(alone, found, strict=True)) == 0
        assert [m.training for m in model.modules()] == modes
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
    assert not any(m._forward_hooks or "forward" in m.__dict__ for m in model.modules())


def test_a_thread_that_only_runs_the_network_sees_no_hook():
    """It is not what the explaining thread captures, nor does it get a borrowed layer's answer."""
    model = net().eval()
    images, others = torch.randn(2, 3, 16, 16), torch.randn(3, 3, 16, 16)
    with torch.no_grad():
        answer = model(others)
    said = []

    def ask_elsewhere(logits):
        with ThreadPoolExecutor(1) as pool:
            said.append(pool.submit(lambda: model(others).detach()).result(WAIT))
        return logits[:, 1]

    expected = explain(model, images, "ablation_cam", 1, layer="body").raw
    got = explain(model, images, "ablation_cam", ask_elsewhere, layer="body").raw
    torch.testing.assert_close(got, expected)
    assert len(said) > 1 and all(torch.allclose(s, answer, atol=1e-6) for s in said)


def test_a_thread_may_ask_again_while_it_asks():
    model, images = net(), torch.randn(2, 3, 16, 16)
    inner = []

    def target(logits):
        inner.append(explain(model, images, target=2).raw)
        return logits[:, 1]

    def work(_):
        with evaluating(model), evaluating(model.body), holding(model):
            return explain(model, images, target=target).raw

    (result,) = in_threads(1, work, [0])
    # A function is asked by gradients, a class in closed form: equal up to rounding.
    torch.testing.assert_close(result, explain(model, images, target=1).raw)
    assert torch.equal(inner[0], explain(model, images, target=2).raw)


def test_networks_that_share_a_trunk_take_turns_and_others_do_not():
    trunk = nn.Conv2d(3, 4, 3)
    first, second, other = nn.Sequential(trunk, nn.ReLU()), nn.Sequential(trunk), nn.Sequential(nn.ReLU())
    inside, leave, entered = threading.Event(), threading.Event(), threading.Event()

    def hold():
        with holding(first):
            inside.set()
            leave.wait(WAIT)

    def enter(model, event):
        with evaluating(model):
            event.set()

    threads = [threading.Thread(target=hold), threading.Thread(target=enter, args=(second, entered))]
    threads[0].start()
    assert inside.wait(WAIT)
    free = threading.Event()
    enter(other, free)
    threads[1].start()
    assert free.is_set() and not entered.wait(0.05)
    leave.set()
    assert entered.wait(WAIT)
    for thread in threads:
        thread.join(WAIT)


def test_modes_come_back_after_an_error_in_a_thread():
    model = net()
    modes = [m.training for m in model.modules()]

    def work(number):
        if number % 3:
            return maps_at(model, torch.randn(1, 3, 16, 16), ["body"])["body"].shape
        with pytest.raises(RuntimeError, match="channels"):
            maps_at(model, torch.randn(1, 2, 16, 16), ["body"])
        return None

    in_threads(4, work, range(30))
    assert [m.training for m in model.modules()] == modes
