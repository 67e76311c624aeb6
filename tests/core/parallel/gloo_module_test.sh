#!/usr/bin/env bash
# The Gloo module as a file: what it exports, that it stays loaded, that nobody but it needs Gloo, and that the library
# refuses it when it is of another build.
#   gloo_module_test.sh MODULE LIBRARY RANK_PROGRAM
set -euo pipefail
module=$1 library=$2 rank=$3
fail() { echo "FAILED: $*" >&2; exit 1; }

exported=$(nm -D --defined-only "$module" | awk '{print $NF}' | grep -v '^TESSERA_MODULE_0\.1$' | grep -v '4gloo9transport3tcp4Loop')
[[ $exported == 'tsr_gloo_module@@TESSERA_MODULE_0.1' ]] || fail "exports are: $exported"
for function in C1Ev D1Ev 3runEv 18registerDescriptorEiiPNS1_7HandlerE 20unregisterDescriptorEiPNS1_7HandlerE; do
  nm -D --defined-only "$module" | grep -q "_ZN4gloo9transport3tcp4Loop$function@@" || fail "no Loop $function of ours"
done
readelf -dW "$module" | grep -q 'FLAGS_1.*NODELETE' || fail "NODELETE is not set"
readelf -dW "$module" | grep -q 'NEEDED.*libgloo' || fail "does not need Gloo"
! readelf -dW "$module" | grep -q 'NEEDED.*libtessera' || fail "needs the library"
! readelf -dW "$library" | grep -q 'NEEDED.*gloo' || fail "the library needs Gloo"
enders=$(nm -D --undefined-only "$module" | awk '{print $NF}' | sed 's/@.*//' | grep -xE 'abort|exit|_exit|__assert_fail|__cxa_thread_atexit' || true)
[[ -z $enders ]] || fail "can end its host's process: $enders"

# The event loop in use is ours: a rank's thread has the name that only ours gives.
scratch=$(mktemp -d)
trap 'kill %1 2>/dev/null || true; rm -rf "$scratch"' EXIT
"$rank" 0 1 "$scratch" idle nowhere none & # waits for work
until [[ -e $scratch/busy.0 ]]; do sleep 0.01; done
cat /proc/$!/task/*/comm | grep -qx tsr-gloo || fail "Gloo runs a loop of its own"
touch "$scratch/work"
wait $!

# One byte of the build id, and it is a stranger.
id=$(strings "$module" | grep -xE '[0-9]+\.[0-9]+\.[0-9]+-[0-9a-f]{16}' | head -1)
[[ -n $id ]] || fail "no build id inside"
mkdir "$scratch/other"
other=$(tr '0-9a-f' '1-9a-f0' <<<"${id: -1}")
sed "s/$id/${id%?}$other/g" "$module" >"$scratch/other/libtessera_gloo.so"
status=0
TESSERA_TEST_MODULE_FOLDER=$scratch/other "$rank" 0 1 "$scratch" short nowhere none 2>"$scratch/said" || status=$?
[[ $status == 12 ]] || fail "a module of another build gives $status"
grep -q "was not built with this library" "$scratch/said" || fail "$(cat "$scratch/said")"
