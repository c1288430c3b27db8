#!/usr/bin/env python3
"""The whole job, from the file of a model to the file of the compressed model: viva and its peers side by side, in turn.

  quantize_job.py --perf DIR [--viva build/release/viva] [--jobs q4_0,nf4,int4-g128] [--reps 5] [--json]

  job        source             peer
  q4_0       F16 GGUF           llama.cpp and ik_llama.cpp (their Python packages)
  nf4        F16 safetensors    bitsandbytes through transformers: load, quantize, save
  int4-g128  F16 safetensors    llm-compressor W4A16 without data

--perf is the folder with peers.py, lc_peer.py and mkmodel.py; the peers' environments are where peers.py looks for them
($PEERS2). The model (1.1 billion random weights, llama shape) is made there on first use. Every round runs each program
once, so that a disturbance falls on all; sources are in the page cache. viva's time is that of the whole process, from
its start to its exit, with everything on the disk; a peer's time begins when its interpreter and libraries are loaded.

Two floors are printed first, measured here on the same bytes: reading the source and writing as many bytes as the
result has, (1) into the page cache, (2) until fsync has returned. No program that makes this file can be faster than (1).
"""
import argparse, json, os, shutil, statistics, subprocess, sys, threading, time

CHUNK = 8 << 20
HZ, CPUS = os.sysconf("SC_CLK_TCK"), os.cpu_count()


def arguments():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--perf", required=True, help="folder with peers.py")
    a.add_argument("--viva", default="build/release/viva")
    a.add_argument("--work", help="where the model and the results lie (default: m11 in the peers' folder)")
    a.add_argument("--jobs", default="q4_0,nf4,int4-g128")
    a.add_argument("--encoders", default="reference,best")
    a.add_argument("--reps", type=int, default=5)
    a.add_argument("--threads", type=int, default=2)
    a.add_argument("--only", choices=("all", "viva", "peers", "floors"), default="all")
    a.add_argument("--json", action="store_true")
    return a.parse_args()


def busy():
    t = [int(x) for x in open("/proc/stat").readline().split()[1:9]]
    return (sum(t) - t[3] - t[4]) / HZ


def spread_over(threads, size, f):
    """f(buffer, offset, length) over [0, size) in chunks, from several threads."""
    lock, at, failures = threading.Lock(), [0], []

    def work():
        buffer = memoryview(bytearray(os.urandom(CHUNK)))
        try:
            while True:
                with lock:
                    offset = at[0]
                    at[0] += CHUNK
                if offset >= size:
                    return
                f(buffer, offset, min(CHUNK, size - offset))
        except OSError as e:
            failures.append(e)

    workers = [threading.Thread(target=work) for _ in range(threads)]
    for w in workers:
        w.start()
    for w in workers:
        w.join()
    if failures:
        raise failures[0]


def floor_once(source, size_out, folder, threads):
    """Seconds to read `source` and to write size_out bytes, and the further seconds until they are on the disk."""
    path = os.path.join(folder, "floor.tmp")
    start = time.perf_counter()
    fd = os.open(source, os.O_RDONLY)
    spread_over(threads, os.path.getsize(source), lambda b, at, n: os.preadv(fd, [b[:n]], at))
    os.close(fd)
    read = time.perf_counter() - start
    start = time.perf_counter()
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.posix_fallocate(fd, 0, size_out)
        spread_over(threads, size_out, lambda b, at, n: os.pwrite(fd, b[:n], at))
        written = time.perf_counter() - start
        os.fsync(fd)
        synced = time.perf_counter() - start
    finally:
        os.close(fd)
        os.unlink(path)
    return {"cached": read + written, "synced": read + synced}


def run(command, env=None):
    """-> (stdout, wall seconds, peak of own memory in MB, share of the processors that others took).
    Own memory: anonymous pages, sampled every 5 ms (pages of mapped files belong to the page cache)."""
    busy0, t0, own0 = busy(), time.perf_counter(), sum(os.times()[:4])
    p = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **(env or {})})
    peak = [0]

    def watch():
        while p.poll() is None:
            try:
                with open(f"/proc/{p.pid}/status") as f:
                    for line in f:
                        if line.startswith("RssAnon"):
                            peak[0] = max(peak[0], int(line.split()[1]))
            except (OSError, ValueError):
                pass
            time.sleep(0.005)

    watcher = threading.Thread(target=watch)
    watcher.start()
    out, err = p.communicate()
    wall = time.perf_counter() - t0
    watcher.join()
    if p.returncode:
        raise RuntimeError(f"{' '.join(command)}\nexit {p.returncode}: {err[-1500:]}")
    others = max(0.0, (busy() - busy0 - (sum(os.times()[:4]) - own0)) / (wall * CPUS))
    return out, wall, peak[0] / 1024, others


class Bench:
    def __init__(self, o):
        self.o = o
        self.perf = os.path.abspath(o.perf)
        self.peers = os.path.expanduser(os.environ.get("PEERS2", "~/.cache/viva-peers"))
        self.work = os.path.abspath(o.work or f"{self.peers}/m11")
        self.rows = {}  # (job, program) -> list of {seconds, peak_mb, others, bytes}
        self.model()

    def model(self):
        if not os.path.exists(f"{self.work}/f16.gguf") or not os.path.exists(f"{self.work}/hf-f16/config.json"):
            python = os.path.join(os.path.expanduser(os.environ.get("PEER_VENV", f"{self.peers}/main")), "bin/python")
            os.makedirs(self.work, exist_ok=True)
            print("making the 1.1B model", file=sys.stderr)
            subprocess.run([python, f"{self.perf}/mkmodel.py", self.work], check=True, stdout=sys.stderr)
        self.source = {"q4_0": f"{self.work}/f16.gguf", "nf4": f"{self.work}/hf-f16", "int4-g128": f"{self.work}/hf-f16"}
        self.file = {k: v if v.endswith(".gguf") else f"{v}/model.safetensors" for k, v in self.source.items()}

    def warm(self, job):
        with open(self.file[job], "rb", buffering=0) as f:
            while f.read(8 << 20):
                pass

    def record(self, job, program, seconds, peak, others, size):
        self.rows.setdefault((job, program), []).append({"seconds": seconds, "peak_mb": peak, "others": others, "bytes": size})
        print(f"  {job:10s} {program:28s} {seconds:8.2f} s  own peak {peak:7.0f} MB  others {100 * others:3.0f} %", file=sys.stderr, flush=True)

    def viva(self, job, encoder):
        to = f"{self.work}/viva-{job}-{encoder}" + (".gguf" if job == "q4_0" else "")
        shutil.rmtree(to, ignore_errors=True) if os.path.isdir(to) else os.path.exists(to) and os.unlink(to)
        self.warm(job)
        out, wall, peak, others = run([self.o.viva, "compress", self.source[job], to, "--format", job, "--encoder", encoder, "--threads",
                                       str(self.o.threads), "--fresh", "--json"])
        self.record(job, f"viva {encoder}", wall, peak, others, json.loads(out)["bytes_out"])

    def peers_of(self, job):
        return {"q4_0": ("llama.cpp", "ik_llama.cpp"), "nf4": ("bitsandbytes, transformers",), "int4-g128": ("llm-compressor",)}[job]

    def peer(self, job, name):
        common = ["--reps", "1", "--threads", str(self.o.threads), "--work", self.work, "--quiet-wait", "5", "--tries", "1", "--json"]
        if job == "int4-g128":
            out, _, peak, others = run([f"{self.peers}/lc/bin/python", f"{self.perf}/lc_peer.py", self.source[job], f"{self.work}/lc-w4a16",
                                        str(self.o.threads)])
            seconds, size = json.loads(out.strip().splitlines()[-1])["total_seconds"], folder_bytes(f"{self.work}/lc-w4a16")
        elif job == "nf4":
            r = self.peers_py(["--what", "bnb-load", *common])
            parts = [x for x in r if x["name"].startswith(("transformers load_in_4bit", "save_pretrained"))]
            seconds, peak, others = sum(x["median"] for x in parts), max(x["peak_anon_mb"] for x in parts), parts[0]["foreign"]
            size = folder_bytes(f"{self.work}/bnb-nf4")
        else:
            x = self.peers_py(["--what", "quantize", "--kinds", "Q4_0", "--families", name.split("_")[0].split(".")[0], *common])[0]
            seconds, peak, others, size = x["median"], x["peak_anon_mb"], x["foreign"], x["file_bytes"]
        self.record(job, name, seconds, peak, others, size)

    def peers_py(self, options):
        p = subprocess.run([sys.executable, f"{self.perf}/peers.py", *options], capture_output=True, text=True)
        if p.returncode:
            raise RuntimeError(p.stderr[-1500:])
        return json.loads(p.stdout.strip().splitlines()[-1])["rows"]

    def floors(self, job, size_out):
        self.warm(job)
        runs = [floor_once(self.file[job], size_out, self.work, self.o.threads) for _ in range(self.o.reps)]
        return {k: min(r[k] for r in runs) for k in runs[0]}  # a floor: the least disturbed


def folder_bytes(path):
    return sum(os.path.getsize(os.path.join(d, f)) for d, _, names in os.walk(path) for f in names if f.endswith(".safetensors"))


# Bits a weight, with which the size of the result is foretold; embeddings stay as they are where the peer keeps them.
def expected_bytes(job):
    layers, width, ff, kv, vocab = 22, 2048, 5632, 256, 32000
    linear, table = layers * (2 * width * width + 2 * width * kv + 3 * width * ff), vocab * width
    if job == "q4_0":
        return (linear + 2 * table) * 18 // 32
    return linear * (36 if job == "nf4" else 33) // 64 + 2 * table * 2


def summary(bench, jobs, floors):
    result = {"threads": bench.o.threads, "jobs": {}}
    for job in jobs:
        programs = {}
        for (j, program), runs in bench.rows.items():
            if j != job:
                continue
            s = sorted(r["seconds"] for r in runs)
            programs[program] = {"median": statistics.median(s), "min": s[0], "max": s[-1], "runs": len(s), "own_peak_mb": max(r["peak_mb"] for r in runs),
                                 "bytes": runs[-1]["bytes"], "others_cpu_share": max(r["others"] for r in runs)}
        peers = [programs[p]["median"] for p in bench.peers_of(job) if p in programs]
        for name, p in programs.items():
            p["times_as_fast_as_best_peer"] = min(peers) / p["median"] if peers else None
            p["times_of_floor_cached"] = p["median"] / floors[job]["cached"]
            p["times_of_floor_synced"] = p["median"] / floors[job]["synced"]
        result["jobs"][job] = {"source": os.path.basename(bench.source[job]), "bytes_in": os.path.getsize(bench.file[job]), "floor_seconds": floors[job],
                               "programs": programs}
    return result


def show(result):
    for job, r in result["jobs"].items():
        print(f"\n{job}: {r['source']} ({r['bytes_in'] / 1e9:.2f} GB); floors: {r['floor_seconds']['cached']:.2f} s into the page cache, "
              f"{r['floor_seconds']['synced']:.2f} s onto the disk")
        print(f"{'program':30s} {'median s':>9s} {'min to max':>15s} {'vs best peer':>13s} {'x floor':>8s} {'x synced':>9s} {'own MB':>8s} {'result MB':>10s} {'others':>7s}")
        for name, p in r["programs"].items():
            ratio = f"{p['times_as_fast_as_best_peer']:.2f}x" if p["times_as_fast_as_best_peer"] else "-"
            print(f"{name:30s} {p['median']:9.2f} {p['min']:7.2f}-{p['max']:<7.2f} {ratio:>13s} {p['times_of_floor_cached']:8.1f} {p['times_of_floor_synced']:9.1f} "
                  f"{p['own_peak_mb']:8.0f} {p['bytes'] / 1e6:10.0f} {100 * p['others_cpu_share']:6.0f}%")


def main():
    o = arguments()
    bench, jobs = Bench(o), o.jobs.split(",")
    floors = {}
    for job in jobs:
        floors[job] = bench.floors(job, expected_bytes(job))
        f = floors[job]
        print(f"{job}: reading {os.path.getsize(bench.file[job]) / 1e9:.2f} GB and writing {expected_bytes(job) / 1e9:.2f} GB takes {f['cached']:.2f} s into the page "
              f"cache, {f['synced']:.2f} s onto the disk", file=sys.stderr, flush=True)
    for _ in range(o.reps if o.only != "floors" else 0):
        for job in jobs:
            if o.only in ("all", "viva"):
                for encoder in o.encoders.split(","):
                    bench.viva(job, encoder)
            if o.only in ("all", "peers"):
                for name in bench.peers_of(job):
                    try:
                        bench.peer(job, name)
                    except (RuntimeError, OSError) as e:  # a peer that is not installed does not stop the others
                        print(f"  {job:10s} {name:28s} did not run: {str(e).strip().splitlines()[-1]}", file=sys.stderr, flush=True)
    result = summary(bench, jobs, floors)
    print(json.dumps(result)) if o.json else show(result)


if __name__ == "__main__":
    main()
