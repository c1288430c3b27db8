#!/usr/bin/env python3
"""The shell commands of README.md and docs/ work. Blocks marked ```sh run, in order, in a scratch folder with the built
program on the PATH; README's ```cpp blocks are examples, which are compiled; an ```output block right after one holds lines that must appear in order ("..." stands for any lines).
Links between the pages lead somewhere. Blocks of other kinds are not run."""
import os, pathlib, re, subprocess, sys, tempfile

root = pathlib.Path(__file__).resolve().parent.parent
build = pathlib.Path(sys.argv[1]).resolve()
pages = [root / "README.md", *sorted((root / "docs").glob("*.md"))]
bad = []
for page in pages:
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text()):
        if not (page.parent / target).exists():
            bad.append(f"{page.relative_to(root)}: no {target}")
examples = [example.read_text() for example in (root / "examples").glob("*.cpp")]
for block in re.findall(r"^```cpp\n(.*?)^```", (root / "README.md").read_text(), re.S | re.M):
    if block not in examples:
        bad.append(f"README.md: no file of examples/ is this program:\n{block}")
if bad:
    sys.exit("\n".join(bad))
if not (build / "viva").exists():
    print("the program is not built, its commands were not run")
    sys.exit(77)

ran = 0
env = {**os.environ, "PATH": f"{build}:{os.environ['PATH']}"}
for page in pages:
    with tempfile.TemporaryDirectory(prefix="viva-docs-") as scratch:
        (pathlib.Path(scratch) / "data").symlink_to(root / "data")
        text = page.read_text()
        for block in re.finditer(r"^```sh\n(.*?)^```\n(?:\s*```output\n(.*?)^```)?", text, re.S | re.M):
            where = f"{page.relative_to(root)}:{text.count(chr(10), 0, block.start()) + 1}"
            done = subprocess.run(["bash", "-euxo", "pipefail", "-c", block[1]], cwd=scratch, env=env, text=True,
                                  stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            ran += 1
            if done.returncode != 0:
                sys.exit(f"{where}: exit {done.returncode}\n{done.stdout}{done.stderr}")
            said, at = [line.strip() for line in done.stdout.splitlines()], 0
            for line in (block[2] or "").splitlines():
                if line.strip() in ("", "..."):
                    continue
                if line.strip() not in said[at:]:
                    sys.exit(f"{where}: this line did not come: {line}\n{done.stdout}")
                at = said.index(line.strip(), at) + 1
print(f"{ran} blocks of commands work")
