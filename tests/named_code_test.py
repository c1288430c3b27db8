#!/usr/bin/env python3
"""named_code_test.py COMPILER: verbs over names cost nothing. Compiles named_code.cpp and compares, function by function, the
instructions of namespace plain with those of namespace named: the same ones, calling the same functions in the same order.
Where they are not even in another order or registers, it says so."""
import collections, pathlib, re, shutil, subprocess, sys, tempfile

tests = pathlib.Path(__file__).resolve().parent
if not shutil.which("objdump"):
    print("there is no objdump here")
    sys.exit(77)
with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder) / "code.o"
    # Functions in sections of their own, so that distances between them do not count.
    subprocess.run([sys.argv[1], "-std=c++20", "-O2", "-c", "-ffunction-sections", f"-I{tests.parent}", str(tests / "named_code.cpp"), "-o", str(path)], check=True)
    text = subprocess.run(["objdump", "-dr", "--no-show-raw-insn", str(path)], check=True, capture_output=True, text=True).stdout

code, lines, start = {}, None, 0
for line in text.splitlines():
    if m := re.match(r"([0-9a-f]+) <(.+)>:$", line):
        m2 = re.match(r"_ZN(?:5plain|5named)\d+([a-z_]+?)E", m[2])
        room = re.match(r"_ZN\d([a-z]+?)\d", m[2])
        lines = code.setdefault((room[1], m2[1], ".cold" in m[2]), []) if m2 and room else None
        start = int(m[1], 16)
    elif lines is not None and (m := re.match(r"\s+([0-9a-f]+):\s+(.*)$", line)):
        # Jumps inside the function by their distance from its start; what a relocation says stands on its own line.
        what = re.sub(r"\b([0-9a-f]+) <[^>]*>", lambda j: f"+{int(j[1], 16) - start:x}", m[2])
        what = re.sub(r"_ZN5(plain|named)\d", "_ZN5_", re.sub(r"\s+# .*", "", what))
        what = re.sub(r"(_ZN5_[a-z_]+)E\S*", r"\1", what)  # the operands' types are in the names
        if what.strip() != "" and not re.match(r"(nop|cs nop|data16|xchg +%ax,%ax)", what):
            lines.append(what.strip())

names = sorted({name for room, name, cold in code if room == "plain"})
bad = []
for name in names:
    for cold in (False, True):
        a, b = code.get(("plain", name, cold), []), code.get(("named", name, cold), [])
        calls = [[line for line in part if line.startswith("R_") and "PLT" in line] for part in (a, b)]
        kinds = [collections.Counter(line.split()[0] for line in part) for part in (a, b)]
        if a != b and calls[0] == calls[1] and kinds[0] == kinds[1]:
            print(f"{name}{' (cold)' if cold else ''}: the same {len(a)} lines, in another order")
        elif a != b:
            first = next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))
            bad.append(f"{name}{' (cold)' if cold else ''}: {len(a)} instructions without names, {len(b)} with them; they part at {first}:\n"
                       + "\n".join(f"    {x:60} | {y}" for x, y in zip(a[first:first + 6], b[first:first + 6])))
        elif not cold:
            print(f"{name}: the same {len(a)} lines")
if len(names) < 13 or any(not code.get(("plain", n, False)) for n in names):
    bad.append(f"only {names} were found")
print("\n".join(bad))
sys.exit(bool(bad))
