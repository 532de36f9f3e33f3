"The report of a comparison: what it says, what it holds, data with a gallery of its own, what was measured before."
import html
import json
import re
import shutil
from pathlib import Path

import pytest

from vptsp.analysis.compare import Comparison, compare, retrieval_cases
from vptsp.analysis.results import Results
from vptsp.benchmarks import load_emoji
from vptsp.cli import main
from vptsp.config import Config
from vptsp.data import RetrievalData
from vptsp.files import DamagedFile, write_json
from vptsp.widgets import measured, report
from vptsp.widgets.bars import bars_note, bars_table
from vptsp.widgets.comparison import _mean_curve, comparison_page

TUNED = Path(__file__).parents[1]/"data"/"experiments"/"tuned"


@pytest.fixture(scope="module")
def comparison():
    "Queries sought in a separate gallery; names that would be markup."
    data = load_emoji()
    query = data.query.of_classes(range(12))
    query.classes[0] = "<b>first</b>"
    first = [i for i in range(len(query)) if i % 2]
    rest = [i for i in range(len(query)) if not i % 2]
    small = RetrievalData("<12> emoji", data.train.of_classes(range(12)), query.subset(first), query.subset(rest))
    cfg = Config.load("emoji", batch_size=16, epochs=1, num_prompts=2, num_class_prompts=1)
    return compare(cfg, small, methods=("linear",), say=lambda line: None)

def test_what_report_json_holds(comparison):
    about = comparison.report()
    assert [row["method"] for row in about["rows"]] == ["pixels", "frozen", "linear"]
    assert set(about["rows"][0]) == {"method", "R@1", "MAP@R", "trainable", "seconds"}
    conditions = {"dataset", "seed", "data sha256", "backbone", "epochs", "measured on", "definitions", "machine"}
    assert conditions <= set(about)

def test_page_is_whole_and_names_are_text(comparison):
    page = report.report_page(comparison)                      # vptsp-g was not trained: the last run is shown
    assert "linear head finds an image" in page and "<b>first</b>" not in page and "<12>" not in page
    ours = re.sub(r"<script.*?</script>", "", page, flags=re.S)
    assert not re.search(r"(src|href|url)[=(]\W?https?:", ours)
    assert 'class="q ' in page and 'class="t ' in page          # pictures of queries and of the gallery

def test_a_large_test_set_is_sampled(comparison):
    data = comparison.data
    some = report._test_images(data, 20)
    assert len(some.train) == 0
    assert len(some.query) < len(data.query) and len(some.gallery) < len(data.gallery)
    assert len(some.query) + len(some.gallery) <= 20

def test_cases_are_of_one_query_a_class(comparison):
    run = comparison.runs["linear"]
    cases = retrieval_cases(comparison.runs["frozen"], run)
    labels = run.data.query.labels
    for found in cases.values(): assert len({int(labels[case.query]) for case in found}) == len(found)
    for case in cases["mended"]: assert not case.before_hit[0] and case.after_hit[0]
    for case in cases["broken"]: assert case.before_hit[0] and not case.after_hit[0]

# -- bars, notes, links -----------------------------------------------------------------------------------------------

def row(page, title): return re.search(rf"<tr><td>{re.escape(title)}</td>.*?</tr>", page)[0]

def left_and_width(bar): return [float(x) for x in re.search(r"left:([\d.-]+)%;width:([\d.]+)%", bar).groups()]

def test_bars_begin_at_the_frozen_level_and_have_an_interval(comparison):
    page = report.report_page(comparison)
    level = next(r for r in comparison.rows if r["method"] == "frozen")
    assert f"R@1 from the frozen backbone, {100*level['R@1']:.1f}%, in points" in page
    assert "the 95% interval of the difference, over test classes." in page
    for title in ("linear head", "raw pixels, 16 x 16"):
        bars = re.findall(r"<td class='bar'>.*?</td>", row(page, title))
        assert len(bars) == 2
        for bar in bars:
            zero = float(re.search(r"class='zero' style='left:([\d.]+)%", bar)[1])
            start, width = left_and_width(re.search(r"<i class='(gain|loss)'[^>]*>", bar)[0])
            assert min(abs(start - zero), abs(start + width - zero)) < .02
            low, wide = left_and_width(re.search(r"<i class='interval'[^>]*>", bar)[0])
            assert low >= -.01 and low + wide <= 100.01
    assert "class='gain'" not in row(page, "frozen backbone") and "class='loss'" not in row(page, "frozen backbone")

def made_up(rows, **about):
    results = Results()
    results.rows, results.about = rows, {"dataset": "made up", "measured on": "test classes", **about}
    return Comparison(Config.load("emoji"), None, results)

def test_each_arm_begins_at_its_own_frozen_backbone():
    arms = {f"{m} image_size={side}": {"method": m, "title": f"{m}, {side}", "settings": {"image_size": side}}
            for m in ("frozen", "vpt") for side in (64, 84)}
    recall = dict(zip(arms, (.464, .484, .564, .584)))
    rows = [{"arm": name, "method": arm["method"], "seed": 0, "trainable": 5, "R@1": recall[name], "MAP@R": .2}
            for name, arm in arms.items()]
    table = bars_table(made_up(rows, arms=arms))
    assert "R@1 from its own frozen backbone, in points" in table
    assert re.findall(r"<td class='difference'>(.*?)</td>", table) == [""]*4 + ["+10.0", "+0.0"]*2

def test_without_a_frozen_backbone_there_are_no_bars():
    failed = made_up([{"arm": "vpt", "method": "vpt", "seed": seed, "error": "no <b>"} for seed in (0, 1)])
    alone = made_up([{"arm": "vpt", "method": "vpt", "seed": 0, "R@1": .5, "MAP@R": .3, "trainable": 5}])
    for c in (failed, alone): assert "class='bar'" not in bars_table(c) and bars_note(c) == ""
    page = comparison_page(failed)
    assert "<td>failed</td>" in page and "no &lt;b&gt;" in page

def test_notes_are_of_what_is_shown(comparison):
    page = report.report_page(comparison)
    assert "published code" not in page                        # a figure that the page does not have
    assert ("Dashed red: another." in page) == ('class="t wrong"' in page)
    assert "Map of the test images" in page and "not kept" not in page

def test_it_links_to_what_lies_beside_it(comparison, tmp_path):
    for name in ("report", "explorer", "inspector-a b", "inspector-<i>&", "notes"): (tmp_path/f"{name}.html").touch()
    page = report.report_page(comparison, place=tmp_path/"report.html")
    links = re.findall(r"<a href='([^']*)'>(.*?)</a>", page)
    assert [link for link, _ in links] == ["explorer.html", "inspector-%3Ci%3E%26.html", "inspector-a%20b.html"]
    assert "(&lt;i&gt;&amp;)" in links[1][1] and "<i>&" not in page
    assert "<nav>" not in report.report_page(comparison)

def test_a_comparison_says_verdicts_that_are_given():
    page, summaries = comparison_page(Comparison.load(TUNED)), Comparison.load(TUNED).summaries()
    given = {d.verdict for s in summaries for d in s.difference.values() if d}
    assert "shown" in given and set(re.findall(r"<i>(\w+)</i>", page)) == given
    assert "for other seeds and other test classes." in page
    assert "prefers-color-scheme: dark" in page

def test_epochs_of_other_lengths_are_paired():
    seeds = [{"curve": {"steps": [10, 20], "R@1": [.1, .3]}}, {"curve": {"steps": [12, 24], "R@1": [.3, .5]}}]
    steps, mean, _ = _mean_curve(seeds, "curve", "R@1")
    assert steps == [11, 22] and mean == pytest.approx([.2, .4])


# -- vptsp report -----------------------------------------------------------------------------------------------------

def told(folder, tmp_path):
    assert main(["report", str(folder), "--out", str(tmp_path/"page.html")]) == 0
    return (tmp_path/"page.html").read_text("utf-8")

@pytest.mark.parametrize("name", ["tuned", "rate"])
def test_a_report_of_any_comparison(name, tmp_path):
    page = told(TUNED.parent/name, tmp_path)
    for s in Comparison.load(TUNED.parent/name).summaries(): assert f"<td>{html.escape(s.title)}</td>" in page

def test_a_report_of_a_run_without_its_model(tmp_path):
    page = told(TUNED/"runs"/"vptsp-g"/"0", tmp_path)
    recall = json.loads((TUNED/"runs"/"vptsp-g"/"0"/"metrics.json").read_text())["R@1"]
    assert f"finds an image of the right class first for <b>{100*recall:.1f}%</b>" in page
    assert "there are no map and no retrievals" in page and "no interval" in page and "training loss" in page

def test_a_report_of_a_demo(comparison, tmp_path):
    write_json(tmp_path/"report.json", comparison.report())
    page = told(tmp_path, tmp_path)
    assert "linear head" in page and "&lt;12&gt; emoji" in page and "<12>" not in page
    write_json(tmp_path/"report.json", {"rows": 3})
    assert main(["report", str(tmp_path)]) == 2

def test_a_folder_that_is_none_of_these(tmp_path, capsys):
    assert main(["report", str(tmp_path)]) == 2
    assert "compare.json" in capsys.readouterr().err


def test_names_that_moved():
    from vptsp.widgets.gallery import show_retrievals
    assert report.show_retrievals is show_retrievals
    with pytest.raises(AttributeError): report.nothing_of_this_name  # noqa: B018


# -- what was measured before -------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def small():
    "VPTSP-G on a dozen emoji, as the demo's own comparison."
    data = load_emoji()
    few = RetrievalData("emoji", data.train.of_classes(range(12)), data.query.of_classes(range(12)))
    cfg = Config.load("emoji", batch_size=16, epochs=1, num_prompts=2, num_class_prompts=1)
    return compare(cfg, few, methods=("vptsp-g",), say=lambda line: None)

@pytest.fixture
def shown(small, tmp_path, monkeypatch):
    "A function of a bundle: what the demo says, its page and its report.json."
    monkeypatch.setattr(report, "compare", lambda *_, **__: small)
    monkeypatch.setattr(report, "_map", lambda *_: "")
    def demo(bundle):
        monkeypatch.setattr(measured, "bundled_folder", lambda: bundle)
        said, out = [], tmp_path/"demo"
        report.demo(out, say=said.append)
        return "\n".join(said), (out/"report.html").read_text("utf-8"), json.loads((out/"report.json").read_text())
    return demo

@pytest.fixture
def bundle(tmp_path):
    "A copy of the folder, which may be damaged."
    shutil.copytree(TUNED, tmp_path/"bundle"/"experiments"/"tuned")
    return tmp_path/"bundle"

def test_the_second_table_is_what_the_folder_holds(shown, bundle, small):
    text, page, about = shown(bundle)
    before = Comparison.load(TUNED)
    own, _, second = text.partition("Measured before, not now: ")
    assert own.rstrip().endswith("s in all") and "150 training classes, 532 classes unseen in training, 84 px" in second
    assert "vptsp fetch dinov2s" in second and "data/experiments/README.md" in second
    section = page.partition("<h2>Measured before")[2].partition("<h2>Training")[0]
    assert "data:image/png" in section and "VPTSP-G" in section
    for s in before.summaries():
        for figure in ("R@1", "MAP@R"):
            cells, d = [f"{100*s.mean[figure]:.1f} ± {100*s.deviation[figure]:.1f}"], s.difference[figure]
            if d: cells += [f"{100*d.mean:+.2f} ({100*d.over_seeds[0]:+.1f} to {100*d.over_seeds[1]:+.1f})", d.verdict]
            assert re.search(r"\s+".join(map(re.escape, cells)), second), (s.arm, figure)
            assert "".join(f"<td>{html.escape(cell)}</td>" for cell in cells) in section
    assert about == small.report()                                   # report.json is of what was measured now

def test_without_the_folder_the_demo_goes_on(shown, tmp_path):
    text, page, _ = shown(tmp_path)
    assert text.endswith("s in all") and "measured before" not in (text + page).lower()

def cut(folder): (folder/"runs.jsonl").write_bytes((folder/"runs.jsonl").read_bytes()[:-30])
def no_runs(folder): (folder/"runs.jsonl").unlink()
def no_names(folder): (folder/"classes.json").unlink()
def no_settings(folder): write_json(folder/"compare.json", {"arms": {}})
def no_figures(folder): write_json(folder/"frozen.json", {"a": {}})

@pytest.mark.parametrize("damage, named", [(cut, "runs.jsonl"), (no_runs, "runs.jsonl"), (no_names, "frozen.json"),
                                           (no_settings, "runs.jsonl"), (no_figures, "tuned")])
def test_a_damaged_folder_is_a_sentence(bundle, damage, named):
    folder = bundle/"experiments"/"tuned"
    damage(folder)
    with pytest.raises(DamagedFile, match=rf"{named}' is damaged"): measured.measured_before(folder)

def test_with_a_damaged_folder_the_demo_goes_on(shown, bundle):
    cut(bundle/"experiments"/"tuned")
    text, page, _ = shown(bundle)
    assert text.count("measured before") == 1 and "runs.jsonl' is damaged" in text
    assert "measured before" not in page.lower()
    assert text.endswith("s in all")


def test_the_first_page_has_the_figures_of_the_folder():
    "README's table has every method, each at its best rate."
    text = (TUNED.parents[2]/"README.md").read_text("utf-8").partition("## What it gives on a real transformer")[2]
    lines = [line for line in text.split("\n## ")[0].splitlines() if line.startswith("|")][2:]
    rows = [row for name in ("rate", "rate_vptsp-g") for row in Comparison.load(TUNED.parent/name).rows]
    best = {}
    for row in rows:
        name = row["arm"] if row["arm"] == "vpt random" else row["method"]
        if name not in best or row["MAP@R"] > best[name]["MAP@R"]: best[name] = row
    cells = {f"{100*row['R@1']:.1f} | {100*row['MAP@R']:.1f} | {row['trainable']:,} |" for row in best.values()}
    assert {line.split(" | ", 1)[1] for line in lines} == cells and len(lines) == len(best) == 10
