// A weight as Residency hands it out: bytes in the backend's own layout (Backend::Pack).
#ifndef TESSERA_CORE_OFFLOAD_WEIGHT_VIEW_H_
#define TESSERA_CORE_OFFLOAD_WEIGHT_VIEW_H_

#include <cstdint>

#include "core/model/tensor_type.h"

namespace tessera {

struct WeightView {
  const void* data = nullptr;  // null: the model has no such tensor
  TensorType type = TensorType::kF32;
  int64_t rows = 0;     // outputs
  int64_t columns = 0;  // inputs
  // Where the view is of some columns of a wider matrix: how many that has, and which is the view's first. 0:
  // the matrix is the view.
  int64_t stored_columns = 0;
  int64_t first_column = 0;
};

}  // namespace tessera

#endif  // TESSERA_CORE_OFFLOAD_WEIGHT_VIEW_H_
