#!/usr/bin/env python3
"""`pip install ./bindings/python` into an environment of its own, the module's tests and README's lines there. Skipped where pip reaches no index."""
import pathlib, re, subprocess, sys

root = pathlib.Path(__file__).resolve().parent.parent
place = pathlib.Path(sys.argv[1]).resolve() / "python-environment"
python = place / "bin/python"


def run(*command):
    return subprocess.run([str(c) for c in command], cwd=root, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


made = run(sys.executable, "-m", "venv", place)
if made.returncode != 0:
    sys.exit(made.stdout)
tools = run(python, "-m", "pip", "install", "--quiet", "pytest", "numpy", "nanobind", "scikit-build-core")
if tools.returncode != 0:
    print(f"pip cannot install what the module is built with:\n{tools.stdout}")
    sys.exit(77)
built = run(python, "-m", "pip", "install", "--quiet", "--no-build-isolation", "./bindings/python")
if built.returncode != 0:
    sys.exit(built.stdout)
for block in re.findall(r"^```python\n(.*?)^```", (root / "README.md").read_text(), re.S | re.M):
    said = run(python, "-c", block)
    if said.returncode != 0:
        sys.exit(f"README.md: {block}\n{said.stdout}")
tested = run(python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "bindings/python/tests")
print(tested.stdout)
sys.exit(tested.returncode)
