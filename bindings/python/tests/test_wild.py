"""Every public callable with absurd arguments: Python's own exceptions with a message, or a result; nothing else, and the arrays
that were given stay as they are. The calls are made in a process of their own, which writes each down before it makes it."""

import faulthandler
import inspect
import random
import re
import resource
import subprocess
import sys

import pytest

import viva

ROUNDS = 120  # calls of each
FINE = (TypeError, ValueError, IndexError, OverflowError, MemoryError, BufferError, AttributeError, NotImplementedError, RecursionError, StopIteration)


def itself():
    a = []
    a.append(a)
    return a


def deep():
    a = 1
    for _ in range(3000):
        a = [a]
    return a


DTYPES = [getattr(viva, n) for n in ("bool", "int8", "int32", "int64", "uint8", "uint64", "float16", "bfloat16", "float32", "float64", "complex64", "complex128")]


def array(r):
    shape = r.choice([(), (0,), (1,), (3,), (4,), (0, 3), (3, 0), (4, 4), (3, 4), (2, 3, 4), (2, 2, 3, 3), (1,) * 32])
    dtype = r.choice(DTYPES)
    n = 1
    for d in shape:
        n *= d
    x = viva.astype(viva.reshape(viva.arange(n) - 2, shape), dtype)
    if x.ndim > 1 and r.random() < 0.3:
        x = viva.flip(x.T if x.ndim == 2 else x)
    if x.ndim > 0 and r.random() < 0.1:
        x = viva.broadcast_to(x, (2,) * (x.ndim < 31) + x.shape)
    if n and viva.isdtype(dtype, "real floating") and r.random() < 0.2:
        x = viva.where(x == 0, viva.asarray(r.choice([float("nan"), float("inf")]), dtype=dtype), x)
    return x


# Nothing between what is small and what no computer holds: each call ends at once.
PLAIN = [0, 1, 2, 3, 5, -1, -2, -7, 32, 2**40, -2**40, 2**62, 2**63 - 1, -2**63, 2**63, 2**64 - 1, 2**64, -10**30, 10**400, True, False, 0.0, -0.0, 1.5, 1e308,
         float("nan"), float("inf"), -float("inf"), 1j, complex("nan"), None, ..., "", "nonsense", "same", "fro", "nuc", "left", "ij", "cpu", "nf4", "q4_0", "ij,jk->ik",
         "...i->...", "a" * 500, "\0", "\ud800", "reference", "complete", "real floating", b"abc", bytearray(8), {}, {"a": 1}, object(), int, viva, len,
         slice(None), slice(2**70, None, -1), slice(None, None, 0), slice("a"), range(3), (), [], (1, 2), (-1,), (0, 1), (3, -1), [-1, -1], (2**40, 2**40), (2**62, 4),
         (2**63, 2**63), (0, 2**63 - 1), (2**40, 0), (1.5, 2), ("a",), [None], [1, [2]], [[1, 2], [3]], [[1, 2], [3, 4]], [float("nan")], (1,) * 40, [2**40], (0, 0),
         ((1, 2), (3, 4)), ([0], [0]), memoryview(b"abcd"), viva.array, viva.packed]


def anything(r):
    k = r.random()
    if k < 0.4:
        return array(r)
    if k < 0.45:
        return r.choice(DTYPES)
    if k < 0.48:
        return [array(r) for _ in range(r.randrange(4))]
    if k < 0.5:
        return tuple(r.choice([array(r), r.choice(PLAIN), slice(None), None, ...]) for _ in range(r.randrange(4)))
    if k < 0.52:
        return r.choice([itself, deep, iter, lambda: viva.pack(viva.ones((4, 64)), "q4_0"), lambda: viva.array.__new__(viva.array),
                         lambda: viva.packed.__new__(viva.packed), viva.random.Generator, lambda: iter([1, 2])])
    return r.choice(PLAIN)


def given(r):
    a = anything(r)
    if callable(a) and getattr(a, "__module__", None) == __name__ or a is iter:
        try:
            return a()
        except TypeError:
            return None
    return a


def callables():
    for module in (viva, viva.linalg, viva.fft, viva.random):
        for name in sorted(dir(module)):
            f = getattr(module, name)
            if callable(f) and not name.startswith("_") and not name.endswith("_result"):
                yield module.__name__ + "." + name, f
    for cls in (viva.array, viva.packed, viva.dtype, viva.random.Generator):
        for name in sorted(dir(cls)):
            f = getattr(cls, name)
            if callable(f) and f is not getattr(object, name, None) and not isinstance(f, type) and not hasattr(object, name):
                yield f"{cls.__name__}.{name}", f


def state(x):
    return (x.shape, x.strides, x.dtype, repr(x.tolist()))


def arrays_in(args):
    for a in args:
        if isinstance(a, viva.array):
            try:
                state(a)
            except TypeError:
                continue  # made by __new__ alone: no array
            yield a
        elif isinstance(a, (list, tuple)) and not (len(a) == 1 and a[0] is a):
            yield from (v for v in a if isinstance(v, viva.array))


def say(v):
    try:
        return f"{type(v).__name__}{v.shape}{v.dtype}" if isinstance(v, viva.array) else repr(v)[:200]
    except Exception as e:
        return f"{type(v).__name__}, whose repr raises {type(e).__name__}"


def call_all(log, only=None):
    bad = []
    for name, f in callables():
        if only and name != only:
            continue
        r = random.Random(name)
        words = sorted(set(re.findall(r"(\w+): ", (inspect.getdoc(f) or "")))) or ["x"]
        for _ in range(ROUNDS):
            args = [given(r) for _ in range(r.choice([0, 1, 1, 1, 2, 2, 2, 3, 3, 4, 5]))]
            if "." in name and name.split(".")[0] == "array" and args and r.random() < 0.9:
                args[0] = array(r)
            elif args and r.random() < 0.6:
                args[0] = array(r)
            kwargs = {r.choice(words): given(r) for _ in range(r.choice([0, 0, 1, 1, 2]))}
            given_arrays = list(arrays_in(args + list(kwargs.values())))
            before = [state(a) for a in given_arrays]
            text = f"{name}({', '.join(map(say, args))}, {', '.join(k + '=' + say(v) for k, v in kwargs.items())})"
            log.seek(0)
            log.truncate()
            log.write(text.encode("utf-8", "replace"))
            log.flush()
            faulthandler.dump_traceback_later(100, exit=True)
            writes = name.startswith("array.__i") or name in ("array.__setitem__", "array.__delitem__")
            try:
                out = f(*args, **kwargs)
                if isinstance(out, viva.array) and out.size < 1000:
                    repr(out)
            except FINE as e:
                writes = False
                if not str(e) and not isinstance(e, StopIteration):
                    bad.append(f"{text}: {type(e).__name__} without a word")
            except BaseException as e:
                bad.append(f"{text}: {type(e).__name__}: {e}")
            faulthandler.cancel_dump_traceback_later()
            if not writes and [state(a) for a in given_arrays] != before:
                bad.append(f"{text}: an array that was given has changed")
    return bad


def test_every_callable(tmp_path):
    log = tmp_path / "call"
    done = subprocess.run([sys.executable, __file__, str(log)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    said = done.stdout.decode("utf-8", "replace")
    assert done.returncode == 0, f"{done.returncode} at {log.read_bytes().decode('utf-8', 'replace')}\n{said}"


HUGE = 2**40
TOO_MUCH = {
    "zeros": lambda: viva.zeros((HUGE,)), "ones": lambda: viva.ones((HUGE,)), "empty": lambda: viva.empty((HUGE,)), "full": lambda: viva.full((HUGE,), 3),
    "arange": lambda: viva.arange(HUGE), "linspace": lambda: viva.linspace(0, 1, HUGE), "eye": lambda: viva.eye(HUGE, 1),
    "broadcast": lambda: viva.ones((2**20, 1)) + viva.ones(2**20), "exp of a stretched one": lambda: viva.exp(viva.broadcast_to(viva.ones(1), (HUGE,))),
    "tile": lambda: viva.tile(viva.ones(3), (HUGE,)), "repeat": lambda: viva.repeat(viva.ones(3), HUGE), "repeat by an array": lambda: viva.repeat(viva.ones(3), viva.asarray([HUGE, 1, 2])),
    "outer": lambda: viva.linalg.outer(viva.ones(2**20), viva.ones(2**20)), "kron": lambda: viva.kron(viva.ones(2**20), viva.ones(2**20)),
    "matmul": lambda: viva.ones((2**20, 1)) @ viva.ones((1, 2**20)), "einsum": lambda: viva.einsum("i,j->ij", viva.ones(2**20), viva.ones(2**20)),
    "conv2d": lambda: viva.conv2d(viva.ones((1, 1, 4, 4)), viva.ones((1, 1, 2, 2)), padding=2**19), "histogram": lambda: viva.histogram(viva.ones(3), HUGE),
    "astype": lambda: viva.astype(viva.broadcast_to(viva.ones(1), (HUGE,)), viva.float64), "concat": lambda: viva.concat([viva.broadcast_to(viva.ones(1), (HUGE,))] * 2),
    "take": lambda: viva.take(viva.ones(3), viva.broadcast_to(viva.asarray([0]), (HUGE,)), axis=0), "where": lambda: viva.where(viva.ones((2**20, 1)) > 0, viva.ones(2**20), 0),
    "sort": lambda: viva.sort(viva.broadcast_to(viva.ones(1), (HUGE,))), "index": lambda: viva.ones(3)[viva.broadcast_to(viva.asarray([0]), (HUGE,))],
    "cumulative_sum": lambda: viva.cumulative_sum(viva.broadcast_to(viva.ones(1), (HUGE,))), "meshgrid": lambda: viva.meshgrid(viva.ones(2**20), viva.ones(2**20))[0] + 1,
    "nonzero": lambda: viva.nonzero(viva.broadcast_to(viva.ones(1), (HUGE,))), "unique": lambda: viva.unique_values(viva.broadcast_to(viva.ones(1), (HUGE,))),
    "roll": lambda: viva.roll(viva.broadcast_to(viva.ones(1), (HUGE,)), 1), "pack": lambda: viva.pack(viva.broadcast_to(viva.ones(64), (HUGE, 64)), "q4_0"),
    "from strings": lambda: viva.reshape(viva.broadcast_to(viva.ones((3, 1)), (3, HUGE)).T, (-1,)), "det": lambda: viva.linalg.det(viva.broadcast_to(viva.ones(1), (HUGE, 3, 3))),
}


@pytest.mark.parametrize("what", TOO_MUCH)
def test_more_memory_than_there_is(what):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(MemoryError) as e:
        TOO_MUCH[what]()
    assert re.search(r"\w+: .*\d", str(e.value)), str(e.value)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10  # KiB: the operands, and none of the result


if __name__ == "__main__":
    faulthandler.enable()
    with open(sys.argv[1], "wb") as file:
        found = call_all(file, *sys.argv[2:3])
    print("\n".join(found))
    sys.exit(1 if found else 0)
