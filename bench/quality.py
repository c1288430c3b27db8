#!/usr/bin/env python3
"""How much `--encoder best` gains over `reference` in the same file format, through the program.

  quality.py [--viva build/release/viva] [--formats nf4,q4_0,...] [--layers 3] [MODEL ...]

First a model of Gaussian weights (std 0.02, f32, matrices of 2^18 and 2^20 values, rows of 1024) made here from fixed
seeds: mean over its matrices, the smallest and the largest beside it; then each MODEL (a folder): means over what was coded.
"""
import argparse, array, json, os, random, shutil, statistics, struct, subprocess, tempfile

FORMATS = ("nf4 nf4-g128 nf4-dq fp4 nvfp4 nvfp4-gguf mxfp4 mxfp4-gguf q4_0 int4-g32 int4-g128 int4-g128-asym q4_1 q8_0 int8 w8a8 fp8 "
           "fp8-block")
GGUF = ("q4_0", "q4_1", "q8_0", "nvfp4-gguf", "mxfp4-gguf")
CONFIG = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 1024, "intermediate_size": 256,
          "num_attention_heads": 8, "num_key_value_heads": 2, "max_position_embeddings": 64, "rms_norm_eps": 1e-5,
          "rope_theta": 10000.0, "vocab_size": 64, "hidden_act": "silu", "tie_word_embeddings": True, "torch_dtype": "float32"}


def make(folder, layers):
    shapes = {"model.embed_tokens.weight": (64, 1024), "model.norm.weight": (1024,)}
    for k in range(layers):
        for name, shape in {"self_attn.q_proj": (1024, 1024), "self_attn.k_proj": (256, 1024), "self_attn.v_proj": (256, 1024),
                            "self_attn.o_proj": (1024, 1024), "mlp.gate_proj": (256, 1024), "mlp.up_proj": (256, 1024),
                            "mlp.down_proj": (1024, 256), "input_layernorm": (1024,), "post_attention_layernorm": (1024,)}.items():
            shapes[f"model.layers.{k}.{name}.weight"] = shape
    header, at = {}, 0
    for name, shape in shapes.items():
        n = 4 * shape[0] * (shape[1] if len(shape) == 2 else 1)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at + n]}
        at += n
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(os.path.join(folder, "model.safetensors"), "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for seed, (name, shape) in enumerate(shapes.items()):
            gauss = random.Random(seed).gauss
            n = shape[0] * (shape[1] if len(shape) == 2 else 1)
            f.write(array.array("f", (gauss(0.0, 0.02) if len(shape) == 2 else 1.0 for _ in range(n))).tobytes())
    with open(os.path.join(folder, "config.json"), "w") as f:
        json.dump({**CONFIG, "num_hidden_layers": layers}, f)


def sqnr(viva, source, target, name, encoder, keep):
    out = os.path.join(target, "out.gguf" if name in GGUF else "out")
    run = subprocess.run([viva, "compress", source, out, "--format", name, "--encoder", encoder, "--json", "--quiet"],
                         capture_output=True, text=True)
    if run.returncode != 0:
        return None
    report = json.loads(run.stdout)
    shutil.rmtree(out) if os.path.isdir(out) else os.remove(out)
    coded = [t for t in report["tensors"] if t["format"].split("-")[0] == name.split("-")[0]]
    return [t["sqnr_db"] for t in coded if keep(t["name"])]


def table(viva, title, source, work, formats, keep, spread):
    print(f"\n{title}\n\n| format | reference dB | best dB | gain |\n|---|---|---|---|")
    for name in formats:
        pair = [sqnr(viva, source, work, name, encoder, keep) for encoder in ("reference", "best")]
        if not all(pair):
            print(f"| {name} | - | - | not for this model |")
            continue
        shown = [f"{statistics.mean(p):.2f}" + (f" ({min(p):.2f} to {max(p):.2f})" if spread else "") for p in pair]
        print(f"| {name} | {shown[0]} | {shown[1]} | {statistics.mean(pair[1]) - statistics.mean(pair[0]):+.2f} |", flush=True)


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("models", nargs="*", metavar="MODEL")
    a.add_argument("--viva", default="build/release/viva")
    a.add_argument("--formats", default=FORMATS.replace(" ", ","))
    a.add_argument("--layers", type=int, default=3)
    a = a.parse_args()
    work = tempfile.mkdtemp()
    formats = a.formats.split(",")
    try:
        gauss = os.path.join(work, "gauss")
        os.mkdir(gauss)
        make(gauss, a.layers)
        table(a.viva, f"Gaussian, {6 * a.layers} matrices", gauss, work, formats,
              lambda n: ("attn" in n or "gate" in n or "up" in n) and "norm" not in n, True)
        for model in a.models:
            table(a.viva, os.path.basename(os.path.normpath(model)), model, work, formats, lambda n: True, False)
    finally:
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
