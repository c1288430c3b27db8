#!/usr/bin/env python3
"""Calls on few values: viva in C++ and in Python beside torch eager and NumPy, in one run, turn about; the least nanoseconds of several runs.

  small.py BENCH [--runs 7] [--only WORD]     BENCH: the program made of bench/small.cpp (target bench_small)

Tables are 10 columns wide where a call needs one, matrices of products 8 x 8. Needs the module (`pip install ./bindings/python`),
torch and NumPy.
"""
import argparse, time

import numpy
import torch
import viva

from timing import Program


class Operands:
    """The same values as arrays of one library; `lib` is that library."""

    def __init__(self, lib, convert, n):
        self.lib, self.n = lib, n
        whole = lambda *shape: numpy.linspace(0.5, 1.5, int(numpy.prod(shape)), dtype=numpy.float32).reshape(shape)
        columns, side = (10 if n > 10 else 1), (8 if n > 8 else 1)
        self.x, self.y, self.m = convert(whole(n)), convert(numpy.linspace(1, 2, n, dtype=numpy.float32)), convert(whole(1, n))
        self.table, self.square = convert(whole(n // columns, columns)), convert(whole(side, side))
        self.row, self.column, self.mask = self.table[0:1], self.table[:, 0:1], self.x < self.y
        self.list = whole(n).tolist()
        self.other = numpy.asarray(self.x) if lib is not numpy else viva.asarray(self.x, copy=True)
        self.halves = (columns, n // columns)


def set_first(o):
    o.x[0] = 1.0


def same(f):
    return f, f, f


# Name, the sizes, then viva, torch, NumPy; None where there is no such call.
EVERY, LONG, ONE, FEW = (1, 100, 1000), (100, 1000), (100,), (1, 100)
CALLS = [
    ("add", EVERY, *same(lambda o: o.x + o.y)),
    ("add_number", EVERY, *same(lambda o: o.x + 1.0)),
    ("exp", EVERY, *same(lambda o: o.lib.exp(o.x))),
    ("less", EVERY, *same(lambda o: o.x < o.y)),
    ("where", EVERY, *same(lambda o: o.lib.where(o.mask, o.x, o.y))),
    ("sum", EVERY, *same(lambda o: o.lib.sum(o.x))),
    ("max", EVERY, *same(lambda o: o.lib.max(o.x))),
    ("sum_axis", LONG, *same(lambda o: o.lib.sum(o.table, axis=0))),
    ("mean_axis", LONG, *same(lambda o: o.lib.mean(o.table, axis=1))),
    ("softmax", EVERY, lambda o: viva.softmax(o.x), lambda o: torch.softmax(o.x, -1), None),
    ("layer_norm", EVERY, lambda o: viva.layer_norm(o.x), lambda o: torch.nn.functional.layer_norm(o.x, (o.n,)), None),
    ("rms_norm", EVERY, lambda o: viva.rms_norm(o.x), lambda o: torch.nn.functional.rms_norm(o.x, (o.n,)), None),
    ("matmul", FEW, *same(lambda o: o.square @ o.square)),
    ("broadcast", EVERY, *same(lambda o: o.m + o.y)),
    ("row", LONG, *same(lambda o: o.table + o.row)),
    ("column", LONG, *same(lambda o: o.table + o.column)),
    ("slice", ONE, *same(lambda o: o.x[0:1])),
    ("transpose", ONE, *same(lambda o: o.m.T)),
    ("reshape", ONE, *same(lambda o: o.lib.reshape(o.x, o.halves))),
    ("index", ONE, *same(lambda o: o.x[0])),
    ("zeros", EVERY, lambda o: viva.zeros(o.n), lambda o: torch.zeros(o.n), lambda o: numpy.zeros(o.n, dtype=numpy.float32)),
    ("cast", EVERY, lambda o: viva.astype(o.x, viva.float64), lambda o: o.x.to(torch.float64), lambda o: o.x.astype(numpy.float64)),
    # Of Python alone.
    ("x[i, j]", ONE, *same(lambda o: o.table[1, 2])),
    ("float(x[0])", ONE, *same(lambda o: float(o.x[0]))),
    ("x[0] = 1.0", ONE, *same(set_first)),
    ("x.shape", ONE, *same(lambda o: o.x.shape)),
    ("x.dtype", ONE, *same(lambda o: o.x.dtype)),
    ("x.ndim", ONE, *same(lambda o: o.x.ndim)),
    ("x.size", ONE, lambda o: o.x.size, lambda o: o.x.numel(), lambda o: o.x.size),
    ("len(x)", ONE, *same(lambda o: len(o.x))),
    ("x.tolist()", FEW, *same(lambda o: o.x.tolist())),
    ("asarray(list)", FEW, lambda o: viva.asarray(o.list), lambda o: torch.asarray(o.list), lambda o: numpy.asarray(o.list)),
    ("asarray(number)", (1,), lambda o: viva.asarray(1.0), lambda o: torch.asarray(1.0), lambda o: numpy.asarray(1.0)),
    ("asarray(array)", ONE, lambda o: viva.asarray(o.other), lambda o: torch.asarray(o.other), lambda o: numpy.asarray(o.other)),
]


def nanoseconds(f, operands, times=2000):
    for _ in range(times // 5):
        f(operands)
    start = time.perf_counter_ns()
    for _ in range(times):
        f(operands)
    return (time.perf_counter_ns() - start) / times


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bench")
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    program = Program(options.bench)
    print(f"ns a call (what Python takes for a call that does nothing is taken off); torch {torch.__version__}, numpy {numpy.__version__}\n")
    print("| call | values | C++ | Python | torch | numpy | torch / C++ | torch / Python | numpy / Python |\n|---|---|---|---|---|---|---|---|---|")
    for name, sizes, *functions in CALLS:
        if options.only not in name:
            continue
        for n in sizes:
            operands = [Operands(viva, lambda a: viva.asarray(a, copy=True), n), Operands(torch, torch.from_numpy, n), Operands(numpy, lambda a: a, n)]
            native, empty, rows = [], [], [[], [], []]
            for _ in range(options.runs):
                if name.replace("_", "").isalpha():
                    native.append(program.ask(name, n))
                empty.append(nanoseconds(lambda o: None, None))
                for row, f, o in zip(rows, functions, operands):
                    if f:
                        row.append(nanoseconds(f, o))
            cpp = min(native) if native else None
            python, peer, other = (min(r) - min(empty) if r else None for r in rows)
            number = lambda v: "" if v is None else f"{v:.0f}"
            ratio = lambda a, b: "" if a is None or b is None else f"{a / b:.1f}" if a >= 10 * b else f"{a / b:.2f}"
            print(f"| {name} | {n} | {number(cpp)} | {number(python)} | {number(peer)} | {number(other)} | {ratio(peer, cpp)} | {ratio(peer, python)} "
                  f"| {ratio(other, python)} |", flush=True)


if __name__ == "__main__":
    main()
