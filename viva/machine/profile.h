#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "viva/base/target.h"

namespace viva {

// One kind of cache: `count` of them, each of `bytes`.
struct Cache {
  unsigned level = 0;
  std::string kind;  // "data", "instruction" or "unified"
  uint64_t bytes = 0;
  size_t count = 0;
};

// What this computer has, as far as it can be read without measuring. Sizes are bytes; 0 where the system
// does not tell.
struct Profile {
  std::string cpu;
  std::string kernel;
  size_t packages = 0;  // sockets
  size_t cores = 0;     // physical, of the whole computer
  size_t hardware_threads = 0;
  size_t cores_usable = 0;  // what this process may use: affinity and cgroup quota
  size_t numa_nodes = 0;
  std::vector<Cache> caches;
  Target target = Target::kScalar;
  uint64_t ram_total = 0;
  uint64_t ram_available = 0;
  uint64_t ram_limit = 0;  // the least cgroup limit above this process; 0: none
};

Profile profile();

// Bytes that a new process could use now: MemAvailable, or what the cgroup leaves where that is less.
uint64_t ram_available();
// Size of one last-level cache in bytes, or 0.
uint64_t last_level_cache(const Profile&);

}  // namespace viva
