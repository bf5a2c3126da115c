"""The API's description names what the server has, and no more."""

import pytest
from starlette.routing import Route

from resight.service.serve.desk import open_desk
from resight.service.serve.network import open_served
from resight.web import openapi
from resight.web.app import PAGES, Limits, create_app
from resight.web.guard import Policy
from serving import encoded, save_finder, serving, spotted


@pytest.mark.parametrize("with_desk", [False, True])
def test_every_request_is_described_and_every_description_is_a_request(tmp_path, with_desk):
    network = open_served(str(save_finder(tmp_path / "finder.safetensors")))
    (tmp_path / "photos").mkdir()
    spotted().save(tmp_path / "photos" / "a.png")
    desk = open_desk(network, "photos", None) if with_desk else None
    app = create_app([network], desk, Policy(), Limits())
    served = {
        (route.path, method.lower())
        for route in app.app.routes
        if isinstance(route, Route) and route.path not in PAGES and not route.path.startswith("/static")
        for method in route.methods - {"HEAD"}
    }
    described = {
        (path, method)
        for path, operations in openapi.document(openapi.Runs(1, network.methods), with_desk=with_desk)[
            "paths"
        ].items()
        for method in operations
    }
    assert served == described


def test_answers_have_the_described_keys(client):
    document = client.get("/openapi.json")[1]
    answers = {
        "/v1/predict": client.post("/v1/predict", encoded(spotted())),
        "/v1/explain": client.post("/v1/explain", encoded(spotted())),
        "/v1/locate": client.post("/v1/locate", encoded(spotted())),
        "/v1/runs": client.get("/v1/runs"),
        "/health": client.get("/health"),
    }
    for path, (status, answer) in answers.items():
        (operation,) = document["paths"][path].values()
        schema = operation["responses"][str(status)]["content"]["application/json"]["schema"]
        assert set(schema["required"]) <= set(answer) <= set(schema["properties"]), path


def test_parameters_have_the_values_that_this_server_takes(client):
    told = client.get("/v1/runs")[1]["runs"]
    (operation,) = client.get("/openapi.json")[1]["paths"]["/v1/explain"].values()
    schemas = {parameter["name"]: parameter["schema"] for parameter in operation["parameters"]}
    assert schemas["run"]["maximum"] == len(told) - 1 == 0
    assert schemas["method"]["enum"] == told[0]["methods"]
    assert schemas["target"]["enum"] == ["red", "blue", "0", "1", "top1", "top2", "all"]
    for method in told[0]["methods"]:
        assert client.post(f"/v1/explain?method={method}", encoded(spotted()))[0] == 200


def test_schemas_hold_no_list_of_schemas_for_items(client):
    """Readers of OpenAPI take `prefixItems` for the `items` of older versions, and stop."""
    assert "prefixItems" not in str(client.get("/openapi.json")[1])


def test_a_wrong_method_is_told_all_that_its_path_takes(finder, tmp_path):
    (tmp_path / "photos").mkdir()
    spotted().save(tmp_path / "photos" / "a.png")
    with serving([finder], tmp_path / "photos", out=str(tmp_path / "boxes")) as client:
        key = client.get("/v1/desk?state=all")[1]["pictures"][0]["key"]
        status, headers, _ = client.raw("DELETE", f"/v1/desk/{key}")
    assert status == 405
    assert {word.strip() for word in headers["allow"].split(",")} - {"HEAD"} == {"GET", "PUT"}


def test_metrics_are_those_of_prometheus(finder):
    with serving([finder]) as client:
        client.post("/v1/predict", encoded(spotted()))
        client.get("/v1/nothing")
        _, headers, body = client.raw("GET", "/metrics")
    assert headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = body.decode().splitlines()
    assert 'resight_requests_total{method="POST",route="/v1/predict",status="200"} 1' in lines
    assert 'resight_requests_total{method="GET",route="other",status="404"} 1' in lines
    buckets = [
        int(line.split()[-1])
        for line in lines
        if line.startswith('resight_request_seconds_bucket{route="/v1/predict"')
    ]
    assert buckets == sorted(buckets)
    assert buckets[-1] == 1


@pytest.mark.parametrize("classes", [(), tuple(map(str, range(51))), ("a" * 201, "b")])
def test_targets_are_listed_where_they_are_few_and_short(classes):
    assert openapi.Runs(1, ("cam",), classes).targets == ()
    assert openapi.Runs(1, ("cam",), ("a", "1")).targets == ("a", "1", "0", "top1", "top2")
