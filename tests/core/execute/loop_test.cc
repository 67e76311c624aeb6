// The one loop over the regions: its order, where it can be left, and that weights are given back whatever
// happens.
#include "core/execute/loop.h"

#include <gtest/gtest.h>

#include <map>
#include <new>
#include <utility>
#include <vector>

#include "core/base/status.h"

namespace tessera {
namespace {

// Two layers; some weights are absent, as in a model without biases, and the head is the embedding table.
ModelSpec TwoLayers() {
  ModelSpec spec;
  TensorId next = 0;
  spec.embedding = spec.head = next++;
  spec.output_norm = next++;
  for (int i = 0; i < 2; ++i) {
    LayerSpec layer;
    layer.attention_norm = next++;
    layer.query = next++;
    layer.key = next++;
    layer.value = next++;
    if (i == 1) layer.query_bias = next++;
    layer.output = next++;
    layer.feed_forward_norm = next++;
    layer.gate = next++;
    layer.up = next++;
    layer.down = next++;
    spec.layers.push_back(layer);
  }
  spec.tensors.resize(static_cast<size_t>(next));
  return spec;
}

// Hands out a view whose address says which tensor it is, and counts what is out.
class CountingResidency final : public Residency {
 public:
  absl::StatusOr<WeightView> Acquire(TensorId tensor) const override {
    if (calls_++ == fail_at) return IoError("tensor", "unreadable on purpose");
    if (calls_ - 1 == throw_at) throw std::bad_alloc();
    ++out_[tensor];
    WeightView view;
    if (tensor != kNoTensor) view.data = reinterpret_cast<const void*>(static_cast<intptr_t>(tensor) + 1);
    return view;
  }
  void Release(TensorId tensor) const noexcept override { --out_[tensor]; }

  bool balanced() const {
    for (const auto& [tensor, count] : out_) {
      if (count != 0) return false;
    }
    return true;
  }
  int out(TensorId tensor) const { return out_[tensor]; }
  int calls() const { return calls_; }

  int fail_at = -1;
  int throw_at = -1;

 private:
  mutable int calls_ = 0;
  mutable std::map<TensorId, int> out_;
};

class NotingContext final : public BackendContext {
 public:
  NotingContext(const ModelSpec& spec, const CountingResidency& weights) : spec_(spec), weights_(weights) {}
  absl::Status Execute(const Region& region, const RegionWeights& weights,
                       const StepView& step) noexcept override {
    regions.push_back(region.kind);
    layers.push_back(region.layer);
    last_step = &step;
    Check(region, weights);
    if (static_cast<int>(regions.size()) - 1 == fail_at)
      return Error(ErrorCode::kLost, "device", "on purpose");
    return absl::OkStatus();
  }

  // Each region is `tasks` tasks; the last one does it all.
  absl::Status ExecuteSlice(const Region& region, const RegionWeights& weights, const StepView& step,
                            PauseSource& pause, RegionProgress* progress) noexcept override {
    EXPECT_FALSE(progress->done);
    ++slices;
    while (++progress->next < tasks) {
      Check(region, weights);
      if (pause.ShouldPause()) return absl::OkStatus();
    }
    progress->done = true;
    return Execute(region, weights, step);
  }

  int64_t tasks = 1;
  int slices = 0;
  std::vector<RegionKind> regions;
  std::vector<int32_t> layers;
  const StepView* last_step = nullptr;
  int fail_at = -1;

 private:
  void Is(const WeightView& view, TensorId tensor) const {
    const auto expected = static_cast<intptr_t>(tensor) + 1;
    EXPECT_EQ(reinterpret_cast<intptr_t>(view.data), tensor == kNoTensor ? 0 : expected);
    EXPECT_GE(weights_.out(tensor), 1);  // held while the region runs
  }
  void Check(const Region& region, const RegionWeights& w) const {
    const LayerSpec* layer = region.layer < 0 ? nullptr : &spec_.layers[static_cast<size_t>(region.layer)];
    switch (region.kind) {
      case RegionKind::kEmbed:
        return Is(w.matrix, spec_.embedding);
      case RegionKind::kNormQkv:
        Is(w.norm, layer->attention_norm);
        Is(w.query, layer->query);
        Is(w.key, layer->key);
        Is(w.value, layer->value);
        Is(w.query_bias, layer->query_bias);
        Is(w.key_bias, kNoTensor);
        return Is(w.value_bias, kNoTensor);
      case RegionKind::kOutput:
        Is(w.matrix, layer->output);
        return Is(w.matrix_bias, kNoTensor);
      case RegionKind::kNormGateUp:
        Is(w.norm, layer->feed_forward_norm);
        Is(w.gate, layer->gate);
        return Is(w.up, layer->up);
      case RegionKind::kDown:
        return Is(w.matrix, layer->down);
      case RegionKind::kHead:
        Is(w.norm, spec_.output_norm);
        return Is(w.matrix, spec_.head);
      case RegionKind::kAttention:
      case RegionKind::kSample:
        EXPECT_EQ(w.matrix.data, nullptr);
        EXPECT_EQ(w.norm.data, nullptr);
        return;
    }
  }

  const ModelSpec& spec_;
  const CountingResidency& weights_;
};

class StopAfter final : public StopCondition {
 public:
  explicit StopAfter(int questions) : left_(questions) {}
  bool ShouldStop() noexcept override {
    ++asked;
    return --left_ < 0;
  }
  int asked = 0;

 private:
  int left_;
};

// Pauses after every task; whether that is a stop it says `answers` in turn, then no.
class PauseAlways final : public StopCondition {
 public:
  explicit PauseAlways(std::vector<bool> answers) : answers_(std::move(answers)) {}
  bool ShouldStop() noexcept override { return asked < answers_.size() && answers_[asked++]; }
  bool ShouldPause() noexcept override { return true; }
  size_t asked = 0;

 private:
  std::vector<bool> answers_;
};

class LoopTest : public testing::Test {
 protected:
  ModelSpec spec_ = TwoLayers();
  CountingResidency weights_;
  NotingContext context_{spec_, weights_};
  RegionLoop loop_{&spec_, &weights_, &context_};
  StepView step_;
};

std::vector<RegionKind> KindsOf(const std::vector<Region>& regions) {
  std::vector<RegionKind> kinds;
  for (const Region& region : regions) kinds.push_back(region.kind);
  return kinds;
}

TEST_F(LoopTest, RunsEveryRegionInOrderWithItsOwnWeights) {
  loop_.Begin(&step_);
  StopAfter never(1000);
  const auto done = loop_.Run(never);
  ASSERT_TRUE(done.ok());
  EXPECT_TRUE(*done);
  EXPECT_EQ(context_.regions, KindsOf(loop_.regions()));
  EXPECT_EQ(context_.layers, (std::vector<int32_t>{-1, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, -1, -1}));
  EXPECT_EQ(context_.last_step, &step_);
  EXPECT_TRUE(weights_.balanced());
  EXPECT_EQ(never.asked, 12);  // between regions, not behind the last
}

TEST_F(LoopTest, LeftAtAnyStopPointItGoesOnWithTheNextRegion) {
  for (int stop = 0; stop < 12; ++stop) {
    context_.regions.clear();
    loop_.Begin(&step_);
    StopAfter condition(stop);
    auto done = loop_.Run(condition);
    ASSERT_TRUE(done.ok());
    EXPECT_FALSE(*done);
    EXPECT_EQ(context_.regions.size(), static_cast<size_t>(stop) + 1);
    EXPECT_TRUE(weights_.balanced());
    StopAfter never(1000);
    done = loop_.Run(never);
    ASSERT_TRUE(done.ok() && *done);
    EXPECT_EQ(context_.regions, KindsOf(loop_.regions()));
  }
}

TEST_F(LoopTest, AlwaysRunsOneRegionAtLeast) {
  loop_.Begin(&step_);
  for (size_t i = 1; i <= 13; ++i) {
    StopAfter at_once(0);
    const auto done = loop_.Run(at_once);
    ASSERT_TRUE(done.ok());
    EXPECT_EQ(*done, i == 13);
    EXPECT_EQ(context_.regions.size(), i);
  }
}

TEST_F(LoopTest, BegunAnewItForgetsWhereItWas) {
  loop_.Begin(&step_);
  StopAfter soon(3), never(1000);
  ASSERT_FALSE(*loop_.Run(soon));
  StepView other;
  context_.regions.clear();
  loop_.Begin(&other);
  ASSERT_TRUE(*loop_.Run(never));
  EXPECT_EQ(context_.regions.size(), 13u);
  EXPECT_EQ(context_.last_step, &other);
}

TEST_F(LoopTest, StopsWithinARegionAndGoesOnThere) {
  context_.tasks = 4;
  loop_.Begin(&step_);
  for (int slice = 1; slice <= 13 * 4; ++slice) {
    PauseAlways at_once({true});
    const auto done = loop_.Run(at_once);
    ASSERT_TRUE(done.ok());
    EXPECT_EQ(*done, slice == 13 * 4);
    EXPECT_EQ(context_.slices, slice);
    EXPECT_EQ(context_.regions.size(), static_cast<size_t>(slice / 4));
    EXPECT_TRUE(weights_.balanced());
  }
  EXPECT_EQ(context_.regions, KindsOf(loop_.regions()));
}

TEST_F(LoopTest, APauseThatIsNoStopGoesOnInTheSameCall) {
  context_.tasks = 3;
  loop_.Begin(&step_);
  PauseAlways pause({false, false, false, false, true});  // two pauses and an end a region
  ASSERT_FALSE(*loop_.Run(pause));
  EXPECT_EQ(context_.slices, 5);
  EXPECT_EQ(context_.regions.size(), 1u);
  PauseAlways go_on({});
  ASSERT_TRUE(*loop_.Run(go_on));
  EXPECT_EQ(context_.slices, 13 * 3);
  EXPECT_EQ(context_.regions, KindsOf(loop_.regions()));
}

TEST_F(LoopTest, ARegionThatWasLeftIsForgottenWhenTheLoopIsBegunAnew) {
  context_.tasks = 3;
  loop_.Begin(&step_);
  PauseAlways at_once({true}), never({});
  ASSERT_FALSE(*loop_.Run(at_once));
  loop_.Begin(&step_);
  context_.slices = 0;
  ASSERT_TRUE(*loop_.Run(never));
  EXPECT_EQ(context_.slices, 13 * 3);
}

TEST_F(LoopTest, GivesWeightsBackWhenARegionFails) {
  for (int region = 0; region < 13; ++region) {
    context_.regions.clear();
    context_.fail_at = region;
    loop_.Begin(&step_);
    StopAfter never(1000);
    EXPECT_EQ(CodeOf(loop_.Run(never).status()), ErrorCode::kLost);
    EXPECT_TRUE(weights_.balanced()) << region;
    EXPECT_EQ(context_.regions.size(), static_cast<size_t>(region) + 1);
  }
}

TEST_F(LoopTest, GivesBackWhatItHasWhenAWeightCannotBeHadOrMemoryRunsOut) {
  StopAfter never(1000);
  loop_.Begin(&step_);
  ASSERT_TRUE(loop_.Run(never).ok());
  const int all = weights_.calls();
  for (int nth = 0; nth < all; ++nth) {
    for (const bool thrown : {false, true}) {
      CountingResidency weights;
      (thrown ? weights.throw_at : weights.fail_at) = nth;
      NotingContext context(spec_, weights);
      RegionLoop loop(&spec_, &weights, &context);
      loop.Begin(&step_);
      if (thrown) {
        EXPECT_THROW((void)loop.Run(never), std::bad_alloc);
      } else {
        EXPECT_EQ(CodeOf(loop.Run(never).status()), ErrorCode::kIoError);
      }
      EXPECT_TRUE(weights.balanced()) << nth;
    }
  }
}

// A device that takes a step whole.
class ClaimingContext final : public BackendContext {
 public:
  int32_t Claim(absl::Span<const Region> regions) const noexcept override {
    return static_cast<int32_t>(regions.size()) + extra;
  }
  absl::Status Execute(const Region& region, const RegionWeights& weights,
                       const StepView&) noexcept override {
    regions.push_back(region.kind);
    table = weights.matrix.data;
    return absl::OkStatus();
  }
  int32_t extra = 0;
  std::vector<RegionKind> regions;
  const void* table = nullptr;
};

TEST(Loop, RunsAClaimedListInOneCallWithTheFirstRegionsWeights) {
  const ModelSpec spec = TwoLayers();
  const CountingResidency weights;
  ClaimingContext context;
  RegionLoop loop(&spec, &weights, &context);
  const StepView step;
  NeverStop never;
  for (const int32_t extra : {0, 7}) {  // more than there are is all
    context.extra = extra;
    context.regions.clear();
    loop.Begin(&step);
    const absl::StatusOr<bool> done = loop.Run(never);
    ASSERT_TRUE(done.ok() && *done);
    EXPECT_EQ(context.regions, std::vector<RegionKind>{RegionKind::kEmbed});
    EXPECT_NE(context.table, nullptr);
    EXPECT_TRUE(weights.balanced());
  }
}

}  // namespace
}  // namespace tessera
