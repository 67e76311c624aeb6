// The reference backend: plain loops, one thread, weights as the file stores them and dequantised row by row.
// Slow and obviously right; the other backends are compared with it. Uses no vector code.
#ifndef TESSERA_CORE_CPU_REFERENCE_REFERENCE_BACKEND_H_
#define TESSERA_CORE_CPU_REFERENCE_REFERENCE_BACKEND_H_

#include <memory>

#include "core/execute/backend.h"

namespace tessera {

// Activations are kept in F32; sums run in double precision. Limits' `threads` is not used.
std::unique_ptr<Backend> MakeReferenceBackend();

}  // namespace tessera

#endif  // TESSERA_CORE_CPU_REFERENCE_REFERENCE_BACKEND_H_
