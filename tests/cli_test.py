#!/usr/bin/env python3
"""What the program promises to people and scripts: every example of every word's help works, --json is one object or
nothing, wrong usage names the nearest right one, a reader that goes away is no error, man page and completion are whole."""
import json, os, pathlib, re, shlex, shutil, subprocess, sys, tempfile

root = pathlib.Path(__file__).resolve().parent.parent
build = pathlib.Path(sys.argv[1]).resolve()
viva = build / "viva"
if not viva.exists():
    print("the program is not built")
    sys.exit(77)
failures = []


def check(right, what, done=None):
    if not right:
        failures.append(what + (f"\n  exit {done.returncode}, stdout {done.stdout[:300]!r}, stderr {done.stderr[-500:]!r}" if done else ""))


def run(*arguments, cwd=None, **kw):
    return subprocess.run([str(viva), *arguments], text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=cwd, **kw)


scratch_folder = tempfile.TemporaryDirectory(prefix="viva-cli-")
scratch = pathlib.Path(scratch_folder.name)
shutil.copytree(root / "data", scratch / "data")
(scratch / "build").mkdir()  # as in a clone where the program was built
(scratch / "bin").mkdir()
(scratch / "bin/viva").symlink_to(viva)
env = {**os.environ, "PATH": f"{scratch / 'bin'}:{os.environ['PATH']}"}

# ---- help, version, words ----
top = run("--help")
check(top.returncode == 0 and not top.stderr, "viva --help", top)
words = re.findall(r"^  ([a-z]+)  ", top.stdout[top.stdout.index("Subcommands:"):], re.M)
check({"formats", "inspect", "compress", "bench", "demo"} <= set(words), f"words in --help: {words}")
done = run("--version")
check(done.returncode == 0 and re.fullmatch(r"viva \d+\.\d+\.\d+\n", done.stdout), "viva --version", done)
done = run()
check(done.returncode == 2 and done.stdout == "" and "compress" in done.stderr, "viva alone", done)

options, examples = {}, {}
for word in words:
    done = run(word, "--help")
    check(done.returncode == 0 and "Examples:" in done.stdout, f"viva {word} --help", done)
    said, _, tail = done.stdout.partition("Examples:")
    options[word] = set(re.findall(r"(?<![\w'])--[a-z][a-z-]+", re.sub(r"^.*Usage:.*$", "", said, flags=re.M)))
    examples[word] = [line.strip() for line in tail.splitlines() if line.strip()]
    check(len(examples[word]) >= 2, f"viva {word} --help: two examples, not {examples[word]}")
    for common in ("--json", "--threads", "--quiet", "--verbose", "--ram", "--vram", "--disk", "--progress", "--simd"):
        check(common in options[word], f"viva {word}: no {common}")

# ---- every example, in order, in one folder ----
# What takes minutes runs with less to do; the command line itself is parsed whole.
smaller = {"bench encode": "--mb 4 --repeat 1", "bench decode": "--mb 4 --repeat 1", "bench paper": "--rows 2000", "bench machine": "--no-disk"}
for word in words:
    for example in examples[word]:
        command = example
        for prefix, less in smaller.items():
            if example.startswith(f"viva {prefix}"):
                command = f"{re.sub(r' --(mb|repeat|rows) [0-9]+', '', example)} {less}"
        done = subprocess.run(["bash", "-c", command], cwd=scratch, env=env, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        check(done.returncode == 0 and done.stdout.strip(), f"example: {command}", done)
        if "--json" in shlex.split(command):
            try:
                check(isinstance(json.loads(done.stdout), dict), f"not an object: {command}", done)
            except ValueError:
                check(False, f"no JSON: {command}", done)

done = subprocess.run(["viva", "bench", "paper", "--rows", "2000", "--json"], cwd=scratch, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
rows = [row["name"] for row in json.loads(done.stdout)["formats"]]
check(rows == ["FP32", "FP16", "INT8", "NVFP4", "Q4", "NF4", "NF4+DQ"], f"rows of the paper's table: {rows}", done)

# ---- wrong usage: exit 2, nothing on stdout, the nearest right one ----
for arguments, near in [
    (["compres"], "compress"),
    (["fromats", "--json"], "formats"),
    (["--jsn"], "--"),
    (["--json", "formats"], "after the word"),
    (["compress", "a", "b", "--fromat", "nf4"], "--format"),
    (["compress", "a", "b", "--format=nf4", "--encodr=best"], "--encoder"),
    (["compress", "a", "b", "--format", "nf4", "--encoder", "bset"], "best"),
    (["compress", "data/demo-model", "b", "--format", "nf44"], "did you mean nf4"),
    (["compress", "data/demo-model"], "DST"),
    (["compress", "data/demo-model", "b"], "--format"),
    (["formats", "--threads", "many"], "--threads"),
    (["formats", "--threads", "0"], "--threads"),
    (["formats", "--vram", "much"], "not a size"),
    (["inspect", "data/demo-model", "surplus"], "surplus"),
    (["compress", "data/demo-model", "b", "--format", "nf4", "--ram", "lots"], "not a size"),
    (["compress", "data/demo-model", "b", "--format", "nf4", "--simd", "avx9"], "avx2"),
    (["compress", "data/demo-model", "b", "--format", "nf4", "--rule", "*.gate_prj.weight=keep"], "gate_proj"),
    (["--completion", "tcsh"], "bash"),
]:
    done = run(*arguments, cwd=scratch)
    check(done.returncode == 2 and done.stdout == "" and near in done.stderr, f"viva {shlex.join(arguments)}: exit 2 and '{near}' expected", done)
check(not (scratch / "b").exists(), "a refused command wrote something")
done = run("formats", "--vram", "2G")
check(done.returncode == 0, "--vram is accepted", done)

# ---- --json with an error: nothing on stdout, the exit code says it ----
(scratch / "broken.safetensors").write_bytes(b"\xff" * 64)
for arguments, code in [
    (["inspect", "nothing-here", "--json"], 3),
    (["inspect", "broken.safetensors", "--json"], 3),
    (["compress", "nothing-here", "b", "--format", "nf4", "--json"], 3),
    (["compress", "data/demo-model", "b", "--format", "nf4", "--ram", "1K", "--json"], 4),
    (["demo", "--model", "nothing-here", "--json"], 3),
]:
    done = run(*arguments, cwd=scratch)
    check(done.returncode == code and done.stdout == "" and done.stderr.startswith("viva: ") and done.stderr.count("\n") == 1,
          f"viva {shlex.join(arguments)}: exit {code}, one line on stderr", done)

# ---- --json: one object, and progress does not mix with it ----
done = run("compress", "data/demo-model", "progress", "--format", "nf4", "--json", "--progress", "json", cwd=scratch)
check(done.returncode == 0 and isinstance(json.loads(done.stdout), dict), "compress --json --progress json", done)
for line in done.stderr.splitlines():
    check({"step", "done", "total"} <= set(json.loads(line)), f"a line of progress: {line}")
done = run("compress", "data/demo-model", "quiet", "--format", "nf4", "--quiet", cwd=scratch)
check(done.returncode == 0 and done.stderr == "", "compress --quiet", done)

# ---- standard output that goes away or is full ----
for arguments in (["formats"], ["--help"], ["inspect", "data/demo-model", "--tensors"]):
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([str(viva), *arguments], cwd=scratch, stdin=subprocess.DEVNULL, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    check(done.returncode in (0, 141) and done.stderr == "", f"viva {shlex.join(arguments)} into a closed pipe: exit {done.returncode}, {done.stderr!r}")
reader, writer = os.pipe()
os.close(reader)
done = subprocess.run([str(viva), "compress", "data/demo-model", "no-listener", "--format", "nf4", "--progress", "json"], cwd=scratch,
                      stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=writer, text=True)
os.close(writer)
check(done.returncode == 0 and (scratch / "no-listener/config.json").exists(), f"progress that nobody reads stopped the run: exit {done.returncode}")
if os.path.exists("/dev/full"):
    with open("/dev/full", "w") as full:
        done = subprocess.run([str(viva), "formats"], stdin=subprocess.DEVNULL, stdout=full, stderr=subprocess.PIPE, text=True)
    check(done.returncode == 4 and "standard output" in done.stderr, f"a full standard output: exit {done.returncode}, {done.stderr!r}")

# ---- the demo's figures ----
done = run("demo", "--out", "shown", "--json", cwd=scratch)
check(done.returncode == 0, "demo --json", done)
if done.returncode == 0:
    results = {(r["format"], r["encoder"]): r for r in json.loads(done.stdout)["results"]}
    check(set(results) == {(f, e) for f in ("nf4", "q4_0") for e in ("reference", "best")}, f"demo: {list(results)}")
    for (form, encoder), r in results.items():
        path = scratch / r["path"]
        files = [path] if path.is_file() else [f for f in path.rglob("*") if f.is_file()]
        check(sum(f.stat().st_size for f in files) == r["bytes_out"], f"demo: {r['path']} has not the bytes that it says")
        check(r["sqnr_db"] >= results[form, "reference"]["sqnr_db"], f"demo: {form} best is worse than reference")
        check(15 < r["sqnr_db"] < 30 and r["bits_per_weight"] < 5, f"demo: {r}")

# ---- man page ----
page = run("--man")
check(page.returncode == 0 and page.stdout.startswith(".TH VIVA 1"), "viva --man", page)
plain = page.stdout.replace("\\-", "-").replace("\\fB", "").replace("\\fR", "").replace("\\fI", "")
for word in words:
    check(f".SS {word}\n" in page.stdout, f"the man page has no word {word}")
    for option in options[word]:
        check(re.search(rf"{re.escape(option)}(?![\w-])", plain), f"the man page has no {option} of {word}")
(scratch / "viva.1").write_text(page.stdout)
for command in (["groff", "-man", "-ww", "-z", "viva.1"], ["mandoc", "-T", "lint", "-W", "warning", "viva.1"]):
    if shutil.which(command[0]):
        done = subprocess.run(command, cwd=scratch, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        check(done.stdout == "", f"{command[0]}: {done.stdout[:500]}")

# ---- completion ----
for shell, syntax in (("bash", ["-n"]), ("zsh", ["-n"]), ("fish", ["--no-execute"])):
    script = run("--completion", shell)
    check(script.returncode == 0 and script.stdout, f"viva --completion {shell}", script)
    for word in words:
        check(word in script.stdout, f"completion for {shell} has no {word}")
        for option in options[word]:
            name = option[2:] if shell == "fish" else option
            check(re.search(rf"{re.escape(name)}(?![\w-])", script.stdout), f"completion for {shell} has no {option}")
    (scratch / f"viva.{shell}").write_text(script.stdout)
    if shutil.which(shell):
        done = subprocess.run([shell, *syntax, f"viva.{shell}"], cwd=scratch, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        check(done.returncode == 0 and done.stdout == "", f"{shell} does not read its script: {done.stdout[:500]}")


def completed(*typed):
    """What bash offers for the last word of a command line."""
    script = f". ./viva.bash; COMP_WORDS=({shlex.join(['viva', *typed])}); COMP_CWORD={len(typed)}; _viva; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    return set(subprocess.run(["bash", "-c", script], cwd=scratch, text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout.split())


check(completed("comp") >= {"compress"}, f"bash: comp -> {completed('comp')}")
check(completed("compress", "--enc") == {"--encoder"}, f"bash: --enc -> {completed('compress', '--enc')}")
check(completed("compress", "a", "b", "--encoder", "") == {"best", "reference"}, f"bash: --encoder -> {completed('compress', 'a', 'b', '--encoder', '')}")
check("nf4-dq" in completed("compress", "a", "b", "--format", "nf4"), "bash: --format nf4 -> nf4-dq")
check("data" in completed("inspect", "dat"), f"bash: a file -> {completed('inspect', 'dat')}")

# The commands of the man page are those of the words' help.
for word in words:
    for example in examples[word]:
        check(example in plain.replace("\\(aq", "'"), f"the man page has not the example: {example}")
if failures:
    sys.exit("\n".join(failures))
print(f"{len(words)} words, {sum(map(len, examples.values()))} examples, {len(set().union(*options.values()))} options: all as promised")
