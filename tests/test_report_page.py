"The report of a comparison: what it says, what it holds, and data with a gallery of its own."
import re

import pytest

from vptsp.analysis.compare import compare, retrieval_cases
from vptsp.benchmarks import load_emoji
from vptsp.config import Config
from vptsp.data import RetrievalData
from vptsp.widgets import report


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

def test_names_that_moved():
    from vptsp.widgets.gallery import show_retrievals
    assert report.show_retrievals is show_retrievals
    with pytest.raises(AttributeError): report.nothing_of_this_name  # noqa: B018
