#!/usr/bin/env python3
"""cmake --install gives a tree that can be moved: a program of ten lines finds the library by CMake and by pkg-config."""
import os, pathlib, shlex, shutil, subprocess, sys, tempfile

build = pathlib.Path(sys.argv[1]).resolve()
PROGRAM = """#include <viva/compress/convert.h>
#include <viva/ops/ops.h>
int main(int count, char** arguments) {
  if (count != 3) return 2;
  const viva::Machine machine;
  const viva::Tensor a = viva::eye(machine, 3);
  if (viva::det(viva::matmul(a, viva::solve(a, a))).item<float>() != 1) return 3;
  return viva::convert(machine, arguments[1], arguments[2], {}).lossless ? 0 : 1;
}
"""
MODEL = pathlib.Path(__file__).resolve().parent.parent / "data" / "demo-model"
CMAKE = """cmake_minimum_required(VERSION 3.25)
project(user LANGUAGES CXX)
find_package(viva 0.1 REQUIRED)
add_executable(user user.cpp)
target_link_libraries(user PRIVATE viva::viva)
"""


def run(*command, **kw):
    done = subprocess.run([str(c) for c in command], text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **kw)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stdout}exit {done.returncode}")
    return done.stdout


with tempfile.TemporaryDirectory(prefix="viva install ") as scratch:
    scratch = pathlib.Path(scratch)
    run("cmake", "--install", build, "--prefix", scratch / "first")
    prefix = scratch / "moved"
    shutil.move(scratch / "first", prefix)
    (scratch / "user.cpp").write_text(PROGRAM)
    (scratch / "CMakeLists.txt").write_text(CMAKE)
    run("cmake", "-G", "Ninja", "-S", scratch, "-B", scratch / "b", f"-DCMAKE_PREFIX_PATH={prefix}")
    run("cmake", "--build", scratch / "b")
    run(scratch / "b" / "user", MODEL, scratch / "by-cmake.gguf")
    pc = next(prefix.rglob("viva.pc")).parent
    flags = shlex.split(run("pkg-config", "--cflags", "--libs", "viva", env={**os.environ, "PKG_CONFIG_PATH": str(pc)}))
    run("c++", "-std=c++20", scratch / "user.cpp", "-o", scratch / "user", *flags)
    older = subprocess.run(["c++", "-std=c++17", "-fsyntax-only", scratch / "user.cpp", *flags], text=True, capture_output=True)
    if older.returncode == 0 or "compile with -std=c++20" not in older.stderr:
        sys.exit(f"an older C++ is not told what to do:\n{older.stderr}")
    run(scratch / "user", MODEL, scratch / "by-pkg-config.gguf", env={**os.environ, "LD_LIBRARY_PATH": str(pc.parent)})  # a shared one
    if (program := prefix / "bin" / "viva").exists():
        run(program, "--version")
        used = run("ldd", program)
        outside = [line for line in used.splitlines() if "=> /" in line and "/lib/viva/" not in line
                   and not any(f"/lib{c}.so" in line for c in ("c", "m", "dl", "rt", "pthread", "mvec", "resolv"))]
        if outside:
            sys.exit("the installed program needs more than the C library:\n" + "\n".join(outside))
        size = sum(f.stat().st_size for f in [program, *(prefix / "lib" / "viva").glob("*")] if not f.is_symlink())
        if size > 20_000_000:
            sys.exit(f"the program and its libraries take {size} bytes, more than 20 MB")
        print(f"program and libraries: {size} bytes")
print("installed, moved and used")
