// The CUDA module's one export. It holds no kernel yet, and the library does not load it yet: what is settled
// is how it is built, named and recognised.
#include <cuda_runtime_api.h>

#include "gpu/module.h"

extern "C" __attribute__((visibility("default"))) const tsr_module_description* tsr_module_describe(void) {
  static const tsr_module_description description = {
      sizeof(tsr_module_description), TESSERA_BUILD_ID, TESSERA_VERSION,
      TESSERA_CUDA_ARCHITECTURES,     CUDART_VERSION,   0,
  };
  return &description;
}
