"""Imports go down only: a package knows those below it and none beside it."""

import ast
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src" / "resight"
LAYERS = [
    {"core"},
    {"models", "data", "geometry"},
    {"metrics", "saliency", "localize", "classic", "render"},
    {"evaluate"},
    {"tasks"},
    {"training", "export"},
    {"service"},
    {"reproduce", "web"},
    {"bench"},
    {"cli"},
]
LEVEL = {package: level for level, packages in enumerate(LAYERS) for package in packages}
FENCED = {
    "typer": {"cli"},
    "matplotlib": {"render"},
    "jinja2": {"render"},
    "sklearn": {"data", "metrics", "classic"},
    "cv2": {"models", "classic"},
    "skimage": {"models", "classic"},
    "scipy": {"data", "localize", "reproduce"},
    "onnx": {"export"},
    "onnxruntime": {"export"},
    "starlette": {"web"},
    "uvicorn": {"web"},
    "h11": {"web"},
    "pycocotools": set(),  # tests compare with them
    "faster_coco_eval": set(),
}
ROOMS = SOURCE / "service"
DOORS = {
    "train": {"test", "report", "gan"},
    "report": {"test", "look"},
    "test": {"deployed"},
    "gan": {"train"},
    "explain": {"train"},
    "deployed": {"explain"},
    "serve": {"explain", "locate"},
}
"""Rooms of service that may open others; all open `run`."""
MODULE_LEVEL_TORCH_FREE = {"cli", "core"}


def imports(file):
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def files():
    return [f for f in SOURCE.rglob("*.py") if f.parent != SOURCE]


def test_every_package_has_its_layer():
    packages = {f.parent.name for f in SOURCE.glob("*/__init__.py")}
    assert packages == set(LEVEL)


def test_imports_go_down():
    seen, wrong = 0, []
    for file in files():
        own = file.relative_to(SOURCE).parts[0]
        for line, name in imports(file):
            parts = name.split(".")
            if parts[0] != "resight" or len(parts) < 2 or parts[1] not in LEVEL:
                continue
            seen += 1
            if parts[1] != own and LEVEL[parts[1]] >= LEVEL[own]:
                wrong.append(f"{file.relative_to(SOURCE)}:{line} {own} imports {name}")
    assert seen > 80
    assert not wrong, "\n".join(wrong)


def test_rooms_of_service_open_only_their_doors():
    seen, wrong = set(), []
    for room in (f.parent for f in ROOMS.glob("*/__init__.py")):
        for file in room.glob("*.py"):
            for line, name in imports(file):
                parts = name.split(".")
                if parts[:2] != ["resight", "service"] or parts[2] in (room.name, "run", "pictures"):
                    continue
                seen.add((room.name, parts[2]))
                if parts[2] not in DOORS.get(room.name, ()):
                    wrong.append(f"{file.relative_to(SOURCE)}:{line} {room.name} imports {name}")
    assert seen == {(room, other) for room, others in DOORS.items() for other in others}
    assert not wrong, "\n".join(wrong)


def test_third_parties_stay_in_their_packages():
    wrong = [
        f"{file.relative_to(SOURCE)}:{line} {name}"
        for file in files()
        for line, name in imports(file)
        if (top := name.split(".")[0]) in FENCED and file.relative_to(SOURCE).parts[0] not in FENCED[top]
    ]
    assert not wrong, "\n".join(wrong)


def test_torch_is_not_imported_when_the_command_starts():
    wrong = []
    for file in files():
        if file.relative_to(SOURCE).parts[0] in MODULE_LEVEL_TORCH_FREE:
            for node in ast.parse(file.read_text()).body:
                if isinstance(node, ast.Import | ast.ImportFrom):
                    names = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module]
                    wrong += [f"{file}:{node.lineno}" for n in names if n and n.split(".")[0] == "torch"]
    assert not wrong
