"""Tensors of the viva library: the Python array API standard (2024.12).

    >>> import viva
    >>> x = viva.asarray([[1, 2], [3, 4]], dtype=viva.float32)
    >>> x.T * 2 + 1
    array([[3., 7.],
           [5., 9.]], dtype=float32)

Arrays share their memory with NumPy, torch and everything else that knows the buffer protocol or DLPack:
`viva.asarray(numpy_array)`, `numpy.asarray(x)`, `torch.from_dlpack(x)` copy nothing. Slices, transposes and most reshapes are
views. Errors are Python's own exceptions with the operation, the shapes and a hint in their text. Work on more than a few
values does not hold the interpreter's lock.
"""

import sys as _sys

from . import _core
from ._core import *  # noqa: F401,F403
from ._core import fft, linalg, random  # noqa: F401
from ._info import __array_namespace_info__  # noqa: F401

__array_api_version__ = "2024.12"
__version__ = "0.1.0"


def _rebuild(values, dtype, shape):
    """An array out of a pickle, which names only functions of Python."""
    return _core._from_bytes(values, dtype, shape)


_sys.modules[__name__ + ".fft"] = fft
_sys.modules[__name__ + ".linalg"] = linalg
_sys.modules[__name__ + ".random"] = random
