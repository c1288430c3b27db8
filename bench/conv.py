#!/usr/bin/env python3
"""Convolution and pooling beside torch's in the same run, turn about: median and least of 5, ratios (above 1: viva is faster).

  conv.py [--threads 2] [--only f32] BENCH     BENCH: the program made of bench/conv.cpp (target bench_conv)

Pooling and depthwise convolution also against the memory rate, measured here by torch's copy. Needs a python with torch.
"""
import argparse, statistics, time
import torch
import torch.nn.functional as F

from timing import Program, seconds

# verb, batch, channels, height, width, out, kh, kw, stride, ph, pw, groups
CASES = [("conv", 8, 3, 224, 224, 64, 7, 7, 2, 3, 3, 1), ("conv", 8, 64, 56, 56, 64, 3, 3, 1, 1, 1, 1),
         ("conv", 8, 256, 14, 14, 512, 1, 1, 1, 0, 0, 1), ("conv", 8, 512, 7, 7, 512, 3, 3, 1, 1, 1, 1),
         ("conv", 8, 144, 56, 56, 144, 3, 3, 1, 1, 1, 144), ("conv", 8, 144, 56, 56, 144, 3, 3, 2, 1, 1, 144),
         ("conv", 8, 256, 1, 1000, 256, 1, 3, 1, 0, 1, 1), ("conv", 1, 64, 56, 56, 64, 3, 3, 1, 1, 1, 1),
         ("conv", 8, 128, 28, 28, 128, 3, 3, 1, 1, 1, 32), ("transpose", 8, 128, 28, 28, 64, 4, 4, 2, 1, 1, 1),
         ("max", 8, 64, 112, 112, 64, 3, 3, 2, 1, 1, 1), ("max", 8, 64, 112, 112, 64, 2, 2, 2, 0, 0, 1),
         ("avg", 8, 64, 112, 112, 64, 2, 2, 2, 0, 0, 1), ("avg", 8, 64, 112, 112, 64, 3, 3, 1, 1, 1, 1)]
TYPES = {"f32": torch.float32, "f64": torch.float64, "bf16": torch.bfloat16}


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("bench")
    a.add_argument("--threads", type=int, default=2)
    a.add_argument("--only", default="f32")
    a.add_argument("--runs", type=int, default=5)
    a = a.parse_args()
    torch.set_num_threads(a.threads)
    torch.set_grad_enabled(False)
    viva = Program(a.bench, a.threads)

    big, other = torch.ones(1 << 25), torch.ones(1 << 25)
    rate = statistics.median(8 * (1 << 25) / seconds(lambda: other.copy_(big)) for _ in range(5))
    print(f"{a.threads} threads, copy {rate / 1e9:.1f} GB/s, torch {torch.__version__}\n")
    print("| type | verb | x | window, stride | viva ms | torch ms | torch / viva | by the least | share of memory rate |\n|---|---|---|---|---|---|---|---|---|")
    for dtype in a.only.split(","):
        for case in CASES:
            verb, n, c, h, w, o, kh, kw, s, ph, pw, g = case
            t = TYPES[dtype]
            x, b = torch.ones(n, c, h, w, dtype=t), torch.ones(o, dtype=t)
            if verb == "conv":
                k = torch.ones(o, c // g, kh, kw, dtype=t)
                f = lambda: F.conv2d(x, k, b, s, (ph, pw), 1, g)
            elif verb == "transpose":
                k = torch.ones(c, o // g, kh, kw, dtype=t)
                f = lambda: F.conv_transpose2d(x, k, b, s, (ph, pw), 0, g)
            elif verb == "max":
                f = lambda: F.max_pool2d(x, (kh, kw), s, (ph, pw))
            else:
                f = lambda: F.avg_pool2d(x, (kh, kw), s, (ph, pw))
            moved = x.element_size() * (x.numel() + f().numel())
            ours, theirs = [], []
            for _ in range(a.runs):
                time.sleep(0.3)  # torch's threads spin for a while after their work
                ours.append(viva.ask(case[0], dtype, *case[1:]))
                theirs.append(seconds(f))
            m, q = statistics.median(ours), statistics.median(theirs)
            window = f"{o} of {kh} x {kw}, {s}" + (f", {g} groups" if g > 1 else "") if verb in ("conv", "transpose") else f"{kh} x {kw}, {s}"
            share = f"{moved / rate / m:.2f}" if g == c or verb in ("max", "avg") else ""
            print(f"| {dtype} | {verb} | ({n}, {c}, {h}, {w}) | {window} | {m * 1e3:.2f} | {q * 1e3:.2f} | {q / m:.2f} | {min(theirs) / min(ours):.2f} | {share} |",
                  flush=True)


if __name__ == "__main__":
    main()
