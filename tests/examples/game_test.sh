# game lets all three characters speak, counts every frame once, and draws the same histogram. Not how fast it is.
set -euo pipefail
game=$1 writer=$2
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$writer" "$folder/tiny.gguf"
"$game" --model "$folder/tiny.gguf" --frames 90 --histogram "$folder/frames.svg" >"$folder/said"
for name in Mira Tom Pip; do
  grep -aq "^\[frame [0-9]*\] $name: " "$folder/said" || { cat "$folder/said"; echo "$name said nothing"; exit 1; }
done
sed -n '/^work in a frame/,$p' "$folder/said" >"$folder/histogram"
counted=$(awk 'NR > 1 { total += $3 } END { print total }' "$folder/histogram")
[[ $counted == 90 ]] || { cat "$folder/histogram"; echo "$counted frames are in the histogram"; exit 1; }
python3 - "$folder/frames.svg" <<'PYTHON'
import sys
import xml.etree.ElementTree as tree
bars = [float(bar.get("height")) for bar in tree.parse(sys.argv[1]).getroot().iter("{http://www.w3.org/2000/svg}rect")]
if len(bars) != 36 or abs(sum(bars) - 200) > 2:
    sys.exit(f"{len(bars)} bars of {sum(bars)} in all")
PYTHON
if "$game" --frames 3 2>"$folder/error"; then echo "no model was accepted"; exit 1; fi
grep -q usage "$folder/error"
if "$game" --model "$folder/missing.gguf" 2>"$folder/error"; then echo "a missing file was accepted"; exit 1; fi
grep -q TSR_STATUS_NOT_FOUND "$folder/error" || { cat "$folder/error"; exit 1; }
