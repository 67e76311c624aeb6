// What this build knows about model families, as tables: their names, their metadata keys, their tensors.
// A new family is a new row. Private to core/model.
#ifndef TESSERA_CORE_MODEL_MODEL_FAMILY_H_
#define TESSERA_CORE_MODEL_MODEL_FAMILY_H_

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "core/model/model_spec.h"

namespace tessera {

struct ModelFamily {
  const char* architecture;
  RotaryPairing pairing;
};

// kUnsupported where the file's general.architecture is none of ours.
absl::StatusOr<const ModelFamily*> FindModelFamily(const GgufFile& file);

// Refuses keys below "<architecture>." that are unknown or ask for what is not built, files that are no whole
// model (adapters, parts of a split), and values that differ from what every file of the family has.
absl::Status CheckKeys(const GgufFile& file, const ModelFamily& family);

// The sizes that tensors' shapes are made of.
enum class Extent : int32_t { kOne, kHidden, kQueries, kKeys, kFeedForward };

struct LayerTensorRole {
  const char* suffix;  // "blk.<layer>." stands before it
  TensorId LayerSpec::*member;
  Extent rows;  // kOne: a vector, which must be F32
  Extent columns;
  bool required;
};

absl::Span<const LayerTensorRole> LayerTensorRoles();

}  // namespace tessera

#endif  // TESSERA_CORE_MODEL_MODEL_FAMILY_H_
