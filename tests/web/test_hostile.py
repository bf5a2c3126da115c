"""Whatever is sent, the answer is one line of JSON, and the next request is answered."""

import io
import os
import socket
import struct
import time
import zlib
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from PIL import Image

from resight.web import protocol
from resight.web.app import Limits
from serving import encoded, error_of, serving, spotted

SMALL = Limits(bytes=200_000, pixels=1_000_000, queue=8, seconds=1.0)


@pytest.fixture(scope="module")
def strict(finder):
    with serving([finder], limits=SMALL) as client:
        yield client


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def bomb(width, height):
    """A PNG of a few bytes that says it has many pixels."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


HOSTILE = {
    "text": b"hello",
    "zip": b"PK\3\4" + b"\0" * 100,
    "html": b"<script>alert(1)</script>",
    "svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "postscript": b"%!PS-Adobe\n",
    "random": os.urandom(5000),
    "zeros": bytes(5000),
    "bomb": bomb(50_000, 50_000),
    "huge": bomb(2**31 - 1, 2**31 - 1),
    "text bomb": b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0))
    + chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(40_000_000))),
    "truncated jpeg": encoded(spotted(size=(300, 300)), "JPEG")[:900],
    "truncated png": encoded(spotted(size=(300, 300)))[:200],
    "tiff loop": b"II*\0\x08\0\0\0\0\0\x08\0\0\0",
    "no pixels": b"GIF89a" + bytes(7),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_no_picture_is_refused_in_a_line(strict, name):
    for path in ("/v1/predict", "/v1/locate", "/v1/picture"):
        message = error_of(strict.post(path, HOSTILE[name]), 422)
        assert message.startswith("The picture ")
        assert "/" not in message.replace("and/or", "")
    assert strict.post("/v1/predict", encoded(spotted()))[0] == 200


def test_fuzzed_pictures_never_break_the_server(strict):
    import random

    generator = random.Random(0)
    kinds = [encoded(spotted(size=(40, 30)), form) for form in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP")]
    seen = set()
    for number in range(120):
        content = bytearray(kinds[number % len(kinds)])
        for _ in range(generator.randrange(1, 20)):
            content[generator.randrange(len(content))] = generator.randrange(256)
        status, answer = strict.post("/v1/predict", bytes(content))
        seen.add(status)
        assert status in (200, 422), answer
    assert seen == {200, 422}
    assert strict.get("/health")[1] == {"status": "ok"}


@pytest.mark.slow
def test_a_good_picture_is_answered_between_a_thousand_hostile_ones(strict):
    """Eight senders at once; every tenth upload has 100 MB, every fortieth never ends."""
    begun = b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"
    kinds = list(HOSTILE.values())

    def upload(number):
        if number % 10 == 9:
            try:
                answer = strict.send(begun % 100_000_000 + bytes(100_000_000))
            except (BrokenPipeError, ConnectionResetError):  # the server closed before all was sent
                return 413
            return int(answer.split()[1])
        if number % 40 == 3:
            return int(strict.send(begun % 1000 + b"abc").split()[1])
        return strict.post("/v1/predict", kinds[number % len(kinds)])[0]

    with ThreadPoolExecutor(8) as senders:
        for start in range(0, 1000, 50):
            seen = set(senders.map(upload, range(start, start + 50)))
            assert seen <= {408, 413, 422, 503} and 422 in seen, seen
            assert strict.post("/v1/predict", encoded(spotted()))[0] == 200, start


def test_too_many_bytes_and_pixels(strict):
    assert "0.2 MB" in error_of(strict.post("/v1/predict", bytes(300_000)), 413)
    chunked = (part for part in [bytes(100_000)] * 5)
    assert error_of(strict.post("/v1/predict", chunked), 413)
    wide = encoded(Image.new("L", (1200, 1200)))
    assert "1,000,000" in error_of(strict.post("/v1/predict", wide), 422)
    assert error_of(strict.post("/v1/predict", b""), 422) == "The body is empty; send the bytes of a picture."


def test_a_slow_body_ends_in_an_answer(strict):
    head = b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nabc"
    answer = strict.send(head)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'"too_slow"' in answer
    assert strict.get("/health")[0] == 200


def test_a_slow_head_ends_in_an_answer(finder, monkeypatch):
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.3)
    with serving([finder]) as client:
        for begun in (b"", b"POST /v1/pre", b"GET /health HTTP/1.1\r\nHost: loc"):
            assert client.send(begun).startswith(b"HTTP/1.1 408 ")
        assert client.get("/health")[0] == 200


def test_a_head_that_follows_an_answer_slowly_ends_too(finder, monkeypatch):
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.3)
    with (
        serving([finder]) as client,
        socket.create_connection(("127.0.0.1", client.port), timeout=30) as connection,
    ):
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answer = b""
        while b'{"status":"ok"}' not in answer:  # head and body may arrive apart
            answer += connection.recv(65536)
        assert answer.startswith(b"HTTP/1.1 200 ")
        connection.sendall(b"GET /heal")
        assert connection.recv(65536).startswith(b"HTTP/1.1 408 ")


def test_too_many_connections_are_turned_away(finder, monkeypatch):
    monkeypatch.setattr(protocol, "MOST_CONNECTIONS", 3)
    with serving([finder]) as client:
        held = [socket.create_connection(("127.0.0.1", client.port)) for _ in range(3)]
        time.sleep(0.1)
        assert error_of(client.get("/health"), 503)
        for connection in held:
            connection.close()
        while client.raw("GET", "/health")[0] != 200:
            time.sleep(0.05)


def test_what_is_no_http_gets_json(strict):
    answer = strict.send(b"\x16\x03\x01 not http\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b'{"error"' in answer


def test_a_sender_who_leaves_does_no_harm(strict):
    for content in (b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nab", b"GET"):
        with socket.create_connection(("127.0.0.1", strict.port)) as connection:
            connection.sendall(content)
    assert strict.post("/v1/predict", encoded(spotted()))[0] == 200


def test_a_full_queue_says_when_to_come_again(finder, monkeypatch):
    import threading

    from resight.service.serve import network

    go = threading.Event()
    slow = network.Served.answers
    held = lambda self, squares: (go.wait(20), slow(self, squares))[1]  # noqa: E731
    monkeypatch.setattr(network.Served, "answers", held)
    with serving([finder], limits=Limits(queue=2)) as client:
        content, answers = encoded(spotted()), []
        threads = [
            threading.Thread(target=lambda: answers.append(client.post("/v1/predict", content)[0]))
            for _ in range(2)
        ]
        for thread in threads:
            thread.start()
        while b"resight_queue_requests 2" not in client.raw("GET", "/metrics")[2]:
            time.sleep(0.02)
        status, headers, _ = client.raw("POST", "/v1/predict", content)
        assert (status, headers["retry-after"]) == (503, "1")
        go.set()
        for thread in threads:
            thread.join()
        assert answers == [200, 200]


def test_an_answer_of_nan_is_an_error_not_a_class(finder, monkeypatch):
    from resight.service.serve import network

    with serving([finder]) as client:
        nan = torch.full((1, 2), float("nan"))
        monkeypatch.setattr(network, "logits_of", lambda *_: nan)
        assert "not finite" in error_of(client.post("/v1/predict", encoded(spotted())), 500)


def test_a_bug_is_answered_in_the_same_shape_without_its_reason(finder, monkeypatch, caplog):
    from resight.service.serve import network

    def broken(self, answer, top):
        raise KeyError("/home/someone/secret")

    monkeypatch.setattr(network.Served, "row", broken)
    with serving([finder]) as client:
        message = error_of(client.post("/v1/predict", encoded(spotted())), 500)
        assert "secret" not in message
    assert "secret" in caplog.text


def test_errors_of_paths_and_methods(strict):
    assert error_of(strict.get("/v2/predict"), 404)
    assert error_of(strict.get("/static/../../serve.py"), 404)
    assert error_of(strict.get("/static/..%2f..%2fserve.py"), 404)
    assert error_of(strict.get("/v1/predict"), 405)
    assert error_of(strict.get("/v1/runs?x=1"), 422)
    assert io.BytesIO(strict.raw("HEAD", "/health")[2]).read() == b""
