"""Show where an .onnx file looks: the maps that it computes itself, over the originals."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from resight.core.console import counted
from resight.core.errors import PictureError, UsageError
from resight.core.registry import lookup
from resight.data.decode import decode
from resight.data.given import expand
from resight.export.deployed import Answer, Onnx
from resight.export.drawn import resized
from resight.render.original import Original
from resight.service.explain.asked import Explained
from resight.service.explain.target import best_of
from resight.service.pictures import Unread, place_of, write


def explain(
    run: str,
    paths: Sequence[str],
    target: str | None = None,
    out: str = "explained",
    methods: Sequence[str] | None = None,
) -> list[Explained | Unread]:
    """Explain pictures by the maps of an exported file, and write overlays and maps.

    Args:
        run: an .onnx file of `resight export`.
        paths: files, folders and patterns.
        target: a class name or number; "topK" for the K best classes; by default the best.
        out: the folder to write to.
        methods: must be the file's own one, if given.

    Returns:
        The rows of `resight explain`, among them those of files that cannot be read.

    Raises:
        ResightError: in one line.
    """
    network = Onnx(run)
    network.require_classifier()
    if not network.has_maps:
        raise UsageError(f"{run}: holds no maps; use --method rise or occlusion, which need only its answers")
    own = network.export["map"]
    if methods and list(methods) != [own["method"]]:
        raise UsageError(f"{run}: holds the maps of {own['method']}; leave --method out")
    card, rows, files = network.preprocessing, list[Explained | Unread](), expand(paths)
    for path in counted(files, "pictures", len(files)):
        try:
            answer = network.answer([decode(path, at_least=card.resize, levels=card.levels)])[0]
            original = Original(decode(path, levels=card.levels), card)
        except PictureError as error:
            rows.append(Unread.of(error))
            continue
        for number in wanted(network, answer, target):
            heat = map_of(network, answer, number)
            name = network.classes[number]
            picture, array = place_of(Path(out), path, own["method"], name)
            write(picture, array, original.under(heat), heat)
            assert answer.logits is not None  # files with maps give them
            score = float(answer.logits[number])
            rows.append(
                Explained(str(path), own["method"], own["layer"], name, score, str(picture), str(array))
            )
    return rows


def wanted(network: Onnx, answer: Answer, target: str | None) -> list[int]:
    """Return the class numbers that a value of `--target` asks for.

    Raises:
        UsageError: if there is no such class.
    """
    classes = network.classes
    if best := best_of(target, classes):
        return np.argsort(-answer.probabilities, kind="stable")[:best].tolist()
    assert target is not None  # without one the best class is asked for
    if target in classes:
        return [classes.index(target)]
    if target.isdecimal():
        if int(target) >= len(classes):
            raise UsageError(
                f"target {target} is out of range: the network has classes 0 to {len(classes) - 1}"
            )
        return [int(target)]
    return [lookup({name: i for i, name in enumerate(classes)}, target, "class of this network")]


def map_of(network: Onnx, answer: Answer, number: int) -> NDArray[np.float32]:
    """Return the map of a class over the part that the network saw, (S, S) in [0, 1].

    Raises:
        UsageError: if the file gives maps of the best classes only, and this is none of them.
    """
    assert answer.maps is not None and answer.map_classes is not None  # the caller asked before
    place = np.flatnonzero(answer.map_classes == number)
    if not len(place):
        raise UsageError(
            f"{network.name}: holds the maps of the {len(answer.map_classes)} best classes only, and "
            f"{network.classes[number]!r} is none of them here; export it with --maps all"
        )
    cells = answer.maps[place[0]]
    cells = cells.clip(min=0) if network.export["map"]["rectified"] else cells
    side = network.preprocessing.size
    heat = resized(cells, side, side)
    low, span = heat.min(), heat.max() - heat.min()
    return (heat - low) / span if span > 1e-12 else np.zeros_like(heat)
