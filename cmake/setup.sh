# Sourced by ./demo and ./check, with the words "build" or "build tensor test": makes sure that this Debian 12 or Ubuntu 24.04
# has what the build needs, and sets root, jobs and the cache. Silent and without network where nothing is missing.
export LC_ALL=C.UTF-8
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd) || exit 1
cd "$root" || exit 1

build_tools="g++ cmake ninja:ninja-build ccache pkg-config python3"
build_libraries="libc6-dev libhwy-dev libtbb-dev libhwloc-dev libexpected-dev nlohmann-json3-dev libcli11-dev libfmt-dev
  libxxhash-dev libssl-dev zlib1g-dev"
tensor_tools=""  # the tensor rooms of the library, which the program does not need
tensor_libraries="libopenblas-pthread-dev libdnnl-dev libkissfft-dev"
test_tools="clang llvm-symbolizer:llvm"
test_libraries="libclang-rt-dev libgtest-dev librapidcheck-dev python3-dev python3-venv"

# The packages of "$@" (build, tensor, test) that are missing, one a line. A tool counts wherever it came from.
missing_packages() {
  local kind entry tools libraries
  for kind; do
    tools=${kind}_tools libraries=${kind}_libraries
    for entry in ${!tools}; do
      command -v "${entry%%:*}" >/dev/null || echo "${entry##*:}"
    done
    for entry in ${!libraries}; do
      [ "$(dpkg-query -W -f '${db:Status-Status}' "$entry" 2>/dev/null)" = installed ] || echo "$entry"
    done
  done
}

setup() {
  local missing as_root log
  if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    echo "This is no Debian or Ubuntu; the build goes on and will say what it does not find." >&2
    return 0
  fi
  missing=$(missing_packages "$@" | tr '\n' ' ')
  [ -n "$missing" ] || return 0
  if [ "$(id -u)" = 0 ]; then
    as_root="env"
  elif command -v sudo >/dev/null && { sudo -n true 2>/dev/null || { [ -t 0 ] && [ -t 2 ]; }; }; then
    as_root="sudo env"
  else
    { echo "These packages are missing: $missing"
      echo "Install them as root, then run this command again:"
      echo "  apt-get update && apt-get install -y --no-install-recommends $missing"; } >&2
    return 1
  fi
  echo "Installing $missing" >&2
  log=$(mktemp)
  # The lists may be old or absent: try without an update only where the lists know every package.
  if { apt-cache show $missing >/dev/null 2>&1 && apt_install; } || { apt_update && apt_install; }; then
    rm -f "$log"
  else
    tail -n 20 "$log" >&2
    rm -f "$log"
    echo "apt-get could not install what is missing: $missing" >&2
    return 1
  fi
}
apt_update() { $as_root DEBIAN_FRONTEND=noninteractive apt-get update -q >>"$log" 2>&1 </dev/null; }
apt_install() {
  $as_root DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends \
    -o DPkg::Lock::Timeout=300 $missing >>"$log" 2>&1 </dev/null
}

# Cores that this process may use, and no more compilers than memory holds (about 1.5 GB each).
count_jobs() {
  local cores memory limit
  cores=$(nproc)
  memory=$(awk '$1 == "MemAvailable:" {print int($2 / 1500000)}' /proc/meminfo)
  limit=$(cat /sys/fs/cgroup/memory.max 2>/dev/null)
  case "$limit" in
    ''|max) ;;
    *) [ "$((limit / 1500000000))" -lt "$memory" ] && memory=$((limit / 1500000000)) ;;
  esac
  [ "${memory:-1}" -lt "$cores" ] && cores=$memory
  [ "$cores" -ge 1 ] || cores=1
  echo "$cores"
}

setup "$@" || exit 1
jobs=$(count_jobs)
# A home that cannot be written to must not stop the build.
cache=${CCACHE_DIR:-${XDG_CACHE_HOME:-${HOME:-/nonexistent}/.cache}/ccache}
if ! mkdir -p "$cache" 2>/dev/null || [ ! -w "$cache" ]; then
  export CCACHE_DIR="$root/build/ccache"
fi
