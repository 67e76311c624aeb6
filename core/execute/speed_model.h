// How fast a backend is on a machine, as far as plans need it: two rates of the machine, and what share of
// them the backend's kernels reach. Data only; a backend fills it (see core/cpu/cpu_speed.h).
#ifndef TESSERA_CORE_EXECUTE_SPEED_MODEL_H_
#define TESSERA_CORE_EXECUTE_SPEED_MODEL_H_

#include <array>
#include <cstddef>

#include "core/model/tensor_type.h"

namespace tessera {

// All threads of an engine together. 0: not known.
struct MachineSpeed {
  double read_bytes_per_second = 0;  // streamed from memory
  double products_per_second = 0;    // multiply-adds with weights of Q8_0, many rows at once
};

struct SpeedModel {
  MachineSpeed machine;
  struct Shares {
    double read = 1;      // of read_bytes_per_second, one row at a time
    double products = 1;  // of products_per_second, many rows at a time
    double row = 1;       // of products_per_second, one row at a time
  };
  std::array<Shares, 64> types{};  // by TensorType
  Shares attention;                // over keys and values
  double region_seconds = 0;       // what each region of a step costs beside its bytes

  const Shares& of(TensorType type) const { return types[static_cast<size_t>(type)]; }
};

}  // namespace tessera

#endif  // TESSERA_CORE_EXECUTE_SPEED_MODEL_H_
