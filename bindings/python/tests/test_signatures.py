"""inspect.signature() of every function: its names, kinds and defaults are the array API standard's (2024.12)."""

import inspect
import pickle

import pytest

import viva


def functions():
    for module in (viva, viva.linalg, viva.fft, viva.random):
        for name in sorted(dir(module)):
            f = getattr(module, name)
            if callable(f) and not isinstance(f, type) and not name.startswith("__"):
                yield pytest.param(f, id=f"{module.__name__}.{name}")


@pytest.mark.parametrize("f", list(functions()))
def test_every_function_can_be_asked(f):
    s = inspect.signature(f)
    assert s.return_annotation is not s.empty or f is viva._rebuild
    for p in s.parameters.values():
        assert not isinstance(p.default, str) or "\\" not in p.default


STANDARD = {
    "sum": "(x, *, axis=None, dtype=None, keepdims=False)", "std": "(x, *, axis=None, correction=0.0, keepdims=False)", "add": "(x1, x2, /)",
    "sqrt": "(x, /)", "clip": "(x, /, min=None, max=None)", "where": "(condition, x1, x2, /)", "concat": "(arrays, *, axis=0)",
    "arange": "(start, stop=None, step=1, *, dtype=None, device=None)", "meshgrid": "(*arrays, indexing='xy')", "astype": "(x, dtype, *, copy=True, device=None)",
    "linspace": "(start, stop, num, *, dtype=None, device=None, endpoint=True)", "eye": "(n_rows, n_cols=None, *, k=0, dtype=None, device=None)",
    "sort": "(x, *, axis=-1, descending=False, stable=True)", "searchsorted": "(x1, x2, *, side='left', sorter=None)", "result_type": "(*args)",
    "linalg.svd": "(x, *, full_matrices=True)", "linalg.matrix_norm": "(x, *, keepdims=False, ord='fro')", "fft.fft": "(x, *, n=None, axis=-1, norm='backward')",
    "fft.rfftn": "(x, *, s=None, axes=None, norm='backward')", "fft.fftfreq": "(n, *, d=1.0, dtype=None, device=None)",
}


@pytest.mark.parametrize("name", STANDARD)
def test_the_standards_signatures(name):
    f = viva
    for part in name.split("."):
        f = getattr(f, part)
    s = inspect.signature(f)
    plain = [p.replace(annotation=p.empty) for p in s.parameters.values()]
    assert str(s.replace(parameters=plain, return_annotation=s.empty)) == STANDARD[name]


def test_methods_and_classes():
    assert list(inspect.signature(viva.array.to_device).parameters) == ["self", "device", "stream"]
    assert list(inspect.signature(viva.ones(1).to_device).parameters) == ["device", "stream"]
    assert list(inspect.signature(viva.array).parameters) == ["values", "dtype"]
    assert list(inspect.signature(viva.random.Generator).parameters) == ["seed", "counter", "stream"]
    with pytest.raises(TypeError):
        pickle.dumps(viva.sum)  # nanobind's, which the descriptor leaves as they are
