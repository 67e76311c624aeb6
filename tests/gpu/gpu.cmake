# Tests that need a GPU: one program for each folder of kernels, and some for the module, whose table all can reach.
# Included by gpu/ since its language is CUDA's.
file(GLOB TESSERA_GPU_TESTS CONFIGURE_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/*_test.cu ${CMAKE_CURRENT_LIST_DIR}/*_test.cc)
foreach(source ${TESSERA_GPU_TESTS})
  get_filename_component(name ${source} NAME_WE)
  # NAME_reference.cc is what a test compares with where that is C++20: the library's own code for a CPU.
  string(REGEX REPLACE "_test$" "_reference.cc" reference ${CMAKE_CURRENT_LIST_DIR}/${name})
  if(NOT EXISTS ${reference})
    set(reference)
  endif()
  tessera_gpu_test(gpu_${name} SOURCES ${source} ${reference} $<TARGET_OBJECTS:tessera_cuda_table>)
endforeach()
# Host code alone: runs on every machine that has the toolkit.
set_tests_properties(gpu_driver_test PROPERTIES LABELS "cuda")
target_link_libraries(gpu_sample_test PRIVATE tessera_sample)

# The public API on a real GPU: it knows the library by its header alone, and CUDA as any host does.
find_package(CUDAToolkit REQUIRED)
file(GLOB TESSERA_GPU_API_TESTS CONFIGURE_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/api/*.cc)
add_executable(gpu_api_test ${TESSERA_GPU_API_TESTS})
target_link_libraries(gpu_api_test PRIVATE tessera_flags tessera_test_host tessera_doubles CUDA::cudart_static
  GTest::gtest_main)
add_dependencies(gpu_api_test tessera_cuda)
add_test(NAME gpu_api_test COMMAND gpu_api_test)
set_tests_properties(gpu_api_test PROPERTIES TIMEOUT 600 LABELS "gpu")

# For machines that can build but not run them: all that need no more of the library than its lowest folders.
get_property(programs DIRECTORY PROPERTY BUILDSYSTEM_TARGETS)
list(FILTER programs INCLUDE REGEX "^gpu_.*_test$")
list(REMOVE_ITEM programs gpu_api_test)
add_custom_target(gpu_tests DEPENDS ${programs})
