"""What a program that also has NumPy, torch and Python's own machinery may expect of an array."""

import copy
import gc
import pickle
import threading

import numpy as np
import pytest

import viva


def test_operators_take_arrays_and_numbers_of_numpy():
    x, n = viva.asarray([1.0, 2.0, 3.0]), np.arange(3.0)
    for got, want in ((x + n, [1, 3, 5]), (n + x, [1, 3, 5]), (n - x, [-1, -1, -1]), (x @ n, 8), (n @ x, 8), (x > n, [True] * 3), (n < x, [True] * 3)):
        assert isinstance(got, viva.array) and got.tolist() == want
    assert (x + n).dtype is viva.float64
    for two in (np.float32(2), np.float64(2), np.int8(2), np.uint64(2), np.asarray(2, dtype=np.float32)):
        assert isinstance(x * two, viva.array) and (x * two).dtype is viva.float32 and (two * x).tolist() == [2, 4, 6]
    assert viva.add(viva.asarray([1, 2]), np.int8(2)).tolist() == [3, 4] and viva.result_type(viva.int8, np.float64(1)) is viva.float32
    same = x = viva.asarray([1.0, 2.0, 3.0], dtype=viva.float64)
    x += n
    assert x is same and x.tolist() == [1, 3, 5]
    with pytest.raises(TypeError, match="float64"):
        y = viva.ones(3)
        y += n
    for other in ("a", [1, 2, 3], None, object(), b"abc"):
        with pytest.raises(TypeError):
            x + other
    with pytest.raises(TypeError):
        pow(x, 2, 3)


def test_operators_take_tensors_of_torch():
    torch = pytest.importorskip("torch")
    x, t = viva.asarray([1.0, 2.0]), torch.ones(2)
    for got in (x + t, t + x):
        assert isinstance(got, viva.array) and got.tolist() == [2, 3]


def test_pickles_keep_shape_type_and_bits():
    cases = [viva.zeros((0, 3)), viva.zeros((2, 0, 4), dtype=viva.int8), viva.asarray(3), viva.reshape(viva.arange(6), (2, 3)).T,
             viva.asarray([1.5, -0.0, float("nan")], dtype=viva.bfloat16), viva.asarray([1 + 2j]), viva.asarray([True, False]), viva.asarray([2**63])]
    for x in cases:
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            y = pickle.loads(pickle.dumps(x, protocol))
            assert y.shape == x.shape and y.dtype is x.dtype and repr(y) == repr(x)
        for y in (copy.copy(x), copy.deepcopy([x])[0]):
            assert y.shape == x.shape and y.dtype is x.dtype and repr(y) == repr(x)
    y = pickle.loads(pickle.dumps(cases[3]))
    y[0, 0] = 9
    assert cases[3][0, 0] == 0
    with pytest.raises(ValueError, match="pickle"):
        viva._rebuild(b"abc", viva.float32, (2,))


def test_python_reads_an_array_as_it_reads_a_list():
    x = viva.asarray([[1.0, 2.0], [3.0, 4.0]])
    assert 3 in x and 5 not in x and None not in x and "a" not in x and 300 not in viva.ones(2, dtype=viva.uint8)
    assert [r.tolist() for r in reversed(x)] == [[3, 4], [1, 2]]
    a, b = x
    assert a.tolist() == [1, 2] and b.tolist() == [3, 4]
    assert f"{viva.asarray(1.25):.1f}" == "1.2" and f"{x}" == str(x) and "%.2f" % viva.asarray(1.5) == "1.50" and f"{viva.asarray(255):x}" == "ff"
    with pytest.raises(TypeError, match=r"\(2, 2\)"):
        f"{x:.1f}"


def test_complex_numbers_do_not_go_into_real_arrays():
    x = viva.ones(3)
    for value in (1j, viva.asarray(1j), np.ones(3, dtype=complex)):
        with pytest.raises(TypeError, match="complex"):
            x[:] = value
    with pytest.raises(TypeError, match="complex"):
        x[0] = 1j
    assert x.tolist() == [1, 1, 1]


def test_buffers():
    x = viva.reshape(viva.arange(6, dtype=viva.float32), (2, 3))
    assert bytes(x.T) == np.asarray(x).T.tobytes() and memoryview(viva.asarray(3)).tolist() == 3
    for a in (x, x.T, x[:, ::2], viva.flip(x), viva.zeros((0, 3)), viva.asarray(2.0)):
        n = np.asarray(a)
        assert np.array_equal(n, a.tolist()) or a.size == 0
        assert np.asarray(a, order="F").flags.f_contiguous and np.asarray(a, order="C").flags.c_contiguous
    b = viva.asarray([1.5, 2.5], dtype=viva.bfloat16)
    with pytest.raises(TypeError, match="bfloat16"):
        np.asarray(b)
    assert np.asarray(b, dtype=np.float32).tolist() == [1.5, 2.5]
    with pytest.raises(ValueError, match="copied"):
        np.array(b, dtype=np.float32, copy=False)


def test_dlpack_to_torch_and_back():
    torch = pytest.importorskip("torch")
    for t in (torch.tensor(3.0), torch.zeros(0, 3), torch.arange(12.0).reshape(3, 4)[:, ::2].T, torch.tensor([True, False]), torch.ones(2, dtype=torch.bfloat16)):
        x = viva.from_dlpack(t)
        back = torch.from_dlpack(x)
        assert x.shape == tuple(t.shape) and back.dtype == t.dtype and torch.equal(back, t)
        assert t.numel() == 0 or back.data_ptr() == t.data_ptr()
    for t in (torch.ones(2, requires_grad=True), torch.ones(2, dtype=torch.complex64).conj(), torch.eye(2).to_sparse(), torch.ones(2).to(torch.float8_e4m3fn)):
        with pytest.raises(BufferError):
            viva.from_dlpack(t)
    with pytest.raises(ValueError, match="32 axes"):
        viva.from_dlpack(torch.ones([1] * 40))
    capsule = viva.ones(2).__dlpack__()
    viva.from_dlpack(capsule)
    with pytest.raises(ValueError, match="before"):
        viva.from_dlpack(capsule)


def test_memory_is_given_back():
    class Owner:
        alive = 0

        def __init__(self):
            Owner.alive += 1
            self.n = np.ones(10)
            self.__array_interface__ = self.n.__array_interface__

        def __del__(self):
            Owner.alive -= 1

    for _ in range(50):
        x = viva.asarray(np.asarray(Owner()))
        y = x[2:5]
        del x
        assert Owner.alive == 1 and y.tolist() == [1, 1, 1]
        del y
        gc.collect()
        assert Owner.alive == 0


def test_threads_write_their_own_rows():
    x = viva.zeros((8, 5000), dtype=viva.int64)

    def work(i):
        for k in range(20):
            x[i] += viva.arange(5000) % (i + 2)
            x[i, k] = -1
            assert x[i].shape == (5000,) and repr(x[i])

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for i in range(8):
        assert x[i, 100:].tolist() == [20 * (k % (i + 2)) for k in range(100, 5000)]


def test_newer_names_of_the_standard():
    assert viva.broadcast_shapes((2, 1), (3,), ()) == (2, 3) and viva.broadcast_shapes() == ()
    with pytest.raises(ValueError, match="broadcast_shapes"):
        viva.broadcast_shapes((2,), (3,))
    with pytest.raises(ValueError):
        viva.broadcast_shapes((-1,))
    with pytest.raises(TypeError, match="tuple of sizes"):
        viva.broadcast_shapes("a")
    x = viva.asarray([1, 2, 3])
    assert viva.isin(x, viva.asarray([3, 1])).tolist() == [True, False, True] and viva.isin(x, 2, invert=True).tolist() == [True, False, True]
    n = np.random.default_rng(6).normal(size=(2, 5, 5))
    values, vectors = viva.linalg.eig(viva.asarray(n))
    assert np.allclose(n @ np.asarray(vectors), np.asarray(vectors) * np.asarray(values)[:, None, :])
    assert np.allclose(np.sort_complex(viva.linalg.eigvals(viva.asarray(n))), np.sort_complex(np.linalg.eigvals(n)))
    assert viva.isin(2, x).tolist() is True and viva.searchsorted(x, 2).tolist() == 1 and viva.searchsorted(x, 2, side="right").tolist() == 2


def test_the_standards_corners():
    """What the standard's test suite finds with --max-examples 200 and not with 5."""
    x = viva.asarray([[1, 2, 3]])
    empty = viva.zeros(0, dtype=viva.bool)
    assert x[empty].shape == (0, 3) and x[0][empty].shape == (0,) and x[viva.zeros((0, 3), dtype=viva.bool)].shape == (0,)
    for k in (2**63, -(2**63) - 1, 10**30, np.int8(3)):
        n = min(max(int(k), -9), 9)
        assert np.array_equal(viva.eye(3, 4, k=k), np.eye(3, 4, n)) and np.array_equal(viva.tril(x, k=k), np.tril(x, n)) and np.array_equal(viva.triu(x, k=k), np.triu(x, n))
    with pytest.raises(TypeError):
        viva.eye(3, k=1.5)
    c = np.array([2 + 1j, 1 + 5j, 2, 1 + 5j, 2 + 1j])
    for got, want in zip(viva.unique_all(viva.asarray(c)), np.unique(c, return_index=True, return_inverse=True, return_counts=True)):
        assert np.array_equal(got, want)


def test_fourier_transforms_are_numpys():
    rng = np.random.default_rng(5)
    n = rng.normal(size=(3, 12)) + 1j * rng.normal(size=(3, 12))
    for dtype, tolerance in ((np.complex128, 1e-14), (np.complex64, 1e-6)):
        c, r = n.astype(dtype), n.real.astype(dtype(0).real.dtype)
        for name, x in (("fft", c), ("ifft", c), ("rfft", r), ("irfft", c), ("hfft", c), ("ihfft", r)):
            for how in ({}, {"n": 7}, {"n": 16, "axis": 0}, {"norm": "ortho"}, {"norm": "forward", "axis": -2}):
                got, want = getattr(viva.fft, name)(viva.asarray(x), **how), getattr(np.fft, name)(x, **how)
                assert got.shape == want.shape and np.allclose(got, want, rtol=tolerance, atol=tolerance * abs(want).max()), (name, how)
        for name, x in (("fftn", c), ("ifftn", c), ("rfftn", r), ("irfftn", c)):
            for how in ({}, {"s": (5, 6), "axes": (1, 0)}, {"axes": (0,)}, {"norm": "forward"}):
                got, want = getattr(viva.fft, name)(viva.asarray(x), **how), getattr(np.fft, name)(x, **how)
                assert got.shape == want.shape and np.allclose(got, want, rtol=tolerance, atol=tolerance * abs(want).max()), (name, how)
    assert np.allclose(viva.fft.fftfreq(9, d=0.1), np.fft.fftfreq(9, 0.1)) and viva.fft.rfftfreq(4, dtype=viva.float64).tolist() == [0, 0.25, 0.5]
    for axes in (None, 1, (0, 1), ()):
        assert np.array_equal(viva.fft.fftshift(viva.asarray(n), axes=axes), np.fft.fftshift(n, axes)) or axes == ()
        assert np.array_equal(viva.fft.ifftshift(viva.fft.fftshift(viva.asarray(n), axes=axes), axes=axes), n)
    for wrong in (lambda: viva.fft.fft(viva.ones((3, 0))), lambda: viva.fft.fft(viva.ones(3), norm="none"), lambda: viva.fft.rfft(viva.asarray([1j])),
                  lambda: viva.fft.fftn(viva.ones((2, 2)), axes=(0, 0)), lambda: viva.fft.fftfreq(0)):
        with pytest.raises(ValueError, match="fft"):
            wrong()
    with pytest.raises(MemoryError):
        viva.fft.fft(viva.ones(3), n=2**40)
