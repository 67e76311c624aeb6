// A CollectiveTag compared, and in words for errors.
#ifndef TESSERA_CORE_PARALLEL_COLLECTIVE_TAG_H_
#define TESSERA_CORE_PARALLEL_COLLECTIVE_TAG_H_

#include <string>

#include "absl/strings/str_cat.h"
#include "core/parallel/communicator.h"

namespace tessera {

inline bool SameTag(const CollectiveTag& a, const CollectiveTag& b) {
  return a.epoch == b.epoch && a.step == b.step && a.operation == b.operation;
}

inline std::string Describe(const CollectiveTag& tag) {
  return absl::StrCat("step ", tag.step, " operation ", tag.operation, " of epoch ", tag.epoch);
}

}  // namespace tessera

#endif  // TESSERA_CORE_PARALLEL_COLLECTIVE_TAG_H_
