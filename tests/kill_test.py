"""Kills `viva compress` at random instants: under the destination's name there is nothing or the whole result, the same
command then finishes in the same bytes, and leaves nothing beside it. SIGINT and SIGTERM stop it with 130.

    kill_test.py BUILD [--kills N]     (VIVA_LONG=1: many more)
"""
import hashlib, json, os, random, shutil, signal, subprocess, sys, tempfile, time
from pathlib import Path

viva = Path(sys.argv[1]) / "viva"
kills = int(sys.argv[sys.argv.index("--kills") + 1]) if "--kills" in sys.argv else 300 if os.environ.get("VIVA_LONG", "0") == "1" else 24
source = Path(__file__).resolve().parent.parent / "data" / "demo-model"
rng = random.Random(7)
failures = []


def files(path):
    if path.is_file():
        return {"": hashlib.sha256(path.read_bytes()).hexdigest()}
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in path.iterdir()}


def command(dst, arguments):
    return [str(viva), "compress", str(source), str(dst), "--json", "--quiet", *arguments]


def check(good, text):
    if not good:
        failures.append(text)
        print("FAILED:", text)


def finish(dst, arguments, want, what):
    """Runs the command to its end; how many bytes it reused."""
    r = subprocess.run(command(dst, arguments), capture_output=True, text=True)
    check(r.returncode == 0, f"{what}: the next run gave {r.returncode}: {r.stderr[-300:]}")
    if r.returncode != 0:
        return 0
    check(files(dst) == want, f"{what}: other bytes than without the kill")
    return json.loads(r.stdout)["reused_bytes"]


def clean(work, dst, what):
    shutil.rmtree(dst) if dst.is_dir() else dst.unlink()
    left = sorted(p.name for p in work.iterdir() if p.name.strip(".").startswith(dst.name))
    check(not left, f"{what}: left behind: {left}")


with tempfile.TemporaryDirectory(prefix="viva-kill-") as folder:
    work = Path(folder)
    # A format with one pass, one with two and shared scales, and one file; one thread, so that there is time to kill.
    kinds = [("nf4", ["--format", "nf4", "--threads", "1"], ""), ("nvfp4", ["--format", "nvfp4"], ""),
             ("int8", ["--format", "int8", "--shard", "2M"], ""), ("single", ["--format", "nf4-dq"], ".safetensors")]
    reused = landed = 0
    for n, (name, arguments, suffix) in enumerate(kinds):
        whole = work / f"whole-{name}{suffix}"
        start = time.monotonic()
        r = subprocess.run(command(whole, arguments), capture_output=True, text=True)
        seconds = time.monotonic() - start
        if r.returncode != 0:
            sys.exit(f"an undisturbed run failed: {r.stderr}")
        want = files(whole)
        for k in range(kills // len(kinds)):
            what = f"{name}, kill {k}"
            dst = work / f"d{n}-{k}{suffix}"
            # Up to three kills of the same job.
            for _ in range(rng.randint(1, 3)):
                p = subprocess.Popen(command(dst, arguments), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                time.sleep(rng.random() * seconds * 1.05)
                p.kill()
                p.wait()
                if dst.exists():
                    break
            if dst.exists():
                landed += 1
                check(files(dst) == want, f"{what}: the destination is there, but not whole")
            else:
                reused += finish(dst, arguments, want, what) > 0
            if dst.exists():
                clean(work, dst, what)
    check(reused > 0, "no run reused finished work")
    for sign in (signal.SIGINT, signal.SIGTERM):
        dst = work / f"signal-{int(sign)}"
        arguments = kinds[0][1]
        want = files(work / "whole-nf4")
        answered = False
        # Not before it works: a signal to a program that has not set its handler ends it.
        for attempt in range(20):
            p = subprocess.Popen(command(dst, arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            while p.poll() is None and not (work / f".{dst.name}.part").exists():
                time.sleep(0.001)
            p.send_signal(sign)
            out, err = p.communicate()
            if p.returncode == 0:  # it was faster
                clean(work, dst, "signal")
                continue
            answered = True
            check(p.returncode == 130, f"{sign.name}: exit {p.returncode}: {err}")
            check(not dst.exists(), f"{sign.name}: something appeared")
            check(out == "", f"{sign.name}: stdout says {out[:100]}")
            break
        check(answered, f"{sign.name} never came in time")
        if answered:
            finish(dst, arguments, want, sign.name)
        clean(work, dst, sign.name)
print(f"{kills // len(kinds) * len(kinds)} jobs killed ({landed} landed before), {reused} reused finished work, {len(failures)} failures")
sys.exit(1 if failures else 0)
