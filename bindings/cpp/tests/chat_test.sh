#!/usr/bin/env bash
# The chat example answers two turns and ends with its input.  chat_test.sh CHAT MODEL
set -euo pipefail
answer=$(printf 'hello\nand "more"\n' | "$1" "$2")
[[ $(grep -c '^> ' <<<"$answer") -eq 3 ]] || { echo "FAILED: no three prompts in: $answer" >&2; exit 1; }
[[ ${#answer} -gt 20 ]] || { echo "FAILED: no answer in: $answer" >&2; exit 1; }
! "$1" no/such/file 2>/dev/null || { echo "FAILED: a missing model is no error" >&2; exit 1; }
