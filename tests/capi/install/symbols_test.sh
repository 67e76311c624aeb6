#!/usr/bin/env bash
# What the shared library shows to the loader: exactly the header's functions, under one version node; its SONAME; that
# it stays in memory once loaded; that it binds its own symbols; and that it never asks for a way to end the process.
#   symbols_test.sh LIBRARY HEADER [OBJECT...]
# Objects are what the library's own code was made of, where others' code is inside too: ways to end the process are
# looked for there.
set -euo pipefail
library=$1 header=$2
shift 2
status=0
fail() { echo "FAILED: $*" >&2; status=1; }

exported=$(nm -D --defined-only --with-symbol-versions "$library" | awk '{print $NF}' | grep -v '^TESSERA_0\.1$' | sort)
declared=$(grep -A2 '^TSR_API' "$header" | grep -o '\btsr_[a-z0-9_]*(' | tr -d '(' | sort -u)
[[ -n $declared ]] || fail "no function found in $header"
difference=$(diff <(sed 's/$/@@TESSERA_0.1/' <<<"$declared") <(echo "$exported") || true)
[[ -z $difference ]] || fail "header (<) and exports (>) differ:"$'\n'"$difference"

dynamic=$(readelf -dW "$library")
grep -q 'SONAME.*\[libtessera\.so\.0\]' <<<"$dynamic" || fail "SONAME is not libtessera.so.0"
grep -q 'FLAGS_1.*NODELETE' <<<"$dynamic" || fail "NODELETE is not set"
grep -Eq 'SYMBOLIC' <<<"$dynamic" || fail "the library was not linked with -Bsymbolic"
! grep -Eq 'RPATH|RUNPATH|TEXTREL' <<<"$dynamic" || fail "RPATH, RUNPATH or TEXTREL is set"
! grep -Eq 'NEEDED.*(cuda|nccl|cublas|gtest|benchmark)' <<<"$dynamic" || fail "needs what only modules or tests may"
readelf -lW "$library" | grep 'GNU_STACK' | grep -vq 'RWE' || fail "the stack is executable"

refers_to=$(if (($#)); then nm --undefined-only "$@"; else nm -D --undefined-only "$library"; fi)
grep -q 'pthread_create\|_ZNSt6thread' <<<"$refers_to" || fail "what the library's code refers to was not found"
enders=$(awk '{print $NF}' <<<"$refers_to" | sed 's/@.*//' | sort -u |
  grep -xE 'abort|exit|_exit|_Exit|quick_exit|__assert_fail|__cxa_thread_atexit' || true)
handlers=$(nm -D --undefined-only "$library" | awk '{print $NF}' | sed 's/@.*//' |
  grep -xE 'sigaction|signal|sigset|sigaltstack' || true)
[[ -z $handlers ]] || fail "the library can replace the host's signal handlers: $handlers"
# What could raise SIGPIPE in the host: the library writes to an eventfd alone.
pipes=$(nm -D --undefined-only "$library" | awk '{print $NF}' | sed 's/@.*//' |
  grep -xE 'pipe2?|socket|socketpair|connect|send|sendto|sendmsg|popen|splice' || true)
[[ -z $pipes ]] || fail "the library can write to a pipe or socket: $pipes"
[[ -z $enders ]] || fail "the library can end its host's process, or leaves work for a thread's end: $enders"
exit $status
