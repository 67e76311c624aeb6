# hello answers with text, and says what is wrong with a file that is no model.
set -euo pipefail
hello=$1 writer=$2
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$writer" "$folder/tiny.gguf"
"$hello" "$folder/tiny.gguf" "hello" >"$folder/answer"
[[ $(wc -c <"$folder/answer") -gt 10 ]] || { echo "no answer"; exit 1; }
head -c 100 "$folder/tiny.gguf" >"$folder/cut.gguf"
if "$hello" "$folder/cut.gguf" "hello" >"$folder/answer"; then echo "a cut file was accepted"; exit 1; fi
grep -q "cut.gguf" "$folder/answer" || { cat "$folder/answer"; echo "the message does not name the file"; exit 1; }
if [[ -n ${TESSERA_MODEL_SMOLLM2:-} ]]; then
  "$hello" "$TESSERA_MODEL_SMOLLM2" "The capital of France is" >"$folder/answer"
  grep -q "Paris" "$folder/answer" || { cat "$folder/answer"; echo "the model does not know Paris"; exit 1; }
fi
