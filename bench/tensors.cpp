// The memory's rate for bench/tensors.py, between its own runs: reads "read" or "copy", prints GB/s of one pass.
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <string>

#include "viva/machine/rates.h"

using namespace viva;

int main(int argc, char** argv) {
  const Machine machine({.threads = argc > 1 ? std::strtoul(argv[1], nullptr, 10) : 0});
  MemoryMeter meter(machine, 512 << 20);
  for (std::string pass; std::cin >> pass;) {
    std::printf("%.9e\n", (pass == "read" ? meter.read(true) : meter.copy(true)).clock);
    std::fflush(stdout);
  }
}
