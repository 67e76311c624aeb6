# The three ways a folder adds to the build: a component of the library, a test of it, a benchmark.

find_package(Threads REQUIRED)

add_library(tessera_flags INTERFACE)
target_compile_features(tessera_flags INTERFACE cxx_std_20)
target_compile_options(tessera_flags INTERFACE
  "$<$<COMPILE_LANGUAGE:CXX>:-Wall;-Wextra;-Wpedantic;-Werror;-fno-math-errno;-ffp-contract=off>")
target_include_directories(tessera_flags INTERFACE ${PROJECT_SOURCE_DIR})
target_link_libraries(tessera_flags INTERFACE Threads::Threads)

if(TESSERA_SANITIZE)
  target_compile_options(tessera_flags INTERFACE
    -fsanitize=${TESSERA_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  target_link_options(tessera_flags INTERFACE -fsanitize=${TESSERA_SANITIZE})
  # One vector set and the plain baseline: the kernels are the slowest files to compile under a sanitizer.
  target_compile_definitions(tessera_flags INTERFACE
    "HWY_DISABLED_TARGETS=(HWY_SSSE3 | HWY_SSE4 | HWY_AVX3 | HWY_AVX3_DL | HWY_SVE | HWY_SVE_256 | HWY_SVE2 | HWY_SVE2_128)")
endif()

# What C programs of ours (examples, tests of the public header) are compiled with.
add_library(tessera_flags_c INTERFACE)
target_compile_options(tessera_flags_c INTERFACE -Wall -Wextra -Wpedantic -Werror)
if(TESSERA_SANITIZE)
  target_compile_options(tessera_flags_c INTERFACE -fsanitize=${TESSERA_SANITIZE} -fno-omit-frame-pointer)
  target_link_options(tessera_flags_c INTERFACE -fsanitize=${TESSERA_SANITIZE})
endif()

# tessera_component(NAME SOURCES a.cc b.cc DEPS other ...): one folder of the library, as tessera_NAME.
function(tessera_component name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS" ${ARGN})
  add_library(tessera_${name} STATIC ${ARG_SOURCES})
  set_target_properties(tessera_${name} PROPERTIES
    POSITION_INDEPENDENT_CODE ON CXX_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON)
  target_link_libraries(tessera_${name} PUBLIC tessera_flags ${ARG_DEPS})
  set_property(GLOBAL APPEND PROPERTY TESSERA_COMPONENTS tessera_${name})
endfunction()

# tessera_own_runtime(TARGET): in the relocatable build, the C++ runtime goes into this shared library or module.
function(tessera_own_runtime target)
  if(TESSERA_RELOCATABLE)
    target_link_options(${target} PRIVATE -static-libstdc++ -static-libgcc)
  endif()
endfunction()

# What every test includes, compiled once: most of a test's compile time. Not with a compiler cache, which does
# better without.
if(TESSERA_TESTS AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  file(WRITE ${PROJECT_BINARY_DIR}/test_headers.cc "")
  add_library(tessera_test_headers OBJECT ${PROJECT_BINARY_DIR}/test_headers.cc)
  target_link_libraries(tessera_test_headers PRIVATE tessera_flags GTest::gmock GTest::gtest)
  target_precompile_headers(tessera_test_headers PRIVATE
    <gtest/gtest.h> <gmock/gmock.h> <absl/status/statusor.h> <absl/strings/str_cat.h> <functional> <map> <memory>
    <mutex> <string> <thread> <vector>)
endif()

# tessera_test(NAME SOURCES a_test.cc DEPS tessera_x LABELS l): a GoogleTest program; ctest lists it as NAME.
function(tessera_test name)
  if(NOT TESSERA_TESTS)
    return()
  endif()
  cmake_parse_arguments(ARG "" "TIMEOUT" "SOURCES;DEPS;LABELS" ${ARGN})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 600)
  endif()
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE tessera_flags ${ARG_DEPS} GTest::gmock GTest::gtest_main)
  if(TARGET tessera_test_headers)
    target_precompile_headers(${name} REUSE_FROM tessera_test_headers)
  endif()
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES TIMEOUT ${ARG_TIMEOUT} LABELS "${ARG_LABELS}")
endfunction()
