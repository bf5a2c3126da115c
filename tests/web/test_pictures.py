"""Predict, explain and locate over HTTP give what the commands give."""

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image

import resight
from as_json import explain_paths, locate
from serving import BLUE, RED, encoded, error_of, save_finder, serving, spotted


def with_exif(image):
    """A JPEG with an orientation, a GPS position, a comment and a maker's name."""
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010F] = "SecretMaker"
    exif.get_ifd(0x8825)[2] = (52.0, 31.0, 12.0)
    return encoded(image, "JPEG", quality=95, exif=exif, comment=b"SecretComment")


def bare(content):
    """Whether an encoded picture holds pixels only."""
    image = Image.open(io.BytesIO(content))
    image.load()
    left = set(image.info) - {"jfif", "jfif_version", "jfif_unit", "jfif_density", "dpi"}
    return not left and not image.getexif() and b"Secret" not in content and b"Exif" not in content


def test_predict_gives_the_row_of_the_command(client, finder, tmp_path):
    spotted().save(tmp_path / "a.png")
    (row,) = resight.predict(str(finder), [str(tmp_path / "a.png")])
    status, answer = client.post("/v1/predict", (tmp_path / "a.png").read_bytes())
    assert status == 200
    assert answer["label"] == row["label"] == "red"
    assert answer["probability"] == pytest.approx(row["probability"], abs=1e-6)
    assert set(answer) == set(row) - {"path"}
    assert len(client.post("/v1/predict?top=1", encoded(spotted()))[1]["top"]) == 1


def test_explain_gives_the_map_of_the_command(client, finder, tmp_path):
    spotted(BLUE).save(tmp_path / "a.png")
    (row,) = explain_paths(str(finder), [str(tmp_path / "a.png")], ["cam"], out="explained")
    content = (tmp_path / "a.png").read_bytes()
    assert client.raw("POST", "/v1/explain?format=npy", content)[0] == 200
    array = np.load(io.BytesIO(client.raw("POST", "/v1/explain?format=npy", content)[2]))
    np.testing.assert_allclose(array[0], np.load(row["map"]), atol=1e-6)
    drawn = Image.open(io.BytesIO(client.raw("POST", "/v1/explain?format=png", content)[2]))
    wanted = np.asarray(Image.open(row["image"]).convert("RGB")).astype(int)
    assert np.abs(np.asarray(drawn.resize(wanted.shape[1::-1], 0)).astype(int) - wanted).max() <= 1


def test_all_maps_come_at_once_and_raw(client, finder):
    status, answer = client.post("/v1/explain?target=all", encoded(spotted(BLUE)))
    assert status == 200
    assert [entry["label"] for entry in answer["classes"]] == ["blue", "red"]
    raw = np.frombuffer(base64.b64decode(answer["data"]), "<f4").reshape(answer["shape"])
    run = resight.open_run(str(finder))
    own = resight.explain(run.model, spotted(BLUE), "cam", "all").raw[0].numpy()
    np.testing.assert_allclose(raw, own[::-1], atol=1e-5)
    assert sum(entry["probability"] for entry in answer["classes"]) == pytest.approx(1)
    assert (answer["width"], answer["height"], answer["side"]) == (64, 48, 32)
    np.testing.assert_allclose(answer["window"], [8, 0, 56, 48], atol=0.8)


def test_locate_gives_the_boxes_of_the_command(client, finder, tmp_path):
    spotted().save(tmp_path / "a.png")
    found = locate(str(finder), [str(tmp_path / "a.png")], ["cam"])["boxes"]
    status, answer = client.post("/v1/locate", (tmp_path / "a.png").read_bytes())
    assert status == 200
    assert [box["box"] for box in answer["boxes"]] == [box["box"] for box in found]
    assert answer["boxes"][0]["label"] == "red"
    other = client.post("/v1/locate?target=blue", encoded(spotted()))[1]["boxes"]
    assert {box["label"] for box in other} == {"blue"}


def test_the_class_may_be_a_name_or_a_number(client):
    content = encoded(spotted())
    for target in ("blue", "1"):
        assert client.post(f"/v1/explain?target={target}", content)[1]["classes"][0]["label"] == "blue"


def test_every_shown_picture_is_upright_and_holds_pixels_only(client):
    content = with_exif(spotted(size=(64, 48)))
    assert not bare(content)
    for path in ("/v1/picture", "/v1/explain?format=png"):
        _, _, shown = client.raw("POST", path, content)
        assert bare(shown), path
        width, height = Image.open(io.BytesIO(shown)).size
        assert width < height, path


def test_second_run_answers_by_its_own_classes(finder, tmp_path):
    other = save_finder(tmp_path / "other.safetensors", ("rot", "blau"))
    with serving([finder, other]) as client:
        told = client.get("/v1/runs")[1]
        assert [run["classes"] for run in told["runs"]] == [["red", "blue"], ["rot", "blau"]]
        assert [run["name"] for run in told["runs"]] == ["finder.safetensors", "other.safetensors"]
        assert client.post("/v1/predict?run=1", encoded(spotted(RED)))[1]["label"] == "rot"
        assert str(tmp_path) not in json.dumps(told)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/v1/predict?top=0", "top must be"),
        ("/v1/predict?top=x", "top must be"),
        ("/v1/predict?top=2&top=3", "twice"),
        ("/v1/predict?colour=1", "not a parameter"),
        ("/v1/predict?run=7", "below 1"),
        ("/v1/explain?target=bleu", "blue"),
        ("/v1/explain?target=top0", "selects no class"),
        ("/v1/explain?method=camm", "cam"),
        ("/v1/explain?method=rise", "not served"),
        ("/v1/explain?format=gif", "one of json"),
        ("/v1/locate?threshold=1", "below 1"),
        ("/v1/locate?threshold=nan", "threshold must be"),
        ("/v1/locate?boxes=most", "one of largest"),
        ("/v1/picture?side=5", "side must be"),
    ],
)
def test_wrong_parameters_are_refused_by_name(client, path, words):
    assert words in error_of(client.post(path, encoded(spotted())), 422)


def test_pictures_that_come_together_are_classified_together(finder):
    from concurrent.futures import ThreadPoolExecutor

    from resight.web import work

    with serving([finder]) as client:
        contents = [encoded(spotted(colour)) for colour in (RED, BLUE) * 12]
        with ThreadPoolExecutor(24) as pool:
            answers = list(pool.map(lambda c: client.post("/v1/predict", c), contents))
        assert [answer["label"] for _, answer in answers] == ["red", "blue"] * 12
        metrics = client.raw("GET", "/metrics")[2].decode()
    line = next(line for line in metrics.splitlines() if line.startswith("resight_batch_pictures_count"))
    assert int(line.split()[1]) <= 24
    assert "resight_batch_pictures_sum 24" in metrics
    assert work.LARGEST == 32
