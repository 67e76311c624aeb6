// Sessions to bytes and back, and parking. What is copied is pinned under the mutex and copied without it: a
// cache may be gigabytes.
#include <algorithm>
#include <utility>

#include "core/cache/cached_rows.h"
#include "core/engine/engine.h"

namespace tessera {
namespace {

absl::Status CheckTokens(absl::Span<const int32_t> tokens, int32_t vocabulary, int32_t context_tokens) {
  if (tokens.size() > static_cast<size_t>(context_tokens)) {
    return LimitExceeded(
        "state", absl::StrCat("its ", tokens.size(), " tokens exceed the context of ", context_tokens));
  }
  for (const int32_t token : tokens) {
    if (token >= 0 && token < vocabulary) continue;
    return Corrupt("state", absl::StrCat("token ", token, " is outside the vocabulary of ", vocabulary));
  }
  return absl::OkStatus();
}

}  // namespace

// Blocks held beside all sessions, and the memory in which they lie, so that neither eviction nor a close
// takes them away meanwhile. Made and unmade without the mutex.
class Engine::Pinned {
 public:
  explicit Pinned(Engine* engine) : engine_(engine), views_(engine->cache_.group_count()) {
    table = engine->cache_.MakeTable(engine->LongestTokens());
  }
  ~Pinned() {
    std::lock_guard<std::mutex> lock(engine_->mutex_);
    engine_->cache_.Trim(table, 0);
  }
  Pinned(const Pinned&) = delete;
  Pinned& operator=(const Pinned&) = delete;

  // Mutex held, and the engine open.
  void HoldMemoryLocked() noexcept {
    const KvCache& cache = engine_->cache_;
    memory_ = cache.memory();
    std::copy_n(cache.views(), views_.size(), views_.begin());
  }
  const CacheView& view(size_t group) const { return views_[group]; }

  BlockTable table;

 private:
  Engine* engine_;
  std::vector<CacheView> views_;  // [group]
  std::shared_ptr<const void> memory_;
};

StateDescription Engine::Describe(size_t tokens, int64_t cached) const {
  StateDescription description;
  description.token_count = tokens;
  description.model = model_->hash;
  description.tokenizer = model_->tokenizer_hash;
  if (cached == 0) return description;
  description.cached_tokens = static_cast<uint64_t>(cached);
  description.arithmetic = backend_->arithmetic();
  description.cache_type = static_cast<int32_t>(options_.cache_type);
  description.block_tokens = cache_.block_tokens();
  for (size_t i = 0; i < model_->spec.cache_groups.size(); ++i) {
    const CacheView& view = cache_.views()[i];
    StateGroup group;
    group.layers = view.layer_count;
    group.kv_heads = view.kv_heads;
    group.head_size = view.head_size;
    group.window_tokens = cache_.window_tokens(i);
    group.row_bytes = view.row_bytes();
    group.first_token = static_cast<uint64_t>(cache_.FirstNeeded(i, cached) * cache_.block_tokens());
    description.groups.push_back(group);
  }
  return description;
}

absl::Status Engine::Save(Session& session, bool with_cache, absl::Span<uint8_t> state, size_t* size) {
  with_cache = with_cache && CacheIsHere();
  Pinned pinned(this);
  std::vector<int32_t> tokens;
  int64_t cached = 0;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    TSR_RETURN_IF_ERROR(CheckIdleLocked(session));
    tokens = session.tokens;
    if (with_cache) {
      // A batch that a cancelled request left may still write behind `computed`; those rows are not read.
      cache_.Share(session.blocks, static_cast<int64_t>(session.computed), pinned.table);
      cached = cache_.Trim(pinned.table, static_cast<int64_t>(session.computed));
      pinned.HoldMemoryLocked();
    }
  }
  const StateDescription description = Describe(tokens.size(), cached);
  TSR_ASSIGN_OR_RETURN(*size, StateBytes(description));
  if (state.size() < *size) {
    return Error(ErrorCode::kBufferTooSmall, "buffer", absl::StrCat(*size, " bytes are needed"));
  }
  state = state.first(*size);
  uint8_t* rows = BeginState(description, tokens, state.data());
  for (size_t i = 0; i < description.groups.size(); ++i) {
    const auto first = static_cast<int64_t>(description.groups[i].first_token);
    GatherRows(pinned.view(i), pinned.table[i], first, cached, rows);
    rows += RowsBytes(pinned.view(i), cached - first);
  }
  SealState(state);
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<Session>> Engine::Restore(absl::Span<const uint8_t> state, bool with_cache,
                                                         bool keep_logits) {
  with_cache = with_cache && CacheIsHere();
  TSR_ASSIGN_OR_RETURN(StateView view, ReadState(state));
  const int64_t cached = with_cache ? static_cast<int64_t>(view.description.cached_tokens) : 0;
  TSR_RETURN_IF_ERROR(CheckState(view.description, Describe(view.tokens.size(), cached), with_cache));
  TSR_RETURN_IF_ERROR(CheckTokens(view.tokens, model_->spec.vocabulary_size, options_.context_tokens));
  std::shared_ptr<Session> session = NewSession(keep_logits);
  session->tokens = std::move(view.tokens);
  Pinned pinned(this);
  bool received = false;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    TSR_RETURN_IF_ERROR(CheckRoomLocked());
    received = cached > 0 && ReceiveLocked(pinned, cached);
  }
  for (size_t i = 0; received && i < view.rows.size(); ++i) {
    const auto first = static_cast<int64_t>(view.description.groups[i].first_token);
    ScatterRows(pinned.view(i), pinned.table[i], first, cached, view.rows[i].data());
  }
  std::lock_guard<std::mutex> lock(mutex_);
  TSR_RETURN_IF_ERROR(OpenLocked(session));
  session->last_used = step_number_;
  if (received) {
    std::swap(session->blocks, pinned.table);
    session->computed = static_cast<size_t>(cached);
  }
  return session;
}

bool Engine::ReceiveLocked(Pinned& pinned, int64_t tokens) noexcept {
  if (tokens > LongestTokens()) return false;
  while (!cache_.Receive(pinned.table, tokens)) {
    if (!EvictIdleSessionLocked(nullptr)) return false;
  }
  pinned.HoldMemoryLocked();
  return true;
}

absl::Status Engine::Park(Session& session) {
  std::lock_guard<std::mutex> lock(mutex_);
  TSR_RETURN_IF_ERROR(CheckIdleLocked(session));
  // A batch that a cancelled request left may still write: its end gives the blocks back.
  if (session.in_flight != 0) {
    session.computed = 0;
  } else {
    RetreatLocked(session, 0);
  }
  return absl::OkStatus();
}

}  // namespace tessera
