"The explorer's own notebook, run and then played with: what the person sees, and what Python knows of it."

MAP = "document.querySelector('.vptsp-explorer').vptsp"

def explorer(lab):
    lab.open("31_widgets.explorer.ipynb"); lab.run_all(240)
    lab.until("document.querySelector('.vptsp-explorer[data-ready]')")
    lab.page.locator(".vptsp-explorer .v-map").scroll_into_view_if_needed()
    return lab.page

def drawn(page, x, y):
    "Colour of the map under a point of the page, (r, g, b, a)."
    return page.evaluate("""([x, y]) => { const c = document.querySelector('.vptsp-explorer .v-map canvas'), r = c.getBoundingClientRect(), f = c.width/r.width;
        return [...c.getContext('2d').getImageData(Math.round((x - r.left)*f), Math.round((y - r.top)*f), 1, 1).data]; }""", [x, y])

def test_explorer(lab):
    page = explorer(lab)
    press = lambda name: page.get_by_role("button", name=name, exact=True).click()
    status, seen = page.locator(".v-status"), lambda: page.evaluate(f"{MAP}.picked().length")
    n = lab.python("len(explorer.study)")

    alone = lab.python("int(__import__('numpy').linalg.norm(explorer.maps[-1][:len(explorer.study)] - explorer.maps[-1][:len(explorer.study)].mean(0), axis=1).argmax())")       # an image with room around it
    x, y = page.evaluate(f"{MAP}.screen({alone})")
    page.mouse.move(x, y); page.wait_for_selector(".v-tip:not([hidden])", timeout=2000)                          # hover: its picture and its class
    hovered = page.evaluate(f"{MAP}.at.hover"); assert lab.python(f"explorer.study.classes[explorer.study.labels[{hovered}]]") in page.inner_text(".v-tip")
    assert page.evaluate("new Set(document.querySelector('.v-tip canvas').getContext('2d').getImageData(0, 0, 96, 96).data).size") > 10       # no empty square
    assert drawn(page, *page.evaluate(f"{MAP}.screen({hovered})"))[3] == 255

    page.mouse.click(x, y)                                                                                        # click: its neighbours
    lab.until(f"{MAP}.picked().length === 1"); assert lab.python("explorer.selected") == [hovered]
    marks = [m for m in page.eval_on_selector_all(".v-panel .v-tile", "e => e.map(t => t.classList.contains('right') ? 'right' : t.classList.contains('wrong') ? 'wrong' : '')") if m]
    assert marks == lab.python(f"['right' if explorer.study.labels[j] == explorer.study.labels[{hovered}] else 'wrong' for j in explorer.study.near[{hovered}][:7]]")

    press("lasso"); box = page.locator(".v-map").bounding_box()                                        # lasso: the left half
    left, top, right, bottom = box["x"] + 2, box["y"] + 2, box["x"] + box["width"]/2, box["y"] + box["height"] - 2
    page.mouse.move(left, top); page.mouse.down()
    for a, b in ((right, top), (right, bottom), (left, bottom)): page.mouse.move(a, b, steps=4)
    page.mouse.up()
    inside = [i for i in range(n) if left < (p := page.evaluate(f"{MAP}.screen({i})"))[0] < right and top < p[1] < bottom]
    assert 0 < len(inside) < n and lab.python("explorer.selected") == inside and f"{len(inside):,} images" in status.inner_text()
    out = next(i for i in range(n) if page.evaluate(f"{MAP}.screen({i})")[0] > right + 30); assert seen() == len(inside) and page.evaluate(f"{MAP}.picked().includes({out})") is False

    page.fill(".vptsp-explorer input[type=search]", "face"); page.keyboard.press("Enter")                        # search
    lab.until("!document.querySelector('.v-status').textContent.includes('first') && document.querySelectorAll('.v-class').length < 20")
    faces = lab.python("[i for i in range(len(explorer.study)) if 'face' in explorer.study.classes[explorer.study.labels[i]]]")
    assert lab.python("explorer.selected") == faces and page.locator(".v-class").count() == lab.python("len({explorer.study.labels[i] for i in explorer.selected})")

    page.locator(".v-class").first.click(); lab.until(f"{MAP}.picked().length < {len(faces)} || {len(faces)} < 9")  # a class of the list
    assert len(set(lab.python("[int(explorer.study.labels[i]) for i in explorer.selected]"))) == 1
    press("worst queries"); lab.until(f"{MAP}.picked().length === 12"); assert lab.python("explorer.selected") == lab.python("explorer.study.worst.tolist()")

    press("clear"); lab.until(f"{MAP}.picked().length === 0"); assert lab.python("explorer.selected") == []
    lab.python("setattr(explorer, 'selected', [4, 5, 6])"); lab.until(f"{MAP}.picked().length === 3"); assert status.inner_text().startswith("3 images")     # and the other way

    before = page.evaluate(f"{MAP}.screen(0)"); page.focus(".vptsp-explorer input[type=range]"); page.keyboard.press("Home")       # the epoch, by keyboard
    lab.until(f"{MAP}.at.moving === 0"); assert lab.python("explorer.epoch") == 0 and page.evaluate(f"{MAP}.screen(0)") != before
    page.select_option(".vptsp-explorer select", "vendor"); lab.until("document.querySelector('.v-key').textContent.includes('noto')"); assert lab.python("explorer.colour") == "vendor"

    page.focus(".v-map canvas:nth-of-type(2)"); at = page.evaluate(f"{MAP}.screen(0)"); page.keyboard.press("ArrowRight"); assert page.evaluate(f"{MAP}.screen(0)")[0] == at[0] - 40
    page.keyboard.press("Escape"); assert lab.python("explorer.selected") == []

def test_inspector(lab):
    lab.open("32_widgets.inspector.ipynb"); lab.run_all(240)
    page = lab.page; lab.until("document.querySelector('.vptsp-inspector[data-ready]')")
    names = lab.python("[c['name'] for c in inspector.payload['classes']]"); shown = lab.python("inspector.shown")
    assert page.inner_text(".vptsp-inspector h3") == names[shown]
    page.get_by_role("button", name="next", exact=True).click(); lab.until(f"document.querySelector('.vptsp-inspector h3').textContent === {names[shown + 1]!r}"); assert lab.python("inspector.shown") == shown + 1

    marks = page.eval_on_selector_all(".vptsp-inspector .v-tile.right, .vptsp-inspector .v-tile.wrong", "e => e.map(t => t.classList.contains('right'))")
    assert marks == lab.python("[bool(inspector.figures.study.labels[i] == inspector.payload['classes'][inspector.shown]['number']) for k in inspector.payload['kinds'] for i, _ in inspector.payload['classes'][inspector.shown]['near'][k]]")
    assert page.locator(".vptsp-inspector svg[role=img]").count() == 3                                       # drift, cosine, norms

    page.get_by_role("button", name="all classes").click(); lab.until("document.querySelectorAll('.vptsp-inspector tbody tr').length === 40"); assert lab.python("inspector.shown") == -1
    page.get_by_role("button", name="drift").click(); drifts = page.eval_on_selector_all(".vptsp-inspector tbody tr", "r => r.map(e => Number(e.children[5].textContent))")
    assert drifts == sorted(drifts, reverse=True) and len(set(drifts)) > 5
    page.locator(".vptsp-inspector tbody .v-link").first.click(); lab.until("document.querySelector('.vptsp-inspector h3')")
    assert lab.python("inspector.shown") == lab.python("int(inspector.figures.drift['proxy'][-1].argmax())")
