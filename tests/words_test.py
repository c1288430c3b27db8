"""The words inspect, compare and verify through the built program: figures, differences, exit codes."""
import json
import math
import shutil
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VIVA = Path(sys.argv[1]) / "viva"
DEMO = ROOT / "data" / "demo-model"
GOLDEN = ROOT.parent / "shared" / "golden" / "checkpoints"


def run(*arguments, code=0):
    r = subprocess.run([VIVA, *map(str, arguments)], capture_output=True, text=True)
    assert r.returncode == code, f"{arguments}: exit {r.returncode}, not {code}\n{r.stdout}{r.stderr}"
    return r


def ask(*arguments, code=0):
    return json.loads(run(*arguments, "--json", "--quiet", code=code).stdout)


def write_safetensors(path, tensors):
    header, data = {}, b""
    for name, (dtype, shape, content) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def f32(values):
    return struct.pack(f"<{len(values)}f", *values)


def small_figures(folder):
    """Figures that a few lines can compute: two tensors of four values, one name with and one without 'model.'."""
    x, y = [1.0, -2.0, 3.0, 4.0], [1.0, -2.5, 3.0, 4.25]
    a, b = folder / "a.safetensors", folder / "b.safetensors"
    write_safetensors(a, {"model.one": ("F32", [2, 2], f32(x)), "two": ("F32", [2], f32([5.0, math.inf])),
                          "only_a": ("F32", [1], f32([1.0])), "shape": ("F32", [2], f32([1.0, 2.0]))})
    write_safetensors(b, {"one": ("F32", [2, 2], f32(y)), "two": ("F32", [2], f32([5.0, math.inf])),
                          "only_b": ("F32", [1], f32([1.0])), "shape": ("F32", [1, 2], f32([1.0, 2.0]))})
    r = ask("compare", a, b)
    assert [t["name"] for t in r["tensors"]] == ["model.one", "two"], r  # worst first
    one, two = r["tensors"]
    e = [p - q for p, q in zip(x, y)]
    signal, noise = sum(v * v for v in x), sum(v * v for v in e)
    cosine = sum(p * q for p, q in zip(x, y)) / math.sqrt(signal * sum(v * v for v in y))
    for key, value in {"sqnr_db": 10 * math.log10(signal / noise), "mean_error": sum(map(abs, e)) / 4 / 4.0, "rmse": math.sqrt(noise / 4),
                       "cosine": cosine, "max_abs": 0.5}.items():
        assert math.isclose(one[key], value, rel_tol=1e-12), (key, one[key], value)
    assert two["sqnr_db"] == "inf" and two["max_abs"] == 0, two  # an infinity equals itself
    assert r["missing"] == ["only_a"] and r["extra"] == ["only_b"] and [m["name"] for m in r["mismatches"]] == ["shape"], r
    assert not r["identical"]
    run("compare", a, b, "--min-sqnr", "1", code=1)  # missing, extra and shape count in a test
    only = folder / "only.safetensors"
    write_safetensors(only, {"one": ("F32", [2, 2], f32(y))})
    plain = folder / "plain.safetensors"
    write_safetensors(plain, {"one": ("F32", [2, 2], f32(x))})
    limit = one["sqnr_db"]
    assert ask("compare", plain, only, "--min-sqnr", limit - 0.01)["passed"]
    assert ask("compare", plain, only, "--min-sqnr", limit + 0.01, code=1)["violations"] == 1
    assert ask("compare", plain, only, "--max-error", one["mean_error"] * 1.01)["passed"]
    assert not ask("compare", plain, only, "--max-error", one["mean_error"] * 0.99, code=1)["passed"]
    nan = folder / "nan.safetensors"
    write_safetensors(nan, {"one": ("F32", [2, 2], f32([1.0, math.nan, 3.0, 4.0]))})
    assert not ask("compare", plain, nan, "--min-sqnr", "-1000", code=1)["passed"]  # NaN is over every limit
    assert ask("compare", nan, nan)["identical"]

    # 99 ones and a hundred: rms 10.05, one value beyond 6 rms.
    stats = folder / "stats.safetensors"
    write_safetensors(stats, {"w": ("F32", [10, 10], f32([1.0] * 99 + [100.0])), "odd": ("F32", [3], f32([math.nan, -math.inf, 2.0]))})
    w = {t["name"]: t["stats"] for t in ask("inspect", stats, "--stats")["tensors"]}
    assert w["w"]["min"] == 1 and w["w"]["max"] == 100 and w["w"]["outlier_share"] == 0.01, w
    assert math.isclose(w["w"]["rms"], math.sqrt((99 + 10000) / 100), rel_tol=1e-12), w
    assert w["odd"]["nan"] == 1 and w["odd"]["inf"] == 1 and w["odd"]["max"] == 2, w


def demo(folder):
    plain = ask("inspect", DEMO)
    assert plain["kind"] == "huggingface" and plain["parameters"] == 5770496 and plain["bits_per_weight"] == 16, plain
    first = plain["tensors"][0]
    assert set(first) >= {"name", "dtype", "format", "shape", "bytes", "file", "offset"}, first
    assert ask("compare", DEMO, DEMO)["identical"]
    made = ask("verify", DEMO)
    assert not made["manifest"] and made["passed"], made  # structure only, and it says so
    assert "structure only" in run("verify", DEMO).stdout
    run("verify", DEMO, "--source", DEMO, code=3)

    for fmt, rules in {"nf4": [], "nvfp4": ["--encoder", "reference"], "int4-g128": ["--rule", "*.down_proj.weight=keep"], "bf16": []}.items():
        out = folder / fmt
        c = ask("compress", DEMO, out, "--format", fmt, *rules)
        v = ask("verify", out, "--source", DEMO)
        assert v["passed"] and v["checked"] == v["tensors"] == v["recoded"] == 57, v
        assert ask("inspect", out)["parameters"] == plain["parameters"]
        # compare sees from the files what compress measured while it wrote them
        seen = {t["name"]: t["sqnr_db"] for t in ask("compare", DEMO, out)["tensors"]}
        for t in c["tensors"]:
            same = seen[t["name"]] == t["sqnr_db"] or math.isclose(seen[t["name"]], t["sqnr_db"], rel_tol=1e-6)  # the runs are cut elsewhere
            assert same, (fmt, t, seen[t["name"]])
    single = folder / "one.safetensors"
    ask("compress", DEMO, single, "--format", "int8")
    assert ask("verify", single, "--source", DEMO)["passed"]
    one, two = (run("compare", DEMO, folder / "nf4", "--json", "--threads", n).stdout for n in (1, 2))
    assert one == two  # any number of threads
    run("compare", DEMO, folder / "nf4", "--ram", "1M", code=4)
    # A source that is not the one it was made from.
    v = ask("verify", folder / "nf4", "--source", folder / "bf16")
    assert v["passed"], v  # bf16 of a bf16 model is the model
    changed = folder / "changed"
    shutil.copytree(DEMO, changed)
    content = bytearray((changed / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (changed / "model.safetensors").write_bytes(content)
    v = ask("verify", folder / "nf4", "--source", changed, code=1)
    assert len(v["differences"]) == 1 and "other values" in v["differences"][0]["reason"], v


def damage(folder):
    """One bit in every region of a result: codes, scales and what holds no rows."""
    for fmt in ("nf4", "nvfp4"):
        tensors = [t for t in ask("inspect", folder / fmt)["tensors"] if "stored" in t]
        for part in range(len(tensors[0]["stored"])):
            bad = folder / "bad"
            shutil.copytree(folder / fmt, bad)
            s = tensors[-1]["stored"][part]
            path = bad / s["file"]
            content = bytearray(path.read_bytes())
            content[s["offset"] + s["bytes"] - 1] ^= 1
            path.write_bytes(content)
            r = subprocess.run([VIVA, "verify", bad, "--json", "--quiet"], capture_output=True, text=True)
            assert r.returncode in (1, 3), (fmt, s, r)
            assert tensors[-1]["name"].removesuffix(".weight") in r.stdout + r.stderr, (fmt, s, r)
            shutil.rmtree(bad)
    bad = folder / "bad"
    shutil.copytree(folder / "nf4", bad)
    manifest = json.loads((bad / "viva.json").read_text())
    gone = manifest["tensors"].pop()["name"]
    (bad / "viva.json").write_text(json.dumps(manifest))
    v = ask("verify", bad, code=1)
    assert [d["name"] for d in v["differences"]] == [gone], v
    path = bad / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    run("verify", bad, code=3)
    (bad / "viva.json").write_text("[]")
    run("verify", folder / "nothing", code=3)


def golden():
    if not (GOLDEN / "source").exists():
        print("no golden checkpoints: skipped")
        return
    source = ask("inspect", GOLDEN / "source")
    # floors just under the worst tensor of these files: one wrong code or scale falls far below
    for name, least in {"bnb-nf4": 19, "bnb-nf4-double": 19, "bnb-int8": 40, "ct-w4a16": 15.5, "ct-w4a16-asym": 18, "ct-w8a8": 39.5, "ct-fp8-dynamic": 31,
                        "ct-nvfp4a16": 19.5, "ct-mxfp4a16": 17}.items():
        r = ask("compare", GOLDEN / "source", GOLDEN / name, "--min-sqnr", least)
        assert r["passed"] and not r["identical"] and r["values"] == source["parameters"], (name, r)
        i = ask("inspect", GOLDEN / name)
        assert i["parameters"] == source["parameters"] and i["bits_per_weight"] < 16, (name, i["bits_per_weight"])
        assert ask("verify", GOLDEN / name)["manifest"] is False


with tempfile.TemporaryDirectory(prefix="viva-words-") as name:
    small_figures(Path(name))
    demo(Path(name))
    damage(Path(name))
    golden()
