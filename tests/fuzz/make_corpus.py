#!/usr/bin/env python3
"""Makes the seeds of the fuzz targets in corpus/TARGET/: small files that are right, or wrong in one way."""
import json
import pathlib
import struct

here = pathlib.Path(__file__).resolve().parent


def put(target, name, data):
    folder = here / "corpus" / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)


def safetensors(header, data):
    text = header if isinstance(header, bytes) else json.dumps(header, separators=(",", ":")).encode()
    return struct.pack("<Q", len(text)) + text + bytes(data)


def entry(dtype, shape, begin, end):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


put("safetensors", "empty", safetensors({}, 0))
put("safetensors", "two", safetensors({"__metadata__": {"format": "pt"}, "b": entry("F32", [2, 3], 4, 28), "a": entry("BF16", [2], 0, 4)}, 28))
put("safetensors", "narrow", safetensors({"f4": entry("F4", [2, 4], 0, 4), "f6": entry("F6_E3M2", [4], 4, 7), "e8": entry("F8_E8M0", [3], 7, 10)}, 10))
put("safetensors", "zero_sizes", safetensors({"s": entry("I64", [], 0, 8), "z": entry("F64", [3, 0], 8, 8)}, 8))
put("safetensors", "unknown_fields", safetensors({"a": {"x": [[{}], None], **entry("U8", [1], 0, 1)}}, 1))
put("safetensors", "hole", safetensors({"a": entry("U8", [1], 0, 1), "b": entry("U8", [1], 2, 3)}, 3))
put("safetensors", "twice", safetensors(b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{}}', 1))
put("safetensors", "padded", safetensors(b'{"__metadata__":{}}     ', 0))

arrays = here.parent / "data" / "npy"
for name in ("le_f4", "be_c8", "bool", "scalar", "empty", "fortran", "version2", "refused_struct", "refused_objects"):
    put("npy", name, (arrays / f"{name}.npy").read_bytes())
for name in ("stored", "zip64", "mixed", "descriptors", "no_arrays", "refused_bzip2"):
    put("npz", name, (arrays / f"{name}.npz").read_bytes())
