#!/usr/bin/env bash
# Installs into a fresh prefix, builds and runs an outside C project against it both ways, loads the library by name
# from C and from Python, uninstalls, and looks whether anything is left.
#   install_test.sh CMAKE BUILD_FOLDER C_COMPILER VERSION
set -euo pipefail
cmake=$1 build=$2 cc=$3 version=$4
outside=$(cd "$(dirname "$0")" && pwd)/outside
model=${TESSERA_MODEL_SMOLLM2:-}

fail() { echo "FAILED: $*" >&2; exit 1; }

scratch=$(mktemp -d)
manifest=$build/install_manifest.txt
[[ ! -f $manifest ]] || mv "$manifest" "$scratch/own_manifest"  # of a real installation from this folder
restore() {
  rm -f "$manifest"
  [[ ! -f $scratch/own_manifest ]] || mv -f "$scratch/own_manifest" "$manifest"
  rm -rf "$scratch"
}
trap restore EXIT

# The prefix is moved before use, so that nothing can rely on where it was installed.
"$cmake" --install "$build" --prefix "$scratch/first" >"$scratch/install.log" || { cat "$scratch/install.log"; exit 1; }
mv "$scratch/first" "$scratch/prefix"
prefix=$scratch/prefix
library=$(find "$prefix" -name 'libtessera.so.0')
[[ -n $library ]] || fail "no libtessera.so.0 in the prefix"
libdir=$(dirname "$library")
[[ -L $libdir/libtessera.so && -L $library ]] || fail "libtessera.so and libtessera.so.0 are not links"
[[ -f $libdir/libtessera.so.$version ]] || fail "no libtessera.so.$version"
[[ -f $prefix/include/tessera/tessera.h ]] || fail "no header"

run_outside() {  # PROGRAM
  local said
  said=$(LD_LIBRARY_PATH=$libdir "$1" ${model:+"$model"}) || fail "$1 does not run"
  echo "$said"
  [[ $(head -n 1 <<<"$said") == "$version" ]] || fail "$1 runs with another version"
}

echo "by find_package"
"$cmake" -S "$outside" -B "$scratch/by_cmake" -DCMAKE_PREFIX_PATH="$prefix" -DCMAKE_C_COMPILER="$cc" >/dev/null
"$cmake" --build "$scratch/by_cmake" >/dev/null
run_outside "$scratch/by_cmake/outside"
if "$cmake" -S "$outside" -B "$scratch/by_cmake" -DCMAKE_PREFIX_PATH="$scratch/nowhere" --fresh >/dev/null 2>&1; then
  fail "the outside project found an installation outside the prefix; this test proves nothing"
fi

echo "by pkg-config"
export PKG_CONFIG_PATH=$libdir/pkgconfig
[[ $(pkg-config --modversion tessera) == "$version" ]] || fail "pkg-config says another version"
flags=$(pkg-config --cflags --libs tessera)
# shellcheck disable=SC2086  # flags are several words
"$cc" -std=c99 -Wall -Wextra -Wpedantic -Werror "$outside/main.c" -o "$scratch/by_pkg_config" $flags
run_outside "$scratch/by_pkg_config"

echo "by dlopen"
"$cc" -std=c99 -Wall -Wextra -Werror "$outside/load.c" -o "$scratch/load" -ldl
said=$("$scratch/load" "$library") || fail "dlopen from C"
[[ $said == "$version" ]] || fail "dlopen from C finds version $said"
said=$(python3 - "$library" <<'PYTHON'
import ctypes, sys
library = ctypes.CDLL(sys.argv[1])
library.tsr_version_string.restype = ctypes.c_char_p
print(library.tsr_version_string().decode())
PYTHON
) || fail "ctypes"
[[ $said == "$version" ]] || fail "ctypes finds version $said"

echo "uninstall"
mv "$scratch/prefix" "$scratch/first"
touch "$scratch/first/include/not_ours"
"$cmake" --build "$build" --target uninstall >/dev/null
rm "$scratch/first/include/not_ours" || fail "uninstall removed a file that is not ours"
left=$(find "$scratch/first" \( -type f -o -type l \) -o -type d -name tessera)
[[ -z $left ]] || fail "uninstall left $left"
[[ ! -f $manifest ]] || fail "uninstall left its manifest"
echo "nothing is left"
