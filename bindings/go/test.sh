#!/usr/bin/env bash
# Runs one kind of test of the Go binding against a library in a build folder.
#   WRITER=.. LIBRARY=.. CMAKE=.. BUILD=.. OUT=.. test.sh vet|tests|race|chat|installed|conformance SCENARIOS MODELS
# LIBRARY: libtessera.so. WRITER: writes the tiny model. OUT: a folder for what is made. 77: skipped, and why.
set -euo pipefail
kind=$1
cd "$(dirname "$0")"

skip() { echo "skipped: $*"; exit 77; }
fail() { echo "FAILED: $*" >&2; exit 1; }
command -v go >/dev/null || skip "there is no go command"
command -v pkg-config >/dev/null || skip "there is no pkg-config, by which cgo finds the library"
export GOTOOLCHAIN=local GOPROXY=off GOFLAGS=-buildvcs=false CGO_ENABLED=1 GOCACHE=$OUT/cache
version=$(go env GOVERSION)
minor=${version#go1.}
((${minor%%[^0-9]*} >= 19)) || skip "$version is older than go1.19"

mkdir -p "$OUT/pkgconfig"
libdir=$(dirname "$LIBRARY")
cat >"$OUT/pkgconfig/tessera.pc.$$" <<PC
Name: tessera
Description: the library of a build folder
Version: 0
Libs: -L$libdir -ltessera
Cflags: -I$(cd ../../capi/include && pwd)
PC
mv -f "$OUT/pkgconfig/tessera.pc.$$" "$OUT/pkgconfig/tessera.pc"
export PKG_CONFIG_PATH=$OUT/pkgconfig LD_LIBRARY_PATH=$libdir
export TESSERA_TEST_MODEL=$OUT/tiny.gguf
"$WRITER" "$OUT/tiny.gguf.$$"
mv -f "$OUT/tiny.gguf.$$" "$OUT/tiny.gguf"

# It answers with text, and says what is wrong with a file that is not there.
chat_answers() { # PROGRAM
  local said
  said=$(printf 'the world of\na\n' | "$1" "$TESSERA_TEST_MODEL") || fail "chat does not run"
  [[ ${#said} -gt 10 ]] || fail "chat answers '$said'"
  if "$1" "$OUT/no_such.gguf" </dev/null 2>"$OUT/said"; then fail "chat takes a file that is not there"; fi
  grep -q no_such.gguf "$OUT/said" || fail "the message does not name the file: $(cat "$OUT/said")"
  [[ -z ${TESSERA_MODEL_SMOLLM2:-} ]] && return
  said=$(echo "What is the capital of France?" | "$1" "$TESSERA_MODEL_SMOLLM2") || fail "chat does not run"
  echo "$said"
  [[ $said == *France* ]] || fail "the model does not speak of France: '$said'"
}

# -count=1: go's cache of results does not see that the library changed.
case $kind in
  vet)
    unformatted=$(gofmt -l .)
    [[ -z $unformatted ]] || fail "gofmt would change: $unformatted"
    go vet ./...
    # The C part, as strictly as the library; and the package without pkg-config.
    include=$(cd ../../capi/include && pwd)
    "${CC:-cc}" -std=gnu99 -Wall -Wextra -Wpedantic -Werror -I"$include" -fsyntax-only hub.c
    CGO_CFLAGS="-I$include" CGO_LDFLAGS="-L$libdir" PKG_CONFIG=false go build -tags tessera_flags .
    ;;
  tests) go test -count=1 ./... ;;
  race) go test -count=1 -race ./... ;;
  conformance)
    export TESSERA_CONFORMANCE=$2 TESSERA_CONFORMANCE_MODELS=$3
    go test -count=1 -v -run '^TestConformance$' .
    ;;
  chat)
    go build -o "$OUT/chat" ./examples/chat
    chat_answers "$OUT/chat"
    ((60 > $(wc -l <examples/chat/main.go))) || fail "the chat has 60 lines or more"
    ;;
  installed)
    scratch=$(mktemp -d)
    manifest=$BUILD/install_manifest.txt
    [[ ! -f $manifest ]] || mv "$manifest" "$scratch/own_manifest" # of a real installation from this folder
    restore() {
      rm -f "$manifest"
      [[ ! -f $scratch/own_manifest ]] || mv -f "$scratch/own_manifest" "$manifest"
      rm -rf "$scratch"
    }
    trap restore EXIT
    "$CMAKE" --install "$BUILD" --prefix "$scratch/prefix" >"$scratch/log" || { cat "$scratch/log"; exit 1; }
    pc=$(find "$scratch/prefix" -name tessera.pc)
    mkdir "$scratch/outside"
    cp examples/chat/main.go "$scratch/outside"
    module=$(sed -n 's/^module //p' go.mod)
    printf 'module outside\n\ngo 1.19\n\nrequire %s v0.1.0\n\nreplace %s => %s\n' "$module" "$module" "$PWD" \
      >"$scratch/outside/go.mod"
    export PKG_CONFIG_PATH; PKG_CONFIG_PATH=$(dirname "$pc")
    export LD_LIBRARY_PATH; LD_LIBRARY_PATH=$(dirname "$PKG_CONFIG_PATH")
    (cd "$scratch/outside" && go build -o outside .)
    chat_answers "$scratch/outside/outside"
    ldd "$scratch/outside/outside" | grep "$scratch/prefix.*/libtessera.so.0" >/dev/null || fail "it runs with another library"
    ;;
  *) fail "unknown kind '$kind'" ;;
esac
