"""pip install './bindings/python[test]' && pytest bindings/python/tests. What needs torch is skipped where there is none."""

import copy
import gc
import pickle
import threading

import numpy as np
import pytest

import viva

DTYPES = ["bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32", "float64",
          "complex64", "complex128"]


def values(dtype, shape, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 100, shape) if dtype != "bool" else rng.integers(0, 2, shape)
    return np.asarray(x, dtype=dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_numpy_memory_is_shared_both_ways(dtype):
    n = values(dtype, (4, 6))[::2, ::-3]
    for x in (viva.asarray(n), viva.from_dlpack(n)):
        assert x.dtype is getattr(viva, dtype)
        assert x.shape == n.shape
        back = np.asarray(x)
        assert back.dtype == n.dtype and np.shares_memory(back, n)
        assert np.array_equal(back, n)
        dl = np.from_dlpack(x)
        assert np.shares_memory(dl, n) and np.array_equal(dl, n)
        n[0, 0] = not n[0, 0] if dtype == "bool" else n[0, 0] + 1
        assert np.asarray(x)[0, 0] == n[0, 0]


def test_shared_memory_lives_as_long_as_a_view():
    n = np.arange(1000, dtype=np.float64)
    x = viva.asarray(n)[10:20]
    del n
    gc.collect()
    assert np.asarray(x).tolist() == list(range(10, 20))
    m = np.asarray(viva.arange(1000, dtype=viva.float64))
    gc.collect()
    assert m[999] == 999


def test_read_only_memory_is_copied():
    n = np.arange(4)
    n.flags.writeable = False
    x = viva.asarray(n)
    x[0] = 7
    assert n[0] == 0
    with pytest.raises(ValueError, match="read-only"):
        viva.asarray(n, copy=False)


def test_torch():
    torch = pytest.importorskip("torch")
    t = torch.arange(6, dtype=torch.float32).reshape(2, 3)
    x = viva.from_dlpack(t.T)
    x[0, 0] = 9
    assert t[0, 0] == 9
    back = torch.from_dlpack(x)
    assert back.data_ptr() == t.data_ptr() and back.shape == (3, 2)
    b = torch.ones(3, dtype=torch.bfloat16)
    assert viva.from_dlpack(b).dtype is viva.bfloat16


KEYS = [0, -1, slice(None), slice(1, 4), slice(None, None, -1), slice(5, 0, -2), ..., None, (0, 1), (..., 0), (0, ..., None),
        (slice(1, 3), None, 2), (slice(None), slice(None, None, 2), -1), np.array([0, 2, 2]), (slice(None), np.array([[0, 1], [2, -1]])),
        (np.array([0, 1]), np.array([1, 2])), (np.array([0, 1]), slice(None), np.array([1, 2])), (0, slice(None), np.array([1, 2])),
        (slice(None), 1, np.array([1, 2])), [0, 1], (np.array([[0], [1]]), np.array([1, 2]), 3), True, False, (None, np.array([1]), ...)]


@pytest.mark.parametrize("key", KEYS, ids=str)
def test_indexing_is_numpys(key):
    n = np.arange(5 * 6 * 7, dtype=np.int64).reshape(5, 6, 7)
    x = viva.asarray(n.copy())
    assert np.array_equal(np.asarray(x[key]), n[key]), key
    n[key] = -1
    x[key] = -1
    assert np.array_equal(np.asarray(x), n)
    some = np.arange(n[key].size).reshape(n[key].shape)
    n[key] = some
    x[key] = viva.asarray(some)
    assert np.array_equal(np.asarray(x), n)


def test_masks():
    n = np.arange(24).reshape(2, 3, 4)
    for mask, key in ((n % 3 == 0, lambda m: m), (n[:, :, 0] > 3, lambda m: m), (n[0, :, 0] > 3, lambda m: (slice(None), m)),
                      (n[0, 0] > 1, lambda m: (..., m))):
        x = viva.asarray(n.copy())
        k = key(viva.asarray(mask))
        assert np.array_equal(np.asarray(x[k]), n[key(mask)])
        m = n.copy()
        m[key(mask)] = 0
        x[k] = 0
        assert np.array_equal(np.asarray(x), m)


def test_index_errors():
    x = viva.zeros((2, 3))
    for key in (2, -3, (0, 3), (0, 0, 0), (..., ...), viva.asarray([5]), 1.0, viva.asarray([1.0]), "a", viva.ones(3, dtype=viva.bool)):
        with pytest.raises(IndexError):
            x[key]
    with pytest.raises(TypeError):
        len(viva.asarray(1))
    with pytest.raises(TypeError):
        iter(viva.asarray(1))


def test_views_and_in_place():
    x = viva.zeros((3, 4))
    x[1] += 2
    row = x[1]
    row *= 3
    x.T[0, 1] = -1
    assert np.array_equal(np.asarray(x), [[0, 0, 0, 0], [-1, 6, 6, 6], [0, 0, 0, 0]])
    y = viva.arange(4)
    with pytest.raises(TypeError, match="int64"):
        y += 0.5
    z = y
    z += 1
    assert z is y and y.tolist() == [1, 2, 3, 4]
    z[1:] += z[:-1]  # overlapping
    assert z.tolist() == [1, 3, 5, 7]


def test_errors_carry_the_message():
    with pytest.raises(ValueError, match=r"add: shapes \(2,\) and \(3,\) do not broadcast"):
        viva.ones(2) + viva.ones(3)
    with pytest.raises(TypeError, match="bitwise_and"):
        viva.bitwise_and(viva.ones(2), viva.ones(2))
    with pytest.raises(TypeError, match="sin"):
        viva.sin(viva.ones(2), 1)
    with pytest.raises(TypeError):
        viva.ones(2) + "a"
    with pytest.raises(OverflowError):
        viva.ones(2, dtype=viva.uint8) + 300
    with pytest.raises(OverflowError):
        viva.asarray(2**70)
    with pytest.raises(MemoryError):
        viva.empty(2**50)
    with pytest.raises(ValueError):
        viva.empty((2**40, 2**40))
    with pytest.raises(ValueError):
        viva.zeros(-1)
    with pytest.raises(ValueError, match="cpu"):
        viva.zeros(1, device="gpu")
    with pytest.raises(ValueError):
        viva.asarray([[1], [1, 2]])
    with pytest.raises(ValueError):
        viva.concat([viva.ones(2), viva.ones((2, 2))])


def test_numbers_and_python():
    assert bool(viva.asarray(3)) and not bool(viva.asarray(0.0))
    assert int(viva.asarray(-2.5)) == -2 and float(viva.asarray([1.5])) == 1.5 and complex(viva.asarray(1j)) == 1j
    assert [1, 2, 3][viva.asarray(1)] == 2
    with pytest.raises(TypeError):
        [1, 2, 3][viva.asarray(1.0)]
    with pytest.raises(ValueError):
        bool(viva.ones(2))
    with pytest.raises(TypeError):
        float(viva.asarray(1j))
    with pytest.raises(TypeError):
        hash(viva.ones(1))
    assert (viva.ones(1) == "a") is False and (viva.ones(1) != None) is True  # noqa: E711
    assert 2 - viva.asarray(1) == 1 and 2.0 / viva.asarray([4.0]) == 0.5 and 2 ** viva.asarray(3) == 8
    assert [int(v) for v in viva.arange(3)] == [0, 1, 2]
    assert viva.asarray([viva.asarray(1), viva.asarray(2)]).tolist() == [1, 2]
    x = viva.asarray([[1.5, 2.0]], dtype=viva.float64)
    for y in (pickle.loads(pickle.dumps(x)), copy.copy(x), copy.deepcopy(x)):
        assert y.dtype is viva.float64 and y.tolist() == x.tolist()
        y[0, 0] = 0
    assert x[0, 0] == 1.5
    assert pickle.loads(pickle.dumps(viva.float16)) is viva.float16
    assert viva.asarray(2**63).dtype is viva.uint64
    assert viva.arange(2**62, 2**62 + 3).tolist() == [2**62, 2**62 + 1, 2**62 + 2]


def test_repr_is_numpys():
    rng = np.random.default_rng(1)
    cases = [np.arange(3), np.arange(12.0).reshape(3, 4), rng.normal(size=(3, 7)), rng.normal(size=(2, 3, 20)).astype("f4"),
             rng.normal(size=(30, 40)), rng.normal(size=2000).astype("f4"), rng.normal(size=(5,)) * 1e10, np.array([1e-7, 1.0]),
             np.array([np.nan, 1.5, -np.inf]), np.array([np.nan]), np.array([np.inf, -1e-9]), np.array(5), np.array(2.0), np.array(True),
             np.array([True, False]), np.zeros((0,)), np.zeros((2, 0), dtype="f4"), np.array([1 + 2j, -0.5j]),
             rng.normal(size=6).astype("c8"), rng.normal(size=9).astype("f2"), np.array([0.1, 0.2, 0.30000001], dtype="f4"),
             rng.integers(-1000, 1000, (4, 30)), rng.integers(0, 255, (3, 3)).astype("u1"), np.arange(3000).reshape(3, 10, 100),
             np.array([1e6, 1.0], dtype="f4"), np.array([123456.0, 0.5], dtype="f4"), np.array([0.0001, 0.1], dtype="f4"),
             np.array([-0.0, 0.0]), np.full((2, 30), 1 / 3)]
    for n in cases:
        assert repr(viva.asarray(n)) == repr(n)
        if n.ndim:
            assert str(viva.asarray(n)) == str(n)


def test_every_elementwise_function_follows_numpy_names():
    x = viva.asarray([0.25, 0.5], dtype=viva.float64)
    n = np.asarray(x)
    for name in ("sin", "exp", "sqrt", "log1p", "floor", "abs", "square"):
        assert np.allclose(np.asarray(getattr(viva, name)(x)), getattr(np, name)(n))
    assert np.allclose(np.asarray(viva.clip(x, 0.3)), [0.3, 0.5])
    assert viva.where(x > 0.3, x, 0).tolist() == [0.0, 0.5]


def test_the_lock_is_released():
    """Another thread runs while a large kernel does."""
    x = viva.full(20_000_000, 0.5)
    ticks, done = [0], threading.Event()

    def tick():
        while not done.is_set():
            ticks[0] += 1

    thread = threading.Thread(target=tick)
    thread.start()
    try:
        before = ticks[0]
        viva.tan(x)
        during = ticks[0] - before
    finally:
        done.set()
        thread.join()
    assert during > 100


def test_linear_algebra_follows_numpy():
    rng = np.random.default_rng(2)
    n = rng.normal(size=(3, 4, 4))
    x = viva.asarray(n)
    assert np.allclose(np.asarray(x @ x), n @ n)
    assert np.allclose(np.asarray(viva.linalg.inv(x)), np.linalg.inv(n))
    assert np.allclose(np.asarray(viva.linalg.det(x)), np.linalg.det(n))
    assert np.allclose(np.asarray(viva.linalg.svdvals(x)), np.linalg.svd(n, compute_uv=False))
    assert np.allclose(np.asarray(viva.einsum("bij,bkj->ik", x, x)), np.einsum("bij,bkj->ik", n, n))
    u, s, vh = viva.linalg.svd(x, full_matrices=False)
    assert np.allclose(np.asarray(u * viva.expand_dims(s, axis=-2) @ vh), n)
    with pytest.raises(viva.linalg.LinAlgError, match="singular"):
        viva.linalg.inv(viva.zeros((2, 2)))
    with pytest.raises(ValueError, match=r"\(2, 3\)"):
        viva.ones((2, 3)) @ viva.ones((2, 3))


def test_order_and_sums_follow_numpy():
    rng = np.random.default_rng(3)
    n = rng.integers(-5, 5, (6, 7))
    x = viva.asarray(n)
    assert (np.asarray(viva.sort(x, axis=0)) == np.sort(n, axis=0)).all()
    assert (np.asarray(viva.argsort(x, descending=True)) == np.argsort(-n, axis=-1, kind="stable")).all()
    assert (np.asarray(viva.unique_values(x)) == np.unique(n)).all()
    assert (np.asarray(viva.cumulative_sum(x, axis=1)) == np.cumsum(n, axis=1)).all()
    values, places = viva.topk(x, 2)
    assert (np.asarray(viva.take_along_axis(x, places)) == np.asarray(values)).all()
    f = n.astype("f8")
    e = np.exp(f - f.max(-1, keepdims=True))
    assert np.allclose(np.asarray(viva.softmax(viva.asarray(f))), e / e.sum(-1, keepdims=True))
    assert np.allclose(np.asarray(viva.layer_norm(viva.asarray(f))), (f - f.mean(-1, keepdims=True)) / np.sqrt(f.var(-1, keepdims=True) + 1e-5))


def test_packed_matrices():
    rng = np.random.default_rng(4)
    w = viva.asarray(rng.normal(0, 0.02, (64, 256)).astype("f4"))
    for name, least in (("nf4", 20), ("q8_0", 44), ("int4-g128", 19), ("nvfp4", 20)):
        p = viva.pack(w, name)
        assert p.format == name and p.shape == (64, 256) and p.nbytes * 8 == p.bits_per_value * 64 * 256
        assert float(viva.snr_db(w, viva.unpack(p))) > least
        x = viva.asarray(rng.normal(size=(3, 256)).astype("f4"))
        assert np.allclose(np.asarray(viva.linear(x, p)), np.asarray(x) @ np.asarray(viva.unpack(p)).T, atol=1e-4)
    assert float(viva.snr_db(w, viva.unpack(viva.pack(w, "nf4")))) > float(viva.snr_db(w, viva.unpack(viva.pack(w, "nf4", encoder="reference"))))
    with pytest.raises(ValueError, match="nf5"):
        viva.pack(w, "nf5")
    with pytest.raises(ValueError, match=r"\(0, 3\)"):
        bad = viva.asarray(w, copy=True)
        bad[0, 3] = float("nan")
        viva.pack(bad, "nf4")


def test_convolution():
    x = viva.reshape(viva.arange(16, dtype=viva.float32), (1, 1, 4, 4))
    w = viva.ones((1, 1, 2, 2))
    assert viva.conv2d(x, w, viva.asarray([0.5]), stride=2).tolist() == [[[[10.5, 18.5], [42.5, 50.5]]]]
    assert viva.conv2d(x, w, padding="same").shape == (1, 1, 4, 4)
    assert viva.conv2d(x, w, padding=[(1, 0), (0, 0)]).tolist()[0][0][0] == [1, 3, 5]
    assert viva.conv2d(x, viva.ones((2, 1, 1, 3)), dilation=(1, 1), padding=(0, 1)).shape == (1, 2, 4, 4)
    line = viva.asarray([[[1.0, 2.0, 3.0, 4.0]]], dtype=viva.float64)
    assert viva.conv1d(line, viva.asarray([[[1.0, 0.0, -1.0]]], dtype=viva.float64), padding=1).tolist() == [[[-2, -2, -2, 3]]]
    up = viva.conv_transpose2d(viva.asarray([[[[1.0, 2.0]]]]), viva.ones((1, 1, 2, 2)), stride=2, output_padding=1)
    assert up.tolist() == [[[[1, 1, 2, 2, 0], [1, 1, 2, 2, 0], [0, 0, 0, 0, 0]]]]
    with pytest.raises(ValueError, match=r"conv2d.*\(1, 1, 4, 4\).*\(1, 2, 2, 2\)"):
        viva.conv2d(x, viva.ones((1, 2, 2, 2)))
    with pytest.raises(ValueError, match="same"):
        viva.conv2d(x, w, padding="sane")


def test_pooling():
    x = viva.reshape(viva.arange(16, dtype=viva.float32), (1, 1, 4, 4))
    assert viva.max_pool2d(x, 2).tolist() == [[[[5, 7], [13, 15]]]]
    assert viva.max_pool2d(x, (2, 1), stride=(2, 2), dilation=1).tolist() == [[[[4, 6], [12, 14]]]]
    assert viva.avg_pool2d(x, 2).tolist() == [[[[2.5, 4.5], [10.5, 12.5]]]]
    assert viva.avg_pool2d(x, 2, padding=1, count_include_pad=False).tolist()[0][0][0] == [0, 1.5, 3]
    line = viva.asarray([[[1.0, 5.0, 2.0, 4.0]]])
    assert viva.max_pool1d(line, 2, stride=1).tolist() == [[[5, 5, 4]]]
    assert viva.avg_pool1d(line, 2).tolist() == [[[3, 3]]]
    assert viva.max_pool2d(x, 3, ceil_mode=True).tolist() == [[[[10, 11], [14, 15]]]]
    assert viva.avg_pool1d(line, 3, ceil_mode=True).shape == (1, 1, 2)
    pooled = viva.max_pool2d_with_indices(x, 2)
    assert pooled.values.tolist() == [[[[5, 7], [13, 15]]]] and pooled.indices.tolist() == [[[[5, 7], [13, 15]]]]
    assert viva.max_pool1d_with_indices(line, 2).indices.tolist() == [[[1, 3]]]
    assert viva.adaptive_avg_pool2d(x, 2).tolist() == viva.avg_pool2d(x, 2).tolist()
    assert viva.adaptive_max_pool2d(x, (1, 2)).tolist() == [[[[13, 15]]]]
    assert viva.global_avg_pool(x).tolist() == [[[[7.5]]]]
    with pytest.raises(ValueError, match="max_pool2d"):
        viva.max_pool2d(x, 9)


def test_random_numbers_follow_the_seed():
    a, b = viva.random.Generator(7), viva.random.Generator(7)
    x = viva.random.uniform(a, (3, 5), -1, 2, dtype=viva.float64)
    assert x.shape == (3, 5) and x.dtype is viva.float64 and np.all((np.asarray(x) >= -1) & (np.asarray(x) < 2))
    assert np.array_equal(x, viva.random.uniform(b, (3, 5), -1, 2, dtype=viva.float64))
    assert a.counter == b.counter > 0 and a.seed == 7 and a.stream == 0
    assert not np.array_equal(viva.random.normal(a, 4), viva.random.normal(viva.random.Generator(7), 4))
    again = viva.random.Generator(7, counter=b.counter)
    assert np.array_equal(viva.random.normal(again, 4), viva.random.normal(b, 4))
    assert not np.array_equal(viva.random.normal(a.split(0), 4), viva.random.normal(a.split(1), 4))
    assert sorted(np.asarray(viva.random.permutation(a, 100)).tolist()) == list(range(100))
    n = np.asarray(viva.random.integers(a, 1000, 3, 5, dtype=viva.int8))
    assert n.dtype == np.int8 and set(n.tolist()) == {3, 4}
    assert viva.random.bernoulli(a, 10, 1).tolist() == [True] * 10
    q = np.asarray(viva.random.orthogonal(a, (3, 5), gain=2, dtype=viva.float64))
    assert np.allclose(q @ q.T, 4 * np.eye(3))
    for name in ("xavier_uniform", "xavier_normal", "he_uniform", "he_normal"):
        w = np.asarray(getattr(viva.random, name)(a, (200, 100), gain=3, dtype=viva.float64))
        assert abs(w.std() - 3 * (2 / 300 if name[0] == "x" else 1 / 100) ** 0.5) < 0.01
    with pytest.raises(ValueError, match="uniform"):
        viva.random.uniform(a, 3, 2, 1)
    with pytest.raises(ValueError, match="fan"):
        viva.random.he_normal(a, (3, 3), fan="both")


def test_threads_share_a_generator():
    g, parts = viva.random.Generator(1), []
    threads = [threading.Thread(target=lambda: parts.append(np.asarray(viva.random.uniform(g, 5000)))) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    whole = np.asarray(viva.random.uniform(viva.random.Generator(1), 20000)).reshape(4, 5000)
    assert sorted(p.tolist() for p in parts) == sorted(whole.tolist())


def test_moving_values():
    n = np.arange(12.0, dtype=np.float32).reshape(3, 4)
    x = viva.asarray(n)
    assert np.array_equal(viva.pad(x, [(1, 2), (0, 3)], value=7), np.pad(n, [(1, 2), (0, 3)], constant_values=7))
    for mode, theirs in {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}.items():
        assert np.array_equal(viva.pad(x, [(1, 2), (2, 3)], mode=mode), np.pad(n, [(1, 2), (2, 3)], mode=theirs))
    assert np.array_equal(viva.pad(x, [(1, 0)]), np.pad(n, [(0, 0), (1, 0)]))
    with pytest.raises(ValueError, match='pad: mode "wrap"'):
        viva.pad(x, [(1, 1)], mode="wrap")
    for ours, theirs in ((viva.split(x, 3, axis=1), np.split(n, [3], axis=1)), (viva.split(x, [1, 0, 2]), np.split(n, [1, 1])), (viva.chunk(x, 2), np.split(n, [2]))):
        assert isinstance(ours, tuple) and len(ours) == len(theirs) and all(np.array_equal(a, b) for a, b in zip(ours, theirs))
        assert all(np.shares_memory(np.asarray(a), n) for a in ours if a.size)
    with pytest.raises(ValueError, match="split"):
        viva.split(x, [1, 1])
    for many in (viva.unstack, lambda x: viva.split(x, 1), lambda x: viva.chunk(x, 2**40)):
        with pytest.raises(ValueError, match="views"):
            many(viva.broadcast_to(x, (2**40, 3, 4)))


def test_places():
    n = np.arange(12).reshape(3, 4)
    x, at = viva.asarray(n), np.array([[0, 2, 2], [1, 0, 2]])
    assert np.array_equal(viva.gather(x, viva.asarray(at), axis=0), np.take_along_axis(n[:, :3], at, 0))
    want = n.copy()
    np.put_along_axis(want[:, :3], at, -1, 0)
    assert np.array_equal(viva.scatter(x, viva.asarray(at), -1, axis=0), want)
    want = n.copy()
    np.add.at(want, (at, np.arange(3)), np.arange(6).reshape(2, 3))
    assert np.array_equal(viva.scatter_add(x, viva.asarray(at), viva.reshape(viva.arange(6), (2, 3)), axis=0), want)
    assert np.array_equal(x, n)
    assert np.array_equal(viva.masked_select(x, x % 3 == 1), n[n % 3 == 1])
    with pytest.raises((ValueError, IndexError), match="gather"):
        viva.gather(x, viva.asarray([[3]]), axis=0)


def test_metrics_of_errors():
    r = np.random.default_rng(0)
    a, b = r.normal(size=(5, 300)), r.normal(size=(5, 300))
    x, y = viva.asarray(a), viva.asarray(b)
    assert np.allclose(viva.psnr(x, y, 2.0, axis=1), 10 * np.log10(4 / ((a - b) ** 2).mean(1)))
    assert np.allclose(viva.outlier_share(x, 2, axis=1), (np.abs(a) > 2 * a.std(1, keepdims=True)).mean(1))
    assert float(viva.share_above(x, 1.5)) == pytest.approx((np.abs(a) > 1.5).mean())
