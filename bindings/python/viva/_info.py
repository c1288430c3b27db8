"""What the standard's inspection functions answer."""

from . import _core as _v

_KINDS = {
    "bool": ("bool",),
    "signed integer": ("int8", "int16", "int32", "int64"),
    "unsigned integer": ("uint8", "uint16", "uint32", "uint64"),
    "real floating": ("float32", "float64"),
    "complex floating": ("complex64", "complex128"),
}
_KINDS["integral"] = _KINDS["signed integer"] + _KINDS["unsigned integer"]
_KINDS["numeric"] = _KINDS["integral"] + _KINDS["real floating"] + _KINDS["complex floating"]


class _Info:
    def capabilities(self):
        return {"boolean indexing": True, "data-dependent shapes": True, "max dimensions": 32}

    def default_device(self):
        return "cpu"

    def devices(self):
        return ["cpu"]

    def default_dtypes(self, *, device=None):
        _check(device)
        return {"real floating": _v.float32, "complex floating": _v.complex64, "integral": _v.int64, "indexing": _v.int64}

    def dtypes(self, *, device=None, kind=None):
        """The standard's types by name; float16 and bfloat16 are there besides."""
        _check(device)
        kinds = ("bool", "numeric") if kind is None else (kind,) if isinstance(kind, str) else kind
        return {name: getattr(_v, name) for k in kinds for name in _KINDS[k]}


def _check(device):
    if device not in (None, "cpu"):
        raise ValueError(f'device "{device}" is not here ("cpu" is the only one)')


def __array_namespace_info__():
    return _Info()
