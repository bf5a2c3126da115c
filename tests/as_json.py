"""Services whose answers tests read as JSON, which is what their commands promise."""

from resight.core.figures import to_json


def check(*words, **more):
    from resight.service.data.check import check as service

    return to_json(service(*words, **more))


def pack(*words, **more):
    from resight.service.data.pack import pack as service

    return to_json(service(*words, **more))


def gallery(*words, **more):
    from resight.service.data.gallery import gallery as service

    return to_json(service(*words, **more))


def list_operations():
    from resight.service.data.gallery import list_operations as service

    return to_json(service())


def list_networks(*words):
    from resight.service.networks.models import list_networks as service

    return to_json(service(*words))


def summary(*words, **more):
    from resight.service.networks.summary import summary as service

    return to_json(service(*words, **more))


def look(run, out=None, data=None, *, data_root=None, progress=lambda _: None, **sought):
    from resight.service.look.look import Sought
    from resight.service.look.look import look as service

    return to_json(service(run, out, data, Sought(**sought), data_root, progress=progress))


def explain_paths(run, paths, methods=("grad_cam",), target=None, layers=None, out="explained", changes=()):
    from resight.service.explain.asked import Asked
    from resight.service.explain.explain import explain_paths as service

    return to_json(service(run, paths, Asked(methods, target, layers, changes), out))


def draw_sheets(run, paths, methods=("all",), target=None, layers=None, out="explained", changes=(), **more):
    from resight.service.explain.asked import Asked
    from resight.service.explain.sheet import draw_sheets as service

    return to_json(service(run, paths, Asked(methods, target, layers, changes), out, **more))


def believe(run, paths, methods=("grad_cam",), target=None, layers=None, changes=(), **more):
    from resight.service.explain.asked import Asked
    from resight.service.explain.believe import believe as service

    return to_json(service(run, paths, Asked(methods, target, layers, changes), **more))


def locate(run, paths, methods=("grad_cam",), rule=None, **more):
    from resight.localize.rule import Rule
    from resight.service.locate.locate import locate as service
    from resight.service.locate.search import Wish

    return to_json(service(run, paths, Wish(methods, rule or Rule(), **more)))


def train_gan(data=None, *, epochs=None, changes=(), **more):
    from resight.service.gan.train import train_gan as service

    words = [*changes, *([] if epochs is None else [f"epochs={epochs}"])]
    return to_json(service(data, changes=words, **more))


def bench(*words):
    from resight.bench.bench import bench as service

    return to_json(service(*words))


def measure(*words, **more):
    from resight.bench.load import measure as service

    return to_json(service(*words, **more))


def compare(facts):
    from resight.bench.explain import compare as service

    return to_json(service(facts))
