# demo takes its arguments, streams text to standard output and its figures to standard error.
set -euo pipefail
demo=$1 writer=$2
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$writer" "$folder/tiny.gguf"
"$demo" --model "$folder/tiny.gguf" --raw --prompt hello --tokens 20 --greedy >"$folder/first" 2>"$folder/figures"
"$demo" --model "$folder/tiny.gguf" --raw --prompt hello --tokens 20 --greedy >"$folder/second" 2>/dev/null
cmp "$folder/first" "$folder/second" || { echo "greedy answers differ"; exit 1; }
for figure in load prompt decode "first token" "peak memory"; do
  grep -q "^$figure" "$folder/figures" || { cat "$folder/figures"; echo "no figure for $figure"; exit 1; }
done
"$demo" --model "$folder/tiny.gguf" --prompt 'say "hi" \ ' --tokens 5 --greedy >"$folder/chat" 2>"$folder/figures"
grep -q "^prompt" "$folder/figures" || { cat "$folder/figures"; echo "no answer through the chat template"; exit 1; }
if "$demo" --model "$folder/tiny.gguf" --tokens none 2>/dev/null; then echo "--tokens none was accepted"; exit 1; fi
if "$demo" --model "$folder/missing.gguf" 2>"$folder/error"; then echo "a missing file was accepted"; exit 1; fi
grep -q "TSR_STATUS_NOT_FOUND" "$folder/error" || { cat "$folder/error"; exit 1; }
if [[ -n ${TESSERA_MODEL_SMOLLM2:-} ]]; then
  "$demo" --model "$TESSERA_MODEL_SMOLLM2" --greedy --tokens 24 --prompt "What is the capital of France, and what is it known for?" \
    >"$folder/answer" 2>/dev/null
  grep -q "Paris" "$folder/answer" || { cat "$folder/answer"; echo "the model does not know Paris"; exit 1; }
fi
