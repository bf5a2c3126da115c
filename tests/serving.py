"""A server in a thread of the test, and a network that needs no training: it finds red and blue."""

import asyncio
import http.client
import io
import json
import socket
import threading
from contextlib import contextmanager

import numpy as np
import torch
from PIL import Image

from resight.core.preprocessing import Preprocessing
from resight.models.modelfile import save_model
from resight.models.zoo import create_model
from resight.service.serve.desk import open_desk
from resight.service.serve.network import open_served
from resight.web.app import Limits, create_app
from resight.web.guard import Policy
from resight.web.serve import server_of

SIDE = 32
RED, BLUE = (230, 30, 30), (30, 30, 230)


def save_finder(path, classes=("red", "blue")):
    """Write a network whose last map is the colour itself: one class for red, one for blue."""
    model = create_model("resnet20", 2)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.zero_()
            if name.endswith(("bn1.weight", "bn2.weight")):
                parameter.fill_(1)
        model.conv1.weight[0, 0, 1, 1] = model.conv1.weight[1, 2, 1, 1] = 1
        model.fc.weight[0, 24] = model.fc.weight[1, 25] = 4
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.zero_()
            module.running_var.fill_(1)
            module.eps = 0.0
    model.classes = classes
    model.preprocessing = Preprocessing(size=SIDE, resize=SIDE, mean=(0.1,) * 3, std=(1.0,) * 3)
    save_model(path, model, model.state_dict(), {})
    return path


def spotted(colour=RED, box=(8, 10, 30, 34), size=(64, 48)):
    """A dark picture with a bright rectangle."""
    pixels = np.full((size[1], size[0], 3), 20, np.uint8)
    x0, y0, x1, y1 = box
    pixels[y0:y1, x0:x1] = colour
    return Image.fromarray(pixels)


def encoded(image, form="PNG", **options):
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


class Client:
    """Requests to one port."""

    def __init__(self, port):
        self.port = port

    def raw(self, method, path, body=None, headers=None, timeout=30):
        """Return status, headers and bytes."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            names = {name.lower(): value for name, value in answer.getheaders()}
            return answer.status, names, answer.read()
        finally:
            connection.close()

    def get(self, path, **options):
        return self._json(self.raw("GET", path, **options))

    def post(self, path, body, **options):
        return self._json(self.raw("POST", path, body, **options))

    def put(self, path, document, **options):
        return self._json(self.raw("PUT", path, json.dumps(document).encode(), **options))

    def send(self, content, timeout=30):
        """Send bytes as they are; return what comes back until the server closes."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=timeout) as connection:
            connection.sendall(content)
            found = b""
            while part := connection.recv(1 << 16):
                found += part
            return found

    @staticmethod
    def _json(answer):
        status, _, body = answer
        return status, json.loads(body)


@contextmanager
def serving(runs, data=None, policy=None, limits=None, port=0, **desk):
    """Serve runs in a thread; yields a client."""
    networks = [open_served(str(run)) for run in runs]
    table = open_desk(networks[0], str(data), **desk) if data else None
    server = server_of(create_app(networks, table, policy or Policy(), limits or Limits()))
    listening = socket.create_server(("127.0.0.1", port))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([listening])), daemon=True)
    thread.start()
    client = Client(listening.getsockname()[1])
    client.desk = table
    client.server = server
    while not server.started:
        thread.join(0.01)
        assert thread.is_alive(), "the server did not start"
    try:
        yield client
    finally:
        server.should_exit = True
        thread.join(40)
        assert not thread.is_alive(), "the server did not end"


def error_of(answer, status):
    """Assert that an answer is an error of the one shape; returns its message."""
    code, document = answer
    assert code == status, document
    assert set(document) == {"error"}
    error = document["error"]
    assert error["status"] == status
    assert {"code", "message"} <= set(error)
    assert "\n" not in error["message"]
    return error["message"]
