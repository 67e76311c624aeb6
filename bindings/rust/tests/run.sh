#!/usr/bin/env bash
# Runs one part of the Rust binding's tests; ctest sets the environment (see CMakeLists.txt).
#   run.sh CARGO test|doc|cycles|examples|pkg-config
#   run.sh CARGO conform SCENARIOS.json FOLDER
set -euo pipefail
cargo=$1 part=$2
shift 2

# The compiler that belongs to this cargo, where there are several.
PATH=$(dirname "$cargo"):$PATH
if [[ -n ${TESSERA_TEST_RUNNER:-} ]]; then
  host=$(rustc -vV | sed -n 's/^host: //p' | tr 'a-z-' 'A-Z_')
  export "CARGO_TARGET_${host}_RUNNER=$TESSERA_TEST_RUNNER"
fi
# Backtraces of panics that are meant to be would only fill the log.
export RUST_BACKTRACE=0

case $part in
  test) "$cargo" test --offline --locked --no-fail-fast --lib --tests --examples ;;
  doc) "$cargo" test --offline --locked --doc ;;
  cycles) "$cargo" test --offline --locked --test ownership -- --ignored --nocapture ;;
  conform) "$cargo" test --offline --locked --test conformance -- "$@" ;;
  examples)
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
    tool() { "$cargo" run --quiet --offline --locked --example tessera -- "$@"; }
    fail() { echo "FAILED: $*" >&2; exit 1; }

    lines=$(wc -l < tessera/examples/chat.rs)
    ((lines < 60)) || fail "the chat has $lines lines"
    printf 'hello\nand again\n\n' > "$folder/input"
    "$cargo" run --quiet --offline --locked --example chat -- "$TESSERA_TEST_MODEL" < "$folder/input" > "$folder/chat"
    (($(grep -c '^> ' "$folder/chat") >= 2)) || fail "the chat did not ask twice"
    (($(wc -c < "$folder/chat") > 100)) || fail "the chat did not answer"

    # Through a file: grep -q ends at its first find, and a program that then writes on into the pipe fails.
    tool info "$TESSERA_TEST_MODEL" > "$folder/info"
    grep -q '^layers  *2$' "$folder/info" || fail "info"
    [[ $(tool tokens "$TESSERA_TEST_MODEL" hello | awk '{ gsub(/"/, "", $2); printf "%s", $2 }') == hello ]] || fail "tokens"
    ask() { tool generate "$TESSERA_TEST_MODEL" "$@" 2>> "$folder/log"; }
    whole=$(ask "hello, the world of" --tokens 12)
    first=$(ask "hello, the world of" --tokens 6 --save "$folder/state")
    rest=$(ask "" --tokens 6 --restore "$folder/state")
    # A code point that the cut divides comes as two pieces; compare the beginning, and that there is a rest.
    [[ -n $first && -n $rest && ${whole:0:4} == "${first:0:4}" ]] || fail "generate: '$whole', '$first', '$rest'"
    tool ask "$TESSERA_TEST_MODEL" "Who?" --tokens 4 --seed 1 --temperature 0.5 > "$folder/answer" 2>> "$folder/log"
    [[ -s $folder/answer ]] || fail "ask"
    grep -q 'Length: 12 tokens' "$folder/log" || fail "the figures: $(cat "$folder/log")"
    if tool info "$folder/missing.gguf" 2> "$folder/error"; then fail "a missing file is an error"; fi
    grep -q 'missing.gguf' "$folder/error" || fail "the error: $(cat "$folder/error")"
    ;;
  pkg-config)
    # As for an installed library: nothing but the .pc file says where it is.
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
    printf 'Name: tessera\nDescription: test\nVersion: 0.1.0\nLibs: -L%s -ltessera\n' "$TESSERA_LIB_DIR" \
      > "$folder/tessera.pc"
    library=$TESSERA_LIB_DIR
    unset TESSERA_LIB_DIR
    PKG_CONFIG_PATH=$folder "$cargo" build --offline --locked --example tessera --target-dir "$folder/target"
    LD_LIBRARY_PATH=$library "$folder/target/debug/examples/tessera" info "$TESSERA_TEST_MODEL" | grep '^layers'
    ;;
  *) echo "run.sh: unknown part $part" >&2; exit 2 ;;
esac
