#!/usr/bin/env python3
"""Calls on few values: viva in C++ and in Python beside torch eager and NumPy, in one run, turn about; medians of nanoseconds.

  small.py BENCH [--runs 5]     BENCH: the program made of bench/small.cpp (target bench_small)

Needs the module (`pip install ./bindings/python`), torch and NumPy.
"""
import argparse, statistics, time

import numpy
import torch
import viva

from timing import Program

OPERATIONS = {
    "add": (lambda x, y, m: x + y,) * 3,
    "add_number": (lambda x, y, m: x + 1.0,) * 3,
    "exp": (lambda x, y, m: viva.exp(x), lambda x, y, m: torch.exp(x), lambda x, y, m: numpy.exp(x)),
    "less": (lambda x, y, m: x < y,) * 3,
    "sum": (lambda x, y, m: viva.sum(x), lambda x, y, m: torch.sum(x), lambda x, y, m: numpy.sum(x)),
    "max": (lambda x, y, m: viva.max(x), lambda x, y, m: torch.max(x), lambda x, y, m: numpy.max(x)),
    "softmax": (lambda x, y, m: viva.softmax(x), lambda x, y, m: torch.softmax(x, -1), None),
    "slice": (lambda x, y, m: x[0:1],) * 3,
    "transpose": (lambda x, y, m: m.T,) * 3,
    "broadcast": (lambda x, y, m: m + y,) * 3,
    "zeros": (lambda x, y, m: viva.zeros(len(x)), lambda x, y, m: torch.zeros(len(x)), lambda x, y, m: numpy.zeros(len(x), dtype=numpy.float32)),
    "cast": (lambda x, y, m: viva.astype(x, viva.float64), lambda x, y, m: x.to(torch.float64), lambda x, y, m: x.astype(numpy.float64)),
}


def nanoseconds(f, *operands, times=5000):
    for _ in range(times // 5):
        f(*operands)
    start = time.perf_counter_ns()
    for _ in range(times):
        f(*operands)
    return (time.perf_counter_ns() - start) / times


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bench")
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    program = Program(options.bench)
    empty = statistics.median(nanoseconds(lambda x, y, m: None, 0, 0, 0) for _ in range(5))
    print(f"ns a call (of Python's {empty:.0f} ns for a call that does nothing are taken off); torch {torch.__version__}, numpy {numpy.__version__}\n")
    print("| call | values | C++ | Python | torch | numpy | torch / C++ | numpy / Python |\n|---|---|---|---|---|---|---|---|")
    for operation, (ours, torchs, numpys) in OPERATIONS.items():
        for n in (1, 100, 1000):
            arrays = [numpy.linspace(0.5, 1.5, n, dtype=numpy.float32), numpy.linspace(1, 2, n, dtype=numpy.float32)]
            arrays.append(arrays[0].reshape(1, n))
            tensors = [torch.from_numpy(a.copy()) for a in arrays]
            vivas = [viva.asarray(a, copy=True) for a in arrays]
            rows = [[], [], [], []]
            for _ in range(options.runs):
                rows[0].append(program.ask(operation, n))
                for k, (f, operands) in enumerate(((ours, vivas), (torchs, tensors), (numpys, arrays))):
                    rows[k + 1].append(nanoseconds(f, *operands) - empty if f else float("nan"))
            cpp, python, peer, other = (statistics.median(r) for r in rows)
            print(f"| {operation} | {n} | {cpp:.0f} | {python:.0f} | {peer:.0f} | {other:.0f} | {peer / cpp:.1f} | {other / python:.2f} |", flush=True)


if __name__ == "__main__":
    main()
