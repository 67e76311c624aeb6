# Programs that measure on a GPU. Included by gpu/ since its language is CUDA's.
add_library(tessera_cuda_bench STATIC ${CMAKE_CURRENT_LIST_DIR}/cuda_bench.cu ${CMAKE_CURRENT_LIST_DIR}/json_lines.cc
  ${CMAKE_CURRENT_LIST_DIR}/read_limit.cu)
target_link_libraries(tessera_cuda_bench PUBLIC tessera_flags tessera_cuda_flags)
set_target_properties(tessera_cuda_bench PROPERTIES CUDA_RUNTIME_LIBRARY Static CUDA_EXTENSIONS OFF)

foreach(name gpu_attention_bench sample_bench chain_bench wide_bench)
  string(REPLACE gpu_ "" source ${name})
  tessera_gpu_bench(${name} SOURCES ${CMAKE_CURRENT_LIST_DIR}/${source}.cu DEPS tessera_cuda_bench)
endforeach()
target_sources(wide_bench PRIVATE ${CMAKE_CURRENT_LIST_DIR}/library_products.cc)

# chain_bench with stamps inside the kernels: where each node's time goes.
add_executable(chain_ledger EXCLUDE_FROM_ALL ${CMAKE_CURRENT_LIST_DIR}/chain_bench.cu
  ${PROJECT_SOURCE_DIR}/gpu/kernels/linear/linear.cu)
target_compile_definitions(chain_ledger PRIVATE TESSERA_LEDGER)
target_link_libraries(chain_ledger PRIVATE tessera_cuda_bench)
set_target_properties(chain_ledger PROPERTIES CUDA_RUNTIME_LIBRARY Static CUDA_EXTENSIONS OFF)

# Through the public API alone, but for the limits that it measures itself.
add_executable(gpu_bench ${CMAKE_CURRENT_LIST_DIR}/gpu_bench.cc ${CMAKE_CURRENT_LIST_DIR}/arguments.cc
  ${CMAKE_CURRENT_LIST_DIR}/bench_engine.cc ${CMAKE_CURRENT_LIST_DIR}/cancel_sections.cc
  ${CMAKE_CURRENT_LIST_DIR}/decode_group.cc ${CMAKE_CURRENT_LIST_DIR}/decode_sections.cc
  ${CMAKE_CURRENT_LIST_DIR}/load_sections.cc ${CMAKE_CURRENT_LIST_DIR}/report.cc
  ${CMAKE_CURRENT_LIST_DIR}/request_sections.cc)
target_link_libraries(gpu_bench PRIVATE tessera_flags tessera_cuda_bench tessera tessera_shaped_model)
set_target_properties(gpu_bench PROPERTIES CUDA_RUNTIME_LIBRARY Static CUDA_EXTENSIONS OFF LINKER_LANGUAGE CUDA)
add_dependencies(gpu_bench tessera_cuda)
