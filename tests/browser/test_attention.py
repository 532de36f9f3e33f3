"The attention viewer in a notebook and as a page: clicks and keys on one side, numbers in Python on the other."
CELLS = ["""from vptsp.all import *
from vptsp.attention import AttentionViewer
images = load_emoji().query
model = build_model(Config.load("emoji", num_prompts=6, num_class_prompts=2, prompt_block_step=1), 4)
viewer = AttentionViewer(model, {"query": images.open(3), "hit <img src=x onerror=alert(1)>": images.open(40)}, classes=[2])
page = str(viewer.save("attention.html"))
viewer"""]

def colour(page, which, row, column):
    "Middle of a patch, (r, g, b)."
    return page.get_by_test_id(which).evaluate("(c, [y, x]) => [...c.getContext('2d').getImageData((x + .5)*c.width/4, (y + .5)*c.height/4, 1, 1).data].slice(0, 3)", [row, column])

def settled(lab, name, value):
    "A trait in Python, once the page's message has come."
    for _ in range(50):
        if (got := lab.python(f"viewer.{name}")) == value: return
        lab.page.wait_for_timeout(100)
    raise AssertionError(f"viewer.{name} is {got!r}, not {value!r}")

def test_viewer(lab):
    lab.open("attention_viewer.ipynb", CELLS); lab.run_all(120)
    page = lab.page; get = page.get_by_test_id; page.wait_for_selector("[data-testid=entropy-3-2]")
    assert page.locator(".vptsp-attention img").count() == 0 and "<img src=x" in get("right-picture-shares").inner_text()       # names are text

    get("entropy-3-2").click(); settled(lab, "block", 3); settled(lab, "head", 2)                              # the map, by click and by arrows
    assert get("block").input_value() == "3" and get("head").input_value() == "2" and get("entropy-3-2").get_attribute("aria-pressed") == "true"
    page.keyboard.press("ArrowDown"); settled(lab, "block", 4); page.keyboard.press("ArrowRight"); page.keyboard.press("ArrowRight"); settled(lab, "head", -1)
    assert page.evaluate("document.activeElement.dataset.testid") == "entropy-4--1"
    shown = lab.python("'{:.3f}'.format(100*viewer.shares(0)['prompts'])"); assert abs(float(get("left-picture-shares").inner_text().split("gives ")[1].split("%")[0]) - float(shown)) < .051

    for name, presses, value in (("show", 3, "takes"), ("prompt", 2, 1), ("prompts", 1, "prompts of class 2"), ("head", 1, 0)):         # controls by keyboard
        get(name).focus()
        for _ in range(presses): page.keyboard.press("ArrowDown")
        settled(lab, name, value)
    get("block").focus(); page.keyboard.press("d"); page.keyboard.press("d"); assert page.locator(".jp-Cell").count() == 1      # no shortcut of the notebook deletes it
    get("strength").focus(); page.keyboard.press("End"); settled(lab, "strength", 1)

    get("left-picture").focus(); page.keyboard.press("ArrowRight"); page.keyboard.press("ArrowRight"); page.keyboard.press("ArrowDown"); settled(lab, "patch", 5)
    read = [float(s.rsplit(" ", 1)[1]) for s in get("readout").inner_text().split("%")[:2]]
    assert all(abs(a - b) < .03 for a, b in zip(read, lab.python("[round(100*float(viewer.map(i).ravel()[5]), 3) for i in (0, 1)]")))

    page.keyboard.press("Escape"); settled(lab, "patch", -1)
    for show in ("with", "takes", "looks", "rollout"):                                                          # at full strength the largest number has the brightest colour
        get("show").select_option(f'"{show}"'); settled(lab, "show", show)
        top = lab.python("max((float(viewer.map(i).max()), i, *map(int, divmod(int(viewer.map(i).argmax()), 4))) for i in (0, 1))")
        assert colour(page, ["left-picture", "right-picture"][top[1]], *top[2:]) == [254, 232, 56], show
    lab.python("setattr(viewer, 'right', -1)"); page.wait_for_selector("[data-testid=right-picture]", state="hidden")           # and the other way

    context = page.context.browser.new_context(color_scheme="dark"); alone = context.new_page(); lab.watch(alone)              # the saved page, without a kernel
    alone.goto(f"file://{lab.folder}/attention.html"); alone.get_by_test_id("entropy-1-3").click()
    assert alone.get_by_test_id("block").input_value() == "1" and alone.get_by_test_id("entropy-1-3").get_attribute("aria-pressed") == "true"
    dark = alone.evaluate("() => { const c = getComputedStyle(document.querySelector('.vptsp-attention')).color; return c.match(/\\d+/g).slice(0, 3).map(Number); }")
    assert min(dark) > 180; context.close()
