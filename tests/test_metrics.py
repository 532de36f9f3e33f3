"The search, the figures and the clusters: by definition, on twins and singles, with input that cannot be right."
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from vptsp.metrics import (
    Ranking,
    average_precision,
    clustering_metrics,
    evaluate,
    neighbours,
    pairwise_f1,
    r_precision,
    rank,
    recall_at,
    retrieval_metrics,
)
from vptsp.search import MetricsError, approximate_search, compare_searches, installed_faiss

needs_faiss = pytest.mark.skipif(installed_faiss() is None, reason="faiss is not installed")
FAISS = [False, pytest.param(True, marks=needs_faiss)]

@pytest.fixture(scope="module")
def points():
    "400 images of 30 classes."
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(0, 30, (400,), generator=generator)
    centres, noise = (torch.randn(n, 24, generator=generator) for n in (30, 400))
    return F.normalize(centres[labels] + 1.2*noise, dim=1), labels

def by_definition(E, labels):
    "R@1 and MAP@R, each query by itself: sort all others by similarity, then number."
    S, ones, aps = E @ E.T, [], []
    for q in range(len(E)):
        order = sorted((-round(S[q, i].item(), 6), i) for i in range(len(E)) if i != q)
        hits = [bool(labels[i] == labels[q]) for _, i in order]
        R = sum(hits)
        if not R: continue
        ones.append(float(hits[0]))
        aps.append(sum(sum(hits[:i + 1])/(i + 1) for i in range(R) if hits[i])/R)
    return np.mean(ones), np.mean(aps)

@pytest.mark.parametrize("use_faiss", FAISS)
def test_equal_ones_come_by_number(use_faiss):
    "Three times the same image, and a gallery that is searched for what is in it."
    E = torch.randn(300, 16, generator=torch.Generator().manual_seed(0))
    E[7] = E[9] = E[3]
    S = F.normalize(E, dim=1) @ F.normalize(E, dim=1).T
    slow = [[j for _, j in sorted((-S[i, j].item(), j) for j in range(300) if j != i)[:5]] for i in range(300)]
    _, ids = neighbours(E, k=5, use_faiss=use_faiss)
    assert (ids == torch.tensor(slow)).float().mean() > .999      # rounding may swap two that are equal to seven digits
    assert not (ids == torch.arange(300)[:, None]).any()          # never itself, though its twins are as near
    assert set(ids[3, :2].tolist()) == {7, 9}
    _, nearest = neighbours(E, E[:4], k=1, distance="euclidean", use_faiss=use_faiss)
    assert nearest[:4, 0].tolist() == [0, 1, 2, 3]

@pytest.mark.parametrize("use_faiss", FAISS)
@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_a_tie_at_the_cut_is_settled_by_number(use_faiss, distance):
    "Twelve times one image: whatever k is, the first k numbers come."
    E = torch.eye(3)[torch.tensor([0]*12 + [1, 2])]
    for k in range(1, 11):
        _, ids = neighbours(E, k=k, distance=distance, use_faiss=use_faiss)
        for q in range(12): assert ids[q].tolist() == [i for i in range(12) if i != q][:k]

@pytest.mark.parametrize("use_faiss", FAISS)
def test_twins_under_two_labels_are_ranked_as_defined(points, use_faiss):
    "30 pairs of twins, most of them under two labels."
    E, labels = points
    small = E[:60].clone()
    small[1::2] = small[::2]
    m = retrieval_metrics(small, labels[:60], ks=(1,), use_faiss=use_faiss)
    assert (m["R@1"], m["MAP@R"]) == pytest.approx(by_definition(small, labels[:60]), abs=1e-7)

def test_images_in_another_order_have_the_same_figures(points):
    E, labels = points
    order = torch.randperm(400, generator=torch.Generator().manual_seed(2))
    a, b = retrieval_metrics(E, labels), retrieval_metrics(E[order], labels[order])
    assert a == pytest.approx(b, abs=1e-12)

def test_arrays_and_lists_will_do(points):
    E, labels = points
    m = retrieval_metrics(E, labels)
    assert m == retrieval_metrics(E.numpy(), labels.numpy()) == retrieval_metrics(E.tolist(), labels.tolist())

def test_a_query_with_nothing_to_find_is_left_out_and_counted(points):
    E, labels = points
    alone = retrieval_metrics(E[:50], torch.cat([labels[:49], torch.tensor([99])]), ks=(1,))
    assert alone["queries"] + alone["queries without a match"] == 50
    assert alone["queries without a match"] >= 1
    assert alone["R@1 (published code)"] < alone["R@1"]           # there it is a zero

def test_query_against_gallery(points):
    E, labels = points
    m = retrieval_metrics(E[:60], labels[:60], gallery=E[60:], gallery_labels=labels[60:], ks=(1, 10))
    r = rank(E[:60], labels[:60], E[60:], labels[60:], k=50)
    found = average_precision(r, 50, r.hit[:, :50].sum(1)).mean().item()
    assert m["MAP@50 (published code)"] == pytest.approx(found, abs=1e-12)
    right = labels[60:][r.ids[:, 0]] == labels[:60]
    assert m["R@1"] == pytest.approx(right[r.relevant > 0].double().mean().item(), abs=1e-12)

def test_hits_beyond_the_cut_add_nothing():
    hit = torch.tensor([[1, 0, 1, 1, 1, 1], [0, 0, 0, 1, 1, 1]], dtype=torch.bool)
    r = Ranking(torch.zeros(2, 6), hit, torch.tensor([3, 3]))
    cut = r._replace(hit=hit[:, :3])
    assert torch.equal(r_precision(r), r_precision(cut))
    assert torch.equal(average_precision(r, r.relevant, r.relevant), average_precision(cut, 3, r.relevant))
    assert recall_at(r, 4).tolist() == [1, 1] and recall_at(r, 3).tolist() == [1, 0]

def test_tables_agree_with_the_figures(points):
    E, labels = points
    e = evaluate(E, labels, keep=9)
    assert e.mean() == retrieval_metrics(E, labels)
    rows = e.by()
    share = sum(row["MAP@R"]*row["queries"] for row in rows)/sum(row["queries"] for row in rows)
    assert share == pytest.approx(e.mean()["MAP@R"], abs=1e-12)
    assert [row["MAP@R"] for row in rows] == sorted(row["MAP@R"] for row in rows)
    assert sum(row["queries"] for row in e.confusions()) == round(400*(1 - e.mean()["R@1"]))
    assert int(e.hubs().sum()) == 400*9
    values = e.figures["MAP@R"]
    assert torch.equal(values[e.worst(7)], values.sort()[0][:7])
    assert e.interval(draws=20) == e.interval(draws=20) != e.interval(draws=20, seed=1)

def test_groups_may_have_any_name(points):
    E, labels = points
    e = evaluate(E, labels)
    sides = ["left" if i % 2 else "right" for i in range(400)]
    assert {row["group"]: row["queries"] for row in e.by(sides)} == {"left": 200, "right": 200}
    assert {row["group"] for row in e.by(names=[f"class {i}" for i in range(30)])} == {f"class {i}" for i in range(30)}

@pytest.mark.parametrize("call, says", [
    (lambda E, y: neighbours(E, k=400), "k = 400, but a query has 399 others"),
    (lambda E, y: neighbours(E, k=0), "choose K between 1 and 399"),
    (lambda E, y: neighbours(E, distance="cos"), "distance = 'cos'"),
    (lambda E, y: neighbours(E, E[:, :5]), "both must come from the same model"),
    (lambda E, y: neighbours(E[0]), "must be (n, e)"),
    (lambda E, y: neighbours(E[:0]), "with n > 0"),
    (lambda E, y: neighbours(torch.where(torch.arange(400)[:, None] == 5, torch.nan, E)), "row 5 first"),
    (lambda E, y: retrieval_metrics(E, y[:-1]), "400 embeddings but 399 labels"),
    (lambda E, y: retrieval_metrics(E, y, gallery=E, gallery_labels=y[:-1]), "but 399 gallery labels"),
    (lambda E, y: retrieval_metrics(E, y, gallery=E), "must be given together"),
    (lambda E, y: retrieval_metrics(E, y, gallery_labels=y), "must be given together"),
    (lambda E, y: retrieval_metrics(E[:9], torch.arange(9)), "there is nothing to find"),
    (lambda E, y: retrieval_metrics(E, y, E, y + 99), "in the gallery: there is nothing to find"),
    (lambda E, y: retrieval_metrics(E, y, ks=(1, 500)), "K = 500 is more than the 399 images"),
    (lambda E, y: retrieval_metrics(E, y, ks=()), "K = None"),
    (lambda E, y: evaluate(E, y).by(["a"]), "400 queries but 1 groups"),
    (lambda E, y: evaluate(E, y).interval(level=95), "level = 95"),
    (lambda E, y: evaluate(E, y).worst(figure="mAP"), "there is no figure 'mAP'"),
    (lambda E, y: clustering_metrics(E, y[:-1]), "400 embeddings but 399 labels"),
])
def test_input_that_cannot_be_right(points, call, says):
    with pytest.raises(MetricsError) as e: call(*points)
    assert says in str(e.value)

def test_without_faiss_a_sentence_says_what_to_install(points, monkeypatch):
    monkeypatch.setattr("vptsp.search.installed_faiss", lambda: None)
    with pytest.raises(ImportError, match="pip install faiss-cpu"): neighbours(points[0], use_faiss=True)
    with pytest.raises(ImportError, match="pip install faiss-cpu"): approximate_search(points[0])
    assert neighbours(points[0], k=3)[1].shape == (400, 3)

@needs_faiss
def test_approximate_searches_find_more_with_more_breadth():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2500, 16, generator=generator)
    rows = compare_searches(x[:100], x[100:])
    assert rows[0]["search"] == "exact" and rows[0]["found"] == 1
    found = {(row["search"], row["breadth"]): row["found"] for row in rows}
    assert found["IVF", 1] < found["IVF", 8] < found["IVF", 32] <= 1 and found["HNSW", 16] <= found["HNSW", 256]
    with pytest.raises(MetricsError, match="kind = 'LSH'"): approximate_search(x, "LSH")

def test_pairwise_f1_by_hand():
    y, c = [0, 0, 0, 1, 1, 2], [5, 5, 7, 7, 7, 9]
    def pairs(v): return {(i, j) for i in range(6) for j in range(i) if v[i] == v[j]}
    right = len(pairs(y) & pairs(c))
    precision, recall = right/len(pairs(c)), right/len(pairs(y))
    assert pairwise_f1(y, c) == pytest.approx(2*precision*recall/(precision + recall))
    assert pairwise_f1([0, 1], [0, 1]) == 0                       # no pair at all
    assert clustering_metrics(np.eye(6), y, y) == {"NMI": 1.0, "AMI": 1.0, "F1": 1.0}
