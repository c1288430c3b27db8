#!/usr/bin/env python3
"""must_not_compile_test.py COMPILER FILE: with -DOK the file compiles, without it fails with the message that it expects."""
import pathlib, re, subprocess, sys

compiler, path = sys.argv[1], pathlib.Path(sys.argv[2])
root = pathlib.Path(__file__).resolve().parent.parent
expected = re.match(r"// expect: (.+)", path.read_text())
if not expected:
    sys.exit(f"{path.name}: the first line is not // expect: MESSAGE")


def compile(*options):
    return subprocess.run([compiler, "-std=c++20", "-fsyntax-only", f"-I{root}", *options, str(path)], capture_output=True, text=True)


ok = compile("-DOK")
if ok.returncode != 0:
    sys.exit(f"{path.name}: the right form does not compile\n{ok.stderr}")
bad = compile()
if bad.returncode == 0:
    sys.exit(f"{path.name}: the wrong form compiles")
if not re.search(expected[1], bad.stderr):
    sys.exit(f"{path.name}: it fails, but not with {expected[1]!r}\n{bad.stderr}")
print(f"{path.name}: refused with {expected[1]!r}")
