// Ranges that a profiler shows on the host's time line; nothing where none is attached.
#ifndef TESSERA_GPU_DEVICE_TRACE_H_
#define TESSERA_GPU_DEVICE_TRACE_H_

#if __has_include(<nvtx3/nvToolsExt.h>)
#include <nvtx3/nvToolsExt.h>
#define TESSERA_HAS_NVTX 1
#endif

namespace tessera::gpu {

class TraceRange {
 public:
#ifdef TESSERA_HAS_NVTX
  explicit TraceRange(const char* name) { nvtxRangePushA(name); }
  ~TraceRange() { nvtxRangePop(); }
#else
  explicit TraceRange(const char*) {}
  ~TraceRange() {}
#endif
  TraceRange(const TraceRange&) = delete;
  TraceRange& operator=(const TraceRange&) = delete;
};

}  // namespace tessera::gpu

#endif  // TESSERA_GPU_DEVICE_TRACE_H_
