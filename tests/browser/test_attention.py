"The attention viewer in a notebook and as a page: clicks and keys on one side, numbers in Python on the other."
import pytest

CELLS = ["""from vptsp.all import *
from vptsp.widgets.attention import AttentionViewer
images = load_emoji().query
model = build_model(Config.load("emoji", num_prompts=6, num_class_prompts=2, prompt_block_step=1), 4)
pictures = {"query": images.open(3), "hit <img src=x onerror=alert(1)>": images.open(40)}
viewer = AttentionViewer(model, pictures, classes=[2])
page = str(viewer.save("attention.html"))
viewer"""]
BRIGHTEST = [254, 232, 56]

def colour(page, which, row, column):
    "Middle of a patch, (r, g, b)."
    script = """(c, [y, x]) => [...c.getContext('2d')
        .getImageData((x + .5)*c.width/4, (y + .5)*c.height/4, 1, 1).data].slice(0, 3)"""
    return page.get_by_test_id(which).evaluate(script, [row, column])

def settled(lab, name, value):
    "A trait in Python, once the page's message has come."
    for _ in range(50):
        if (got := lab.python(f"viewer.{name}")) == value: return
        lab.page.wait_for_timeout(100)
    message = f"viewer.{name} is {got!r}, not {value!r}"
    raise AssertionError(message)

def percent(lab, expression):
    "A share in Python, in percent."
    return lab.python(f"round(100*float({expression}), 3)")

def press(page, key, times=1):
    for _ in range(times): page.keyboard.press(key)

@pytest.fixture
def shown(lab):
    "The viewer in a notebook, drawn."
    lab.open("attention_viewer.ipynb", CELLS)
    lab.run_all(120)
    lab.page.wait_for_selector("[data-testid=map-3-2]")
    return lab

def check_small_maps(lab):
    "Block and head by click and by arrows."
    page, get = lab.page, lab.page.get_by_test_id
    get("map-3-2").click()
    settled(lab, "block", 3)
    settled(lab, "head", 2)
    assert get("block").input_value() == "3" and get("head").input_value() == "2"
    assert get("map-3-2").get_attribute("aria-pressed") == "true"
    press(page, "ArrowDown")
    settled(lab, "block", 4)
    press(page, "ArrowRight", 2)
    settled(lab, "head", -1)
    assert page.evaluate("document.activeElement.dataset.testid") == "map-4--1"
    brightest = """canvas => { const {width, height} = canvas;
        const bytes = canvas.getContext('2d').getImageData(0, 0, width, height).data;
        return [...Array(width*height).keys()].filter(i => bytes[4*i] === 254 && bytes[4*i + 1] === 232); }"""
    mean = get("map-4--1").locator("canvas").evaluate(brightest)
    assert lab.python("int(viewer.map(0).argmax())") in mean and len(mean) < 4
    caption = get("left-picture-shares").inner_text()
    assert "In block 4, mean of heads," in caption
    share = float(caption.split("gives ")[1].split("%")[0])
    assert abs(share - percent(lab, "viewer.shares(0)['prompts']")) < .051

def check_controls(lab):
    "Each control by keyboard, and no shortcut of the notebook beside it."
    page, get = lab.page, lab.page.get_by_test_id
    assert get("prompt").is_disabled() and get("prompt").get_attribute("title")
    for name, times, value in (("show", 3, "takes"), ("prompt", 2, 1), ("prompts", 1, "prompts of class 2"),
                               ("head", 1, 0)):
        get(name).focus()
        press(page, "ArrowDown", times)
        settled(lab, name, value)
    get("block").focus()
    press(page, "d", 2)
    assert page.locator(".jp-Cell").count() == 1                           # `dd` would delete it
    get("colours").uncheck()                                               # the picture alone
    settled(lab, "strength", 0)
    get("colours").check()
    settled(lab, "strength", .75)
    get("strength").focus()
    press(page, "End")
    settled(lab, "strength", 1)

def check_patches(lab):
    "A patch by arrows, and its numbers."
    page, get = lab.page, lab.page.get_by_test_id
    get("left-picture").focus()
    press(page, "ArrowRight", 2)
    press(page, "ArrowDown")
    settled(lab, "patch", 5)
    read = [float(s.rsplit(" ", 1)[1]) for s in get("readout").inner_text().split("%")[:2]]
    for i, number in enumerate(read): assert abs(number - percent(lab, f"viewer.map({i}).ravel()[5]")) < .03
    press(page, "Escape")
    settled(lab, "patch", -1)

def check_colours(lab):
    "At full strength the largest number has the brightest colour."
    largest = "max((float(viewer.map(i).max()), i, *map(int, divmod(int(viewer.map(i).argmax()), 4))) for i in (0, 1))"
    for show in ("with", "takes", "looks", "rollout"):
        lab.page.get_by_test_id("show").select_option(f'"{show}"')
        settled(lab, "show", show)
        _, image, row, column = lab.python(largest)
        assert colour(lab.page, ["left-picture", "right-picture"][image], row, column) == BRIGHTEST, show
    assert lab.page.get_by_test_id("head").is_disabled()                    # rollout has none
    assert lab.page.get_by_test_id("map-2-1").is_disabled() and lab.page.get_by_test_id("map-2--1").is_enabled()

def check_saved_page(lab):
    "The same without a kernel, in the dark."
    context = lab.page.context.browser.new_context(color_scheme="dark")
    page = context.new_page()
    lab.watch(page)
    page.goto(f"file://{lab.folder}/attention.html")
    page.get_by_test_id("map-1-3").click()
    assert page.get_by_test_id("block").input_value() == "1"
    assert page.get_by_test_id("map-1-3").get_attribute("aria-pressed") == "true"
    ink = page.evaluate("getComputedStyle(document.querySelector('.vptsp-attention')).color.match(/\\d+/g).map(Number)")
    assert min(ink[:3]) > 180
    context.close()

def test_viewer(shown):
    lab, page = shown, shown.page
    assert page.locator(".vptsp-attention img").count() == 0                # names are text
    assert "<img src=x" in page.get_by_test_id("right-picture-shares").inner_text()
    check_small_maps(lab)
    check_controls(lab)
    check_patches(lab)
    check_colours(lab)
    lab.python("setattr(viewer, 'right', -1)")                             # and the other way
    page.wait_for_selector("[data-testid=right-picture]", state="hidden")
    check_saved_page(lab)
