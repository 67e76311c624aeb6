// A communicator over threads that holds ranks to the contract: each gets copies of what the others brought,
// which turn into rubbish once it enters its next exchange, and what it brought itself must still be
// unchanged when that one has returned.
#ifndef TESSERA_TESTS_CORE_CPU_STRICT_RANKS_H_
#define TESSERA_TESTS_CORE_CPU_STRICT_RANKS_H_

#include <gtest/gtest.h>

#include <algorithm>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "core/base/status.h"
#include "core/parallel/communicator.h"

namespace tessera {

class StrictGroup {
 public:
  explicit StrictGroup(int32_t size) : brought_(static_cast<size_t>(size)) {
    for (int32_t rank = 0; rank < size; ++rank) ranks_.push_back(std::make_unique<Rank>(this, rank));
  }
  Communicator* rank(int32_t rank) { return ranks_[static_cast<size_t>(rank)].get(); }
  // The operation of the rank's last exchange.
  uint32_t last_operation(int32_t rank) const { return ranks_[static_cast<size_t>(rank)]->last.operation; }

 private:
  using Bytes = std::vector<uint8_t>;

  class Rank final : public Communicator {
   public:
    Rank(StrictGroup* group, int32_t rank) : group_(group), rank_(rank) {}
    int32_t rank() const noexcept override { return rank_; }
    int32_t size() const noexcept override { return static_cast<int32_t>(group_->brought_.size()); }
    absl::StatusOr<RankSignal> Exchange(const CollectiveTag& tag, RankSignal signal,
                                        absl::Span<const uint8_t> mine,
                                        absl::Span<absl::Span<const uint8_t>> all) noexcept override {
      for (Bytes& view : views_) std::fill(view.begin(), view.end(), uint8_t{0xFF});  // NaN
      last = tag;
      absl::StatusOr<RankSignal> gravest = group_->Meet(rank_, tag, signal, mine, &views_);
      EXPECT_TRUE(std::equal(mine_.begin(), mine_.end(), mine_at_)) << "written while peers may read it";
      mine_.assign(mine.begin(), mine.end());
      mine_at_ = mine.data();
      for (size_t r = 0; r < all.size(); ++r) all[r] = views_[r];
      return gravest;
    }
    absl::Status Send(const CollectiveTag&, int32_t, absl::Span<const uint8_t>) noexcept override {
      return Internal("ranks of a test", "they only exchange");
    }
    absl::StatusOr<size_t> Receive(const CollectiveTag&, int32_t, absl::Span<uint8_t>) noexcept override {
      return Internal("ranks of a test", "they only exchange");
    }
    void Abort() noexcept override {}

    CollectiveTag last;

   private:
    StrictGroup* group_;
    const int32_t rank_;
    std::vector<Bytes> views_;
    Bytes mine_;  // as brought to the last exchange
    const uint8_t* mine_at_ = nullptr;
  };

  absl::StatusOr<RankSignal> Meet(int32_t rank, const CollectiveTag& tag, RankSignal signal,
                                  absl::Span<const uint8_t> mine, std::vector<Bytes>* views) {
    std::unique_lock<std::mutex> lock(mutex_);
    brought_[static_cast<size_t>(rank)].assign(mine.begin(), mine.end());
    if (arrived_ == 0) {
      tag_ = tag;
      gravest_ = RankSignal::kGo;
      same_tags_ = true;
    }
    same_tags_ =
        same_tags_ && tag.epoch == tag_.epoch && tag.step == tag_.step && tag.operation == tag_.operation;
    gravest_ = std::max(gravest_, signal);
    const uint64_t round = rounds_;
    if (++arrived_ == brought_.size()) {
      arrived_ = 0;
      taken_ = brought_.size();
      ++rounds_;
      changed_.notify_all();
    }
    changed_.wait(lock, [&] { return rounds_ != round; });
    *views = brought_;
    const RankSignal gravest = gravest_;
    const bool same_tags = same_tags_;
    if (--taken_ == 0) changed_.notify_all();
    changed_.wait(lock, [&] { return taken_ == 0 || rounds_ != round + 1; });  // nobody runs ahead
    if (!same_tags) return Internal("ranks of a test", "they bring different tags");
    return gravest;
  }

  std::vector<std::unique_ptr<Rank>> ranks_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Bytes> brought_;
  size_t arrived_ = 0, taken_ = 0;
  uint64_t rounds_ = 0;
  CollectiveTag tag_;
  RankSignal gravest_ = RankSignal::kGo;
  bool same_tags_ = true;
};

}  // namespace tessera

#endif  // TESSERA_TESTS_CORE_CPU_STRICT_RANKS_H_
