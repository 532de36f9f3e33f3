"The notebooks of explorer and inspector, run and then played with: what the person sees, and what Python knows of it."
import csv
import io

from vptsp.benchmarks import load_emoji

MAP = "document.querySelector('.vptsp-explorer').vptsp"
PIXEL = """([x, y]) => {
    const canvas = document.querySelector('.vptsp-explorer .v-map canvas');
    const box = canvas.getBoundingClientRect(), ratio = canvas.width/box.width;
    const [across, down] = [Math.round((x - box.left)*ratio), Math.round((y - box.top)*ratio)];
    return [...canvas.getContext('2d').getImageData(across, down, 1, 1).data];
}"""
OVER_PIXEL = PIXEL.replace(".v-map canvas'", ".v-map canvas:nth-of-type(2)'")
TIP_COLOURS = """new Set(document.querySelector('.v-tip canvas').getContext('2d')
    .getImageData(0, 0, 96, 96).data).size"""
FRAMES = """tiles => tiles.map(tile => tile.classList.contains('right') ? 'right'
    : tile.classList.contains('wrong') ? 'wrong' : '')"""
SHOWN = "[i for i, s in enumerate(explorer.study.split) if list(explorer.study.pools)[s] in explorer.splits]"
LONELY = f"""(lambda shown, places: shown[int(__import__('numpy').linalg.norm(
    places[shown] - places[shown].mean(0), axis=1).argmax())])({SHOWN}, explorer.maps[-1])"""


def explorer(lab):
    lab.open("31_widgets.explorer.ipynb")
    lab.run_all(240)
    lab.until("document.querySelector('.vptsp-explorer[data-ready]')")
    lab.page.locator(".vptsp-explorer .v-map").scroll_into_view_if_needed()
    return lab.page


def test_explorer(lab):
    page = explorer(lab)                                              # one notebook for all: to run it takes a while
    check_choosing(lab, page)
    for check in (check_hands, check_search_filter_and_export, check_own_image_and_thumbnails):
        lab.python("[setattr(explorer, name, value) for name, value in dict(epoch=len(explorer.maps) - 1, "
                   "colour='super', selected=[], proxy=-1).items()]")
        lab.until(f"{MAP}.at.moving === {lab.python('explorer.epoch')}")
        page.get_by_role("button", name="whole map", exact=True).click()
        check(lab, page)


def check_choosing(lab, page):
    status, n = page.locator(".v-status"), lab.python("len(explorer.study)")
    def press(name): page.get_by_role("button", name=name, exact=True).click()
    def picked(): return page.evaluate(f"{MAP}.picked()")
    def screen(i): return page.evaluate(f"{MAP}.screen({i})")

    x, y = screen(lab.python(LONELY))                                 # an image with room around it
    page.mouse.move(x, y)                                             # hover: its picture and its class
    page.wait_for_selector(".v-tip:not([hidden])", timeout=2000)
    hovered = page.evaluate(f"{MAP}.at.hover")
    assert lab.python(f"explorer.study.row({hovered})['class']") in page.inner_text(".v-tip")
    assert page.evaluate(TIP_COLOURS) > 10                            # no empty square
    assert page.evaluate(PIXEL, screen(hovered))[3] == 255

    page.mouse.click(x, y)                                            # click: its neighbours
    lab.until(f"{MAP}.picked().length === 1")
    assert lab.python("explorer.selected") == [hovered]
    marks = [mark for mark in page.eval_on_selector_all(".v-panel .v-tile", FRAMES) if mark]
    own = f"explorer.study.labels[{hovered}]"
    assert marks == lab.python(f"['right' if explorer.study.labels[j] == {own} else 'wrong' "
                               f"for j in explorer.study.near[{hovered}][:7]]")

    press("lasso")                                                    # lasso: the left half
    box = page.locator(".v-map").bounding_box()
    left, top, right = box["x"] + 2, box["y"] + 2, box["x"] + box["width"]/2
    bottom = box["y"] + box["height"] - 2
    page.mouse.move(left, top)
    page.mouse.down()
    for to in ((right, top), (right, bottom), (left, bottom)): page.mouse.move(*to, steps=4)
    page.mouse.up()
    places = [screen(i) for i in range(n)]
    shown = lab.python(SHOWN)                                         # at first the test images
    inside = [i for i in shown if left < places[i][0] < right and top < places[i][1] < bottom]
    assert 0 < len(inside) < len(shown) < n and lab.python("explorer.selected") == inside == picked()
    assert f"{len(inside):,} images" in status.inner_text()
    assert any(x > right + 30 for x, _ in places)                     # and some are outside

    page.fill(".vptsp-explorer input[type=search]", "face")           # search
    page.keyboard.press("Enter")
    faces = lab.python("[i for i in range(len(explorer.study)) if 'face' in explorer.study.row(i)['class']]")
    lab.until(f"{MAP}.picked().length === {len(faces)}")
    assert lab.python("explorer.selected") == faces
    classes = lab.python("len({explorer.study.labels[i] for i in explorer.selected})")
    lab.until(f"document.querySelectorAll('.v-class').length === {classes}")

    page.locator(".v-class").first.click()                            # a class of the list
    lab.until(f"{MAP}.picked().length < {len(faces)} || {len(faces)} < 9")
    assert len(set(lab.python("[int(explorer.study.labels[i]) for i in explorer.selected]"))) == 1
    press("worst queries")
    lab.until(f"{MAP}.picked().length === 12")
    assert lab.python("explorer.selected") == lab.python("explorer.study.worst.tolist()")

    press("clear")
    lab.until(f"{MAP}.picked().length === 0")
    assert lab.python("explorer.selected") == []
    lab.python("setattr(explorer, 'selected', [4, 5, 6])")            # and the other way
    lab.until(f"{MAP}.picked().length === 3")
    assert status.inner_text().startswith("3 images")

    before = screen(0)                                                # the epoch, by keyboard
    page.focus(".vptsp-explorer input[type=range]")
    page.keyboard.press("Home")
    lab.until(f"{MAP}.at.moving === 0")
    assert lab.python("explorer.epoch") == 0 and screen(0) != before
    page.select_option(".vptsp-explorer select", "vendor")
    lab.until("document.querySelector('.v-key').textContent.includes('noto')")
    assert lab.python("explorer.colour") == "vendor"

    page.focus(".v-map canvas:nth-of-type(2)")
    before = screen(0)
    page.keyboard.press("Shift+ArrowRight")
    assert abs(screen(0)[0] - (before[0] - 40)) < 1e-6
    page.keyboard.press("Escape")
    assert lab.python("explorer.selected") == []


def check_hands(lab, page):
    shown = lab.python(SHOWN)
    def press(name): page.get_by_role("button", name=name, exact=True).click()
    def picked(): return page.evaluate(f"{MAP}.picked()")
    def over(i): page.mouse.move(*page.evaluate(f"{MAP}.screen({i})"))
    def zoom(): return page.evaluate(f"{MAP}.at.zoom")

    over(lab.python(LONELY))
    scrolled = page.evaluate("document.querySelector('.jp-WindowedPanel-outer').scrollTop")
    page.mouse.wheel(0, -60)                                          # the notebook scrolls, the map does not zoom
    page.wait_for_selector(".v-hint:not([hidden])")
    lab.until(f"document.querySelector('.jp-WindowedPanel-outer').scrollTop !== {scrolled}")
    assert zoom() == 1
    page.locator(".v-map").scroll_into_view_if_needed()

    star = lab.python("explorer.maps[-1][len(explorer.study):][:len(explorer.study.proxied)][:, 0].argmax().item()")
    page.mouse.move(*page.evaluate(f"{MAP}.star({star})"))            # a star: its class, its rival
    page.wait_for_selector(".v-tip:not([hidden])")
    name = lab.python(f"explorer.study.classes[explorer.study.proxied[{star}]]")
    assert page.inner_text(".v-tip").startswith(f"proxy of {name}, R@1 ")
    page.mouse.down()
    page.mouse.up()
    lab.until(f"{MAP}.at.proxy === {star}")
    assert lab.python("explorer.proxy") == star and lab.python("explorer.selected") == []
    assert page.inner_text(".v-status").startswith(f"proxy of {name}")
    cosines = [float(text) for text in page.locator(".v-panel .v-near small").all_inner_texts()]
    assert len(cosines) == 7 and cosines == sorted(cosines, reverse=True)
    press("nearest other proxy")
    lab.until(f"{MAP}.at.proxy !== {star}")
    press("back")
    lab.until(f"{MAP}.at.proxy === {star}")

    one = lab.python(LONELY)
    page.mouse.click(*page.evaluate(f"{MAP}.screen({one})"))          # its neighbours, on the map too
    lab.until(f"{MAP}.picked().length === 1 && {MAP}.at.proxy === -1")
    near = lab.python(f"[int(j) for j in explorer.study.near[{one}][:7] if j in {shown}]")
    x, y = page.evaluate(f"{MAP}.screen({near[0]})")
    assert page.evaluate(OVER_PIXEL, [x + 6, y])[3] > 100             # the ring around one
    before = zoom()
    page.mouse.wheel(0, -60)                                          # now the map has the hands
    lab.until(f"{MAP}.at.zoom > {before}")
    page.mouse.dblclick(*page.evaluate(f"{MAP}.screen({one})"))

    page.focus(".v-map canvas:nth-of-type(2)")                        # without a mouse
    page.mouse.move(5, 5)
    page.keyboard.press("ArrowLeft")
    first = page.evaluate(f"{MAP}.at.hover")
    page.keyboard.press("ArrowUp")
    second = page.evaluate(f"{MAP}.at.hover")
    assert first in shown and second in shown and second != first
    page.keyboard.press("Enter")
    assert picked() == [second]
    page.keyboard.press("ArrowDown")
    third = page.evaluate(f"{MAP}.at.hover")
    page.keyboard.press("Shift+Enter")
    assert picked() == [second, third]
    page.keyboard.press("Alt+Enter")
    assert picked() == [second]
    press("invert")
    assert picked() == [i for i in shown if i != second] == lab.python("explorer.selected")
    page.keyboard.press("Tab")                                        # the list is one stop
    press("clear")
    page.focus(".v-class >> nth=0")
    page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement === document.querySelectorAll('.v-class')[1]")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('.v-list')") is None


def check_search_filter_and_export(lab, page):
    shown = lab.python(SHOWN)
    status = page.locator(".v-status")
    def picked(): return page.evaluate(f"{MAP}.picked()")
    def search(words):
        page.fill(".vptsp-explorer input[type=search]", words)
        page.keyboard.press("Enter")
    def rows(where): return lab.python(f"[i for i in range(len(explorer.study)) for row in [explorer.study.row(i)] "
                                       f"if {where}]")
    search("vendor: noto")                                            # any column, any comparison, any pattern
    assert picked() == rows("row['vendor'] == 'noto'") and 'with "vendor: noto" in vendor' in status.inner_text()
    search("MAP@R: < 0.3")
    assert picked() == rows("row['MAP@R'] < .3")
    search("/moon|clock$/")
    assert picked() == rows("'moon' in row['class'] or row['class'].endswith('clock')")
    search("/(/")
    assert status.inner_text().startswith("not a pattern")
    search("")

    page.select_option("[aria-label='filter by']", "vendor")         # a filter, and the classes that are left
    button = page.locator(".v-filter button", has_text="twemoji")
    left = [i for i in rows("row['vendor'] == 'twemoji'") if i in shown]
    assert button.inner_text().split()[-1] == str(len(left))
    button.click()
    page.get_by_role("button", name="invert", exact=True).click()     # of what is shown
    assert picked() == left
    page.get_by_role("button", name="clear", exact=True).click()
    classes = len(lab.python(f"{{int(explorer.study.labels[i]) for i in {left}}}"))
    assert page.locator(".v-class").count() == classes
    page.select_option("[aria-label='filter by']", "MAP@R")
    page.locator("[aria-label='highest MAP@R']").fill("0.5")
    page.get_by_role("button", name="invert", exact=True).click()
    assert picked() == [i for i in rows("row['MAP@R'] <= .5") if i in shown]

    with page.expect_download() as saved:
        page.select_option("[aria-label='export what is chosen']", "table as a CSV file")
    table = list(csv.DictReader(open(saved.value.path(), encoding="utf-8")))
    assert [int(row["number"]) for row in table] == picked()
    assert table[0]["class"] == lab.python(f"explorer.study.row({picked()[0]})['class']")


def check_own_image_and_thumbnails(lab, page):
    field, status = page.locator(".vptsp-explorer input[type=file]"), page.locator(".v-status")
    file = io.BytesIO()
    load_emoji().query.of_classes(range(0, 532, 26)).open(7).save(file, "PNG")   # the notebook's
    field.set_input_files({"name": "<b>own.png", "mimeType": "image/png", "buffer": file.getvalue()})
    lab.until(f"{MAP}.picked().length === 10")
    assert status.inner_text() == "<b>own.png: nearest to it, with their cosines"
    assert page.locator(".v-panel img").evaluate("i => i.naturalWidth") == 96
    assert page.locator(".v-panel small").first.inner_text() == "1.00"      # itself, as it is in the collection
    assert lab.python("explorer.asked['near'] == explorer.selected")
    field.set_input_files({"name": "bad.png", "mimeType": "image/png", "buffer": b"no image"})
    page.wait_for_function("document.querySelector('.v-status').textContent.includes('no image format')")
    assert page.evaluate(f"{MAP}.picked().length") == 10                    # nothing else has changed

    page.get_by_role("button", name="clear", exact=True).click()
    page.get_by_label("filter by").select_option("")
    i = lab.python(LONELY)
    page.focus(".v-map canvas:nth-of-type(2)")
    lab.python(f"setattr(explorer, 'selected', [{i}])")                     # those chosen have thumbnails first
    page.mouse.move(*page.evaluate(f"{MAP}.screen({i})"))
    for _ in range(6): page.mouse.wheel(0, -300)
    lab.until(f"{MAP}.thumbnails() > 0")
    x, y = page.evaluate(f"{MAP}.screen({i})")
    corner = page.evaluate(PIXEL, [x - 12, y - 12])                         # beyond a disc of any size
    assert corner[3] == 255, corner

def test_inspector(lab):
    lab.open("32_widgets.inspector.ipynb")
    lab.run_all(240)
    page = lab.page
    lab.until("document.querySelector('.vptsp-inspector[data-ready]')")
    names = lab.python("[c['name'] for c in inspector.payload['classes']]")
    shown = lab.python("inspector.shown")
    assert page.inner_text(".vptsp-inspector h3") == names[shown]
    page.get_by_role("button", name="next", exact=True).click()
    lab.until(f"document.querySelector('.vptsp-inspector h3').textContent === {names[shown + 1]!r}")
    assert lab.python("inspector.shown") == shown + 1

    framed = ".vptsp-inspector .v-tile.right, .vptsp-inspector .v-tile.wrong"
    marks = page.eval_on_selector_all(framed, "tiles => tiles.map(tile => tile.classList.contains('right'))")
    now = "inspector.payload['classes'][inspector.shown]"
    assert marks == lab.python(f"[bool(inspector.figures.study.labels[i] == {now}['number']) "
                               f"for pairs in {now}['near'].values() for i, _ in pairs]")
    assert page.locator(".vptsp-inspector svg[role=img]").count() == 3           # cosine, drift, norms
    hidden = """[...document.querySelectorAll('.vptsp-inspector, .vptsp-inspector *')].filter(box =>
        box.scrollHeight > box.clientHeight + 1 && /auto|scroll/.test(getComputedStyle(box).overflowY)).length"""
    assert page.evaluate(hidden) == 0                                            # no end behind a scroll bar

    page.keyboard.press("ArrowLeft")                                             # the button pressed holds the keys
    lab.until(f"document.querySelector('.vptsp-inspector h3').textContent === {names[shown]!r}")
    page.keyboard.press("Escape")
    lab.until(f"document.querySelectorAll('.vptsp-inspector tbody tr').length === {len(names)}")
    assert lab.python("inspector.shown") == -1
    assert page.evaluate("document.activeElement.textContent") == names[shown]   # where the person came from
    rows = "[...document.querySelectorAll('.vptsp-inspector tbody tr')]"
    drawn = "canvas.getContext('2d').getImageData(48, 48, 1, 1).data[3] === 255"
    assert page.evaluate(f"{rows}.every(row => row.querySelectorAll('canvas').length > 1)")
    assert page.evaluate(f"{rows}.every(row => [...row.querySelectorAll('canvas')].every(canvas => {drawn}))")
    page.get_by_role("button", name="drift").hover()
    told = page.get_by_role("tooltip").filter(visible=True)
    assert "1 - cos(at the first epoch" in told.inner_text()
    page.get_by_role("button", name="drift").click()
    drifts = page.eval_on_selector_all(".vptsp-inspector tbody tr",
                                       "rows => rows.map(row => Number(row.children[5].textContent))")
    assert drifts == sorted(drifts, reverse=True) and len(set(drifts)) > 5
    page.locator(".vptsp-inspector tbody .v-link").first.click()
    lab.until("document.querySelector('.vptsp-inspector h3')")
    assert lab.python("inspector.shown") == lab.python("int(inspector.figures.drift['proxy'][-1].argmax())")
