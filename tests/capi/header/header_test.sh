#!/usr/bin/env bash
# The public header by itself, in every language version it promises, with GCC and, where there is one, Clang; and that
# it includes nothing but the two C headers it may.
#   header_test.sh INCLUDE_FOLDER
set -euo pipefail
include=$1
status=0
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
# Twice, so that the include guard is seen to work.
printf '#include <tessera/tessera.h>\n#include <tessera/tessera.h>\ntypedef tsr_status used;\n' >"$scratch/use.c"

check() {  # COMPILER LANGUAGE STANDARD
  if "$1" -x "$2" -std="$3" -I "$include" -Wall -Wextra -Wpedantic -Wshadow -Werror -fsyntax-only "$scratch/use.c"; then
    echo "$1 $3"
  else
    echo "FAILED: $1 -std=$3" >&2
    status=1
  fi
}
for suite in 'gcc g++' 'clang clang++'; do
  read -r c cxx <<<"$suite"
  if ! command -v "$c" >/dev/null || ! command -v "$cxx" >/dev/null; then
    echo "$c is not installed: not checked"
    continue
  fi
  for standard in c99 c11 c17; do check "$c" c "$standard"; done
  for standard in c++11 c++14 c++17 c++20; do check "$cxx" c++ "$standard"; done
done

others=$(grep -rhE '^ *# *include' "$include" | grep -vE '<(stddef|stdint)\.h>' || true)
[[ -z $others ]] || { echo "FAILED: the public header includes $others" >&2; status=1; }
exit $status
