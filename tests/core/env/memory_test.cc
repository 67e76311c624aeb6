// Regions of large memory, the system's and the failing double's.
#include "core/env/memory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "core/base/status.h"
#include "tests/doubles/failing_memory.h"

namespace tessera {
namespace {

using testing::HasSubstr;

class SystemMemorySize : public testing::TestWithParam<size_t> {};

TEST_P(SystemMemorySize, GivesZeroedAlignedBytesThatCanAllBeWritten) {
  const size_t size_bytes = GetParam();
  auto* const data = static_cast<uint8_t*>(SystemMemory()->Allocate(MemoryClass::kCache, size_bytes));
  ASSERT_NE(data, nullptr);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(data) % 64, 0u);
  if (size_bytes >= (size_t{4} << 20)) {
    EXPECT_EQ(reinterpret_cast<uintptr_t>(data) % (size_t{2} << 20), 0u);
  }
  for (size_t i = 0; i < size_bytes; ++i) ASSERT_EQ(data[i], 0) << "byte " << i;
  std::memset(data, 0xa5, size_bytes);
  SystemMemory()->Free(MemoryClass::kCache, data, size_bytes);
}

INSTANTIATE_TEST_SUITE_P(Sizes, SystemMemorySize,
                         testing::Values(1, 64, 4096, 4097, (size_t{4} << 20) - 1, size_t{4} << 20,
                                         (size_t{4} << 20) + 1, size_t{9} * 1000 * 1000));

TEST(SystemMemory, AnswersNullForSizesThatDoNotFitTheAddressSpace) {
  for (const size_t size_bytes : {SIZE_MAX, SIZE_MAX - 4096, SIZE_MAX - (size_t{2} << 20), SIZE_MAX / 2}) {
    EXPECT_EQ(SystemMemory()->Allocate(MemoryClass::kWeights, size_bytes), nullptr) << size_bytes;
  }
}

TEST(SystemMemory, ManyRegionsComeAndGoWithoutLosingAddressSpace) {
  // 70,000 regions of 2 GiB are more than the 128 TiB that a process can address.
  constexpr size_t kBytes = size_t{2} << 30;
#if defined(__SANITIZE_THREAD__)
  constexpr int kRegions = 1'000;  // the checker works on every mapping
#else
  constexpr int kRegions = 70'000;
#endif
  for (int i = 0; i < kRegions; ++i) {
    void* const data = SystemMemory()->Allocate(MemoryClass::kScratch, kBytes);
    ASSERT_NE(data, nullptr) << "region " << i;
    SystemMemory()->Free(MemoryClass::kScratch, data, kBytes);
  }
}

TEST(MemoryRegion, OfNoBytesIsEmptyAndAsksTheSourceForNothing) {
  FailingMemory memory;
  const absl::StatusOr<MemoryRegion> region =
      MemoryRegion::Create(&memory, MemoryClass::kCache, 0, "the cache");
  ASSERT_TRUE(region.ok()) << region.status();
  EXPECT_EQ(region->data(), nullptr);
  EXPECT_EQ(region->size_bytes(), 0u);
  EXPECT_EQ(memory.calls(), 0);
}

// Of the pages that hold [data, data + size_bytes).
size_t PresentPages(const void* data, size_t size_bytes) {
  std::vector<unsigned char> pages((size_bytes + 4095) / 4096);
  EXPECT_EQ(mincore(const_cast<void*>(data), size_bytes, pages.data()), 0);
  return static_cast<size_t>(
      std::count_if(pages.begin(), pages.end(), [](unsigned char page) { return (page & 1) != 0; }));
}

TEST(SystemMemory, IsThereBeforeItIsUsedOnlyWhereThatWasAskedFor) {
  constexpr size_t kBytes = (size_t{5} << 20) + 100;
  for (MemorySource* const source : {SystemMemory(), PresentSystemMemory()}) {
    const absl::StatusOr<MemoryRegion> region =
        MemoryRegion::Create(source, MemoryClass::kCache, kBytes, "the cache");
    ASSERT_TRUE(region.ok()) << region.status();
    EXPECT_EQ(PresentPages(region->data(), kBytes), source == SystemMemory() ? 0 : kBytes / 4096 + 1);
    EXPECT_EQ(std::count(region->data(), region->data() + kBytes, 0), static_cast<std::ptrdiff_t>(kBytes));
  }
}

TEST(MemoryRegion, NamesItsPurposeAndItsSizeWhenMemoryRunsOut) {
  FailingMemory memory;
  memory.FailAt(1);
  const absl::StatusOr<MemoryRegion> region =
      MemoryRegion::Create(&memory, MemoryClass::kWeights, 123456, "the weights of 'toy'");
  ASSERT_FALSE(region.ok());
  EXPECT_EQ(CodeOf(region.status()), ErrorCode::kOutOfMemory);
  EXPECT_THAT(std::string(region.status().message()), HasSubstr("the weights of 'toy'"));
  EXPECT_THAT(std::string(region.status().message()), HasSubstr("123456"));
}

TEST(MemoryRegion, GivesItsBytesBackWhenItEnds) {
  FailingMemory memory;
  {
    const absl::StatusOr<MemoryRegion> region = MemoryRegion::Create(&memory, MemoryClass::kCache, 5000, "x");
    ASSERT_TRUE(region.ok());
    EXPECT_EQ(memory.live_bytes(), 5000u);
  }
  EXPECT_EQ(memory.live_bytes(), 0u);
}

TEST(MemoryRegion, MovesWithoutCopyingAndFreesWhatItHeld) {
  FailingMemory memory;
  absl::StatusOr<MemoryRegion> first = MemoryRegion::Create(&memory, MemoryClass::kCache, 100, "first");
  absl::StatusOr<MemoryRegion> second = MemoryRegion::Create(&memory, MemoryClass::kScratch, 200, "second");
  ASSERT_TRUE(first.ok() && second.ok());
  uint8_t* const second_data = second->data();

  *first = *std::move(second);

  EXPECT_EQ(first->data(), second_data);
  EXPECT_EQ(first->size_bytes(), 200u);
  EXPECT_EQ(memory.live_regions(), 1u);
  MemoryRegion third = *std::move(first);
  EXPECT_EQ(third.data(), second_data);
  EXPECT_EQ(memory.live_regions(), 1u);
}

TEST(FailingMemory, FailsTheNthAllocationOnceOrForGood) {
  FailingMemory memory;
  const auto succeeds = [&memory] {
    return MemoryRegion::Create(&memory, MemoryClass::kCache, 64, "x").ok();
  };
  memory.FailAt(2);
  EXPECT_TRUE(succeeds());
  EXPECT_FALSE(succeeds());
  EXPECT_TRUE(succeeds());
  memory.FailAt(1, /*all_that_follow=*/true);
  EXPECT_FALSE(succeeds());
  EXPECT_FALSE(succeeds());
  memory.FailAt(0);
  EXPECT_TRUE(succeeds());
  EXPECT_EQ(memory.refusals(), 3);
}

TEST(FailingMemory, HoldsToItsBudget) {
  FailingMemory memory;
  memory.SetBudget(1000);
  absl::StatusOr<MemoryRegion> held = MemoryRegion::Create(&memory, MemoryClass::kCache, 600, "x");
  ASSERT_TRUE(held.ok());
  EXPECT_FALSE(MemoryRegion::Create(&memory, MemoryClass::kCache, 401, "x").ok());
  EXPECT_TRUE(MemoryRegion::Create(&memory, MemoryClass::kCache, 400, "x").ok());
  EXPECT_EQ(memory.peak_bytes(), 1000u);
}

}  // namespace
}  // namespace tessera
