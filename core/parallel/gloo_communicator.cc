#include "core/parallel/gloo_communicator.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/build_id.h"
#include "core/base/status.h"
#include "core/env/module.h"
#include "core/parallel/gloo/module.h"

namespace tessera {
namespace {

constexpr int32_t kMostRanks = 256;
// Beats in the time after which silence means loss.
constexpr int64_t kBeatsInSilence = 8;

absl::Status StatusOf(const tsr_gloo_failure& failure) {
  const int32_t raw = failure.code | failure.place_bytes << kCodeBits;
  return absl::Status(static_cast<absl::StatusCode>(raw), failure.message);
}

tsr_gloo_tag TagOf(const CollectiveTag& tag) { return {tag.epoch, tag.step, tag.operation, 0}; }

absl::StatusOr<const tsr_gloo_functions*> LoadModule(const GlooOptions& options) {
  const std::string folder = options.module_folder.empty() ? ModuleFolder() : options.module_folder;
  TSR_ASSIGN_OR_RETURN(void* const address, LoadModuleFunction(folder, "gloo", TSR_GLOO_MODULE_FUNCTION));
  const auto describe = reinterpret_cast<const tsr_gloo_functions* (*)(void)>(address);
  const tsr_gloo_functions* const functions = describe();
  if (functions->version != TSR_GLOO_TABLE_VERSION || functions->struct_size != sizeof(*functions) ||
      std::strcmp(functions->build_id, BuildId()) != 0) {
    return Unsupported(absl::StrCat(folder, "/libtessera_gloo.so"),
                       absl::StrCat("was not built with this library: it is of build ", functions->build_id,
                                    ", the library of ", BuildId()));
  }
  return functions;
}

class GlooCommunicator final : public Communicator {
 public:
  GlooCommunicator(const tsr_gloo_functions* functions, tsr_gloo_group* group, int32_t rank, int32_t size)
      : functions_(functions), group_(group), rank_(rank), size_(size), all_(static_cast<size_t>(size)) {}
  ~GlooCommunicator() override { functions_->close(group_); }

  int32_t rank() const noexcept override { return rank_; }
  int32_t size() const noexcept override { return size_; }

  absl::StatusOr<RankSignal> Exchange(const CollectiveTag& tag, RankSignal signal,
                                      absl::Span<const uint8_t> mine,
                                      absl::Span<absl::Span<const uint8_t>> all) noexcept override {
    if (all.size() != all_.size()) {
      Abort();
      return Internal("rank group", absl::StrCat("rank ", rank_, " has room for ", all.size(),
                                                 " contributions of ", size_));
    }
    const tsr_gloo_tag its_tag = TagOf(tag);
    uint32_t gravest = 0;
    if (functions_->exchange(group_, &its_tag, static_cast<uint32_t>(signal), {mine.data(), mine.size()},
                             all_.data(), &gravest, &failure_) != 0) {
      return StatusOf(failure_);
    }
    for (size_t i = 0; i < all.size(); ++i) {
      all[i] = {static_cast<const uint8_t*>(all_[i].data), all_[i].size};
    }
    return static_cast<RankSignal>(gravest);
  }

  absl::Status Send(const CollectiveTag& tag, int32_t to, absl::Span<const uint8_t> data) noexcept override {
    const tsr_gloo_tag its_tag = TagOf(tag);
    const int32_t code = functions_->send(group_, &its_tag, to, {data.data(), data.size()}, &failure_);
    return code == 0 ? absl::OkStatus() : StatusOf(failure_);
  }

  absl::StatusOr<size_t> Receive(const CollectiveTag& tag, int32_t from,
                                 absl::Span<uint8_t> buffer) noexcept override {
    const tsr_gloo_tag its_tag = TagOf(tag);
    size_t size = 0;
    if (functions_->receive(group_, &its_tag, from, buffer.data(), buffer.size(), &size, &failure_) != 0) {
      return StatusOf(failure_);
    }
    return size;
  }

  void Abort() noexcept override { functions_->abandon(group_); }

 private:
  const tsr_gloo_functions* const functions_;
  tsr_gloo_group* const group_;
  const int32_t rank_;
  const int32_t size_;
  std::vector<tsr_gloo_bytes> all_;  // [size]
  tsr_gloo_failure failure_ = {};    // the caller's, of whom there is one at a time
};

// What a rank says at the rendezvous; its addresses follow, [ranks * TSR_GLOO_ADDRESS_BYTES].
struct Card {
  char build_id[64] = {};
  int32_t rank = 0;
  int32_t ranks = 0;
  int32_t group_size = 0;
  int32_t group_first = 0;  // the group's least rank: its name
  int32_t failed = 0;       // this rank cannot take part
  int32_t reserved = 0;
};

absl::Status CheckOptions(const GlooOptions& options, const std::vector<int32_t>& group) {
  if (options.ranks < 1 || options.ranks > kMostRanks || options.rank < 0 || options.rank >= options.ranks) {
    return InvalidArgument("ranks", absl::StrCat("rank ", options.rank, " of ", options.ranks,
                                                 "; there may be 1 to ", kMostRanks));
  }
  const bool ascending =
      std::adjacent_find(group.begin(), group.end(), std::greater_equal<>()) == group.end();
  if (!ascending || group.front() < 0 || group.back() >= options.ranks ||
      !std::binary_search(group.begin(), group.end(), options.rank)) {
    return InvalidArgument("rank group", absl::StrCat("it is not an ascending list of ranks below ",
                                                      options.ranks, " with rank ", options.rank, " in it"));
  }
  if (!options.all_gather) return InvalidArgument("rendezvous", "there is no all_gather");
  if (options.timeout_ns < 1'000'000 || options.connect_timeout_ns < 1'000'000 || options.silence_ns < 0) {
    return InvalidArgument("rank group", "timeouts are at least a millisecond");
  }
  return absl::OkStatus();
}

absl::Status CheckCard(const Card& theirs, const Card& mine, int32_t place, int32_t world_rank) {
  const std::string who = absl::StrCat("rank ", world_rank);
  if (theirs.failed != 0) return Error(ErrorCode::kLost, who, "it could not take part");
  if (std::memcmp(theirs.build_id, mine.build_id, sizeof(mine.build_id)) != 0) {
    return Unsupported(
        who, absl::StrCat("it is of build ", absl::string_view(theirs.build_id, strnlen(theirs.build_id, 64)),
                          ", this rank of ", mine.build_id));
  }
  if (theirs.rank != world_rank || theirs.ranks != mine.ranks) {
    return InvalidArgument(who, absl::StrCat("it takes itself for rank ", theirs.rank, " of ", theirs.ranks,
                                             "; all_gather must give contributions in rank order"));
  }
  if (theirs.group_size != mine.group_size || theirs.group_first != mine.group_first) {
    return InvalidArgument(who, absl::StrCat("it is not in the group of ", mine.group_size, " from rank ",
                                             mine.group_first, ", at place ", place));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Communicator>> CreateGlooCommunicator(const GlooOptions& options) {
  std::vector<int32_t> group = options.group;
  for (int32_t rank = 0; options.group.empty() && rank < options.ranks; ++rank) group.push_back(rank);
  TSR_RETURN_IF_ERROR(CheckOptions(options, group));
  const int32_t size = static_cast<int32_t>(group.size());
  const int32_t place =
      static_cast<int32_t>(std::lower_bound(group.begin(), group.end(), options.rank) - group.begin());

  // A rank that cannot take part comes all the same, and says so: the others need not wait for it.
  const size_t card_bytes = sizeof(Card) + static_cast<size_t>(options.ranks) * TSR_GLOO_ADDRESS_BYTES;
  std::vector<uint8_t> mine(card_bytes), all(card_bytes * options.ranks);
  std::unique_ptr<GlooCommunicator> communicator;
  const tsr_gloo_functions* functions = nullptr;
  tsr_gloo_group* opened = nullptr;
  const auto open = [&]() -> absl::Status {
    TSR_ASSIGN_OR_RETURN(functions, LoadModule(options));
    tsr_gloo_options theirs = {};
    theirs.struct_size = sizeof(theirs);
    theirs.rank = place;
    theirs.size = size;
    theirs.connect_timeout_ns = options.connect_timeout_ns;
    theirs.operation_timeout_ns = options.timeout_ns;
    theirs.silence_ns = options.silence_ns > 0 ? options.silence_ns : options.timeout_ns / 2;
    theirs.beat_ns = theirs.silence_ns / kBeatsInSilence;
    theirs.epoch = options.epoch;
    theirs.name = options.tag.data();
    theirs.name_size = options.tag.size();
    theirs.interface_name = options.interface_name.data();
    theirs.interface_size = options.interface_name.size();
    tsr_gloo_failure failure = {};
    if (functions->open(&theirs, mine.data() + sizeof(Card), &opened, &failure) != 0)
      return StatusOf(failure);
    communicator = std::make_unique<GlooCommunicator>(functions, opened, place, size);
    return absl::OkStatus();
  };
  const absl::Status status = open();
  Card card;
  std::strncpy(card.build_id, BuildId(), sizeof(card.build_id) - 1);
  card.rank = options.rank;
  card.ranks = options.ranks;
  card.group_size = size;
  card.group_first = group.front();
  card.failed = status.ok() ? 0 : 1;
  std::memcpy(mine.data(), &card, sizeof(card));
  const absl::Status met =
      options.all_gather(options.tag, options.epoch, mine, absl::MakeSpan(all), options.connect_timeout_ns);
  TSR_RETURN_IF_ERROR(status);
  TSR_RETURN_IF_ERROR(met);

  std::vector<uint8_t> addresses(static_cast<size_t>(size) * size * TSR_GLOO_ADDRESS_BYTES);
  for (int32_t i = 0; i < size; ++i) {
    const uint8_t* const theirs = all.data() + static_cast<size_t>(group[i]) * card_bytes;
    Card their_card;
    std::memcpy(&their_card, theirs, sizeof(their_card));
    TSR_RETURN_IF_ERROR(CheckCard(their_card, card, i, group[i]));
    const size_t row_bytes = static_cast<size_t>(size) * TSR_GLOO_ADDRESS_BYTES;
    std::memcpy(addresses.data() + i * row_bytes, theirs + sizeof(Card), row_bytes);
  }
  tsr_gloo_failure failure = {};
  if (functions->connect(opened, addresses.data(), &failure) != 0) return StatusOf(failure);
  return communicator;
}

}  // namespace tessera
