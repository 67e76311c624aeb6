// tsr_abi_describe: the ABI as data.
#include "capi/src/abi.h"

#include "tessera/tessera.h"

const char* tsr_abi_describe(size_t* size) {
  if (size != nullptr) *size = tessera::capi::kAbiDescriptionSize;
  return tessera::capi::kAbiDescription;
}
