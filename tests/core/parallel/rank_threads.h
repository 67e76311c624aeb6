// A thread for each rank of a group, and the group that communicator_suite.h runs on.
#ifndef TESSERA_TESTS_CORE_PARALLEL_RANK_THREADS_H_
#define TESSERA_TESTS_CORE_PARALLEL_RANK_THREADS_H_

#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "core/parallel/communicator.h"

namespace tessera {

using Ranks = std::vector<std::unique_ptr<Communicator>>;

// body(rank's communicator, rank) on a thread each; returns when all have.
template <typename Body>
void OnEachRank(const Ranks& ranks, Body body) {
  std::vector<std::thread> threads;
  for (size_t rank = 0; rank < ranks.size(); ++rank) {
    threads.emplace_back([&, rank] { body(*ranks[rank], static_cast<int32_t>(rank)); });
  }
  for (std::thread& thread : threads) thread.join();
}

// Exchanges nothing: what a group that parts in order does last.
inline absl::Status Part(Communicator& rank, const CollectiveTag& tag) {
  std::vector<absl::Span<const uint8_t>> all(rank.size());
  return rank.Exchange(tag, RankSignal::kGo, {}, absl::MakeSpan(all)).status();
}

}  // namespace tessera

#endif  // TESSERA_TESTS_CORE_PARALLEL_RANK_THREADS_H_
