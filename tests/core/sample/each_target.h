// Runs a test once for every instruction set that was compiled and that this machine has.
#ifndef TESSERA_TESTS_CORE_SAMPLE_EACH_TARGET_H_
#define TESSERA_TESTS_CORE_SAMPLE_EACH_TARGET_H_

#include <gtest/gtest.h>

#include <cstdint>
#include <string>

#include "hwy/highway.h"

namespace tessera {

class EachTarget : public testing::TestWithParam<int64_t> {
 protected:
  void SetUp() override { hwy::GetChosenTarget().Update(GetParam()); }
  void TearDown() override { hwy::GetChosenTarget().Update(hwy::SupportedTargets()); }
};

inline std::string NameOfTarget(const testing::TestParamInfo<int64_t>& info) {
  return hwy::TargetName(info.param);
}

#define TSR_FOR_EACH_TARGET(suite)                                                                 \
  INSTANTIATE_TEST_SUITE_P(Targets, suite, testing::ValuesIn(hwy::SupportedAndGeneratedTargets()), \
                           NameOfTarget)

}  // namespace tessera

#endif  // TESSERA_TESTS_CORE_SAMPLE_EACH_TARGET_H_
