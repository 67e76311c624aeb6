#include "core/cache/block_pool.h"

namespace tessera {

BlockPool::BlockPool(int32_t count) : blocks_(static_cast<size_t>(count)) {
  free_.reserve(static_cast<size_t>(count));
  // Lowest ids on top: memory is touched from its beginning, page by page, as it is needed.
  for (int32_t id = count - 1; id >= 0; --id) free_.push_back(id);
}

int32_t BlockPool::Take() noexcept {
  if (free_.empty()) return -1;
  const int32_t id = free_.back();
  free_.pop_back();
  At(id).refs = 1;
  return id;
}

void BlockPool::Refer(int32_t id) noexcept {
  if (At(id).refs++ == 0) Unlink(id);
}

void BlockPool::Release(int32_t id) noexcept {
  if (--At(id).refs != 0) return;
  if (At(id).node >= 0) {
    Link(id);
  } else {
    free_.push_back(id);  // within the reserved capacity
  }
}

void BlockPool::Forget(int32_t id) noexcept {
  At(id).node = -1;
  if (At(id).refs != 0) return;
  Unlink(id);
  free_.push_back(id);
}

void BlockPool::Link(int32_t id) noexcept {
  At(id).previous = idle_last_;
  At(id).next = -1;
  (idle_last_ < 0 ? idle_first_ : At(idle_last_).next) = id;
  idle_last_ = id;
  ++idle_count_;
}

void BlockPool::Unlink(int32_t id) noexcept {
  const Block& block = At(id);
  (block.previous < 0 ? idle_first_ : At(block.previous).next) = block.next;
  (block.next < 0 ? idle_last_ : At(block.next).previous) = block.previous;
  --idle_count_;
}

}  // namespace tessera
