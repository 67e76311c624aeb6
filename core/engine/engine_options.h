// What an engine is made with. Plain data.
#ifndef TESSERA_CORE_ENGINE_ENGINE_OPTIONS_H_
#define TESSERA_CORE_ENGINE_ENGINE_OPTIONS_H_

#include <cstdint>

#include "core/cache/cache_view.h"
#include "core/ranks/process_ranks.h"
#include "core/ranks/rank_layout.h"

namespace tessera {

struct EngineOptions {
  bool stepped = false;
  int32_t threads = 1;       // of all ranks in this process
  int64_t cache_tokens = 0;  // 0: the context
  CacheType cache_type = CacheType::kF16;
  int32_t block_tokens = 16;
  int32_t context_tokens = 0;  // longest sequence; 0: what the model was trained for
  int32_t batch_tokens = 256;
  int32_t batch_sequences = 64;
  int32_t max_running = 0;  // 0: batch_sequences
  int32_t max_requests = 256;
  int32_t max_sessions = 1024;
  bool share_prefixes = true;
  bool batch_invariant = false;  // see BackendLimits
  bool time_regions = false;     // likewise
  RankLayout ranks;
  ProcessRankOptions processes;  // without a rendezvous the ranks are threads of this process
};

}  // namespace tessera

#endif  // TESSERA_CORE_ENGINE_ENGINE_OPTIONS_H_
