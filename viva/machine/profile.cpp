#include "viva/machine/profile.h"

#include <fmt/format.h>
#include <hwloc.h>
#include <sys/utsname.h>

#include <algorithm>
#include <fstream>
#include <initializer_list>
#include <map>
#include <memory>
#include <string_view>
#include <utility>

#include "viva/machine/machine.h"

namespace viva {
namespace {

uint64_t meminfo(std::string_view key) {
  std::ifstream file("/proc/meminfo");
  std::string name, unit;
  uint64_t kib = 0;
  while (file >> name >> kib && std::getline(file, unit)) {
    if (name == key) return kib * 1024;
  }
  return 0;
}

// Calls f(folder) for the memory cgroup of this process and each one above it, in both generations of the
// interface.
template <class F>
void each_memory_group(F f) {
  std::ifstream self("/proc/self/cgroup");
  std::string line;
  while (std::getline(self, line)) {
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = fmt::format(",{},", line.substr(first + 1, second - first - 1));
    std::string root;
    if (controllers == ",,") root = "/sys/fs/cgroup";
    if (controllers.find(",memory,") != std::string::npos) root = "/sys/fs/cgroup/memory";
    if (root.empty()) continue;
    for (std::string group = line.substr(second + 1);; group = group.substr(0, group.rfind('/'))) {
      f(fmt::format("{}{}/", root, group == "/" ? "" : group));
      if (group.empty() || group == "/") break;
    }
  }
}

// The number in a file, or `none` where there is no file or it says "max".
uint64_t number_in(const std::string& path, uint64_t none) {
  std::ifstream file(path);
  uint64_t n = 0;
  return file >> n ? n : none;
}

constexpr uint64_t kNoLimit = uint64_t{1} << 62;  // the first generation writes "no limit" as about 2^63

std::string cpu_name(hwloc_topology_t topology) {
  const hwloc_obj_t package = hwloc_get_obj_by_type(topology, HWLOC_OBJ_PACKAGE, 0);
  const char* name = package == nullptr ? nullptr : hwloc_obj_get_info_by_name(package, "CPUModel");
  return name == nullptr ? "unknown" : name;
}

}  // namespace

uint64_t ram_available() {
  uint64_t available = meminfo("MemAvailable:");
  each_memory_group([&](const std::string& group) {
    for (auto [limit_file, used_file] : {std::pair{"memory.max", "memory.current"},
                                         std::pair{"memory.limit_in_bytes", "memory.usage_in_bytes"}}) {
      const uint64_t limit = number_in(group + limit_file, kNoLimit);
      const uint64_t used = number_in(group + used_file, 0);
      if (limit < kNoLimit) available = std::min(available, limit > used ? limit - used : 0);
    }
  });
  return available;
}

Profile profile() {
  Profile p;
  utsname system;
  if (::uname(&system) == 0)
    p.kernel = fmt::format("{} {} {}", system.sysname, system.release, system.machine);
  p.cores_usable = usable_cores();
  p.target = best_target();
  p.ram_total = meminfo("MemTotal:");
  p.ram_available = ram_available();
  uint64_t limit = kNoLimit;
  each_memory_group([&](const std::string& group) {
    limit = std::min(limit, number_in(group + "memory.max", kNoLimit));
    limit = std::min(limit, number_in(group + "memory.limit_in_bytes", kNoLimit));
  });
  p.ram_limit = limit == kNoLimit ? 0 : limit;

  hwloc_topology_t raw = nullptr;
  if (hwloc_topology_init(&raw) != 0) return p;
  const std::unique_ptr<hwloc_topology, decltype(&hwloc_topology_destroy)> topology(raw,
                                                                                    &hwloc_topology_destroy);
  if (hwloc_topology_load(raw) != 0) return p;
  const auto count = [&](hwloc_obj_type_t type) {
    return static_cast<size_t>(std::max(0, hwloc_get_nbobjs_by_type(raw, type)));
  };
  p.cpu = cpu_name(raw);
  p.packages = count(HWLOC_OBJ_PACKAGE);
  p.cores = count(HWLOC_OBJ_CORE);
  p.hardware_threads = count(HWLOC_OBJ_PU);
  p.numa_nodes = count(HWLOC_OBJ_NUMANODE);
  for (hwloc_obj_type_t type :
       {HWLOC_OBJ_L1CACHE, HWLOC_OBJ_L1ICACHE, HWLOC_OBJ_L2CACHE, HWLOC_OBJ_L3CACHE, HWLOC_OBJ_L4CACHE}) {
    std::map<uint64_t, Cache> sizes;  // cores of two kinds have caches of two sizes
    for (size_t i = 0; i < count(type); ++i) {
      const auto& cache = hwloc_get_obj_by_type(raw, type, static_cast<unsigned>(i))->attr->cache;
      Cache& c = sizes[cache.size];
      c.level = cache.depth;
      c.kind = cache.type == HWLOC_OBJ_CACHE_UNIFIED ? "unified"
               : cache.type == HWLOC_OBJ_CACHE_DATA  ? "data"
                                                     : "instruction";
      c.bytes = cache.size;
      ++c.count;
    }
    for (auto& [size, cache] : sizes) p.caches.push_back(std::move(cache));
  }
  return p;
}

uint64_t last_level_cache(const Profile& p) {
  unsigned level = 0;
  uint64_t bytes = 0;
  for (const Cache& c : p.caches) {
    if (c.level > level) level = c.level, bytes = 0;
    if (c.level == level && c.kind != "instruction") bytes = std::max(bytes, c.bytes);
  }
  return bytes;
}

}  // namespace viva
