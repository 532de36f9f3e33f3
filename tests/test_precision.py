"Embeddings that 32 bits can hardly tell apart: every figure as float64 has it, by both metrics, with torch and faiss."
import warnings

import numpy as np
import pytest
import torch

from vptsp.clustering import clustering_metrics, kmeans
from vptsp.metrics import evaluate, neighbours, retrieval_metrics
from vptsp.precision import MetricsError, as_embeddings, compared, unit_rows
from vptsp.search import installed_faiss

needs_faiss = pytest.mark.skipif(installed_faiss() is None, reason="faiss is not installed")
FAISS = [False, pytest.param(True, marks=needs_faiss)]
N, C, E = 600, 30, 32


@pytest.fixture(scope="module")
def base():
    "600 ordinary images of 30 classes, and their labels."
    r = np.random.default_rng(0)
    y = np.repeat(np.arange(C), N//C)
    return r.normal(size=(C, E))[y]*.5 + r.normal(size=(N, E)), y


def by_definition(x, y, distance, q=None, q_y=None):
    "R@1 and MAP@R in float64, from differences: cosines of unit rows are 1 - d²/2, which keeps digits."
    x = np.asarray(x, np.float64)
    own = q is None
    q, q_y = (x, y) if own else (np.asarray(q, np.float64), q_y)
    if distance == "cosine":
        q, x = (v/np.where((n := np.linalg.norm(v, axis=1, keepdims=True)) > 0, n, 1) for v in (q, x))
    s = np.stack([-((x - row)**2).sum(1) for row in q])
    if distance == "cosine": s[~q.any(1)] = s[:, ~x.any(1)] = -2                       # no direction: cosine 0
    if own: np.fill_diagonal(s, -np.inf)
    order = np.argsort(-s, 1, kind="stable")[:, :len(x) - own]
    hit = y[order] == q_y[:, None]
    R = hit.sum(1)
    ap = [(h[:r]*(h[:r].cumsum()/np.arange(1, r + 1))).sum()/r for h, r in zip(hit, R) if r]
    return hit[R > 0, 0].mean(), np.mean(ap)


def figures(x, y, distance, **more):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        m = retrieval_metrics(x, y, ks=(1,), distance=distance, **more)
    return m["R@1"], m["MAP@R"]


def groups(x, t):
    "Three narrow cones, in three directions."
    directions = np.random.default_rng(1).normal(size=(3, E))
    return directions[np.arange(len(x)) % 3] + t*x


HARD = {
    "ordinary": (lambda x: x, "cosine"),
    "cosines above .99": (lambda x: 1 + .1*x, "cosine"),
    "cosines above .9999": (lambda x: 1 + 1e-2*x, "cosine"),
    "cosines above .999999": (lambda x: 1 + 1e-3*x, "cosine"),
    "cosines above .99999999": (lambda x: 1 + 1e-4*x, "cosine"),
    "the last bits alone": (lambda x: 1 + 1e-5*x, "cosine"),
    "a cone far from the diagonal": (lambda x: 50*np.eye(E)[0] + 1e-3*x, "cosine"),
    "lengths of all sizes": (lambda x: (1 + 1e-3*x)*np.logspace(-12, 12, N)[:, None], "cosine"),
    "three narrow cones": (lambda x: groups(x, 1e-4), "cosine"),
    "a cone and its opposite": (lambda x: (1 + 1e-4*x)*np.where(np.arange(N) % 2, 1, -1)[:, None], "cosine"),
    "a cone with one outlier": (lambda x: np.where(np.arange(N)[:, None] == 7, x, 1 + 1e-4*x), "cosine"),
    "a cone and as many zeros": (lambda x: np.where(np.arange(N)[:, None] % 2, 0, 1 + 1e-4*x), "cosine"),
    "rows of 1e-25": (lambda x: 1e-25*x, "cosine"),
    "rows of 1e25": (lambda x: 1e25*x, "cosine"),
    "ordinary distances": (lambda x: x, "euclidean"),
    "offset 10": (lambda x: x + 10, "euclidean"),
    "offset 1,000": (lambda x: x + 1e3, "euclidean"),
    "offset 10,000": (lambda x: x + 1e4, "euclidean"),
    "an offset for each number": (lambda x: x + np.logspace(-1, 5, E), "euclidean"),
    "two clumps far apart": (lambda x: x + np.where(np.arange(N)[:, None] % 2, 1e4, -1e4), "euclidean"),
    "clumps a million times farther apart than wide": (
        lambda x: 1e3*np.random.default_rng(2).normal(size=(4, E))[np.arange(N) % 4] + 1e-3*x, "euclidean"),
    "one image very far away": (lambda x: np.where(np.arange(N)[:, None] == 7, 1e9, x), "euclidean"),
    "distances of 1e-25": (lambda x: 1e-25*x, "euclidean"),
    "distances of 1e25": (lambda x: 1e25*x, "euclidean"),
    "pixels": (lambda x: np.clip(128 + 40*x, 0, 255).round(), "euclidean"),
}


@pytest.mark.parametrize("use_faiss", FAISS)
@pytest.mark.parametrize("case", HARD)
def test_figures_are_those_of_float64(base, case, use_faiss):
    make, distance = HARD[case]
    x = torch.tensor(make(base[0]), dtype=torch.float32)
    expected = by_definition(x.numpy(), base[1], distance)
    assert figures(x, base[1], distance, use_faiss=use_faiss) == pytest.approx(expected, abs=1.1/N)


@pytest.mark.parametrize("case", [c for c in HARD if "outlier" not in c and "far away" not in c])
def test_queries_against_a_gallery(base, case):
    make, distance = HARD[case]
    x, y = torch.tensor(make(base[0]), dtype=torch.float32), base[1]
    ask = np.arange(N) % 4 == 0
    expected = by_definition(x.numpy()[~ask], y[~ask], distance, x.numpy()[ask], y[ask])
    ours = figures(x[ask], y[ask], distance, gallery=x[~ask], gallery_labels=y[~ask])
    assert ours == pytest.approx(expected, abs=1.1/ask.sum())


@pytest.mark.parametrize("case", HARD)
def test_the_order_of_the_images_means_nothing(base, case):
    make, distance = HARD[case]
    x, order = make(base[0]), np.random.default_rng(3).permutation(N)
    x = torch.tensor(x, dtype=torch.float32)
    if case in ("a cone and as many zeros", "pixels"): pytest.skip("equal ones come by number")
    assert figures(x[order], base[1][order], distance) == pytest.approx(figures(x, base[1], distance), abs=1.1/N)


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
@pytest.mark.parametrize("step", [1e-9, 1e-7, 1e-3])
def test_float64_stays_float64(base, distance, step):
    "What lies beyond seven digits counts, where it was given."
    x, y = 1 + step*base[0], base[1]
    if distance == "cosine" and step < 1e-8: pytest.skip("float64 itself has no more digits for cosines")
    assert figures(x, y, distance) == pytest.approx(by_definition(x, y, distance), abs=1e-12)
    assert figures(torch.tensor(x), y, distance) == figures(x, y, distance)
    assert neighbours(x, k=3, distance=distance)[0].dtype == torch.float64
    assert neighbours(x.astype(np.float32), k=3, distance=distance)[0].dtype == torch.float32


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_similarities_are_what_they_are_called(base, distance):
    for x in (base[0], 1 + 1e-3*base[0], groups(base[0], 1e-4)):
        x = torch.tensor(x, dtype=torch.float32)
        similarity, ids = neighbours(x, k=5, distance=distance)
        a, b = x.double()[:, None], x.double()[ids]
        exact = torch.cosine_similarity(a, b, dim=2) if distance == "cosine" else -(a - b).square().sum(2)
        assert (similarity.double() - exact).abs().max() < 2e-5*exact.abs().max()
        assert (similarity[:, :-1] >= similarity[:, 1:]).all()


# ties

@pytest.mark.parametrize("use_faiss", FAISS)
@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
@pytest.mark.parametrize("value", [0., 1., 1e-20, 1e4])
def test_all_equal_vectors_come_by_number(distance, value, use_faiss):
    _, ids = neighbours(torch.full((50, 8), value), k=5, distance=distance, use_faiss=use_faiss)
    assert ids.tolist() == [[j for j in range(50) if j != i][:5] for i in range(50)]


@pytest.mark.parametrize("use_faiss", FAISS)
@pytest.mark.parametrize("case", ["three narrow cones", "cosines above .99999999", "offset 10,000",
                                  "two clumps far apart"])
def test_twins_are_equal_however_narrow(base, case, use_faiss):
    "Every image twice: the copy comes first, and equal ones by number."
    make, distance = HARD[case]
    x = torch.tensor(make(base[0]), dtype=torch.float32)[:200].repeat(2, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _, ids = neighbours(x, k=3, distance=distance, use_faiss=use_faiss)
    assert (ids[:200, 0] == torch.arange(200, 400)).all() and (ids[200:, 0] == torch.arange(200)).all()
    assert (ids[:, 2] == ids[:, 1] + 200).all()                        # of the next pair, the lower number first


# words, and none where there is nothing to say

@pytest.mark.filterwarnings("error")
def test_ordinary_embeddings_bring_no_warning(base):
    x = torch.tensor(base[0], dtype=torch.float32)
    for v, distance in [(x, "cosine"), (x, "euclidean"), (x.repeat(2, 1), "cosine"), (torch.eye(60), "cosine"),
                        ((x > 0).float(), "euclidean"), ((x > 0).float(), "cosine"), (x + 5, "euclidean")]:
        neighbours(v, k=20, distance=distance)


def test_narrow_ones_are_named(base):
    with pytest.warns(UserWarning, match="differ by less than a hundredth of what they have in common"):
        neighbours(torch.tensor(1 + 1e-3*base[0], dtype=torch.float32), k=3)
    with pytest.warns(UserWarning, match="less than 32-bit numbers can tell"):
        neighbours(torch.tensor(groups(base[0], 1e-4), dtype=torch.float32), k=3)


def test_ordinary_searches_do_no_more_than_before(base):
    "Nothing is taken out and no query is looked at twice."
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3000, 64, generator=generator)
    c = compared(x, None, "cosine")
    assert c.common is None and c.bias is None and c.q is c.g and c.q.dtype == torch.float32
    assert compared(x, None, "euclidean").common is None


# clusters

def test_kmeans_in_a_cone(base):
    r = np.random.default_rng(0)
    y = np.repeat(np.arange(6), 50)
    x = r.normal(size=(6, 16))[y]*4 + r.normal(size=(300, 16))
    plain = clustering_metrics(x, y)
    for far in (1 + 1e-5*x, x + 1e5):
        assert clustering_metrics(far, y)["NMI"] == pytest.approx(plain["NMI"], abs=.1)
    assert len(set(kmeans(1 + 1e-9*x, 6))) == 6                         # float64 beyond float32


# what may be given

@pytest.mark.parametrize("x, says", [
    (["a", "b"], "must be numbers"),
    ([[1, 2], [3]], "must be numbers"),
    (None, "must be numbers|got shape"),
    ([[None, 1.], [2., 3.]], "must be numbers|not finite"),
    (np.ones((3, 2))*1j, "complex"),
    (np.ones(3), "must be (n, e)"),
    (np.ones((3, 0)), "must be (n, e)"),
    (np.ones((0, 3)), "must be (n, e)"),
    ([[1., np.inf], [1., 2.]], "row 0 first"),
    (torch.tensor([[1., 2.], [float("nan"), 1.]], dtype=torch.float16), "row 1 first"),
])
def test_embeddings_that_are_none(x, says):
    with pytest.raises(MetricsError) as e: as_embeddings(x, "embeddings")
    assert any(part in str(e.value) for part in says.split("|"))


def test_embeddings_in_any_form(base):
    x, y = base[0][:60].astype(np.float16).astype(np.float32), base[1][:60]
    want = retrieval_metrics(x, y)
    for form in (x.astype(np.float16), torch.tensor(x).half(), torch.tensor(x).T.contiguous().T, x.tolist(),
                 [torch.tensor(row) for row in x], np.asfortranarray(x), torch.tensor(x, requires_grad=True)):
        assert retrieval_metrics(form, y) == pytest.approx(want, abs=1e-9)


@pytest.mark.parametrize("dtype, powers", [(torch.float32, (-15, -12)), (torch.float64, (-150, -12))])
@pytest.mark.parametrize("narrow", [False, True])
def test_short_rows_are_compared_by_their_direction(dtype, powers, narrow):
    x = torch.randn(120, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    if narrow: x = 1 + 1e-3*x
    x, y = x.to(dtype).double(), torch.arange(120) % 6
    short = (x*10**torch.linspace(*powers, 120, dtype=torch.float64)[:, None]).to(dtype)
    assert torch.allclose(unit_rows(short).norm(dim=1), torch.ones((), dtype=dtype))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found, there = evaluate(short, y).mean(), evaluate(short.double()*2.**100, y).mean()
    assert found == pytest.approx(there, abs=1e-9)


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
@pytest.mark.parametrize("narrow", [False, True])
def test_autocast_changes_no_figure(base, distance, narrow):
    x = torch.from_numpy(1 + 1e-4*base[0] if narrow else base[0]).float()
    x[50:100] = x[:50]                                                        # equal at the cut
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plain = evaluate(x, base[1], distance=distance)
        with torch.autocast("cpu", torch.bfloat16):
            inside = evaluate(x, base[1], distance=distance)
            assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16
            few = neighbours(x, k=3, distance=distance)
    assert inside.mean() == plain.mean() and torch.equal(inside.ids, plain.ids)
    assert torch.equal(few[1], plain.ids[:, :3])


@pytest.mark.parametrize("use_faiss", FAISS)
@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_near_ties_beyond_the_first_eight(distance, use_faiss):
    r, e = np.random.default_rng(0), 16
    b = np.ones(e)/4
    q = (b + .5*r.normal(size=(50, e))).astype("f4")
    near = b + .05*r.normal(size=(9, e))
    cone = b + .9*np.eye(e)[0] + 3e-7*r.normal(size=(200, e))              # 32 bits hardly tell these apart
    x = np.concatenate([near, cone, -b + .4*r.normal(size=(900, e))]).astype("f4")
    same = np.r_[np.full(9, 9), r.integers(0, 5, 200), r.integers(5, 8, 900)], r.integers(0, 5, 50)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = evaluate(q, same[1], x, same[0], (1, 10, 20), distance, 400, use_faiss)
        truth = evaluate(q.astype("f8"), same[1], x.astype("f8"), same[0], (1, 10, 20), distance, 400)
    assert torch.equal(found.ids, truth.ids) and found.mean() == truth.mean()
    cut = neighbours(q, x, 30, distance, use_faiss)[1]
    assert torch.equal(cut, truth.ids[:, :30])


@pytest.mark.parametrize("dtype", ["int32", "int64", "uint32", "uint64"])
def test_large_whole_numbers(base, dtype):
    x = (base[0]*1000).astype("i8") + 2**28
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = evaluate(x.astype(dtype), base[1], distance="euclidean")
        assert found.mean() == evaluate(x.astype("f8"), base[1], distance="euclidean").mean()
    assert as_embeddings(torch.ones(2, 2, dtype=torch.uint8), "x").dtype == torch.float32


@pytest.mark.parametrize("form", [
    lambda x: x[::-1].copy()[::-1], lambda x: x[:, ::-1].copy()[:, ::-1], lambda x: x.astype(">f8"),
    lambda x: x.astype("f8", order="F"),
    lambda x: x.astype(np.longdouble), lambda x: x.astype(object), lambda x: np.ma.array(x, mask=False),
    lambda x: torch.from_numpy(x).to_sparse(), lambda x: torch.from_numpy(x).to_sparse_csr(),
], ids=["rows", "columns", "big endian", "Fortran", "longdouble", "objects", "masked", "sparse", "csr"])
def test_arrays_of_any_kind(base, form):
    assert torch.equal(as_embeddings(form(base[0]), "x"), torch.from_numpy(base[0]))
    backwards = as_embeddings(base[0][::-1], "x")
    assert torch.equal(backwards.flip(0), torch.from_numpy(base[0]))


@pytest.mark.parametrize("x, says", [
    (torch.ones(3, 2, device="meta"), "device meta"),
    (np.ma.array(np.ones((3, 2)), mask=np.eye(3, 2)), "some are masked"),
    (np.array([[1., None]]*2, dtype=object), "not finite"),
    (np.array([[1., "cat"]]*2, dtype=object), "must be numbers"),
    (np.array([[1., {}]]*2, dtype=object), "must be numbers"),
])
def test_arrays_that_are_none(x, says):
    with pytest.raises(MetricsError, match=says): as_embeddings(x, "embeddings")
    with pytest.raises(MetricsError, match=says): evaluate(x, [0]*len(x), ks=(1,))


@pytest.mark.parametrize("power, dtype", [(1000, "f8"), (530, "f8"), (-560, "f8"), (-1000, "f8"),
                                          (-80, "f4"), (80, "f4")])
def test_euclidean_at_any_scale(base, power, dtype):
    x = base[0].astype("f4").astype("f8")
    plain, scaled = (evaluate(v, base[1], distance="euclidean", ks=(1, 10)) for v in (x, (x*2.**power).astype(dtype)))
    assert scaled.mean() == plain.mean() and torch.equal(scaled.ids, plain.ids)
    own, theirs = (neighbours(v, k=3, distance="euclidean")[0] for v in (x, (x*2.**power).astype(dtype)))
    assert torch.allclose(theirs, (own*2.**power*2.**power).clamp(min=-1.7976931348623157e308), rtol=1e-9, atol=0)
    apart = evaluate((x*2.**power).astype(dtype), base[1], distance="euclidean", exclude=np.arange(N) % 7)
    assert (apart.ids >= 0).all()


def test_rows_of_any_length():
    x = torch.tensor([[3e-30, 4e-30], [3e30, 4e30], [0, 0], [3, 4], [3e-42, 4e-42]])
    assert torch.allclose(unit_rows(x), torch.tensor([[.6, .8], [.6, .8], [0, 0], [.6, .8], [.6, .8]]), atol=1e-3)
    assert torch.equal(unit_rows(x.double())[2], torch.zeros(2, dtype=torch.float64))


def test_numbers_of_an_evaluation_do_not_depend_on_faiss(base):
    if installed_faiss() is None: pytest.skip("faiss is not installed")
    x = torch.tensor(groups(base[0], 1e-4), dtype=torch.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        a, b = (evaluate(x, base[1], use_faiss=faiss) for faiss in (False, True))
    assert a.mean() == b.mean() and torch.equal(a.ids, b.ids)


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_one_image_to_choose_from(distance):
    q = torch.randn(2, 8, generator=torch.Generator().manual_seed(0))
    similarity, ids = neighbours(q, k=1, distance=distance)
    assert ids.tolist() == [[1], [0]] and similarity.shape == (2, 1)
    assert neighbours(q, q[:1], 1, distance)[1].tolist() == [[0], [0]]
