// The description of the ABI, made at build time from capi/abi/tessera.json.
#ifndef TESSERA_CAPI_SRC_ABI_H_
#define TESSERA_CAPI_SRC_ABI_H_

#include <cstddef>

namespace tessera::capi {

extern const char kAbiDescription[];      // NUL-terminated JSON, ASCII
extern const size_t kAbiDescriptionSize;  // bytes without the NUL

}  // namespace tessera::capi

#endif  // TESSERA_CAPI_SRC_ABI_H_
