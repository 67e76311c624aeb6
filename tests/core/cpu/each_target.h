// Runs a test once for each vector set that is compiled in and that this processor has.
#ifndef TESSERA_TESTS_CORE_CPU_EACH_TARGET_H_
#define TESSERA_TESTS_CORE_CPU_EACH_TARGET_H_

#include <gtest/gtest.h>

#include "core/cpu/kernels/linear/targets.h"
#include "hwy/highway.h"

namespace tessera {

inline void UseTargets(int64_t targets) {
  hwy::SetSupportedTargetsForTest(targets);  // 0: what the processor has
  hwy::GetChosenTarget().Update(hwy::SupportedTargets());
}

template <typename Test>
void ForEachTarget(const Test& test) {
  for (const int64_t target : hwy::SupportedAndGeneratedTargets()) {
    SCOPED_TRACE(hwy::TargetName(target));
    UseTargets(target);
    test();
    UseTargets(0);
  }
}

}  // namespace tessera

#endif  // TESSERA_TESTS_CORE_CPU_EACH_TARGET_H_
