// What goes over a connection: a header of fixed size, and behind it the bytes, where they are few. Ranks run
// the same build on machines of one byte order.
#ifndef TESSERA_CORE_PARALLEL_GLOO_FRAME_H_
#define TESSERA_CORE_PARALLEL_GLOO_FRAME_H_

#include <cstddef>
#include <cstdint>

#include "core/parallel/communicator.h"

namespace tessera::gloo_ranks {

enum class FrameKind : uint32_t {
  kExchange = 1,
  kMessage = 2,
  kBeat = 3,      // the sender lives
  kFarewell = 4,  // the sender's group failed; the bytes say how, `signal` is the code
  kGoodbye = 5,   // the sender has left in order
};

struct Frame {
  static constexpr uint32_t kMagic = 0x74737231;
  uint32_t magic = kMagic;
  FrameKind kind = FrameKind::kBeat;
  CollectiveTag tag;
  uint32_t signal = 0;  // a RankSignal, or a farewell's code
  uint32_t place_bytes = 0;
  uint64_t size = 0;  // bytes that follow, here or, beyond kEagerBytes, in a transfer of their own
};

// Behind a header they need no second transfer, for which the receiver must first have made room.
inline constexpr size_t kEagerBytes = 64 << 10;
inline constexpr size_t kMostReasonBytes = 400;  // of a farewell

// Each kind of transfer is in order, and independent of the others.
enum Slot : uint64_t { kExchangeSlot = 1, kExchangeBodySlot, kMessageSlot, kMessageBodySlot, kLifeSlot };

}  // namespace tessera::gloo_ranks

#endif  // TESSERA_CORE_PARALLEL_GLOO_FRAME_H_
