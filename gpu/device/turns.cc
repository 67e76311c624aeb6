#include "gpu/device/turns.h"

#include <map>

namespace tessera::gpu {

DeviceTurns* DeviceTurns::Of(int device_index) {
  // Both live as long as the process: nothing of ours runs when it ends.
  static auto* const mutex = new std::mutex;
  static auto* const devices = new std::map<int, DeviceTurns>;
  const std::lock_guard<std::mutex> lock(*mutex);
  return &(*devices)[device_index];
}

}  // namespace tessera::gpu
