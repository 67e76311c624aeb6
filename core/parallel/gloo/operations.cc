// Exchanges and messages over a group's connections.
#include <cstring>

#include "absl/strings/str_cat.h"
#include "core/env/clock.h"
#include "core/parallel/collective_tag.h"
#include "core/parallel/gloo/group.h"
#include "core/parallel/gloo/peer.h"

namespace tessera::gloo_ranks {
namespace {

constexpr absl::string_view kPlace = "rank group";

Frame FrameAt(OwnedTransfer& transfer) {
  Frame frame;
  std::memcpy(&frame, transfer.data(), sizeof(frame));
  return frame;
}

bool Is(const Frame& frame, FrameKind kind) { return frame.magic == Frame::kMagic && frame.kind == kind; }

absl::Status Nonsense(int32_t rank) {
  return Internal(kPlace, absl::StrCat("rank ", rank, " sent what no rank sends"));
}

int64_t After(int64_t timeout_ns) { return MonotonicClock()->NowNs() + timeout_ns; }

}  // namespace

absl::StatusOr<RankSignal> Group::Exchange(const CollectiveTag& tag, RankSignal signal,
                                           absl::Span<const uint8_t> mine, absl::Span<tsr_gloo_bytes> all) {
  RankSignal gravest = signal;
  TSR_RETURN_IF_ERROR(ExchangeUntil(tag, signal, mine, all, options_.operation_timeout_ns, &gravest));
  return gravest;
}

absl::Status Group::ExchangeUntil(const CollectiveTag& tag, RankSignal signal, absl::Span<const uint8_t> mine,
                                  absl::Span<tsr_gloo_bytes> all, int64_t timeout_ns, RankSignal* gravest) {
  if (!Usable()) return Failure();
  const size_t turn = exchanges_++ % 2;
  const bool eager = mine.size() <= kEagerBytes;
  Frame frame;
  frame.kind = FrameKind::kExchange;
  frame.tag = tag;
  frame.signal = static_cast<uint32_t>(signal);
  frame.size = mine.size();
  std::memcpy(contribution_.data(), &frame, sizeof(frame));
  if (eager && !mine.empty()) std::memcpy(contribution_.data() + sizeof(frame), mine.data(), mine.size());

  std::vector<std::unique_ptr<Transfer>> bodies;  // [peers], where there is more than fits behind the header
  for (const std::unique_ptr<Peer>& peer : peers_) {
    if (peer == nullptr) continue;
    try {
      // What was received there in the exchange before the last is nobody's any more.
      peer->exchange_in[1 - turn]->Receive(kExchangeSlot, 0, sizeof(Frame) + kEagerBytes);
      peer->exchange_out.Send(kExchangeSlot, 0, sizeof(frame) + (eager ? mine.size() : 0));
      if (eager) continue;
      bodies.push_back(std::make_unique<Transfer>(*peer->context, peer->rank, &waits_,
                                                  const_cast<uint8_t*>(mine.data()), mine.size()));
      bodies.back()->Send(kExchangeBodySlot, 0, mine.size());
    } catch (const std::bad_alloc&) {
      throw;
    } catch (const std::exception&) {
      return Outcome(Waited::kBroken, *peer, tag);
    }
  }

  // Rank 0 is the first: until it comes to a step there may be no work at all.
  int64_t deadline_ns = After(timeout_ns);
  for (const std::unique_ptr<Peer>& peer : peers_) {
    if (peer == nullptr) continue;
    const bool may_idle = peer->rank == 0 && tag.operation == 0;
    TSR_RETURN_IF_ERROR(AwaitContribution(*peer, turn, tag, may_idle ? kForever : deadline_ns));
    if (may_idle) deadline_ns = After(timeout_ns);
  }
  for (const std::unique_ptr<Peer>& peer : peers_) {
    if (peer == nullptr) continue;
    const Frame theirs = FrameAt(peer->exchange_in[turn]);
    if (theirs.size > kEagerBytes) {
      TSR_RETURN_IF_ERROR(AwaitReceive(*peer->exchange_body_in, *peer, tag, deadline_ns));
    }
    TSR_RETURN_IF_ERROR(AwaitSend(peer->exchange_out, *peer, tag, deadline_ns));
    *gravest = std::max(*gravest, static_cast<RankSignal>(theirs.signal));
    all[peer->rank] = {theirs.size > kEagerBytes ? peer->exchange_body_in.data()
                                                 : peer->exchange_in[turn].data() + sizeof(Frame),
                       theirs.size};
  }
  size_t body = 0;
  for (const std::unique_ptr<Peer>& peer : peers_) {
    if (peer == nullptr || bodies.empty()) continue;
    TSR_RETURN_IF_ERROR(AwaitSend(*bodies[body++], *peer, tag, deadline_ns));
  }
  all[options_.rank] = {mine.data(), mine.size()};
  return CheckTags(tag, turn);
}

// The peer's header, and a place for the rest.
absl::Status Group::AwaitContribution(Peer& peer, size_t turn, const CollectiveTag& tag,
                                      int64_t deadline_ns) {
  TSR_RETURN_IF_ERROR(AwaitReceive(*peer.exchange_in[turn], peer, tag, deadline_ns));
  const Frame theirs = FrameAt(peer.exchange_in[turn]);
  if (!Is(theirs, FrameKind::kExchange)) return Fail(Nonsense(peer.rank));
  if (theirs.size <= kEagerBytes) return absl::OkStatus();
  peer.exchange_body_in.Reserve(theirs.size);
  try {
    peer.exchange_body_in->Receive(kExchangeBodySlot, 0, theirs.size);
  } catch (const std::bad_alloc&) {
    throw;
  } catch (const std::exception&) {
    return Outcome(Waited::kBroken, peer, tag);
  }
  return absl::OkStatus();
}

// All ranks see the same tags and say the same.
absl::Status Group::CheckTags(const CollectiveTag& mine, size_t turn) {
  const auto tag_of = [&](int32_t rank) {
    return rank == options_.rank ? mine : FrameAt(peers_[rank]->exchange_in[turn]).tag;
  };
  const CollectiveTag leaders = tag_of(0);
  for (int32_t rank = 1; rank < options_.size; ++rank) {
    if (SameTag(tag_of(rank), leaders)) continue;
    return Fail(Internal(kPlace, absl::StrCat("rank ", rank, " is at ", Describe(tag_of(rank)),
                                              ", rank 0 at ", Describe(leaders))));
  }
  return absl::OkStatus();
}

absl::StatusOr<Group::Peer*> Group::PeerAt(int32_t rank) {
  if (!Usable()) return Failure();
  if (rank >= 0 && rank < options_.size && rank != options_.rank) return peers_[rank].get();
  return Fail(Internal(kPlace, absl::StrCat("rank ", options_.rank, " of ", options_.size,
                                            " cannot exchange messages with rank ", rank)));
}

// The place of the message that was sent kMessagesOnTheirWay ago.
absl::Status Group::AwaitFreeMessage(Peer& peer, uint64_t number, const CollectiveTag& tag) {
  uint8_t& under_way = peer.message_sends[number % kMessagesOnTheirWay];
  const int64_t deadline_ns = After(options_.operation_timeout_ns);
  for (; under_way > 0; --under_way) {
    OwnedTransfer& message = *peer.message_out[number % kMessagesOnTheirWay];
    TSR_RETURN_IF_ERROR(AwaitSend(*message, peer, tag, deadline_ns));
  }
  return absl::OkStatus();
}

absl::Status Group::Send(const CollectiveTag& tag, int32_t to, absl::Span<const uint8_t> data) {
  TSR_ASSIGN_OR_RETURN(Peer * peer, PeerAt(to));
  const uint64_t number = peer->messages_sent++;
  TSR_RETURN_IF_ERROR(AwaitFreeMessage(*peer, number, tag));
  OwnedTransfer& message = *peer->message_out[number % kMessagesOnTheirWay];
  uint8_t& under_way = peer->message_sends[number % kMessagesOnTheirWay];
  message.Reserve(sizeof(Frame) + data.size());
  Frame frame;
  frame.kind = FrameKind::kMessage;
  frame.tag = tag;
  frame.size = data.size();
  std::memcpy(message.data(), &frame, sizeof(frame));
  if (!data.empty()) std::memcpy(message.data() + sizeof(frame), data.data(), data.size());
  try {
    const bool eager = data.size() <= kEagerBytes;
    message->Send(kMessageSlot, 0, sizeof(frame) + (eager ? data.size() : 0));
    ++under_way;
    if (eager) return absl::OkStatus();
    message->Send(kMessageBodySlot, sizeof(frame), data.size());
    ++under_way;
    return absl::OkStatus();
  } catch (const std::bad_alloc&) {
    throw;
  } catch (const std::exception&) {
    return Outcome(Waited::kBroken, *peer, tag);
  }
}

absl::StatusOr<size_t> Group::Receive(const CollectiveTag& tag, int32_t from, absl::Span<uint8_t> buffer) {
  TSR_ASSIGN_OR_RETURN(Peer * peer, PeerAt(from));
  const bool may_idle = from == 0 && tag.operation == 0;
  const int64_t header_deadline_ns = may_idle ? kForever : After(options_.operation_timeout_ns);
  TSR_RETURN_IF_ERROR(AwaitReceive(*peer->message_in, *peer, tag, header_deadline_ns));
  const Frame frame = FrameAt(peer->message_in);
  if (!Is(frame, FrameKind::kMessage)) return Fail(Nonsense(from));
  if (!SameTag(frame.tag, tag)) {
    return Fail(Internal(kPlace, absl::StrCat("rank ", from, " sent the message of ", Describe(frame.tag),
                                              ", rank ", options_.rank, " is at ", Describe(tag))));
  }
  if (frame.size > buffer.size()) {
    return Fail(
        Internal(kPlace, absl::StrCat("at ", Describe(tag), " rank ", from, " sent ", frame.size,
                                      " bytes, rank ", options_.rank, " has room for ", buffer.size())));
  }
  try {
    if (frame.size > kEagerBytes) {
      Transfer body(*peer->context, from, &waits_, buffer.data(), frame.size);
      body.Receive(kMessageBodySlot, 0, frame.size);
      TSR_RETURN_IF_ERROR(AwaitReceive(body, *peer, tag, After(options_.operation_timeout_ns)));
    } else if (frame.size > 0) {
      std::memcpy(buffer.data(), peer->message_in.data() + sizeof(frame), frame.size);
    }
  } catch (const std::bad_alloc&) {
    throw;
  } catch (const std::exception&) {
    return Outcome(Waited::kBroken, *peer, tag);
  }
  try {
    peer->message_in->Receive(kMessageSlot, 0, sizeof(Frame) + kEagerBytes);
  } catch (const std::bad_alloc&) {
    throw;
  } catch (const std::exception&) {
    // The peer may have left after this message; the next Receive says so.
  }
  return static_cast<size_t>(frame.size);
}

}  // namespace tessera::gloo_ranks
