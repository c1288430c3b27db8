#!/usr/bin/env python3
"""docs/add_a_format.md holds: its one file and one line make a format that passes the conformance suite."""
import os, pathlib, re, shutil, subprocess, sys, tempfile

root = pathlib.Path(__file__).resolve().parent.parent
page = (root / "docs/add_a_format.md").read_text()
unit, line = re.findall(r"```cpp\n(.*?)```", page, re.S)[:2]


def run(*command, **kw):
    done = subprocess.run([str(c) for c in command], text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **kw)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stdout}exit {done.returncode}")
    return done.stdout


with tempfile.TemporaryDirectory(prefix="viva-toy-") as scratch:
    tree = pathlib.Path(scratch)
    # Floors 0 and 1 and the suite that needs nothing else: the rest would only cost time.
    for part in ("CMakeLists.txt", "LICENSE", "cmake", "viva/base", "viva/machine", "viva/formats", "tests/CMakeLists.txt",
                 "tests/formats_test.cpp"):
        (tree / part).parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if (root / part).is_dir() else shutil.copy)(root / part, tree / part)
    (tree / "viva/formats/toy.h").write_text(unit)
    formats = tree / "viva/formats/formats.inc"
    formats.write_text("VIVA_FORMAT(q4_0)\n" + line)  # the others are tested where they are
    run("cmake", "-G", "Ninja", "-S", tree, "-B", tree / "build", "-DCMAKE_BUILD_TYPE=Release")
    run("cmake", "--build", tree / "build", "--target", "formats_test", "-j", len(os.sched_getaffinity(0)))
    said = run(tree / "build/tests/formats_test", "--gtest_filter=*/toy")
    passed = re.search(r"\[  PASSED  \] (\d+) tests", said)
    if not passed or int(passed[1]) < 4:
        sys.exit(f"the conformance suite did not run the toy:\n{said}")
    print(f"toy passes {passed[1]} tests of the conformance suite")
