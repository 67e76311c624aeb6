#!/usr/bin/env bash
# Builds the wheel twice (the same bytes), installs it into a fresh virtual environment without a network, and generates
# there with the library that it carries.  wheel_test.sh PACKAGE_FOLDER LIBRARY MODELS_FOLDER SCENARIOS
set -euo pipefail
package=$1 library=$2 models=$3 scenarios=$4
fail() { echo "FAILED: $*" >&2; exit 1; }
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
if ! python3 -m venv "$scratch/env" >/dev/null 2>&1; then
  echo "SKIPPED: python3 cannot make virtual environments here (Debian: python3-venv)"
  exit 77
fi
python=$scratch/env/bin/python
# A copy, so that nothing is written beside the sources; the licence is two folders above.
mkdir -p "$scratch/source/bindings"
cp -r "$package" "$scratch/source/bindings/python"
cp "$package/../../LICENSE" "$scratch/source/"
cd "$scratch"
mkdir first second
TESSERA_LIBRARY=$library "$python" -m pip --disable-pip-version-check wheel --quiet --no-index --no-deps -w first source/bindings/python
TESSERA_LIBRARY=$library "$python" source/bindings/python/build_wheel.py second
wheel=$(echo first/*.whl)
cmp "$wheel" "second/$(basename "$wheel")" || fail "two builds of one source differ"
"$python" -m pip --disable-pip-version-check install --quiet --no-index "$wheel"
unset TESSERA_LIBRARY PYTHONPATH LD_LIBRARY_PATH
where=$("$python" -c 'import tessera, tessera._library as l; print(l.library._name)')
[[ $where == "$scratch"/env/*/tessera/lib/libtessera.so.0 ]] || fail "the library in use is $where"
[[ -f $(dirname "$where")/../py.typed ]] || fail "no py.typed"
"$python" "$package/tests/conformance.py" "$scenarios" "$models" | tail -1 | grep ' 0 failed' || fail "conformance in the environment"
"$python" -m pip --disable-pip-version-check uninstall --quiet --yes tessera
! "$python" -c 'import tessera' 2>/dev/null || fail "uninstalling leaves the package"
echo "$(basename "$wheel"): $(stat -c %s "$wheel") bytes"
