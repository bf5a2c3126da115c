"""The labelling desk over HTTP: listed, opened, saved at once, and never one person over another."""

import json
import signal
import socket
import sys
import threading
import time

import pytest

import copies
from resight.web.serve import Address, Labelling, serve
from serving import BLUE, RED, Client, encoded, error_of, serving, spotted


@pytest.fixture
def photos(tmp_path):
    (tmp_path / "photos").mkdir()
    for number in range(4):
        spotted((RED, BLUE)[number % 2]).save(tmp_path / "photos" / f"{number}.png")
    return tmp_path / "photos"


@pytest.fixture
def desk(finder, photos):
    with serving([finder], photos, out=str(photos.parent / "boxes")) as client:
        yield client


def waited(client):
    """The list once the network has seen all pictures."""
    while (listed := client.get("/v1/desk?state=all&order=name")[1])["scored"] < listed["total"]:
        time.sleep(0.05)
    return listed


BOX = {"label": "red", "box": [8, 10, 22, 24]}


def test_a_picture_is_opened_corrected_and_saved(desk, photos):
    listed = waited(desk)
    assert (listed["total"], listed["done"], listed["file"]) == (4, 0, "boxes")
    first = listed["pictures"][0]
    assert (first["name"], first["label"]) == ("0.png", "red")
    state = desk.get(f"/v1/desk/{first['key']}")[1]
    assert (state["from"], state["width"], state["height"]) == ("proposed", 64, 48)
    status, saved = desk.put(f"/v1/desk/{first['key']}", {"version": 0, "done": True, "boxes": [BOX]})
    assert (status, saved["version"], saved["from"], saved["boxes"]) == (200, 1, "saved", [BOX])
    written = json.loads((photos.parent / "boxes/annotations/instances_default.json").read_text())
    assert [note["bbox"] for note in written["annotations"]] == [[8, 10, 22, 24]]
    assert [row["key"] for row in desk.get("/v1/desk?state=done")[1]["pictures"]] == [first["key"]]
    assert desk.raw("GET", f"/v1/desk/{first['key']}/picture?side=32")[2][:3] == b"\xff\xd8\xff"


def test_no_path_of_the_machine_is_told(desk, photos):
    listed = waited(desk)
    texts = [json.dumps(listed), json.dumps(desk.get(f"/v1/desk/{listed['pictures'][0]['key']}")[1])]
    texts.append(json.dumps(desk.get("/v1/runs")[1]))
    assert all(str(photos.parent) not in text for text in texts)


def test_the_second_person_gets_what_the_first_one_saved(desk):
    key = waited(desk)["pictures"][0]["key"]
    assert desk.put(f"/v1/desk/{key}", {"version": 0, "done": False, "boxes": [BOX]})[0] == 200
    answer = desk.put(f"/v1/desk/{key}", {"version": 0, "done": True, "boxes": []})
    assert "Somebody else" in error_of(answer, 409)
    now = answer[1]["error"]["now"]
    assert (now["version"], now["boxes"], now["done"]) == (1, [BOX], False)
    assert desk.put(f"/v1/desk/{key}", {"version": 1, "done": True, "boxes": []})[1]["version"] == 2


def test_of_many_at_once_one_is_saved(desk):
    key = waited(desk)["pictures"][0]["key"]
    codes, state = [], {"version": 0, "done": True, "boxes": [BOX]}
    threads = [
        threading.Thread(target=lambda: codes.append(desk.put(f"/v1/desk/{key}", state)[0])) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(codes) == [200, *[409] * 7]


@pytest.mark.parametrize(
    "body",
    [
        b"{", b"[]", b"{}", b'{"version": 0, "done": true}', b'{"version": -1, "done": true, "boxes": []}',
        b'{"version": 0, "done": 1, "boxes": []}', b'{"version": 0, "done": true, "boxes": [1]}',
        b'{"version": 0, "done": true, "boxes": [{"label": "a", "box": [1, 2, 3]}]}',
        b'{"version": 0, "done": true, "boxes": [{"label": "a", "box": [1, 2, 3, "4"]}]}',
        b'{"version": 0, "done": true, "boxes": [{"label": "a", "box": [1, 2, 3, NaN]}]}',
        b'{"version": 0, "done": true, "boxes": [{"label": 7, "box": [1, 2, 3, 4]}]}',
        b'{"version": 0, "done": true, "boxes": [], "more": 1}', b"[" * 100_000, b"\xff\xfe",
    ],
)  # fmt: skip
def test_what_is_no_state_is_refused(desk, photos, body):
    key = next(iter(desk.desk.items))
    assert error_of(desk._json(desk.raw("PUT", f"/v1/desk/{key}", body)), 422)
    assert not (photos.parent / "boxes" / "annotations").exists()


def test_unknown_keys_and_large_bodies(desk):
    for key in ("0" * 16, "..%2f..%2fetc", "x"):
        assert error_of(desk.get(f"/v1/desk/{key}"), 404)
        assert error_of(desk.put(f"/v1/desk/{key}", {}), 404)
    key = next(iter(desk.desk.items))
    assert error_of(desk.put(f"/v1/desk/{key}", {"boxes": ["x" * 2_000_000]}), 413)


def test_requests_go_before_the_pictures_that_wait(desk):
    assert desk.post("/v1/predict", encoded(spotted()))[1]["label"] == "red"
    waited(desk)


def test_a_signal_lets_requests_end(finder, photos):
    process = copies.start("serve", finder, "photos", "--port", "0", cwd=photos.parent)
    while process.out.read_text().count("\n") < 2:
        assert process.poll() is None, process.texts()
        time.sleep(0.02)
    line, place = process.out.read_text().splitlines()[:2]
    assert line.startswith("http://127.0.0.1:") and "photos-boxes" in place
    client = Client(int(line.rstrip("/").rsplit(":", 1)[1]))
    key = client.get("/v1/desk?state=all&order=name")[1]["pictures"][0]["key"]
    assert client.put(f"/v1/desk/{key}", {"version": 0, "done": True, "boxes": [BOX]})[0] == 200
    content = encoded(spotted())
    head = f"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(content)}\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", client.port), timeout=60) as connection:
        connection.sendall(head + content[:50])
        time.sleep(0.3)
        process.send_signal(signal.SIGTERM)
        while True:  # until nothing new is accepted
            try:
                socket.create_connection(("127.0.0.1", client.port), timeout=5).close()
            except OSError:
                break
            time.sleep(0.05)
        connection.sendall(content[50:])
        answer = b""
        while part := connection.recv(65536):
            answer += part
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b'"label":"red"' in answer
    assert (process.wait(60), process.texts()[1]) == (0, "")


def test_a_second_server_on_the_same_boxes_is_refused(finder, photos):
    from resight.core.errors import ResightError
    from resight.core.files import locked
    from resight.web.app import Limits

    with locked(photos.parent / "boxes"), pytest.raises(ResightError, match="another process is writing"):
        labelling = Labelling(str(photos), str(photos.parent / "boxes"))
        serve([str(finder)], labelling, Address(port=0), Limits())


def test_a_taken_port_is_said_in_a_line(finder):
    from resight.core.errors import ResightError

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ResightError, match=f"127.0.0.1:{port}: cannot listen there"):
            serve([str(finder)], None, Address(port=port), None)


def test_a_missing_extra_is_one_line(monkeypatch):
    from resight.cli.serve import serve as command
    from resight.core.errors import UsageError

    monkeypatch.setitem(sys.modules, "uvicorn", None)
    for name in [n for n in sys.modules if n.startswith("resight.web")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(UsageError, match=r'pip install "resight\[serve\]"'):
        command("run")
