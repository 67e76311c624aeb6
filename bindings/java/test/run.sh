# Runs tests of the Java binding with -Xcheck:jni and fails on what that reports. Called by ctest with JAVA, OUT, JAR and
# WRITER set. Usage: run.sh junit CLASSPATH | examples | conformance SCENARIOS FOLDER
#
# A report is a line with "in native method" or "warning: ... JNI":
# all that -Xcheck:jni prints of calls into JNI. Nothing is excepted.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$WRITER" "$folder/tiny.gguf"
log=$folder/log
java=("$JAVA" -Xcheck:jni -Xmx256m -Djava.io.tmpdir="$folder" -Ddev.tessera.test.model="$folder/tiny.gguf")

check_log() {
  if grep -aiE "in native method|warning: .*JNI" "$log"; then
    echo "-Xcheck:jni reports something"
    exit 1
  fi
  if compgen -G "$folder/tessera*" >/dev/null; then echo "extracted libraries were left behind"; exit 1; fi
}

run() {
  local status=0
  "$@" >"$log" 2>&1 || status=$?
  cat "$log"
  [[ $status == 0 ]] || exit "$status"
  check_log
}

case $1 in
  junit)
    run "${java[@]}" -cp "$JAR:$OUT/tests:$2" org.junit.platform.console.ConsoleLauncher --disable-banner \
      --disable-ansi-colors --details=tree --fail-if-no-tests --scan-classpath="$OUT/tests"
    ;;
  examples)
    run "${java[@]}" -cp "$JAR:$OUT/examples" Chat "$folder/tiny.gguf" <<<$'hello\nand the world'
    [[ $(wc -c <"$log") -gt 20 ]] || { echo "the chat said nothing"; exit 1; }
    run "${java[@]}" -cp "$JAR:$OUT/examples" StreamOfAnswers "$folder/tiny.gguf" "hello" "the world" "of"
    [[ $(grep -c "tokens a second" "$log") == 3 ]] || { echo "three answers were expected"; exit 1; }
    # The same from java.library.path, and as a module.
    mkdir "$folder/thin" && cp -r "$OUT/classes" "$folder/thin/dev.tessera"
    run "${java[@]}" -Djava.library.path="$(dirname "$(find "$OUT/jar" -name libtessera_jni.so)")" --module-path "$folder/thin" --add-modules dev.tessera \
      -cp "$OUT/examples" StreamOfAnswers "$folder/tiny.gguf" "hello"
    if [[ -n ${TESSERA_MODEL_SMOLLM2:-} ]]; then
      run "${java[@]}" -cp "$JAR:$OUT/examples" Chat "$TESSERA_MODEL_SMOLLM2" <<<"What is the capital of France?"
      run "${java[@]}" -cp "$JAR:$OUT/examples" StreamOfAnswers "$TESSERA_MODEL_SMOLLM2" "The capital of France is"
      grep -q Paris "$log" || { echo "the model does not know Paris"; exit 1; }
    fi
    ;;
  conformance)
    run "${java[@]}" -cp "$JAR:$OUT/tests" dev.tessera.Conformance "$2" "$3"
    ;;
esac
