#!/usr/bin/env bash
# tessera.hpp alone, in C++17 and up, with GCC and, where there is one, Clang, with and without exceptions; and the example.
#   header_test.sh C_INCLUDE CPP_INCLUDE EXAMPLE
set -euo pipefail
c=$1 cpp=$2 example=$3
status=0
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
printf '#include <tessera/tessera.hpp>\n#include <tessera/tessera.hpp>\n' >"$scratch/use.cc"
for compiler in g++ clang++; do
  if ! command -v "$compiler" >/dev/null; then
    echo "$compiler is not installed: not checked"
    continue
  fi
  for standard in c++17 c++20; do
    for exceptions in -fexceptions -fno-exceptions; do
      for source in "$scratch/use.cc" "$example"; do
        if "$compiler" -std=$standard $exceptions -I "$c" -I "$cpp" -Wall -Wextra -Wpedantic -Wshadow -Werror \
          -fsyntax-only "$source"; then
          echo "$compiler $standard $exceptions $(basename "$source")"
        else
          echo "FAILED: $compiler -std=$standard $exceptions $source" >&2
          status=1
        fi
      done
    done
  done
done
exit $status
