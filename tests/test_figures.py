"precision@K, NDCG, MRR, candidates left out, labels of any kind: by definition, by scikit-learn, by the peers' rules."
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from vptsp.clustering import clustering_metrics, pairwise_f1
from vptsp.metrics import (
    MetricsError,
    Ranking,
    average_precision,
    evaluate,
    ndcg_at,
    precision_at,
    rank,
    recall_at,
    reciprocal_rank,
    retrieval_metrics,
)

N, C = 240, 12


class Column:
    "What a column of pandas is to a reader: an array within, found by the labels of its rows, not by their place."
    def __init__(self, values, dtype=object): self.values = np.array(values, dtype=dtype)
    def __array__(self, dtype=None, copy=None): return self.values
    def __len__(self): return len(self.values)
    def __getitem__(self, label): raise KeyError(label)
    def __iter__(self): return iter(self.values)


class NAType:
    "A missing value as pandas has it: of a type of this name, and with no truth."
    def __bool__(self): raise TypeError
    def __eq__(self, other): return self
    __hash__ = object.__hash__


@pytest.fixture(scope="module")
def points():
    "240 images of 12 classes, seen by 4 cameras in 30 sessions."
    g = torch.Generator().manual_seed(0)
    y = torch.randint(0, C, (N,), generator=g)
    camera, session = (torch.randint(0, k, (N,), generator=g) for k in (4, 30))
    x = [torch.randn(n, 16, generator=g) for n in (C, 4, 30, N)]
    E = F.normalize(x[0][y] + .5*x[1][camera] + x[2][session] + x[3], dim=1)
    return E, y, camera, session


def by_definition(E, y, ks, G=None, G_y=None, left_out=None):
    "Every figure, a query at a time. `left_out(i, j)`: whether query i is not compared with image j."
    own = G is None
    G, G_y = (E, y) if own else (G, G_y)
    S = (E.double() @ G.double().T).numpy()
    sums, count = {}, 0
    for i in range(len(E)):
        who = [j for j in range(len(G)) if not (own and i == j) and not (left_out and left_out(i, j))]
        order = sorted(who, key=lambda j: (-S[i, j], j))
        hit = [bool(G_y[j] == y[i]) for j in order]
        R = sum(hit)
        if not R: continue
        count += 1
        gains = [1/np.log2(r + 2) for r in range(len(G))]
        one = {"MRR": 1/(hit.index(True) + 1), "RP": sum(hit[:R])/R,
               "MAP@R": sum(sum(hit[:r + 1])/(r + 1) for r in range(R) if hit[r])/R}
        for k in ks:
            one |= {f"R@{k}": any(hit[:k]), f"P@{k}": sum(hit[:k])/k,
                    f"NDCG@{k}": sum(w for h, w in zip(hit[:k], gains) if h)/sum(gains[:min(k, R)])}
        for name, value in one.items(): sums[name] = sums.get(name, 0) + value
    return {name: total/count for name, total in sums.items()}, count


def check(m, expected, count):
    for name, value in expected.items(): assert m[name] == pytest.approx(value, abs=1e-9), name
    assert m["queries"] == count


# figures

def test_all_of_them_by_definition(points):
    E, y, *_ = points
    check(retrieval_metrics(E, y, ks=(1, 3, 10, 100)), *by_definition(E, y, (1, 3, 10, 100)))
    of_gallery = retrieval_metrics(E[:60], y[:60], E[60:], y[60:], ks=(1, 5, 50))
    check(of_gallery, *by_definition(E[:60], y[:60], (1, 5, 50), E[60:], y[60:]))


def test_against_scikit_learn(points):
    from sklearn.metrics import label_ranking_average_precision_score, ndcg_score
    E, y, *_ = points
    S = (E.double() @ E.double().T).numpy()
    others = ~np.eye(N, dtype=bool)
    S, right = S[others].reshape(N, -1), (y[:, None] == y[None]).numpy()[others].reshape(N, -1)
    m = retrieval_metrics(E, y, ks=(1, 7, 200))
    for k in (7, 200): assert m[f"NDCG@{k}"] == pytest.approx(ndcg_score(right, S, k=k), abs=1e-9)
    assert m["mAP@1000"] == pytest.approx(label_ranking_average_precision_score(right, S), abs=1e-9)


def test_against_pytorch_metric_learning(points):
    from pytorch_metric_learning.distances import CosineSimilarity
    from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
    from pytorch_metric_learning.utils.inference import CustomKNN
    E, y, *_ = points
    include = ("precision_at_1", "mean_reciprocal_rank", "r_precision", "mean_average_precision_at_r")
    library = AccuracyCalculator(include=include, k=N - 1, knn_func=CustomKNN(CosineSimilarity()))
    theirs, ours = library.get_accuracy(E, y), retrieval_metrics(E, y)
    names = dict(zip(include, ("P@1", "MRR", "RP", "MAP@R")))
    for name, our_name in names.items(): assert ours[our_name] == pytest.approx(theirs[name], abs=1e-6)


def test_rules_of_open_metric_learning():
    "The examples of its documentation: cmc, precision over min(k, R), map over min(k, R)."
    r = Ranking(torch.zeros(3, 2), torch.tensor([[1, 0], [0, 1], [0, 0]], dtype=torch.bool), torch.tensor([2, 3, 5]))
    assert [recall_at(r, k).tolist() for k in (1, 2)] == [[1, 0, 0], [1, 1, 0]]
    assert [precision_at(r, k, possible=True).tolist() for k in (1, 2)] == [[1, 0, 0], [.5, .5, 0]]
    assert average_precision(r, 2, r.relevant.clamp(max=2)).tolist() == [.5, .25, 0]
    found = Ranking(torch.zeros(1, 6), torch.tensor([[1, 1, 1, 0, 0, 0]], dtype=torch.bool), torch.tensor([3]))
    assert [precision_at(found, k).item() for k in (1, 2, 3, 4, 5)] == [1, 1, 1, 3/4, 3/5]
    assert [precision_at(found, k, possible=True).item() for k in range(1, 7)] == [1]*6


def test_the_first_right_one_far_behind():
    "Beyond the neighbours that are searched, the reciprocal rank is still exact."
    g = torch.Generator().manual_seed(0)
    E, y = torch.randn(3000, 8, generator=g), torch.arange(3000)
    y[1500:] = y[:1500]                                                # pairs at random: their ranks are everywhere
    m = retrieval_metrics(E, y, ks=(1,))
    S = F.normalize(E.double(), dim=1) @ F.normalize(E.double(), dim=1).T
    pair = torch.cat([torch.arange(1500, 3000), torch.arange(1500)])
    S.fill_diagonal_(-9)
    ranks = (S > S[torch.arange(3000), pair][:, None]).sum(1) + 1
    assert int((ranks > 1100).sum()) > 500
    assert m["MRR"] == pytest.approx((1/ranks.double()).mean().item(), abs=1e-9)
    assert torch.equal(rank(E, y).first, ranks)


def test_more_than_there_are_to_be_found():
    E, y = torch.eye(6)[[0, 0, 1, 1, 2, 2]] + .01*torch.rand(6, 6), [0, 0, 1, 1, 2, 2]
    m = retrieval_metrics(E, y, ks=(1, 4))
    assert m["P@1"] == m["NDCG@4"] == m["MRR"] == 1 and m["P@4"] == .25
    r = rank(E, y, k=5)
    assert reciprocal_rank(r._replace(first=None)).tolist() == [1]*6
    assert ndcg_at(r, 50).tolist() == [1]*6                            # beyond the table


def test_names_cannot_be_mixed_up(points):
    names = list(retrieval_metrics(*points[:2], ks=(1, 10)))
    assert {"P@1", "P@10", "NDCG@1", "NDCG@10", "MRR"} <= set(names)
    assert len({n.lower() for n in names}) == len(names)


# candidates left out

def columns(points, of):
    E, y, camera, session = points
    return {"session": session, "camera": camera, "text": [f"s{v}" for v in session.tolist()],
            "column": session.numpy()[:, None], "pandas": Column([f"s{v}" for v in session.tolist()])}[of]


@pytest.mark.parametrize("of", ["session", "camera", "text", "column", "pandas"])
@pytest.mark.parametrize("within", ["all", "class"])
def test_leave_one_out_without_a_session(points, of, within):
    E, y, camera, session = points
    number = camera if of == "camera" else session
    def out(i, j): return bool(number[i] == number[j]) and (within == "all" or bool(y[i] == y[j]))
    m = retrieval_metrics(E, y, ks=(1, 5, 50), exclude=columns(points, of), exclude_within=within)
    check(m, *by_definition(E, y, (1, 5, 50), left_out=out))
    assert not any("published" in name for name in m)
    assert m != retrieval_metrics(E, y, ks=(1, 5, 50))


@pytest.mark.parametrize("within", ["all", "class"])
def test_a_gallery_without_the_same_camera(points, within):
    "The rule of person re-identification (within = class), and that of sequences (all)."
    E, y, camera, _ = points
    def out(i, j): return bool(camera[i] == camera[60 + j]) and (within == "all" or bool(y[i] == y[60 + j]))
    m = retrieval_metrics(E[:60], y[:60], E[60:], y[60:], ks=(1, 5), exclude=camera[:60], exclude_gallery=camera[60:],
                          exclude_within=within)
    check(m, *by_definition(E[:60], y[:60], (1, 5), E[60:], y[60:], out))


def test_an_empty_value_is_shared_with_nobody(points):
    E, y, _, session = points
    known = [f"s{v}" if v % 3 else (None, "", float("nan"))[v % 9 // 3] for v in session.tolist()]
    def out(i, j): return isinstance(known[i], str) and known[i] != "" and known[i] == known[j]
    check(retrieval_metrics(E, y, exclude=known), *by_definition(E, y, (1, 2, 4, 8), left_out=out))
    nobody = retrieval_metrics(E, y, exclude=[None]*N)
    plain = retrieval_metrics(E, y)
    assert nobody == {name: value for name, value in plain.items() if "published" not in name}
    of_gallery = E[:60], y[:60], E[60:], y[60:]
    nobody = retrieval_metrics(*of_gallery, exclude=[None]*60, exclude_gallery=[None]*180)
    assert nobody["MAP@R"] == retrieval_metrics(*of_gallery)["MAP@R"]


def test_every_image_a_session_of_its_own_changes_nothing(points):
    E, y, *_ = points
    m, plain = retrieval_metrics(E, y, exclude=range(N)), retrieval_metrics(E, y)
    assert m == {name: value for name, value in plain.items() if name in m}


def test_queries_that_are_left_with_nothing(points):
    E, y, *_ = points
    sessions = y.clone()                                               # a class a session: nothing is left
    with pytest.raises(MetricsError, match="another image of its class left"): retrieval_metrics(E, y, exclude=sessions)
    sessions[y < 6] = torch.arange(100, 100 + int((y < 6).sum()))
    e = evaluate(E, y, exclude=sessions, keep=239)
    assert e.mean()["queries"] == int((y < 6).sum())
    assert e.figures["P@1"][y >= 6].isnan().all() and e.figures["MRR"][y >= 6].isnan().all()
    assert (e.ids == -1).any() and int(e.hubs().sum()) == int((e.ids >= 0).sum())
    assert not e.hit[e.ids == -1].any()
    assert all(row["queries"] for row in e.confusions())
    assert sum(row["queries"] for row in e.by()) == e.mean()["queries"]


def test_nobody_is_left_at_all():
    E, y = torch.eye(4), [0, 0, 1, 1]
    e = evaluate(E, y, exclude=["a", "b", "c", "c"], ks=(1,))
    assert e.relevant.tolist() == [1, 1, 0, 0]
    assert e.ids.shape == (4, 3) and e.ids[2].tolist() == [0, 1, -1]


@pytest.mark.parametrize("call, says", [
    (lambda E, y: retrieval_metrics(E, y, exclude=[1, 2]), "240 queries but 2 values to exclude by"),
    (lambda E, y: retrieval_metrics(E[:9], y[:9], E, y, exclude=y[:9]), "exclude_gallery one for each image"),
    (lambda E, y: retrieval_metrics(E, y, exclude_gallery=y), "exclude needs a value for each query"),
    (lambda E, y: retrieval_metrics(E[:9], y[:9], E, y, exclude=y[:9], exclude_gallery=y[:5]),
     "240 gallery images but 5 values"),
    (lambda E, y: retrieval_metrics(E, y, exclude=y, exclude_within="classes"), "must be all or class"),
    (lambda E, y: retrieval_metrics(E, y, ks=(239,), exclude=[i % 2 for i in range(N)]), "leave it out of ks"),
    (lambda E, y: retrieval_metrics(E, y, ks=(0,)), "K = 0 is no number"),
])
def test_rules_that_cannot_be(points, call, says):
    with pytest.raises(MetricsError) as e: call(*points[:2])
    assert says in str(e.value)


# labels

FORMS = {
    "list": lambda y: y.tolist(), "numpy": lambda y: y.numpy(), "int32": lambda y: y.int(), "uint8": lambda y: y.byte(),
    "uint16": lambda y: y.to(torch.uint16), "uint32": lambda y: y.numpy().astype(np.uint32),
    "uint64": lambda y: y.numpy().astype(np.uint64) + 2**63, "negative": lambda y: y - 3,
    "9e18": lambda y: y + 9*10**18, "whole floats": lambda y: y.float(),
    "float64 above 2**24": lambda y: y.double() + 2**24,
    "floats": lambda y: y.double() + .5, "column": lambda y: y[:, None], "0-d tensors": list,
    "text": lambda y: [f"class {v}" for v in y.tolist()],
    "numpy text": lambda y: np.array([f"c{v}" for v in y.tolist()]),
    "a table's text": lambda y: Column([f"class {v}" for v in y.tolist()]),
    "a table's numbers": lambda y: Column(y.numpy(), np.int64), "objects": lambda y: y.numpy().astype(object),
    "tuples": lambda y: [(v // 3, v % 3) for v in y.tolist()],
    "mixed": lambda y: [v if v % 2 else str(v) for v in y.tolist()],
}


@pytest.mark.parametrize("form", FORMS)
def test_labels_of_any_kind(points, form):
    E, y, *_ = points
    labels = FORMS[form](y)
    assert retrieval_metrics(E, labels) == retrieval_metrics(E, y)
    def part(rows): return Column(labels.values[rows]) if isinstance(labels, Column) else labels[rows]
    first, rest = part(slice(60)), part(slice(60, None))
    assert retrieval_metrics(E[:60], first, E[60:], rest) == retrieval_metrics(E[:60], y[:60], E[60:], y[60:])
    assert clustering_metrics(E, labels) == pytest.approx(clustering_metrics(E, y), abs=1e-12)
    assert pairwise_f1(labels, y) == 1
    e = evaluate(E, labels)
    plain = evaluate(E, y)
    assert [row["MAP@R"] for row in e.by()] == [row["MAP@R"] for row in plain.by()]
    assert sorted(r["queries"] for r in e.confusions()) == sorted(r["queries"] for r in plain.confusions())
    assert e.interval(draws=5, groups=labels).keys() == e.figures.keys()


def test_queries_and_gallery_in_different_types(points):
    E, y, *_ = points
    want = retrieval_metrics(E[:60], y[:60], E[60:], y[60:])
    for a, b in [("whole floats", "uint16"), ("uint16", "list"), ("column", "numpy"), ("int32", "objects")]:
        assert retrieval_metrics(E[:60], FORMS[a](y)[:60], E[60:], FORMS[b](y)[60:]) == want


def test_tables_speak_in_the_labels_given(points):
    E, y, *_ = points
    named = evaluate(E, [f"class {v}" for v in y.tolist()])
    assert {row["group"] for row in named.by()} == {f"class {v}" for v in range(C)}
    assert {row[name][:6] for row in named.confusions() for name in ("class", "taken for")} == {"class "}
    ids = evaluate(E, y + 1000)
    assert {row["group"] for row in ids.by()} == set(range(1000, 1000 + C))
    assert ids.labels.tolist() == (y + 1000).tolist()
    assert {row["group"] for row in ids.by(["a" if v % 2 else None for v in range(N)])} == {"a", None}


@pytest.mark.parametrize("missing", [None, float("nan"), " ", NAType(), np.datetime64("NaT")])
def test_missing_labels_are_refused_or_dropped(points, missing):
    E, y, *_ = points
    labels = [missing if i in (3, 100) else f"class {v}" for i, v in enumerate(y.tolist())]
    kept = torch.tensor([i for i in range(N) if i not in (3, 100)])
    with pytest.raises(MetricsError, match="2 of 240 are missing, number 3"): retrieval_metrics(E, labels)
    with pytest.raises(MetricsError, match="missing"): clustering_metrics(E, labels)
    assert retrieval_metrics(E, labels, missing="drop") == retrieval_metrics(E[kept], y[kept])
    assert clustering_metrics(E, labels, missing="drop") == pytest.approx(clustering_metrics(E[kept], y[kept]))
    e = evaluate(E, labels, missing="drop", exclude=range(N))
    assert torch.equal(e.kept, kept) and len(e.labels) == N - 2
    with_gallery = retrieval_metrics(E[:60], labels[:60], E[60:], labels[60:], missing="drop")
    assert with_gallery["queries"] + with_gallery["queries without a match"] == 59


def test_minus_one_is_an_unknown_class(points):
    E, y, *_ = points
    labels = torch.where(torch.arange(N) == 5, -1, y)
    with pytest.raises(MetricsError, match="number 5 is -1"): retrieval_metrics(E, labels)
    assert retrieval_metrics(E, labels, missing="keep") == retrieval_metrics(E, torch.where(labels < 0, 99, labels))
    retrieval_metrics(E, torch.where(y == 0, -1, -2 - y))              # where others are negative too it is a class


def test_whole_numbers_that_have_run_together():
    ids = torch.tensor([2**24, 2**24 + 1, 2**24, 2**24 + 1])
    E = torch.eye(4)
    assert retrieval_metrics(E, ids.double(), ks=(1,))["queries"] == 4
    with pytest.raises(MetricsError, match="float32 and reach 16,777,216"): retrieval_metrics(E, ids.float(), ks=(1,))
    with pytest.raises(MetricsError, match="float16 and reach 2,048"):
        retrieval_metrics(E, np.array([2048, 2049, 2048, 2049], dtype=np.float16), ks=(1,))
    with pytest.raises(MetricsError, match="bfloat16 and reach 256"):
        retrieval_metrics(E, torch.tensor([256, 257, 256, 257]).bfloat16(), ks=(1,))


@pytest.mark.parametrize("labels, says", [
    ("cat", "one text"), (torch.zeros(N, 2), "one label an image"), ([[1], [2]]*(N//2), "one label"),
    ([{"a": 1}]*N, "one label"), (None, "where a list is needed"), ([None]*N, "missing"),
])
def test_labels_that_are_none(points, labels, says):
    with pytest.raises(MetricsError) as e: retrieval_metrics(points[0], labels)
    assert says in str(e.value)


# a run's data

def test_a_measurement_by_a_column():
    "`measure(exclude=...)` takes the values from the images themselves."
    from PIL import Image

    from vptsp.config import Config
    from vptsp.data import DataError, ImageSet, RetrievalData
    from vptsp.runs import measure
    r = np.random.default_rng(0)
    pictures = [Image.fromarray(r.integers(0, 256, (8, 8, 3), dtype=np.uint8)) for _ in range(24)]
    cameras = [f"camera {i % 3}" for i in range(24)]
    train = ImageSet(pictures[:8], [0]*4 + [1]*4, ["a", "b"])
    query = ImageSet(pictures[8:], np.arange(16) // 4, ["c", "d", "e", "f"], about={"camera": cameras[8:]})
    data = RetrievalData("pictures", train, query)
    def embed(images): return images.flatten(1)[:, :32]
    how = Config(image_size=8, resize=8, workers=0), (.5,)*3, (.5,)*3
    plain, without = measure(embed, data, *how), measure(embed, data, *how, exclude="camera")
    E = torch.stack([embed(image[None])[0] for image in _tensors(query, how)])
    ks = [int(name[2:]) for name in plain if name.startswith("R@") and name[2:].isdigit()]
    expected = retrieval_metrics(E, query.labels, ks=ks, exclude=cameras[8:])
    assert without.items() >= expected.items() and without.keys() - expected.keys() == {"effective rank", "spread"}
    assert plain["MAP@R"] != without["MAP@R"]
    with pytest.raises(DataError, match="no column 'session'.*there are: camera"):
        measure(embed, data, *how, exclude="session")


def _tensors(images, how):
    from vptsp.embedding import embed_all
    return embed_all(lambda x: x, images, *how, "cpu", None)[0]


# Whole numbers

@pytest.fixture(scope="module")
def few():
    return torch.randn(60, 8, generator=torch.Generator().manual_seed(0)), torch.arange(60) % 6


@pytest.mark.parametrize("ks", [
    np.array([1, 10]), torch.tensor([1, 10]), [1., 10.], (np.int64(1), torch.tensor(10)), {1: "", 10: ""}.keys(),
], ids=["array", "tensor", "floats", "scalars", "keys"])
def test_ks_in_any_form(few, ks):
    assert evaluate(*few, ks=ks).mean() == evaluate(*few, ks=(1, 10)).mean()
    assert evaluate(*few, ks=(k for k in (1, 10))).mean() == evaluate(*few, ks=(1, 10)).mean()


def test_one_k(few):
    for k in (10, np.int64(10), np.array(10), torch.tensor(10)):
        assert evaluate(*few, ks=k).mean() == evaluate(*few, ks=(10,)).mean()


@pytest.mark.parametrize("ask, says", [
    (lambda x, y: evaluate(x, y, ks="12"), "K = '12'"),
    (lambda x, y: evaluate(x, y, ks=["1"]), "K = '1'"),
    (lambda x, y: evaluate(x, y, ks=[True]), "K = True"),
    (lambda x, y: evaluate(x, y, ks=[1.5]), "K = 1.5"),
    (lambda x, y: evaluate(x, y, ks=[float("nan")]), "K = nan"),
    (lambda x, y: evaluate(x, y, ks=[float("inf")]), "K = inf"),
    (lambda x, y: evaluate(x, y, ks=[None]), "K = None"),
    (lambda x, y: evaluate(x, y, ks=None), "K = None"),
    (lambda x, y: evaluate(x, y, ks=()), "ks is empty"),
    (lambda x, y: evaluate(x, y, ks=np.array([[1, 2]])), "K = array"),
    (lambda x, y: evaluate(x, y, keep=-1), "keep = -1: this must be a whole number from 1 on"),
    (lambda x, y: evaluate(x, y, keep=None), "keep = None"),
    (lambda x, y: evaluate(x, y).interval(draws=0), "draws = 0"),
    (lambda x, y: evaluate(x, y).interval(draws=2.5), "draws = 2.5"),
    (lambda x, y: evaluate(x, y).worst(-1), "n = -1: this must be a whole number from 0 on"),
    (lambda x, y: evaluate(x, y).worst("all"), "n = 'all'"),
    (lambda x, y: rank(x, y, k=None), "k = None"),
])
def test_what_is_no_whole_number(few, ask, says):
    with pytest.raises(MetricsError) as e: ask(*few)
    assert says in str(e.value)
