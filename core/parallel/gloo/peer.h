// What a group holds for one peer. A context for each peer: Gloo guards one by a mutex that a failing write
// holds while it waits for the event loop, which may itself wait for that mutex on behalf of another peer.
#ifndef TESSERA_CORE_PARALLEL_GLOO_PEER_H_
#define TESSERA_CORE_PARALLEL_GLOO_PEER_H_

#include <memory>
#include <utility>

#include "core/parallel/gloo/group.h"

namespace tessera::gloo_ranks {

struct Group::Peer {
  Peer(std::shared_ptr<gloo::transport::Context> gloo_context, int32_t peer_rank, Waits* waits,
       std::vector<uint8_t>* contribution, Frame* beat)
      : rank(peer_rank),
        context(std::move(gloo_context)),
        exchange_in{{context, rank, waits}, {context, rank, waits}},
        exchange_body_in(context, rank, waits),
        exchange_out(*context, rank, waits, contribution->data(), contribution->size()),
        message_in(context, rank, waits),
        life_in(context, rank, waits),
        life_out(*context, rank, nullptr, beat, sizeof(*beat)),
        leave_out(context, rank, nullptr) {
    exchange_in[0].Reserve(sizeof(Frame) + kEagerBytes);
    exchange_in[1].Reserve(sizeof(Frame) + kEagerBytes);
    message_in.Reserve(sizeof(Frame) + kEagerBytes);
    life_in.Reserve(sizeof(Frame) + kMostReasonBytes);
    leave_out.Reserve(sizeof(Frame) + kMostReasonBytes);
    for (int i = 0; i < kMessagesOnTheirWay; ++i) {
      message_out.push_back(std::make_unique<OwnedTransfer>(context, rank, waits));
      (*message_out.back()).Reserve(sizeof(Frame));
    }
  }

  const int32_t rank;
  const std::shared_ptr<gloo::transport::Context> context;

  OwnedTransfer exchange_in[2];  // by turns, a receive posted ahead in the next one
  OwnedTransfer exchange_body_in;
  Transfer exchange_out;
  OwnedTransfer message_in;                                 // a receive is always posted
  std::vector<std::unique_ptr<OwnedTransfer>> message_out;  // [kMessagesOnTheirWay], by turns
  uint8_t message_sends[kMessagesOnTheirWay] = {};          // of each, not yet waited for
  uint64_t messages_sent = 0;
  OwnedTransfer life_in;  // a receive is always posted, until the peer's last word
  Transfer life_out;
  OwnedTransfer leave_out;
  std::atomic<int64_t> heard_ns{0};   // when it last gave a sign of life
  std::atomic<bool> left{false};      // it said goodbye
  std::atomic<bool> deserted{false};  // nothing more comes from there, and nobody reads there
  // Of the wait under way, kForever: none. Gloo closes the connection of a wait that was too long, and the
  // listener must know that from a death.
  std::atomic<int64_t> deadline_ns{kForever};
  std::unique_ptr<Thread> listener;
};

}  // namespace tessera::gloo_ranks

#endif  // TESSERA_CORE_PARALLEL_GLOO_PEER_H_
