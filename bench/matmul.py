#!/usr/bin/env python3
"""matmul beside torch's in the same run, turn about: median of 5, ratio (above 1: viva is faster), share of the floor.

  matmul.py [--threads 2] [--only f32] BENCH     BENCH: the program made of bench/matmul.cpp (target bench_matmul)

The floor is the higher of the two: the arithmetic at the rate of the best f32 product of this run on as many threads, and
the operands and the result at the memory rate measured here by torch's copy. Needs a python with torch.
"""
import argparse, statistics, time
import torch

from timing import Program, seconds

CASES = [(0, s, s, s, 0) for s in (256, 512, 1024, 2048, 4096)] + [
    (0, 1024, 1024, 1024, 1), (0, 100000, 64, 64, 0), (0, 64, 100000, 64, 0), (0, 16, 4096, 4096, 1), (0, 1, 4096, 4096, 1),
    (0, 1, 4096, 4096, 0), (0, 4096, 4096, 1, 0), (0, 1, 10000000, 1, 0), (64, 128, 128, 128, 0), (10000, 8, 8, 8, 0), (1000, 32, 32, 32, 0),
    (0, 2, 2, 2, 0), (0, 8, 8, 8, 0), (0, 16, 16, 16, 0), (0, 32, 32, 32, 0), (0, 64, 64, 64, 0)]
TYPES = {"f32": torch.float32, "bf16": torch.bfloat16, "f64": torch.float64, "f16": torch.float16, "i32": torch.int32}


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("bench")
    a.add_argument("--threads", type=int, default=2)
    a.add_argument("--only", default="f32,bf16,f64")
    a.add_argument("--runs", type=int, default=5)
    a.add_argument("--largest", type=int, default=4096)
    a.add_argument("--slowest", type=float, default=2e8, help="multiplications up to which torch is asked where it has no fast bf16")
    a = a.parse_args()
    torch.set_num_threads(a.threads)
    viva = Program(a.bench, a.threads)

    big = torch.ones(1 << 26)
    other = torch.ones(1 << 26)
    rate = statistics.median(8 * (1 << 26) / seconds(lambda: other.copy_(big)) for _ in range(5))
    peak = max(2 * 1024 ** 3 / viva.ask("f32", 0, 1024, 1024, 1024, 0) for _ in range(5))
    peak = max(peak, max(2 * 1024 ** 3 / seconds(lambda x=torch.ones(1024, 1024): x @ x) for _ in range(5)))
    print(f"{a.threads} threads, peak {peak / 1e9:.0f} GFLOP/s (f32), copy {rate / 1e9:.1f} GB/s, torch {torch.__version__}\n")
    print("| type | shape | viva | torch | torch / viva | floor / viva |\n|---|---|---|---|---|---|")
    for dtype in a.only.split(","):
        for case in CASES:
            batch, m, k, n, turned = case
            work = max(batch, 1) * m * k * n
            if max(m, k, n) > a.largest and m * n * k == a.largest ** 3 or (dtype != "f32" and work > 2e10):
                continue
            lead = (batch,) if batch else ()
            x, y = (torch.ones(lead + s, dtype=TYPES[dtype]) for s in ((m, k), (n, k) if turned else (k, n)))
            y = y.transpose(-1, -2) if turned else y
            slow = dtype not in ("f32", "f64") and work > a.slowest
            ours, theirs = [], []
            for _ in range(a.runs):
                time.sleep(0.3)  # torch's threads spin for a while after their work
                ours.append(viva.ask(dtype, *case))
                if not slow:
                    theirs.append(seconds(lambda: x @ y))
            t = statistics.median(ours)
            moved = x.element_size() * max(batch, 1) * (m * k + k * n + m * n)
            floor = max(2 * work / (peak / (2 if dtype == "f64" else 1)), moved / rate)
            shape = (f"{batch} x " if batch else "") + f"({m}, {k}) ({k}, {n})" + ("^T" if turned else "")
            show = lambda s: f"{s * 1e3:.3f} ms" if s > 1e-4 else f"{s * 1e6:.2f} us"
            other = "-" if slow else show(statistics.median(theirs))
            print(f"| {dtype} | {shape} | {show(t)} | {other} | {'-' if slow else f'{statistics.median(theirs) / t:.2f}'} | {floor / t:.2f} |", flush=True)


if __name__ == "__main__":
    main()
