# Tests that need a GPU: one program for each folder of kernels, and one for the module. Included by gpu/ since its
# language is CUDA's.
file(GLOB TESSERA_GPU_TESTS CONFIGURE_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/*_test.cu ${CMAKE_CURRENT_LIST_DIR}/*_test.cc)
foreach(source ${TESSERA_GPU_TESTS})
  get_filename_component(name ${source} NAME_WE)
  tessera_gpu_test(gpu_${name} SOURCES ${source})
endforeach()
