#!/usr/bin/env python3
"""A file includes only lower floors and its own room; rooms on one floor do not see each other (docs/tour.md)."""
import pathlib, re, sys

FLOOR = {"base": 0, "machine": 1, "formats": 1, "tensor": 2, "kernels": 3, "io": 3, "ops": 4, "nn": 5, "compress": 5,
         "models": 6, "train": 6}
root = pathlib.Path(__file__).resolve().parent.parent
bad = []
for path in sorted((root / "viva").rglob("*")):
    if path.suffix not in (".h", ".cpp", ".cu", ".inc"):
        continue
    room = path.relative_to(root / "viva").parts[0]
    for line, text in enumerate(path.read_text().splitlines(), 1):
        m = re.match(r'\s*#\s*include\s+"(?:viva/)?([a-z_]+)/', text)
        if m and m[1] in FLOOR and m[1] != room and (room not in FLOOR or FLOOR[m[1]] >= FLOOR[room]):
            bad.append(f"{path.relative_to(root)}:{line}: {room} must not include {m[1]}")
        if re.match(r'\s*#\s*include\s+"(apps|bindings)/', text):
            bad.append(f"{path.relative_to(root)}:{line}: the library must not include programs")
print("\n".join(bad) or "every include goes down")
sys.exit(bool(bad))
