"""Files of JSON and tensors, changed at random as a stranger or a bad disk would change them."""

import copy
import json
import struct


def mutated(content, chance):
    """Change a safetensors file: bytes anywhere, the header's JSON, or a tensor's place."""
    kind = chance.randrange(3)
    if kind == 0:
        content = bytearray(content)
        for _ in range(chance.randrange(1, 9)):
            content[chance.randrange(len(content))] = chance.randrange(256)
        return bytes(content)
    length = struct.unpack("<Q", content[:8])[0]
    header, body = json.loads(content[8 : 8 + length]), content[8 + length :]
    if kind == 1:
        name = chance.choice(sorted(header.keys() - {"__metadata__"}))
        key, value = chance.choice(
            [
                ("dtype", chance.choice(["F16", "BF16", "I64", "U8", "F8_E4M3", "F64", "BOOL", "Q9", 3])),
                ("shape", chance.choice([[], [0], [2**40, 2**40], [-1], [1] * 80, "x", None])),
                ("data_offsets", chance.choice([[0, 0], [0, 2**63], [-4, 4], [8, 4], [0], None])),
            ]
        )
        header[name][key] = value
    else:
        document = json.loads(header["__metadata__"]["resight"])
        document = changed(document, chance)
        header["__metadata__"]["resight"] = json.dumps(document)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


ODD = [
    None, True, 0, -1, 1, 2, 2.5, 10**9, 10**30, -(10**30), 1e308, float("nan"), float("inf"), "", "x",
    "resnet18", "gmp", "flatten", "torchvision", "/etc/passwd", "\ud800", "a" * 10_000, [], [1], ["a"],
    ["a", "a", "a"], [[]], [None] * 3, {}, {"a": 1}, {"weights": "torchvision"}, {"depth": 1e9}, [[[[[[]]]]]],
]  # fmt: skip


def places(value):
    """Every (container, key) in a document."""
    keys = value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    found = [(value, key) for key in keys]
    return found + [place for key in keys for place in places(value[key])]


def changed(document, chance):
    """A copy of a JSON document with one value replaced or left out."""
    document = copy.deepcopy(document)
    place, key = chance.choice(places(document))
    if chance.random() < 0.2:
        del place[key]
    else:
        place[key] = chance.choice(ODD)
    return document
