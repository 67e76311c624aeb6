# The relocatable build's dependencies: abseil, Highway, simdjson and xxHash's header from folders of sources, static,
# position independent and hidden, with static libstdc++ and libgcc. scripts/fetch-sources fills the default folders.
set(Gloo_FOUND OFF)  # exists as a shared library only

# tessera_source(VARIABLE NAME FILE): the folder of NAME's sources, which has FILE, and its licence among what is
# installed.
function(tessera_source variable name file)
  set(${variable} ${PROJECT_SOURCE_DIR}/.cache/sources/${name} CACHE PATH "Folder of the sources of ${name}")
  foreach(wanted ${file} LICENSE)
    if(NOT EXISTS ${${variable}}/${wanted})
      message(FATAL_ERROR "${variable}: no ${wanted} in ${${variable}}. Run scripts/fetch-sources, or give the folder")
    endif()
  endforeach()
  # Debian's list has the terms of each file, which LICENSE may leave out.
  foreach(text LICENSE LICENSE-BSD3 debian/copyright)
    if(EXISTS ${${variable}}/${text})
      string(REPLACE "/" "-" text_name ${text})
      install(FILES ${${variable}}/${text} DESTINATION ${CMAKE_INSTALL_DOCDIR}/licences
        RENAME ${name}-${text_name}.txt COMPONENT runtime)
    endif()
  endforeach()
endfunction()

# tessera_build_source(FOLDER NAME): their own CMake, without their tests, tools and installation.
function(tessera_build_source folder name)
  set(CMAKE_CXX_STANDARD 20)  # as ours: abseil's types depend on it
  set(CMAKE_POSITION_INDEPENDENT_CODE ON)
  set(CMAKE_C_VISIBILITY_PRESET hidden)
  set(CMAKE_CXX_VISIBILITY_PRESET hidden)
  set(CMAKE_VISIBILITY_INLINES_HIDDEN ON)
  # Settings of theirs, which are variables here, so that none enters our cache.
  set(CMAKE_POLICY_DEFAULT_CMP0077 NEW)
  set(CMAKE_POLICY_DEFAULT_CMP0063 NEW)
  set(CMAKE_WARN_DEPRECATED OFF CACHE INTERNAL "")
  set(BUILD_SHARED_LIBS OFF)
  set(BUILD_TESTING OFF)
  set(ABSL_PROPAGATE_CXX_STD ON)
  set(ABSL_ENABLE_INSTALL OFF)
  set(HWY_FORCE_STATIC_LIBS ON)
  set(SIMDJSON_DEVELOPER_MODE OFF)
  add_subdirectory(${folder} ${PROJECT_BINARY_DIR}/sources/${name} EXCLUDE_FROM_ALL SYSTEM)
endfunction()

include(GNUInstallDirs)
tessera_source(TESSERA_ABSEIL_SOURCE abseil absl/base/options.h)
tessera_source(TESSERA_HIGHWAY_SOURCE highway hwy/highway.h)
tessera_source(TESSERA_SIMDJSON_SOURCE simdjson include/simdjson.h)
tessera_source(TESSERA_XXHASH_SOURCE xxhash xxhash.h)
tessera_build_source(${TESSERA_ABSEIL_SOURCE} abseil)
tessera_build_source(${TESSERA_HIGHWAY_SOURCE} highway)
tessera_build_source(${TESSERA_SIMDJSON_SOURCE} simdjson)
add_library(PkgConfig::hwy ALIAS hwy)  # its name in the distribution build
if(NOT TARGET simdjson::simdjson)
  add_library(simdjson::simdjson ALIAS simdjson)
endif()
set(TESSERA_XXHASH_FOLDER ${TESSERA_XXHASH_SOURCE})
