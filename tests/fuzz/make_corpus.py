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

q = {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}
config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 8}
shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]


def model(config, first, second):
    names = {**{n: shards[0] for n in first}, **{n: shards[1] for n in second}}
    index = {"metadata": {"total_size": 1}, "weight_map": names}
    return b"\0".join(json.dumps(x, separators=(",", ":")).encode() for x in (config, index, first, second))


put("checkpoint", "two_shards", model(config, {"a.weight": entry("F32", [2, 3], 0, 24)}, {"b.weight": entry("BF16", [4], 0, 8)}))
put("checkpoint", "bitsandbytes", model({**config, "quantization_config": q}, {
    "a.weight": entry("U8", [32, 1], 0, 32), "a.weight.absmax": entry("F32", [1], 32, 36),
    "a.weight.quant_map": entry("F32", [16], 36, 100),
    "a.weight.quant_state.bitsandbytes__nf4": entry("U8", [80], 100, 180)}, {"b.weight": entry("F16", [4], 0, 8)}))
put("checkpoint", "int8", model({**config, "quantization_config": {"quant_method": "bitsandbytes", "load_in_8bit": True}}, {
    "a.weight": entry("I8", [4, 8], 0, 32), "a.SCB": entry("F32", [4], 32, 48), "a.weight_format": entry("U8", [], 48, 49)},
    {"b": entry("I64", [], 0, 8)}))


def text(s):
    return struct.pack("<Q", len(s)) + s.encode()


def gguf(tensors, metadata, data, version=3):
    out = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(metadata))
    for key, kind, value in metadata:
        out += text(key) + struct.pack("<I", kind) + value
    for name, shape, kind, offset in tensors:
        out += text(name) + struct.pack("<I", len(shape)) + b"".join(struct.pack("<Q", d) for d in shape)
        out += struct.pack("<IQ", kind, offset)
    return out + bytes(-len(out) % 32) + data


llama = [("general.architecture", 8, text("llama")), ("llama.embedding_length", 4, struct.pack("<I", 64)),
         ("llama.attention.head_count", 4, struct.pack("<I", 4)), ("tokenizer.ggml.tokens", 9, struct.pack("<IQ", 8, 2) + text("a") + text("b"))]
put("gguf", "plain", gguf([("token_embd.weight", [32, 4], 0, 0), ("blk.0.attn_q.weight", [8, 64], 1, 512)], llama, bytes(512 + 1024)))
put("gguf", "q4_0", gguf([("blk.0.attn_k.weight", [32, 32], 2, 0)], llama, bytes(576)))
put("gguf", "nvfp4", gguf([("blk.0.ffn_up.weight", [64, 4], 40, 0), ("blk.0.ffn_up.scale", [1], 0, 160)], llama, bytes(160 + 32)))
put("gguf", "version2", gguf([], llama[:1], b"", 2))
