# ranks_mpi: processes that mpirun starts give the text that one process gives; a wrong file ends all of them.
set -euo pipefail
ranks=$1 hello=$2 writer=$3 mpirun=$4
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
start=("$mpirun")
# Open MPI refuses root, and more ranks than processors, unless it is told.
if "$mpirun" --version 2>&1 | grep -qE "Open MPI|OpenRTE"; then start+=(--allow-run-as-root --oversubscribe); fi
"$writer" "$folder/tiny.gguf"
"$hello" "$folder/tiny.gguf" "hello" >"$folder/alone"
for layout in "2 1" "2 2" "1 1"; do
  read -r count stages <<<"$layout"
  timeout 100 "${start[@]}" -n "$count" "$ranks" "$folder/tiny.gguf" "hello" "$stages" >"$folder/answer"
  cmp "$folder/alone" "$folder/answer" || { echo "$count ranks in $stages stages answer otherwise"; exit 1; }
done
head -c 100 "$folder/tiny.gguf" >"$folder/cut.gguf"
if timeout 100 "${start[@]}" -n 2 "$ranks" "$folder/cut.gguf" "hello" >"$folder/answer" 2>"$folder/error"; then
  echo "a cut file was accepted"
  exit 1
fi
grep -q "cut.gguf" "$folder/error" || { cat "$folder/error"; echo "the message does not name the file"; exit 1; }
