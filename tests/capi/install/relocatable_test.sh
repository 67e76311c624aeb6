#!/usr/bin/env bash
# The relocatable build needs nothing but libc, libm and the loader, and nothing of what is inside can be seen outside.
#   relocatable_test.sh LIBRARY [MODULE]
set -euo pipefail
status=0
fail() { echo "FAILED: $*" >&2; status=1; }

for file in "$@"; do
  [[ -n $file ]] || continue
  needed=$(readelf -dW "$file" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p')
  grep -qx 'libc\.so\.6' <<<"$needed" || fail "$file: no list of what it needs"
  # libdl, libpthread and librt are parts of libc, and empty since glibc 2.34.
  others=$(grep -vxE 'lib(c|m|dl|pthread|rt)\.so\.[0-9]+|ld-linux-x86-64\.so\.2' <<<"$needed" || true)
  [[ -z $others ]] || fail "$file needs $others"
  shown=$(nm -D --defined-only "$file" | awk '{print $NF}' | grep -vE '^(tsr_[a-z0-9_]+(@@.*)?|TESSERA_[A-Z_]*0\.1(@@.*)?)$' || true)
  [[ -z $shown ]] || fail "$file exports $shown"
  # Symbols that the loader unifies over a process, whoever has them.
  unique=$(readelf --dyn-syms -W "$file" | grep -w UNIQUE || true)
  [[ -z $unique ]] || fail "$file shares with other libraries: $unique"
  undefined=$(nm -D --undefined-only "$file" | grep -E ' (_ZN?K?(4absl|3hwy|8simdjson|St)|__cxa_throw|__gxx_personality|_Unwind_)' || true)
  [[ -z $undefined ]] || fail "$file takes from outside: $undefined"
done
exit $status
