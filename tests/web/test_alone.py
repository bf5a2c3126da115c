"""The page that runs a network itself: equal to Python, by double click, without a request to anywhere."""

import base64
import functools
import hashlib
import http.server
import os
import re
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import handmade
from resight.core.errors import ResightError, UsageError
from resight.web import runtime
from resight.web.page import write_page
from serving import BLUE, RED, spotted

sync_api = pytest.importorskip("playwright.sync_api", reason="the browser tests need playwright")
CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
RUNTIME = os.environ.get("RESIGHT_RUNTIME", "")
WAIT = 60_000
in_a_browser = pytest.mark.skipif(
    not Path(CHROMIUM).is_file() or not RUNTIME,
    reason="needs chromium, and RESIGHT_RUNTIME: a folder with the npm package onnxruntime-web",
)


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield found
        found.close()


@pytest.fixture
def photos(tmp_path):
    """Ten pictures of the size that the network takes as they are."""
    (tmp_path / "photos").mkdir()
    generator = np.random.default_rng(0)
    for number in range(10):
        x, y = generator.integers(0, 16, 2)
        image = spotted((RED, BLUE)[number % 2], (x, y, x + 14, y + 12), (32, 32))
        image.save(tmp_path / "photos" / f"{number}.png")
    return sorted((tmp_path / "photos").iterdir())


def by_python(photos):
    """What onnxruntime answers to the same pictures: class, probability and the map's peak in its cells."""
    import onnxruntime

    session = onnxruntime.InferenceSession(handmade.network())
    found = []
    for path in photos:
        likely, _, maps = session.run(None, {"pictures": np.asarray(Image.open(path))[None]})
        best = int(likely[0].argmax())
        found.append((handmade.DOCUMENT["classes"][best], float(likely[0][best]), maps[0, best]))
    return found


def answers(page, photos):
    """What the page answers: (class, probability, map) of each picture."""
    return page.evaluate(
        """async (contents) => {
            const { predict, explain } = await import("resight/api.js");
            const found = [];
            for (const content of contents) {
                const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
                const file = new File([bytes], "picture", { type: "image/png" });
                const { label, probability } = await predict(file, { top: 1 });
                const maps = await explain(file);
                const cells = maps.shape[1] * maps.shape[2];
                found.push([label, probability, [...maps.raw.slice(0, cells)], maps.window]);
            }
            return found;
        }""",
        [base64.b64encode(path.read_bytes()).decode() for path in photos],
    )


@pytest.fixture
def opened(browser):
    """Opens a page; fails if it throws, or asks anything outside its own folder."""
    contexts, faults = [], []

    def open_page(address):
        context = browser.new_context(bypass_csp=False, offline=address.startswith("file:"))
        context.set_default_timeout(WAIT)
        contexts.append(context)
        page = context.new_page()
        own = (address.rsplit("/", 1)[0] + "/", "data:", "blob:")
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("request", lambda r: None if r.url.startswith(own) else faults.append(r.url[:200]))
        page.on("console", lambda m: faults.append(m.text) if m.type == "error" else None)
        page.goto(address)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert faults == []


def compare(found, wanted):
    for (label, probability, raw, window), (own_label, own, maps) in zip(found, wanted, strict=True):
        assert label == own_label
        assert probability == pytest.approx(own, abs=1e-5)
        np.testing.assert_allclose(np.reshape(raw, maps.shape), maps, atol=1e-4 * np.ptp(maps))
        assert np.argmax(raw) == np.argmax(maps)
        assert window == [0, 0, 32, 32]


@in_a_browser
def test_one_file_works_by_double_click_and_equals_python(tmp_path, photos, opened):
    place = tmp_path / "usb stick" / "page.html"
    files = write_page(handmade.network(), handmade.DOCUMENT, "my run", runtime.find_runtime(RUNTIME), place)
    assert files == [place]
    page = opened(place.as_uri())
    page.set_input_files("#files", [str(path) for path in photos])
    sync_api.expect(page.locator(".card .answer .label")).to_have_text(
        [label for label, _, _ in by_python(photos)], timeout=WAIT
    )
    page.locator(".card").first.click()
    words = re.compile(r"^0\.png, with the map of red over it")
    sync_api.expect(page.locator("canvas")).to_have_attribute("aria-label", words, timeout=WAIT)


@in_a_browser
def test_the_folder_form_needs_a_static_server_only(tmp_path, photos, opened):
    folder = tmp_path / "page"
    files = write_page(handmade.network(), handmade.DOCUMENT, "x", runtime.find_runtime(RUNTIME), folder)
    assert [path.name for path in files] == sorted(path.name for path in folder.iterdir())
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=folder)
    handler.func.log_message = lambda *_: None
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        page = opened(f"http://127.0.0.1:{server.server_port}/index.html")
        page.set_input_files("#files", [str(path) for path in photos[:2]])
        sync_api.expect(page.locator(".card .answer .label")).to_have_text(["red", "blue"], timeout=WAIT)
        server.shutdown()


@in_a_browser
def test_numbers_and_maps_are_those_of_python(tmp_path, photos, browser):
    place = tmp_path / "page.html"
    write_page(handmade.network(), handmade.DOCUMENT, "x", runtime.find_runtime(RUNTIME), place)
    context = browser.new_context(bypass_csp=True)
    page = context.new_page()
    page.set_default_timeout(WAIT)
    page.goto(place.as_uri())
    compare(answers(page, photos), by_python(photos))
    context.close()


@in_a_browser
def test_the_window_is_that_of_python(tmp_path, browser):
    from resight.core.preprocessing import Preprocessing
    from resight.data.prepare import seen_window

    context = browser.new_context(bypass_csp=True)
    page = context.new_page()
    sizes = [(w, h) for w in (31, 32, 33, 47, 64, 801) for h in (20, 32, 45, 90)]
    for size, resize in ((32, 32), (28, 33), (24, 40)):
        document = {**handmade.DOCUMENT, "preprocessing": {"size": size, "resize": resize}}
        place = tmp_path / f"{size}.html"
        write_page(handmade.network(), document, "x", runtime.find_runtime(RUNTIME), place)
        page.goto(place.as_uri())
        found = page.evaluate(
            'async (sizes) => sizes.map((await import("resight/api.js")).seenWindow)',
            sizes,
        )
        card = Preprocessing(size=size, resize=resize)
        np.testing.assert_allclose(found, [seen_window(each, card) for each in sizes], atol=1e-9)
    context.close()


def fake_runtime(folder):
    for name in runtime.CHECKSUMS:
        (folder / name).write_bytes(b"x")
    return runtime.find_runtime(str(folder))


def test_no_name_of_the_user_becomes_markup(tmp_path):
    evil = "</script><script>alert(1)</script>"
    document = {**handmade.DOCUMENT, "classes": [evil, "b"]}
    write_page(b"network", document, evil, fake_runtime(tmp_path), tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    assert evil not in text
    assert "&lt;/script&gt;" in text


def test_the_page_names_no_other_server(tmp_path):
    write_page(b"network", handmade.DOCUMENT, "x", fake_runtime(tmp_path), tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    assert "http-equiv" in text
    assert not re.search(r"(src|href)=\"(?!data:|#)", text)
    assert "connect-src data: blob:;" in text


def test_pictures_that_are_not_cropped_are_refused(tmp_path):
    card = {**handmade.DOCUMENT["preprocessing"], "frame": "stretch"}
    document = {**handmade.DOCUMENT, "preprocessing": card}
    with pytest.raises(UsageError, match="not cropped"):
        write_page(b"network", document, "x", fake_runtime(tmp_path), tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


def fake_npm(tmp_path, monkeypatch, script):
    (tmp_path / "bin").mkdir()
    npm = tmp_path / "bin" / "npm"
    npm.write_text(f"#!/bin/sh\n{script}\n")
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")


def packed(tmp_path, content=b"wanted"):
    place = tmp_path / "package" / "dist"
    place.mkdir(parents=True)
    for name in runtime.CHECKSUMS:
        (place / name).write_bytes(content)
    return f'cd "{tmp_path}" && tar czf "$OLDPWD/onnxruntime-web.tgz" package'


def test_the_runtime_comes_from_npm_once(tmp_path, monkeypatch):
    right = hashlib.sha256(b"wanted").hexdigest()
    monkeypatch.setattr(runtime, "CHECKSUMS", dict.fromkeys(runtime.CHECKSUMS, right))
    fake_npm(tmp_path, monkeypatch, packed(tmp_path))
    assert runtime.find_runtime(None) == runtime.Runtime(b"wanted", b"wanted")
    (tmp_path / "bin" / "npm").write_text("#!/bin/sh\nexit 1\n")
    assert runtime.find_runtime(None) == runtime.Runtime(b"wanted", b"wanted")


def test_a_runtime_with_another_checksum_is_refused(tmp_path, monkeypatch):
    fake_npm(tmp_path, monkeypatch, packed(tmp_path))
    with pytest.raises(ResightError, match="npm sent another"):
        runtime.find_runtime(None)
    assert not list((tmp_path / "cache").rglob("*.wasm"))


def test_without_npm_or_network_the_cure_is_named(tmp_path, monkeypatch):
    fake_npm(tmp_path, monkeypatch, 'echo "no network" >&2; exit 1')
    with pytest.raises(ResightError, match=r"no network.*--runtime DIR"):
        runtime.find_runtime(None)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ResightError, match=r"there is no npm.*--runtime DIR"):
        runtime.find_runtime(None)
    with pytest.raises(ResightError, match=r"--runtime .* needs"):
        runtime.find_runtime(str(tmp_path))
