"""A page that runs an exported network in the browser: without a server, and without a request to anywhere.

As one file everything is inside it, and it works by double click; as a folder the network and the runtime are
files next to the page, which any static server can send.
"""

import base64
import html
import importlib.resources
import json
import re
import tempfile
from pathlib import Path
from typing import Any

from resight.core.errors import UsageError
from resight.core.files import replacing, require_place, write_text
from resight.export.deployed import Onnx
from resight.models.activations import activation_in, said_of
from resight.service.export.export import LOSS, export
from resight.service.run.run import open_run
from resight.web.runtime import SCRIPT, WASM, Runtime, find_runtime

MODULES = ("dom.js", "runs.js", "heat.js", "stage.js", "viewer.js", "pictures.js", "alone.js")
"""The server's own modules; `local.js` takes the place of `api.js`."""
NETWORK = "network.onnx"
PREFIX = "resight/"
IMPORT = re.compile(r"""(\bfrom |\bimport\()"\./([\w.]+)\"""")
POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' 'wasm-unsafe-eval' data: blob: 'self'; worker-src blob:; "
    "style-src 'unsafe-inline'; img-src data: blob:; connect-src {connect}; "
    "base-uri 'none'; form-action 'none'"
)
"""Nothing is loaded from elsewhere: the browser itself refuses it."""


def export_page(
    run: str,
    out: str | None = None,
    maps: str = "all",
    runtime: str | None = None,
    *,
    int8: bool = False,
    loss: float = LOSS,
    data: str | None = None,
    data_root: str | None = None,
) -> dict[str, Any]:
    """Export a run as a page.

    Args:
        run: a RUN.
        out: a file that ends in .html, or a folder; by default the run's name with .html.
        maps: see `export`.
        runtime: see `find_runtime`.
        int8: see `export`.
        loss: see `export`.
        data: see `export`.
        data_root: see `export`.

    Returns:
        The JSON of `resight export`.

    Raises:
        ResightError: in one line; then nothing was written.
    """
    _require_crop(open_run(run).preprocessing.frame, run)  # before minutes of exporting
    found = find_runtime(runtime)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / NETWORK
        if out is not None:
            require_place(Path(out))
        answer = export(run, str(file), "onnx", maps, int8=int8, loss=loss, data=data, data_root=data_root)
        content = file.read_bytes()
        document: dict[str, Any] = Onnx(file).facts
    name = document["export"]["run"].removesuffix(".safetensors")
    place = Path(out or f"{name.replace(':', '-') or 'network'}.html")
    written = write_page(content, document, name, found, place)
    return {**answer, "file": str(place), "bytes": sum(path.stat().st_size for path in written)}


def write_page(
    network: bytes, document: dict[str, Any], name: str, runtime: Runtime, out: Path
) -> list[Path]:
    """Write the page.

    Args:
        network: an .onnx file of `resight export`.
        document: of its metadata.
        name: what the page calls the run.
        runtime: onnxruntime-web.
        out: a file that ends in .html, or a folder.

    Returns:
        The files that were written.

    Raises:
        UsageError: if the network's preprocessing is not one that the page knows.
    """
    facts = _facts(document, name)
    whole = out.suffix == ".html"
    if whole:
        parts = {"model": _encoded(network), "wasm": _encoded(runtime.wasm)}
        write_text(out, _html(facts, runtime.script, parts))
        return [out]
    facts["files"] = {"model": NETWORK, "wasm": WASM}
    for file, content in ((NETWORK, network), (WASM, runtime.wasm), (SCRIPT, runtime.script)):
        with replacing(out / file) as temporary:
            temporary.write_bytes(content)
    write_text(out / "index.html", _html(facts, runtime.script, {}))
    return sorted(out / file for file in ("index.html", NETWORK, WASM, SCRIPT))


def _require_crop(frame: str, name: str) -> None:
    if frame != "crop":
        raise UsageError(f"{name}: pictures are not cropped for it, and the page knows no other way")


def _facts(document: dict[str, Any], name: str) -> dict[str, Any]:
    """Return what the page must know of the network."""
    card, export = document["preprocessing"], document["export"]
    _require_crop(card.get("frame", "crop"), name)
    test = document.get("test") or {}
    map_ = export.get("map") or {}
    titles = {"cam": "CAM", "gmp_cam": "CAM with max pooling"}
    method = map_.get("method", "")
    return {
        "run": {
            "name": name,
            "network": document.get("architecture", ""),
            "size": card["size"],
            "classes": document["classes"],
            **said_of(activation_in(document)),
            "methods": [method] if method else [],
            "method": method,
            "closed": bool(method),
            "test": {key: test[key] for key in ("n", "top1_error") if key in test} or None,
        },
        "card": {"size": card["size"], "resize": card["resize"]},
        "map": {
            "method": method,
            "title": titles.get(method, method),
            "layer": map_.get("layer", ""),
            "rectified": bool(map_.get("rectified")),
        },
    }


def _html(facts: dict[str, Any], script: bytes, parts: dict[str, str]) -> str:
    """Return the page: style, modules as data addresses under names of their own, and what is inside it."""
    style = _static("style.css")
    mark = f"data:image/svg+xml;base64,{_encoded(_static('mark.svg').encode())}"
    modules = {PREFIX + file: _address(_renamed(_static(file)).encode()) for file in MODULES}
    modules[f"{PREFIX}api.js"] = _address(_renamed(_static("local.js")).encode())
    modules[f"{PREFIX}ort.js"] = _address(script)
    policy = POLICY.format(connect="data: blob:" if parts else "'self' data: blob:")
    body = re.search(r"<main.*</main>", _static("index.html"), re.S)
    assert body is not None
    told = json.dumps(facts).replace("<", "\\u003c")
    inside = "".join(
        f'<script type="text/plain" id="{key}">{value}</script>\n' for key, value in parts.items()
    )
    kept = body[0].replace(
        "They are sent to this server only, and it does not keep them.", "They do not leave this device."
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{html.escape(policy)}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>{html.escape(facts["run"]["name"])}</title>
<link rel="icon" href="{mark}">
<style>
{style}
</style>
<script type="importmap">{json.dumps({"imports": modules})}</script>
</head>
<body>
<a class="skip" href="#main">Skip to content</a>
<header class="bar">
  <p class="mark"><img src="{mark}" alt="" width="22" height="22">Resight</p>
  <div id="runs" class="runs"></div>
</header>
{kept}
<div id="toasts" class="toasts" role="status"></div>
<script type="application/json" id="facts">{told}</script>
{inside}<script type="module">import "{PREFIX}alone.js";</script>
</body>
</html>
"""


def _renamed(module: str) -> str:
    """Return a module whose imports go through the page's import map."""
    return IMPORT.sub(rf'\g<1>"{PREFIX}\g<2>"', module)


def _static(name: str) -> str:
    return importlib.resources.files("resight.web").joinpath("static", name).read_text("utf-8")


def _address(content: bytes) -> str:
    return f"data:text/javascript;base64,{_encoded(content)}"


def _encoded(content: bytes) -> str:
    return base64.b64encode(content).decode()
