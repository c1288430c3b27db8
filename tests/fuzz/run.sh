#!/bin/sh
# Builds the fuzz targets (preset dev: clang, ASan and UBSan) and runs each for SECONDS, from the committed seeds and what
# earlier runs found, kept in build/fuzz. Fails on the first finding and keeps its input. Up to a minute the order of the
# mutations is the same each time; longer runs look elsewhere each time.
# usage: tests/fuzz/run.sh SECONDS [TARGET...]
set -eu
[ $# -ge 1 ] || { sed -n '2,5p' "$0" >&2; exit 2; }
seconds=$1
shift
root=$(cd "$(dirname "$0")/../.." && pwd)
here=$root/tests/fuzz
tree=$root/build/dev
kept=$root/build/fuzz
seed=$((seconds > 60 ? 0 : 1))  # 0: any
[ -f "$tree/build.ninja" ] || (cd "$root" && cmake --preset dev >/dev/null)
if [ $# -eq 0 ]; then
  for source in "$here"/*.cpp; do set -- "$@" "$(basename "$source" .cpp)"; done
fi
for name in "$@"; do
  [ -f "$here/$name.cpp" ] || { echo "no fuzz target $name in tests/fuzz" >&2; exit 2; }
done
cmake --build "$tree" --target $(printf 'fuzz_%s ' "$@")
for name in "$@"; do
  mkdir -p "$kept/corpus/$name" "$kept/findings" "$here/corpus/$name"
  dict=
  [ -f "$here/$name.dict" ] && dict=-dict=$here/$name.dict
  log=$kept/$name.log
  if ! "$tree/tests/fuzz/fuzz_$name" -max_total_time="$seconds" -seed=$seed -max_len=16384 -timeout=10 -rss_limit_mb=2048 \
    -malloc_limit_mb=256 -print_final_stats=1 -artifact_prefix="$kept/findings/$name-" $dict \
    "$kept/corpus/$name" "$here/corpus/$name" >"$log" 2>&1; then
    tail -n 40 "$log" >&2
    echo "fuzz $name: a finding; its input is kept as $kept/findings/$name-*" >&2
    exit 1
  fi
  echo "fuzz $name: $(sed -n 's/^stat::number_of_executed_units: *//p' "$log") inputs in $seconds s, no finding"
done
