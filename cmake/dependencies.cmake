# What the library is built on. The distribution build takes it from the system, as shared libraries where it is that.
# The relocatable build (TESSERA_RELOCATABLE) takes nothing but libc and libm from there: relocatable.cmake. The two are
# never mixed: a static C++ runtime beside a C++ library of the system's is two runtimes that exceptions cross.
option(TESSERA_RELOCATABLE "Build everything but libc into the library, for systems other than this one" OFF)

if(TESSERA_RELOCATABLE)
  include(cmake/relocatable.cmake)
else()
  find_package(absl REQUIRED)
  find_package(PkgConfig REQUIRED)
  find_package(simdjson REQUIRED)
  pkg_check_modules(hwy REQUIRED IMPORTED_TARGET libhwy)
  find_package(Gloo QUIET CONFIG)
  find_path(TESSERA_XXHASH_FOLDER xxhash.h REQUIRED)
endif()
option(TESSERA_GLOO "Build the Gloo module: ranks in different processes" ${Gloo_FOUND})
if(TESSERA_GLOO AND TESSERA_RELOCATABLE)
  message(FATAL_ERROR "TESSERA_GLOO: Gloo exists as a shared library only, so the relocatable build cannot have it")
endif()
if(TESSERA_GLOO AND TESSERA_EXAMPLES)
  find_package(MPI QUIET COMPONENTS C)  # for an example that mpirun starts
endif()
