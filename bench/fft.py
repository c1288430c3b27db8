#!/usr/bin/env python3
"""viva.fft beside NumPy's in one process, turn about: the least microseconds of several runs.

  fft.py [--runs 5]

Needs the module (`pip install ./bindings/python`) and NumPy.
"""
import argparse

import numpy
import viva

from timing import seconds

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--runs", type=int, default=5)
options = parser.parse_args()
random = numpy.random.default_rng(0)

print("| transform | shape | viva us | NumPy us | NumPy / viva |\n|---|---|---|---|---|")
for name, dtype in (("rfft", "float32"), ("fft", "complex128")):
    for shape in ((64,), (1000,), (1009,), (1000, 1024), (1 << 20,)):
        x = random.standard_normal(shape).astype(dtype)
        y = viva.asarray(x, copy=True)
        times = [(seconds(lambda: getattr(viva.fft, name)(y)), seconds(lambda: getattr(numpy.fft, name)(x))) for _ in range(options.runs)]
        ours, theirs = (min(t) * 1e6 for t in zip(*times))
        print(f"| {name} of {dtype} | {shape} | {ours:.1f} | {theirs:.1f} | {theirs / ours:.2f} |", flush=True)
