"""Full and read-only disks through the program: exit 4 with what is missing, nothing under the destination's name, and the
same command finishes once there is room. Needs root and mount; skips (77) with a reason otherwise.

    disk_full_test.py BUILD
"""
import ctypes, hashlib, os, re, shutil, subprocess, sys, tempfile, time
from pathlib import Path

viva = Path(sys.argv[1]) / "viva"
source = Path(__file__).resolve().parent.parent / "data" / "demo-model"


def skip(reason):
    print("skipped:", reason)
    sys.exit(77)


if os.geteuid() != 0:
    skip("only root may mount")
failures = []


def check(good, text):
    if not good:
        failures.append(text)
        print("FAILED:", text)


def run(dst, *arguments):
    return subprocess.run([str(viva), "compress", str(source), str(dst), "--quiet", *arguments], capture_output=True, text=True)


def files(path):
    if path.is_file():
        return {"": hashlib.sha256(path.read_bytes()).hexdigest()}
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in path.iterdir()}


def left(path):
    return sorted(p.name for p in path.iterdir())


def mount(*arguments):
    return subprocess.run(["mount", *arguments], capture_output=True, text=True)


work = Path(tempfile.mkdtemp(prefix="viva-disk-"))
small = work / "small"
small.mkdir()
r = mount("-t", "tmpfs", "-o", "size=8m", "none", str(small))
if r.returncode != 0:
    work_left = shutil.rmtree(work)
    skip(f"mount does not work here: {r.stderr.strip()}")
try:
    for name, arguments in (("out", ["--format", "nf4"]), ("out.safetensors", ["--format", "nf4"]), ("out8", ["--format", "int8", "--shard", "2M"])):
        whole = work / name
        r = run(whole, *arguments)
        check(r.returncode == 0, f"{name}: without limits: {r.stderr}")
        size = sum(p.stat().st_size for p in whole.iterdir()) if whole.is_dir() else whole.stat().st_size

        # Too small from the start: refused before work, with the bytes that are missing.
        filler = small / "filler"
        filler.write_bytes(b"x" * max(0, (8 << 20) - size // 2))
        r = run(small / name, *arguments)
        check(r.returncode == 4, f"{name}: full from the start: exit {r.returncode}: {r.stderr}")
        found = re.search(r"free (\d+) bytes more", r.stderr)
        check(found is not None, f"{name}: does not say how much more: {r.stderr}")
        check(left(small) == ["filler"], f"{name}: left after refusal: {left(small)}")
        if found is not None:
            check(size // 2 - (1 << 20) < int(found[1]) < size, f"{name}: {found[1]} bytes more are not what is missing")
        # Exactly that much more, and not a page beyond, is enough.
            keep = filler.stat().st_size - int(found[1]) - 4096
            os.truncate(filler, keep)
            r = run(small / name, *arguments)
            check(r.returncode == 0, f"{name}: what it asked for was not enough: {r.stderr}")
            check((small / name).exists() and files(small / name) == files(whole), f"{name}: other bytes")
            shutil.rmtree(small / name) if (small / name).is_dir() else (small / name).unlink(missing_ok=True)
        filler.unlink()
        check(left(small) == [], f"{name}: left: {left(small)}")

        # It fills up in the middle: the files are allocated, journal and texts are not.
        stopped = 0
        for _ in range(12):
            p = subprocess.Popen([str(viva), "compress", str(source), str(small / name), "--quiet", "--threads", "1", *arguments],
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            journal = small / f".{name}.journal"
            while p.poll() is None and not (journal.exists() and journal.stat().st_size > 100):
                time.sleep(0.0005)
            try:
                with open(filler, "wb") as f:
                    while True:
                        f.write(b"x" * 4096)
                        f.flush()
            except OSError:
                pass
            out, err = p.communicate()
            filler.unlink()
            if p.returncode == 0:
                check(files(small / name) == files(whole), f"{name}: other bytes beside a full disk")
            else:
                stopped += 1
                check(p.returncode == 4, f"{name}: filled up in the middle: exit {p.returncode}: {err}")
                check(not (small / name).exists(), f"{name}: half a result")
                check("free" in err, f"{name}: no advice: {err}")
                r = run(small / name, *arguments)
                check(r.returncode == 0, f"{name}: with room again: {r.stderr}")
                check((small / name).exists() and files(small / name) == files(whole), f"{name}: other bytes after a full disk")
            check(left(small) == [name], f"{name}: left: {left(small)}")
            shutil.rmtree(small / name) if (small / name).is_dir() else (small / name).unlink(missing_ok=True)
        check(stopped > 0 or name != "out", f"{name}: the disk never filled up in time")

    # Read-only from the start, and in the middle of work.
    check(mount("-o", "remount,ro", str(small)).returncode == 0, "remount")
    r = run(small / "out", "--format", "nf4")
    check(r.returncode == 4 and "Read-only" in r.stderr, f"read-only: exit {r.returncode}: {r.stderr}")
    check(left(small) == [], f"read-only: {left(small)}")
    r = run(small / "out", "--format", "nf4", "--dry-run")
    check(r.returncode in (0, 4), f"read-only, dry run: exit {r.returncode}: {r.stderr}")
    check(mount("-o", "remount,rw", str(small)).returncode == 0, "remount")

    # A folder of somebody else, as somebody without rights.
    closed = work / "closed"
    closed.mkdir(mode=0o755)
    os.chmod(work, 0o755)
    r = subprocess.run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", str(viva), "compress", str(source), str(closed / "out"),
                        "--format", "nf4", "--quiet"], capture_output=True, text=True) if shutil.which("setpriv") else None
    # 126, 127: the program itself lies where that user may not look
    if r is not None and r.returncode not in (126, 127, 3):
        check(r.returncode == 4 and "Permission denied" in r.stderr, f"no rights: exit {r.returncode}: {r.stderr}")
        check(left(closed) == [], f"no rights: {left(closed)}")
finally:
    subprocess.run(["umount", str(small)])
    shutil.rmtree(work)
print(f"{len(failures)} failures")
sys.exit(1 if failures else 0)
