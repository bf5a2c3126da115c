"""Official weights on ImageNet's validation folder: mechanics, with weights that the test invents."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from torchvision import models

from resight.core import imagenet
from resight.core.errors import DataError
from resight.core.figures import to_json
from resight.data.open import open_dataset
from resight.reproduce.catalogue import reproduce
from resight.reproduce.experiments import imagenet_check

KEPT = 12


@pytest.fixture
def validation(tmp_path, real_data):
    """Some of the shared photos as ImageNet's validation folder has them: a folder for each synset."""
    table = pq.read_table(real_data / "imagenet_sample" / "imagenet_sample.parquet").to_pylist()
    for row in table[:: len(table) // KEPT][:KEPT]:
        place = tmp_path / "validation" / row["wnid"]
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{row['label']}.jpg").write_bytes(row["image"]["bytes"])
    return tmp_path / "validation"


def test_a_synset_folder_counts_through_the_names_of_official_weights(validation, real_data):
    index = json.loads((real_data / "imagenet_sample" / "imagenet_class_index.json").read_text())
    assert list(imagenet.imagenet_synsets()) == [index[str(i)][0] for i in range(1000)]
    part = open_dataset(str(validation), whole=True).split("test")
    named = part.relabelled(imagenet.imagenet_classes())
    assert len(named) == KEPT and named.classes[134] == "crane bird"
    for label, picture in zip(named.labels, range(KEPT), strict=True):
        path = Path(named.picture_name(picture))
        assert (path.stem, path.parent.name) == (str(label), index[str(label)][0])
    other = (*imagenet.imagenet_classes()[1:], "none of ImageNet's")
    with pytest.raises(DataError, match="classes that the training split lacks"):
        part.relabelled(other)


def test_every_protocol_is_run_and_weights_that_cannot_be_had_are_left_out(validation, tmp_path, monkeypatch):
    """The invented network is torchvision's, with a last layer that always says the first picture's class."""
    theirs, right = models.resnet18(), min(int(p.stem) for p in validation.rglob("*.jpg"))
    theirs.fc.weight.data.zero_()
    theirs.fc.bias.data = 10.0 * torch.nn.functional.one_hot(torch.tensor(right), 1000).float()
    monkeypatch.setattr(
        "torchvision.models._api.load_state_dict_from_url", lambda *_, **__: theirs.state_dict()
    )
    monkeypatch.setattr(imagenet_check, "networks", lambda: ["resnet18", "resnet18/v1", "resnet50"])
    monkeypatch.setattr(imagenet_check, "TOGETHER", ("resnet18", "resnet18"))
    monkeypatch.setitem(imagenet_check.PROTOCOLS, "multi-scale", ({"scales": (96, 128)}, "in-resnet-t4"))
    found = reproduce(
        "imagenet-check", data=[str(validation)], out=str(tmp_path / "o"), results=str(tmp_path / "r")
    )
    rows = {row["id"].removeprefix("imagenet-check/"): row for row in to_json(found.record.rows)}
    expected = {"single-crop", "ten-crop", "multi-scale"}
    assert {k.split("/")[1] for k in rows if k.startswith("resnet18/")} == {*expected, "v1"}
    one = rows["resnet18/ten-crop/top1-error"]
    assert one["measured"] == pytest.approx(100 * (KEPT - 1) / KEPT)
    assert rows["resnet-ensemble/single-crop/top1-error"]["measured"] == one["measured"]
    assert rows["resnet18/single-crop/top5-error"]["measured"] <= one["measured"]
    assert rows["resnet18/v1/ten-crop/top1-error"]["measured"] == one["measured"]
    assert rows["resnet50/ten-crop/top1-error"]["measured"] is None
    assert set(found.record.failed) == {
        f"resnet50/{protocol}" for protocol in expected
    }  # its weights do not fit
    assert found.record.outcome.holds is None and found.record.hardware
    assert np.isfinite(one["interval"]).all()


def test_published_figures_stand_beside_the_released_networks(monkeypatch):
    class Answering:
        def __init__(self):
            self.failed = {}

        def given(self):
            return "photos"

        def tested(self, runs, data, **protocol):
            return {"top1_error": 25.0, "top1_interval": (24.0, 26.0), "top5_error": 8.0}

    rows = {f"{row.condition}/{row.metric}": row for row in imagenet_check.rows(Answering())}
    assert rows["resnet50/v1/single-crop/top1-error"].published == "in-resnet-1crop/resnet-50/top-1-error"
    assert rows["resnet152/v1/ten-crop/top5-error"].published == "in-resnet-t3/resnet-152/top-5-error"
    assert rows["resnet34/multi-scale/top1-error"].published == "in-resnet-t4/resnet-34-b/top-1-error"
    assert rows["resnet18/ten-crop/top1-error"].published == ""
    assert rows["resnet50/ten-crop/top1-error"].published == ""  # weights from a later recipe
