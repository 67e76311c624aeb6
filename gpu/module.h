/* What libtessera and a module (libtessera_cuda.so) say to each other: one C function, found by name after
 * dlopen. No C++ type and no exception crosses. A module serves exactly the build it was made with. */
#ifndef TESSERA_GPU_MODULE_H_
#define TESSERA_GPU_MODULE_H_

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tsr_module_description {
  size_t struct_size;        /* sizeof(tsr_module_description) in the module's build */
  const char* build_id;      /* the same string in the library that may load it */
  const char* version;       /* of Tessera, such as "0.1.0" */
  const char* architectures; /* of the device code inside, such as "90a", separated by spaces */
  int32_t cuda_runtime;      /* CUDA's own number, such as 13000 */
  int32_t reserved;          /* 0 */
} tsr_module_description;

/* Static; touches no device. */
const tsr_module_description* tsr_module_describe(void);

#ifdef __cplusplus
}
#endif

#endif /* TESSERA_GPU_MODULE_H_ */
