"""Who may ask: Host, Origin, token, CORS; and what a command line may not open."""

import pytest

from resight.core.errors import UsageError
from resight.web.guard import Policy
from resight.web.serve import Address
from serving import encoded, error_of, serving, spotted

TOKEN = "0123456789abcdef-secret"


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:8000", "[::1]:8000", "192.168.1.7", "LOCALHOST"])
def test_own_names(host):
    assert Policy().is_own(host)


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "",
        "a@127.0.0.1",
        "[::1",
        "2130706433",
    ],
)
def test_foreign_names(host):
    assert not Policy().is_own(host)


def test_a_given_name_is_ones_own():
    assert Policy(names=("Desk.lab",)).is_own("desk.LAB:80")


def test_a_foreign_host_is_refused_before_anything_else(client):
    assert "Host" in error_of(client.get("/health", headers={"Host": "evil.example"}), 400)
    hosts = b"Host: localhost\r\nHost: evil.example\r\nConnection: close\r\n\r\n"
    answer = client.send(b"GET /health HTTP/1.1\r\n" + hosts)
    assert b" 400 " in answer.split(b"\r\n")[0]
    assert b" 400 " in client.send(b"GET /health HTTP/1.0\r\n\r\n").split(b"\r\n")[0]


def test_pages_of_another_origin_cannot_send(client):
    headers = {"Origin": "https://evil.example", "Content-Type": "text/plain"}
    assert "origin" in error_of(client.post("/v1/predict", encoded(spotted()), headers=headers), 403)
    assert error_of(client.post("/v1/predict", encoded(spotted()), headers={"Origin": "null"}), 403)
    own = {"Origin": f"http://127.0.0.1:{client.port}"}
    assert client.post("/v1/predict", encoded(spotted()), headers=own)[0] == 200


def test_no_cors_unless_asked(client, finder):
    _, headers, _ = client.raw("GET", "/v1/runs", headers={"Origin": "https://friend.example"})
    assert not [name for name in headers if name.startswith("access-control")]
    with serving([finder], policy=Policy(token=TOKEN, origins=("https://friend.example",))) as open_one:
        asked = {"Origin": "https://friend.example", "Access-Control-Request-Method": "POST"}
        status, headers, _ = open_one.raw("OPTIONS", "/v1/predict", headers=asked)
        assert (status, headers["access-control-allow-origin"]) == (200, "https://friend.example")
        # Also a refusal can be read by that page, and by no other.
        _, headers, _ = open_one.raw("GET", "/v1/runs", headers={"Origin": "https://friend.example"})
        assert headers["access-control-allow-origin"] == "https://friend.example"
        _, headers, _ = open_one.raw("GET", "/v1/runs", headers={"Origin": "https://evil.example"})
        assert "access-control-allow-origin" not in headers


def test_a_token_guards_all_but_the_pages(finder):
    with serving([finder], policy=Policy(token=TOKEN)) as client:
        assert client.get("/health")[0] == 200
        assert client.raw("GET", "/")[0] == 200
        for path in ("/v1/runs", "/metrics", "/v1/desk"):
            status, headers, _ = client.raw("GET", path)
            assert (status, headers["www-authenticate"]) == (401, "Bearer")
        for wrong in ("Bearer", f"Bearer {TOKEN[:-1]}", f"Basic {TOKEN}", f"bearer {TOKEN}x", "Bearer \xe9"):
            headers = {"Authorization": wrong.encode("latin-1")}
            assert error_of(client.get("/v1/runs", headers=headers), 401)
        assert client.get("/v1/runs", headers={"Authorization": f"Bearer {TOKEN}"})[0] == 200


def test_every_answer_tells_browsers_to_load_nothing_from_elsewhere(client):
    for path in ("/", "/v1/runs", "/nothing"):
        headers = client.raw("GET", path)[1]
        assert "default-src 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert "server" not in headers


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "example.org"])
def test_other_machines_need_a_token(host):
    with pytest.raises(UsageError, match="--token"):
        Address(host)
    assert Address(host, token=TOKEN).token == TOKEN


@pytest.mark.parametrize(
    "options",
    [{"token": "short"}, {"token": "has a space in it"}, {"cors": ("*",)}, {"cors": ("example.org",)}],
)
def test_options_that_protect_nothing_are_refused(options):
    with pytest.raises(UsageError):
        Address(**options)
