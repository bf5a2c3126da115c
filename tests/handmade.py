"""A network as `resight export` writes it, put together by hand: is a picture more red, or more blue?"""

import json

CELLS, SIDE = 8, 32
DOCUMENT = {
    "architecture": "handmade",
    "classes": ["red", "blue"],
    "multi_label": False,
    "temperature": 1.0,
    "preprocessing": {"size": SIDE, "resize": SIDE, "mean": [0, 0, 0], "std": [1, 1, 1]},
    "export": {
        "format": 1,
        "run": "handmade",
        "outputs": {"probabilities": [], "logits": [], "maps": []},
        "probabilities": "softmax",
        "map": {"method": "cam", "layer": "pool", "rectified": False, "cells": [CELLS, CELLS], "of": "all"},
    },
}


def network():
    """Return the bytes of an .onnx file for pictures of 32 x 32."""
    from onnx import TensorProto, helper

    def axes(name, *sides, kind=TensorProto.FLOAT):
        return helper.make_tensor_value_info(name, kind, sides)

    nodes = [
        helper.make_node("Cast", ["pictures"], ["values"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["values"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node(
            "AveragePool",
            ["planes"],
            ["cells"],
            kernel_shape=[SIDE // CELLS] * 2,
            strides=[SIDE // CELLS] * 2,
        ),
        helper.make_node("Conv", ["cells", "weight"], ["maps"]),
        helper.make_node("GlobalAveragePool", ["maps"], ["means"]),
        helper.make_node("Flatten", ["means"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    weight = helper.make_tensor("weight", TensorProto.FLOAT, (2, 3, 1, 1), [0.05, 0, 0, 0, 0, 0.05])
    graph = helper.make_graph(
        nodes,
        "handmade",
        [axes("pictures", "batch", "height", "width", 3, kind=TensorProto.UINT8)],
        [
            axes("probabilities", "batch", 2),
            axes("logits", "batch", 2),
            axes("maps", "batch", 2, CELLS, CELLS),
        ],
        [weight],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    model.metadata_props.add(key="resight", value=json.dumps(DOCUMENT))
    return model.SerializeToString()
