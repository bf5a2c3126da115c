"""onnxruntime-web, which runs a network in a browser: two files of the npm package of that name.

They are not part of Resight. They come from a folder that the user names, or once from npm, into the cache;
what npm sends must have the expected checksum.
"""

import hashlib
import shutil
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

from resight.core.errors import ResightError
from resight.core.files import replacing
from resight.data.cache import cache_folder

PACKAGE, VERSION = "onnxruntime-web", "1.30.0"
SCRIPT, WASM = "ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"
CHECKSUMS = {
    SCRIPT: "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90",
    WASM: "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
}
"""SHA-256 of both files in this version."""
SECONDS = 600


@dataclass(frozen=True)
class Runtime:
    """The files.

    Attributes:
        script: an ES module.
        wasm: what it runs.
    """

    script: bytes
    wasm: bytes


def find_runtime(folder: str | None) -> Runtime:
    """Return the runtime.

    Args:
        folder: holds both files, itself or in `dist`; by default the cache, else npm.

    Raises:
        ResightError: if it is not there, with the cure.
    """
    if folder is not None:
        places = (Path(folder), Path(folder) / "dist", Path(folder) / PACKAGE / "dist")
        for place in places:
            if all((place / name).is_file() for name in CHECKSUMS):
                return _read(place)
        raise ResightError(f"--runtime {folder}: needs {SCRIPT} and {WASM} of {PACKAGE}, in it or in dist")
    place = cache_folder() / PACKAGE / VERSION
    if not all((place / name).is_file() for name in CHECKSUMS):
        _fetch(place)
    return _read(place)


def _read(place: Path) -> Runtime:
    return Runtime((place / SCRIPT).read_bytes(), (place / WASM).read_bytes())


def _fetch(place: Path) -> None:
    """Get the files with the user's own npm and its settings.

    Raises:
        ResightError: without npm or network, or if a file is not the expected one.
    """
    npm = shutil.which("npm")
    own = f"npm install {PACKAGE}@{VERSION}, then node_modules/{PACKAGE}/dist"
    cure = f"give its files with --runtime DIR ({own})"
    if npm is None:
        raise ResightError(f"the page needs {PACKAGE}, and there is no npm to get it; {cure}")
    with tempfile.TemporaryDirectory() as folder:
        command = [npm, "pack", "--silent", f"{PACKAGE}@{VERSION}"]
        try:
            done = subprocess.run(
                command, cwd=folder, capture_output=True, text=True, timeout=SECONDS, check=False
            )
        except subprocess.TimeoutExpired:
            raise ResightError(f"npm did not send {PACKAGE} within {SECONDS} seconds; {cure}") from None
        packed = next(Path(folder).glob("*.tgz"), None)
        if done.returncode or packed is None:
            why = (done.stderr.strip().splitlines() or ["it said nothing"])[0][:200]
            raise ResightError(f"npm could not get {PACKAGE} ({why}); {cure}")
        with tarfile.open(packed) as archive:
            for name, wanted in CHECKSUMS.items():
                member = archive.extractfile(f"package/dist/{name}")
                content = member.read() if member else b""
                if hashlib.sha256(content).hexdigest() != wanted:
                    raise ResightError(f"npm sent another {name} than {PACKAGE} {VERSION} has; {cure}")
                with replacing(place / name) as temporary:
                    temporary.write_bytes(content)
