#!/usr/bin/env python3
"""Random numbers, gather, scatter and pad beside torch's in the same run, turn about: medians of 5, ratio (above 1: viva is
faster).

  moving.py [--threads 2] BENCH     BENCH: the program made of bench/moving.cpp (target bench_moving)

Needs a python with torch.
"""
import argparse, statistics
import torch

from timing import Program, seconds

N, SIDE = 10 ** 8, 4000


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("bench")
    a.add_argument("--threads", type=int, default=2)
    a.add_argument("--runs", type=int, default=5)
    a.add_argument("--only", default="")
    a = a.parse_args()
    torch.set_num_threads(a.threads)
    viva = Program(a.bench, a.threads)

    x = torch.rand(SIDE, SIDE)
    line, mask = x.reshape(-1), x > 0.5
    across, anywhere = torch.randint(0, SIDE, (SIDE, SIDE)), torch.randint(0, SIDE * SIDE, (SIDE * SIDE,))
    little, few = torch.rand(100), torch.randint(0, 100, (100,))
    pad = torch.nn.functional.pad
    # Name, torch's call, bytes of the result where it is a matter of the memory's rate.
    cases = [
        ("write", None, 4 * N), ("uniform_f32", lambda: torch.rand(N), 4 * N),
        ("uniform_f64", lambda: torch.rand(N, dtype=torch.float64), 8 * N), ("uniform_bf16", lambda: torch.rand(N, dtype=torch.bfloat16), 2 * N),
        ("normal_f32", lambda: torch.randn(N), 4 * N), ("integers", lambda: torch.randint(0, 1000, (N,)), 8 * N),
        ("bernoulli", lambda: torch.empty(N, dtype=torch.bool).bernoulli_(0.5), N), ("permutation", lambda: torch.randperm(10 ** 7), 0),
        ("orthogonal", lambda: torch.nn.init.orthogonal_(torch.empty(1024, 1024)), 0),
        ("gather_0", lambda: torch.gather(x, 0, across), 0), ("gather_1", lambda: torch.gather(x, 1, across), 0),
        ("gather_line", lambda: torch.gather(line, 0, anywhere), 0), ("gather_100", lambda: torch.gather(little, 0, few), 0),
        ("scatter_0", lambda: torch.scatter(x, 0, across, x), 0), ("scatter_1", lambda: torch.scatter(x, 1, across, x), 0),
        ("scatter_add_0", lambda: torch.scatter_add(x, 0, across, x), 0), ("scatter_add_1", lambda: torch.scatter_add(x, 1, across, x), 0),
        ("scatter_add_line", lambda: torch.scatter_add(line, 0, anywhere, line), 0), ("masked_select", lambda: torch.masked_select(x, mask), 0),
        ("pad_reflect", lambda: pad(x[None], (1, 1, 1, 1), mode="reflect"), 0), ("pad_constant", lambda: pad(x, (1, 1, 1, 1)), 0),
    ]
    print(f"{'':18} {'viva':>10} {'torch':>10} {'ratio':>6}  GB/s of viva's result")
    for name, f, size in cases:
        if a.only not in name:
            continue
        mine, theirs = [], []
        for _ in range(a.runs):
            mine.append(viva.ask(name))
            if f:
                theirs.append(seconds(f))
        v = statistics.median(mine)
        t = statistics.median(theirs) if f else 0
        rate = f"{size / v / 1e9:.2f}" if size else ""
        print(f"{name:18} {v * 1e3:8.4f} ms {t * 1e3:7.4f} ms {t / v if f else 0:6.2f}  {rate}", flush=True)


if __name__ == "__main__":
    main()
