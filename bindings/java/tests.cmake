# Tests of the Java binding, by Debian's JUnit 5 console launcher, skipped where that is not
# installed; all with -Xcheck:jni, whose reports fail them.
file(GLOB JAVA_TESTS CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/test/dev/tessera/*.java)
file(GLOB JAVA_EXAMPLES CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/examples/*.java)
file(GLOB JAVA_JUNIT /usr/share/java/junit-jupiter-api.jar /usr/share/java/junit-jupiter-engine.jar
  /usr/share/java/junit-platform-commons.jar /usr/share/java/junit-platform-engine.jar
  /usr/share/java/junit-platform-launcher.jar /usr/share/java/junit-platform-console.jar
  /usr/share/java/junit-platform-reporting.jar /usr/share/java/opentest4j.jar /usr/share/java/apiguardian-api.jar
  /usr/share/java/picocli.jar /usr/share/java/univocity-parsers.jar /usr/share/java/open-test-reporting-*.jar)
list(JOIN JAVA_JUNIT ":" JAVA_JUNIT_PATH)

add_custom_command(OUTPUT ${JAVA_OUT}/examples.stamp
  COMMAND ${JAVAC} -Xlint:all -cp ${JAVA_OUT}/classes -d ${JAVA_OUT}/examples ${JAVA_EXAMPLES}
  COMMAND ${CMAKE_COMMAND} -E touch ${JAVA_OUT}/examples.stamp
  DEPENDS ${JAVA_EXAMPLES} ${JAVA_JAR} COMMENT "Compiling the Java examples" VERBATIM)
add_custom_target(tessera_java_examples ALL DEPENDS ${JAVA_OUT}/examples.stamp)

add_executable(tessera_java_tiny_model ${PROJECT_SOURCE_DIR}/tests/examples/write_tiny_model.cc)
target_link_libraries(tessera_java_tiny_model PRIVATE tessera_flags tessera_doubles)

set(JAVA_RUN ${CMAKE_COMMAND} -E env JAVA=${Java_JAVA_EXECUTABLE} OUT=${JAVA_OUT} JAR=${JAVA_JAR}
  WRITER=$<TARGET_FILE:tessera_java_tiny_model> bash ${CMAKE_CURRENT_SOURCE_DIR}/test/run.sh)

function(java_test name)
  add_test(NAME java_${name} COMMAND ${JAVA_RUN} ${ARGN})
  set_tests_properties(java_${name} PROPERTIES LABELS bindings TIMEOUT 300 SKIP_REGULAR_EXPRESSION "^skipped")
endfunction()

if(JAVA_JUNIT)
  add_custom_command(OUTPUT ${JAVA_OUT}/tests.stamp
    COMMAND ${CMAKE_COMMAND} -E rm -rf ${JAVA_OUT}/tests
    COMMAND ${JAVAC} -Xlint:all,-path -cp ${JAVA_OUT}/classes:${JAVA_JUNIT_PATH} -d ${JAVA_OUT}/tests ${JAVA_TESTS}
    COMMAND ${CMAKE_COMMAND} -E touch ${JAVA_OUT}/tests.stamp
    DEPENDS ${JAVA_TESTS} ${JAVA_JAR} COMMENT "Compiling the Java tests" VERBATIM)
  add_custom_target(tessera_java_tests ALL DEPENDS ${JAVA_OUT}/tests.stamp)
  java_test(junit junit ${JAVA_JUNIT_PATH})
else()
  add_test(NAME java_junit COMMAND ${CMAKE_COMMAND} -E echo "skipped: JUnit 5 (Debian's junit5) is not installed")
  set_tests_properties(java_junit PROPERTIES LABELS bindings SKIP_REGULAR_EXPRESSION "^skipped")
endif()
java_test(examples examples)
if(TARGET tessera_conformance_models AND JAVA_JUNIT)
  java_test(conformance conformance ${PROJECT_SOURCE_DIR}/tests/conformance/scenarios.json
    ${PROJECT_BINARY_DIR}/tests/conformance/models)
  set_tests_properties(java_conformance PROPERTIES FIXTURES_REQUIRED conformance_models)
endif()
