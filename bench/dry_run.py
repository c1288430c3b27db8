#!/usr/bin/env python3
"""How well `viva compress --dry-run` tells the time of the run that follows it.

  dry_run.py SOURCE [--viva build/release/viva] [--formats q4_0,nf4,int4-g128] [--reps 3] [--work FOLDER]

For every format and encoder, with the source in the page cache ("cached") and out of it ("from disk"): the time told, the
time of the whole process, medians over the rounds with their spread, and told / real. Results are removed.
"""
import argparse, glob, json, os, shutil, statistics, subprocess, tempfile, time

GGUF = ("q4_0", "q4_1", "q8_0", "mxfp4-gguf", "nvfp4-gguf")


def files(source):
    return [source] if os.path.isfile(source) else [f for f in glob.glob(source + "/*") if os.path.isfile(f)]


def prepare(source, cached):
    """Brings the source into the page cache, or drops it from there; nothing is left to be written back."""
    os.sync()
    for f in files(source):
        fd = os.open(f, os.O_RDONLY)
        if not cached:
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        while cached and os.read(fd, 8 << 20):
            pass
        os.close(fd)


def once(viva, source, target, options, cached):
    prepare(source, cached)
    told = json.loads(subprocess.run([viva, "compress", source, target, *options, "--dry-run", "--json"], check=True,
                                     capture_output=True).stdout)["seconds"]
    prepare(source, cached)
    start = time.perf_counter()
    subprocess.run([viva, "compress", source, target, *options, "--quiet"], check=True, capture_output=True)
    real = time.perf_counter() - start
    shutil.rmtree(target) if os.path.isdir(target) else os.remove(target)
    return told, real


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("source")
    a.add_argument("--viva", default="build/release/viva")
    a.add_argument("--formats", default="q4_0,nf4,int4-g128")
    a.add_argument("--reps", type=int, default=3)
    a.add_argument("--work", default=None, help="where the results are written (default: beside the source)")
    a = a.parse_args()
    folder = tempfile.mkdtemp(dir=a.work or os.path.dirname(os.path.abspath(a.source)))
    print("| format | encoder | source | told s | real s | told / real |\n|---|---|---|---|---|---|")
    try:
        for name in a.formats.split(","):
            target = os.path.join(folder, "out.gguf" if name in GGUF else "out")
            for encoder in ("reference", "best"):
                for cached in (True, False):
                    pairs = [once(a.viva, a.source, target, ["--format", name, "--encoder", encoder], cached)
                             for _ in range(a.reps)]
                    t, r = ([p[k] for p in pairs] for k in (0, 1))
                    show = lambda v: f"{statistics.median(v):.2f} ({min(v):.2f} to {max(v):.2f})"
                    ratios = sorted(x / y for x, y in pairs)
                    print(f"| {name} | {encoder} | {'cached' if cached else 'from disk'} | {show(t)} | {show(r)} | "
                          f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}) |", flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
