"""The pages in a browser: pictures dropped, answers read, boxes corrected by mouse, touch and keyboard."""

import json
import os
import shutil
import time
from pathlib import Path

import pytest
from PIL import Image

import resight
from serving import BLUE, RED, save_finder, serving, spotted

sync_api = pytest.importorskip("playwright.sync_api", reason="the browser tests need playwright")
CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
AXE = os.environ.get("RESIGHT_AXE", "")
WAIT = 60_000
expect = sync_api.expect
pytestmark = pytest.mark.skipif(
    not Path(CHROMIUM).is_file(), reason="no chromium; install it: apt-get install chromium"
)


@pytest.fixture(scope="module")
def browser():
    expect.set_options(timeout=WAIT)
    with sync_api.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield found
        found.close()


@pytest.fixture
def pages(browser):
    """Opens pages; fails if one throws, or asks anything of another server.

    Their content policy forbids Playwright's `evaluate`; tests that use it open their page with `bypass_csp`.
    """
    contexts, faults = [], []

    def opened(client, path="/", width=1280, height=800, **options):
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        context.set_default_timeout(WAIT)
        contexts.append(context)
        page = context.new_page()
        own = f"http://127.0.0.1:{client.port}/"
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on(
            "request",
            lambda r: faults.append(r.url) if not r.url.startswith((own, "blob:", "data:")) else None,
        )
        page.goto(own.rstrip("/") + path)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not faults


@pytest.fixture
def photos(tmp_path):
    (tmp_path / "photos").mkdir()
    for number in range(3):
        image = spotted((RED, BLUE)[number % 2], (20 + 5 * number, 30, 90, 100), (160, 120))
        image.save(tmp_path / "photos" / f"{number}.png")
    return tmp_path / "photos"


@pytest.fixture
def desk(finder, photos):
    with serving([finder], photos, out=str(photos.parent / "boxes")) as client:
        yield client


def saved_in(photos):
    """The boxes on disk, by picture."""
    file = photos.parent / "boxes/annotations/instances_default.json"
    content = json.loads(file.read_text())
    classes = {category["id"]: category["name"] for category in content["categories"]}
    names = {image["id"]: Path(image["file_name"]).name for image in content["images"]}
    found = {name: [] for name in names.values()}
    for note in content["annotations"]:
        found[names[note["image_id"]]].append((classes[note["category_id"]], note["bbox"]))
    return found


def choose(page, *files):
    page.set_input_files("#files", [str(file) for file in files])


def test_dropped_pictures_are_answered_and_shown_with_the_map_of_any_class(client, finder, photos, pages):
    page = pages(client)
    expect(page.get_by_text("Drop pictures here")).to_be_visible()
    (photos / "note.txt").write_text("no picture")
    choose(page, *sorted(photos.iterdir()))
    expect(page.locator(".card .answer .label")).to_have_text(["red", "blue", "red"])
    expect(page.locator(".card .bad")).to_contain_text("not a picture")
    page.locator(".card").nth(1).click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("radio", checked=True)).to_have_value("blue")
    expect(dialog.locator("canvas")).to_have_attribute("aria-label", "1.png, with the map of blue over it")
    before = page.locator("canvas").screenshot()
    dialog.get_by_label("red").check()
    expect(dialog.locator("canvas")).to_have_attribute("aria-label", "1.png, with the map of red over it")
    assert page.locator("canvas").screenshot() != before
    dialog.get_by_label("Boxes", exact=True).check()
    expect(dialog.locator("canvas")).to_have_attribute(
        "aria-label", "1.png, with the map of red over it, 1 box"
    )
    dialog.get_by_role("slider", name="Map", exact=True).fill("0")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(page.locator(".card").nth(1)).to_be_focused()


def test_nothing_is_changed_while_another_picture_is_on_its_way(desk, pages):
    page = pages(desk, "/#boxes", bypass_csp=True)
    expect(box_at(page)).to_be_visible()
    held = []
    page.route("**/v1/desk/*", lambda r: held.append(r) if r.request.method == "GET" else r.continue_())
    with page.expect_request("**/v1/desk/*"):
        page.locator(".desk-row:not([aria-current])").first.click()
    expect(page.get_by_role("button", name="Add box")).to_be_disabled()
    page.keyboard.press("n")
    held[0].continue_()
    expect(page.get_by_role("button", name="Add box")).to_be_enabled()
    expect(page.locator(".editor .box")).to_have_count(1)
    expect(page.locator(".status")).to_have_text("")
    page.get_by_role("button", name="Add box").click()
    expect(page.locator(".status")).to_have_text("Saved")
    expect(page.get_by_role("button", name="Undo")).to_be_enabled()


def test_a_box_added_while_its_picture_is_read_again_stays(desk, pages):
    page = pages(desk, "/#boxes", bypass_csp=True)
    expect(box_at(page)).to_be_visible()
    held = []
    page.route("**/v1/desk/*", lambda r: held.append(r) if r.request.method == "GET" else r.continue_())
    with page.expect_request("**/v1/desk/*"):
        page.locator(".desk-row").first.click()
    page.get_by_role("button", name="Add box").click()
    expect(page.locator(".status")).to_have_text("Saved")
    older = held[0].fetch()
    held[0].fulfill(json=older.json() | {"boxes": older.json()["boxes"][:1], "version": 0})
    expect(page.get_by_role("heading", level=2)).not_to_have_text("…")
    expect(page.locator(".editor .box")).to_have_count(2)
    page.get_by_role("button", name="Add box").click()
    expect(page.locator(".status")).to_have_text("Saved")
    expect(page.get_by_role("dialog")).to_have_count(0)


@pytest.mark.parametrize("more", [False, True], ids=["the same again", "and more since"])
def test_what_arrived_without_an_answer_is_not_taken_for_somebody_elses(desk, pages, more):
    """The connection or the page may end between the server's work and its answer."""
    page = pages(desk, "/#boxes", bypass_csp=True)
    page.locator("#desk-order").select_option("name")
    expect(page.locator(".desk-row").first).to_contain_text("0.png")
    page.locator(".desk-row").first.click()
    expect(page.locator(".desk-title h2")).to_have_text("0.png")
    expect(box_at(page)).to_be_visible()
    lost = []

    def lose(route):
        if route.request.method == "PUT" and not lost:
            lost.append(route.fetch())
            route.abort()
        else:
            route.continue_()

    page.route("**/v1/desk/*", lose)
    page.get_by_role("button", name="Add box").click()
    expect(page.locator(".status")).to_contain_text("Not saved yet")
    if more:
        page.get_by_role("button", name="Add box").click()
    expect(page.locator(".status")).to_have_text("Saved")
    expect(page.get_by_role("dialog")).to_have_count(0)
    key = desk.get("/v1/desk?order=name")[1]["pictures"][0]["key"]
    state = desk.get(f"/v1/desk/{key}")[1]
    assert lost[0].status == 200 and state["from"] == "saved"
    assert len(state["boxes"]) == (3 if more else 2)


def test_pictures_chosen_before_the_server_told_its_runs_are_answered(client, photos, pages):
    page = pages(client)
    held = []
    page.route("**/v1/runs", lambda route: held.append(route))
    with page.expect_request("**/v1/runs"):
        page.reload()
    choose(page, photos / "0.png", photos / "1.png")
    held[0].continue_()
    expect(page.locator(".card .answer .label")).to_have_text(["red", "blue"])


def test_the_page_computes_the_maps_of_python(client, finder, photos, pages):
    page = pages(client, bypass_csp=True)
    answer = client.post("/v1/explain?target=all", (photos / "1.png").read_bytes())[1]
    maps = page.evaluate(
        """async (answer) => {
            const { Maps, peak } = await import("/static/heat.js");
            const maps = new Maps(answer);
            return ["blue", "red"].map((label) => {
                const map = maps.shown(maps.place(label));
                return [[...map], peak(map, maps.side)];
            });
        }""",
        answer,
    )
    model = resight.open_run(str(finder)).model
    own = resight.explain(model, [photos / "1.png"], "cam", [["blue", "red"]]).maps[0]
    for (values, peak), wanted in zip(maps, own, strict=True):
        assert max(abs(a - b) for a, b in zip(values, wanted.flatten().tolist(), strict=True)) < 1e-5
        # Its peak is one of Python's; several cells of a plateau may differ by rounding only.
        assert wanted[round(32 * peak[1] - 0.5), round(32 * peak[0] - 0.5)] > 1 - 1e-5


def test_two_runs_are_next_to_each_other(finder, photos, pages, tmp_path):
    other = save_finder(tmp_path / "other.safetensors", ("blue", "red"))
    with serving([finder, other]) as client:
        page = pages(client)
        choose(page, photos / "0.png")
        expect(page.locator(".card.differ .answer .label")).to_have_text(["red", "blue"])
        page.locator(".card").click()
        expect(page.locator(".stage canvas")).to_have_count(2)
        expect(page.locator(".stage-note").nth(1)).to_contain_text("other.safetensors")


def box_at(page, place=0):
    return page.locator(f'[data-place="{place}"]')


def drag(page, start, by):
    page.mouse.move(*start)
    page.mouse.down()
    page.mouse.move(start[0] + by[0] / 2, start[1] + by[1] / 2)
    page.mouse.move(start[0] + by[0], start[1] + by[1])
    page.mouse.up()


def test_a_box_is_corrected_by_mouse_saved_and_there_after_a_reload(desk, photos, pages):
    page = pages(desk, "/#boxes", bypass_csp=True)
    page.locator("#desk-order").select_option("name")
    expect(page.locator(".desk-row").first).to_contain_text("0.png")
    page.locator(".desk-row").first.click()
    expect(page.locator(".desk-title h2")).to_have_text("0.png")
    expect(box_at(page)).to_be_visible()
    sheet = page.locator(".sheet svg").bounding_box()
    scale = sheet["width"] / 160
    before = page.evaluate("document.querySelector('.box .edge').getBBox().x")
    centre = box_at(page).locator(".edge").bounding_box()
    middle = centre["x"] + centre["width"] / 2, centre["y"] + centre["height"] / 2
    drag(page, middle, (6 * scale, 4 * scale))
    expect(page.locator(".status")).to_have_text("Saved")
    after = page.evaluate("document.querySelector('.box .edge').getBBox().x")
    assert after == pytest.approx(before + 6, abs=0.2)
    # Another box, drawn in the corner, of the other class.
    drag(page, (sheet["x"] + 2 * scale, sheet["y"] + 2 * scale), (12 * scale, 10 * scale))
    page.get_by_label("Class of box 2").select_option("blue")
    page.get_by_role("button", name="Done, next").click()
    expect(page.locator(".desk-title h2")).to_have_text("1.png")
    expect(page.locator(".desk-head")).to_contain_text("1 of 3 pictures done")
    page.reload()
    page.locator("#desk-state").select_option("done")
    expect(page.locator(".desk-row")).to_have_count(1)
    page.locator(".desk-row").first.click()
    expect(page.locator(".desk-title h2")).to_have_text("0.png")
    expect(page.locator(".box")).to_have_count(2)
    (first, second) = saved_in(photos)["0.png"]
    assert (first[0], second[0]) == ("red", "blue")
    assert first[1][0] == pytest.approx(after, abs=0.02)
    assert second[1] == pytest.approx([2, 2, 12, 10], abs=0.3)


def test_everything_goes_by_keyboard(desk, photos, pages):
    page = pages(desk, "/#boxes", bypass_csp=True)
    expect(box_at(page)).to_be_visible()
    box_at(page).focus()
    start = page.evaluate(
        "(({x, y, width, height}) => [x, y, width, height])(document.querySelector('.edge').getBBox())"
    )
    for key in ("ArrowRight", "Shift+ArrowDown", "Alt+ArrowRight", "2"):
        page.keyboard.press(key)
    expect(box_at(page)).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("n")
    expect(page.locator(".box")).to_have_count(2)
    page.keyboard.press("Delete")
    expect(page.locator(".box")).to_have_count(1)
    page.keyboard.press("Control+z")
    expect(page.locator(".box")).to_have_count(2)
    page.keyboard.press("Control+Shift+z")
    expect(page.locator(".box")).to_have_count(1)
    name = page.locator(".desk-title h2").inner_text()
    box_at(page).focus()
    page.keyboard.press("Enter")
    expect(page.locator(".desk-title h2")).not_to_have_text(name)
    expect(page.locator(".desk-head")).to_contain_text("1 of 3 pictures done")
    deadline = time.monotonic() + 30
    while name not in (found := saved_in(photos)) and time.monotonic() < deadline:
        time.sleep(0.1)
    ((label, box),) = found[name]
    assert label == "blue"
    assert box == pytest.approx([start[0] + 1, start[1] + 10, start[2] + 1, start[3]], abs=0.02)


def test_a_box_is_drawn_by_touch(desk, photos, pages):
    page = pages(desk, "/#boxes", width=390, height=844, has_touch=True, is_mobile=True, bypass_csp=True)
    expect(box_at(page)).to_be_visible()
    sheet = page.locator(".sheet svg").bounding_box()
    scale = sheet["width"] / 160
    touch = page.context.new_cdp_session(page)
    start = sheet["x"] + 130 * scale, sheet["y"] + 4 * scale  # next to the proposed box
    for kind, by in (("touchStart", 0), ("touchMove", 8), ("touchMove", 16), ("touchEnd", None)):
        points = [] if by is None else [{"x": start[0] + by * scale, "y": start[1] + by * scale}]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    expect(page.locator(".box")).to_have_count(2)
    expect(page.locator(".status")).to_have_text("Saved")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_nothing_is_lost_when_the_server_or_the_browser_dies(finder, photos, pages):
    out = str(photos.parent / "boxes")
    with serving([finder], photos, out=out) as client:
        page = pages(client, "/#boxes")
        expect(box_at(page)).to_be_visible()
        name = page.locator(".desk-title h2").inner_text()
    box_at(page).focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator(".status")).to_contain_text("Not saved yet")
    page.keyboard.press("n")
    with serving([finder], photos, port=client.port, out=out) as client:
        expect(page.locator(".status")).to_have_text("Saved")
        key = next(key for key, item in client.desk.items.items() if item.name == name)
        assert len(client.get(f"/v1/desk/{key}")[1]["boxes"]) == 2
    # The browser dies with the server away: the next one that opens the page sends what was kept.
    box_at(page).focus()
    page.keyboard.press("n")
    expect(page.locator(".status")).to_contain_text("Not saved yet")
    context = page.context
    page.close()
    with serving([finder], photos, port=client.port, out=out) as client:
        page = context.new_page()
        page.goto(f"http://127.0.0.1:{client.port}/#boxes")
        expect(page.locator(".desk-title h2")).not_to_have_text("")
        deadline = time.monotonic() + 30
        while len(client.get(f"/v1/desk/{key}")[1]["boxes"]) < 3 and time.monotonic() < deadline:
            time.sleep(0.1)
        assert len(client.get(f"/v1/desk/{key}")[1]["boxes"]) == 3


def test_a_second_person_is_asked_before_anything_is_overwritten(desk, photos, pages):
    first, second = pages(desk, "/#boxes"), pages(desk, "/#boxes")
    for page in (first, second):
        page.locator("#desk-order").select_option("name")
        expect(page.locator(".desk-row").first).to_contain_text("0.png")
        page.locator(".desk-row").first.click()
        expect(page.locator(".desk-title h2")).to_have_text("0.png")
        expect(box_at(page)).to_be_visible()
    box_at(first).focus()
    first.keyboard.press("n")
    expect(first.locator(".status")).to_have_text("Saved")
    box_at(second).focus()
    second.keyboard.press("Delete")
    expect(second.get_by_role("dialog")).to_contain_text("they saved 2 boxes, you have 0")
    key = next(iter(desk.desk.items))
    assert len(desk.get(f"/v1/desk/{key}")[1]["boxes"]) == 2
    second.get_by_role("button", name="Take theirs").click()
    expect(second.locator(".box")).to_have_count(2)


def test_a_token_comes_with_the_address_and_leaves_it(finder, photos, pages):
    from resight.web.guard import Policy

    token = "0123456789abcdef-secret"
    with serving([finder], policy=Policy(token=token)) as client:
        page = pages(client, "/")
        expect(page.get_by_role("alert")).to_contain_text("needs a token")
        page = pages(client, f"/#token={token}")
        expect(page.get_by_text("Drop pictures here")).to_be_visible()
        assert token not in page.url
        choose(page, photos / "0.png")
        expect(page.locator(".card .answer .label")).to_have_text(["red"])


@pytest.mark.parametrize("path", ["/#pictures", "/#boxes", "/api"])
def test_a_phone_shows_everything_without_scrolling_sideways(desk, photos, pages, path):
    page = pages(desk, path, width=390, height=844, bypass_csp=True)
    if path == "/#pictures":
        choose(page, *sorted(photos.iterdir()))
        expect(page.locator(".card .answer")).to_have_count(3)
    expect(page.locator("main")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_dark_and_light_follow_the_system(desk, pages):
    colours = [
        pages(desk, "/#boxes", color_scheme=scheme, bypass_csp=True).evaluate(
            "getComputedStyle(document.body).backgroundColor"
        )
        for scheme in ("light", "dark")
    ]
    assert colours == ["rgb(251, 251, 249)", "rgb(18, 20, 23)"]


@pytest.mark.skipif(not AXE, reason="axe-core is not there; set RESIGHT_AXE to its axe.min.js")
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", ["/#pictures", "/#boxes", "/api"])
def test_axe_finds_nothing(desk, photos, pages, path, scheme):
    page = pages(desk, path, color_scheme=scheme, bypass_csp=True)
    if path == "/#pictures":
        choose(page, *sorted(photos.iterdir()))
        expect(page.locator(".card .answer")).to_have_count(3)
    else:
        expect(page.locator(".box, article").first).to_be_visible()
    assert _axe(page) == []
    if path == "/#pictures":
        page.locator(".card").first.click()
        expect(page.locator("canvas")).to_have_attribute("aria-label", "0.png, with the map of red over it")
        assert _axe(page) == []


def _axe(page):
    page.evaluate(Path(AXE).read_text())
    found = page.evaluate("axe.run()")["violations"]
    return [(rule["id"], [node["html"][:120] for node in rule["nodes"]]) for rule in found]


def test_what_a_browser_cannot_show_comes_as_jpeg(client, photos, pages):
    Image.open(photos / "0.png").save(photos / "scan.tif")
    page = pages(client)
    choose(page, photos / "scan.tif")
    expect(page.locator(".card .answer .label")).to_have_text(["red"])
    expect(page.locator(".card img")).to_have_js_property("naturalWidth", 160)
