#!/usr/bin/env python3
"""Tensor operations beside torch's, in one process on the same memory; each pair in turn, medians.

  tensors.py [--rows add,exp,...] [--million 100] [--reps 5] BENCH     BENCH: the program made of bench/tensors.cpp (target bench_tensors)

The values lie in viva's memory, which is on large pages where the system has them; with `--memory torch` in torch's, on small ones.
Needs the module (`pip install ./bindings/python`) and torch. GB/s count what an operation must read and write once; `of rate`
is their share of what BENCH gets from the memory between the runs (512 MiB; read where only values are read, else copied).
`torch` is torch's time over viva's: above 1 viva is faster.
"""
import argparse, statistics, time

import torch
import viva

from timing import Program

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--rows", default="")
parser.add_argument("--million", type=float, default=100, help="values of the large tensors, in millions")
parser.add_argument("--reps", type=int, default=5)
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--memory", choices=("viva", "torch"), default="viva", help="whose memory the values lie in")
parser.add_argument("bench")
options = parser.parse_args()
torch.set_num_threads(options.threads)
F = torch.nn.functional


def once(f):
    start = time.perf_counter()
    f()
    return time.perf_counter() - start


def turns(ours, theirs, way):
    """Seconds of both, and GB/s of the memory that way, each sorted."""
    once(ours), once(theirs)
    times = [(once(ours), once(theirs), memory.ask(way)) for _ in range(options.reps)]
    return [sorted(t) for t in zip(*times)]


n = int(options.million * 1e6)
side = int((n // 10) ** 0.5)  # matrices of a tenth
rows = 1024
torch.manual_seed(0)


def shared(t):
    """The same values as viva's."""
    return viva.from_dlpack(t)


def placed(t):
    """The values of a new tensor of torch's, where --memory says."""
    return torch.from_dlpack(viva.asarray(shared(t), copy=True)) if options.memory == "viva" else t


def table():
    x, y = placed(torch.rand(n) * 2 - 1), placed(torch.rand(n) + 0.5)
    X, Y = shared(x), shared(y)
    tall = x[: n // 1024 * 1024].view(-1, 1024)
    Tall = shared(tall)
    square, Square = x[: side * side].view(side, side), shared(x[: side * side].view(side, side))
    other, Other = y[: side * side].view(side, side), shared(y[: side * side].view(side, side))
    half = placed(x.bfloat16())
    Half = shared(half)
    fifth, Fifth = x[: n // 5], shared(x[: n // 5])
    places = placed(torch.randint(0, n // 5, (n // 5,)))
    Places = shared(places)
    w, b = torch.rand(1024), torch.rand(1024)
    W, B = shared(w), shared(b)
    k, s, t = 4 * n, 4 * side * side, 4 * tall.numel()
    yield "add", 3 * k, lambda: X + Y, lambda: x + y
    yield "multiply number", 2 * k, lambda: X * 2, lambda: x * 2
    yield "exp", 2 * k, lambda: viva.exp(X), lambda: torch.exp(x)
    yield "log", 2 * k, lambda: viva.log(Y), lambda: torch.log(y)
    yield "tanh", 2 * k, lambda: viva.tanh(X), lambda: torch.tanh(x)
    yield "sin", 2 * k, lambda: viva.sin(X), lambda: torch.sin(x)
    yield "sqrt", 2 * k, lambda: viva.sqrt(Y), lambda: torch.sqrt(y)
    yield "erf", 2 * k, lambda: viva.erf(X), lambda: torch.erf(x)
    yield "gelu", 2 * k, lambda: viva.gelu(X), lambda: F.gelu(x)
    yield "silu", 2 * k, lambda: viva.silu(X), lambda: F.silu(x)
    yield "sigmoid", 2 * k, lambda: viva.sigmoid(X), lambda: torch.sigmoid(x)
    yield "pow", 3 * k, lambda: viva.pow(Y, X), lambda: torch.pow(y, x)
    yield "less", 2 * k + n, lambda: X < Y, lambda: x < y
    yield "where", 3 * k + n, lambda m=(X < Y): viva.where(m, X, Y), lambda m=(x < y): torch.where(m, x, y)
    yield "bf16 add", 3 * k // 2, lambda: Half + Half, lambda: half + half
    yield "to bf16", k + k // 2, lambda: viva.astype(X, viva.bfloat16), lambda: x.bfloat16()
    yield "row broadcast", 2 * t, lambda: Tall + W, lambda: tall + w
    yield "column broadcast", 2 * t, lambda: Tall + Tall[:, :1], lambda: tall + tall[:, :1]
    yield "x + y.T", 3 * s, lambda: Square + Other.T, lambda: square + other.T
    yield "copy x.T", 2 * s, lambda: viva.asarray(Square.T, copy=True), lambda: square.T.contiguous()
    yield "every other + 1", k // 2 + k // 2 + k // 2, lambda: X[::2] + 1, lambda: x[::2] + 1
    yield "columns ::2 + 1", t // 2 * 3, lambda: Tall[:, ::2] + 1, lambda: tall[:, ::2] + 1
    yield "sum", k, lambda: viva.sum(X), lambda: torch.sum(x)
    yield "mean axis 0", t, lambda: viva.mean(Tall, axis=0), lambda: tall.mean(0)
    yield "sum axis 1", t, lambda: viva.sum(Tall, axis=1), lambda: tall.sum(1)
    yield "bf16 sum", k // 2, lambda: viva.sum(Half), lambda: half.sum()
    yield "sum of 3s", k, lambda: viva.sum(viva.reshape(X[: n // 3 * 3], (-1, 3)), axis=1), lambda: x[: n // 3 * 3].view(-1, 3).sum(1)
    yield "sum ::2", k, lambda: viva.sum(X[::2]), lambda: torch.sum(x[::2])
    yield "var", k, lambda: viva.var(X), lambda: torch.var(x, correction=0)
    yield "max", k, lambda: viva.max(X), lambda: torch.max(x)
    yield "argmax", k, lambda: viva.argmax(X), lambda: torch.argmax(x)
    yield "argmax axis 0", t, lambda: viva.argmax(Tall, axis=0), lambda: torch.argmax(tall, 0)
    yield "argmax axis 1", t, lambda: viva.argmax(Tall, axis=1), lambda: torch.argmax(tall, 1)
    yield "norm", k, lambda: viva.linalg.vector_norm(X), lambda: torch.linalg.vector_norm(x)
    yield "logsumexp", k, lambda: viva.logsumexp(X), lambda: torch.logsumexp(x, 0)
    yield "all", n, lambda m=(X < 2): viva.all(m), lambda m=(x < 2): torch.all(m)
    yield "count_nonzero", k, lambda: viva.count_nonzero(X), lambda: torch.count_nonzero(x)
    yield "cumsum", 2 * k, lambda: viva.cumulative_sum(X), lambda: torch.cumsum(x, 0)
    yield "cumsum axis 0", 2 * t, lambda: viva.cumulative_sum(Tall, axis=0), lambda: torch.cumsum(tall, 0)
    yield "cumsum axis 1", 2 * t, lambda: viva.cumulative_sum(Tall, axis=1), lambda: torch.cumsum(tall, 1)
    f = 4 * (n // 5)
    yield "gather", 3 * f + f, lambda: viva.take(Fifth, Places), lambda: torch.take(fifth, places)
    yield "take rows", 2 * f, lambda r=shared(places[: n // 5 // 1024] % tall.shape[0]): viva.take(Tall, r, axis=0), lambda r=places[: n // 5 // 1024] % tall.shape[0]: tall[r]
    yield "mask", f + n // 5, lambda m=(Fifth > 0): Fifth[m], lambda m=(fifth > 0): fifth[m]
    yield "sort", 2 * f, lambda: viva.sort(Fifth), lambda: torch.sort(fifth)
    yield "argsort", 3 * f, lambda: viva.argsort(Fifth), lambda: torch.argsort(fifth)
    yield "sort rows of 1024", 2 * f, lambda v=Tall[: tall.shape[0] // 5]: viva.sort(v), lambda v=tall[: tall.shape[0] // 5]: torch.sort(v)
    yield "sort axis 0", 2 * f, lambda v=Tall[: tall.shape[0] // 5]: viva.sort(v, axis=0), lambda v=tall[: tall.shape[0] // 5]: torch.sort(v, 0)
    yield "sort int64", 4 * f, lambda: viva.sort(Places), lambda: torch.sort(places)
    yield "topk 50 of rows", f, lambda v=Tall[: tall.shape[0] // 5]: viva.topk(v, 50), lambda v=tall[: tall.shape[0] // 5]: torch.topk(v, 50)
    yield "unique", f, lambda: viva.unique_values(Places), lambda: torch.unique(places)
    yield "softmax", 2 * t, lambda: viva.softmax(Tall), lambda: torch.softmax(tall, -1)
    yield "log_softmax", 2 * t, lambda: viva.log_softmax(Tall), lambda: torch.log_softmax(tall, -1)
    yield "softmax axis 0", 2 * t, lambda: viva.softmax(Tall, axis=0), lambda: torch.softmax(tall, 0)
    yield "layer_norm", 2 * t, lambda: viva.layer_norm(Tall, W, B), lambda: F.layer_norm(tall, (1024,), w, b)
    yield "rms_norm", 2 * t, lambda: viva.rms_norm(Tall, W), lambda: F.rms_norm(tall, (1024,), w)


READS = ("sum", "mean", "var", "max", "argmax", "norm", "logsumexp", "all", "count_nonzero", "bf16 sum", "topk")
wanted = [r for r in options.rows.split(",") if r]
memory = Program(options.bench, options.threads)
seen = {"read": [], "copy": []}
print(f"torch {torch.__version__}, {options.threads} threads, {n} values of f32, medians of {options.reps}\n")
print("| operation | viva ms (range) | GB/s | of rate | torch |\n|---|---|---|---|---|")
for name, moved, ours, theirs in table():
    if wanted and name not in wanted:
        continue
    way = "read" if name.startswith(READS) else "copy"
    try:
        mine, his, rate = turns(ours, theirs, way)
    except AttributeError as missing:
        print(f"| {name} | {missing} | | | |")
        continue
    seen[way] += rate
    a, b, r = (statistics.median(t) for t in (mine, his, rate))
    print(f"| {name} | {a * 1e3:.1f} ({mine[0] * 1e3:.1f} to {mine[-1] * 1e3:.1f}) | {moved / a / 1e9:.1f} | {100 * moved / a / 1e9 / r:.0f} % | {b / a:.2f} |", flush=True)
print("\nmemory: " + ", ".join(f"{way} {statistics.median(r):.1f} ({min(r):.1f} to {max(r):.1f}) GB/s" for way, r in seen.items() if r))
