// A device's module without a device: the C table of core/device/device_module.h, whose "device memory" is
// the host's and whose steps a thread computes with the reference backend, some time after they were handed
// over. It fails when a test says so, and counts what is alive. One for the process, as a module is.
#ifndef TESSERA_TESTS_DOUBLES_SIMULATED_DEVICE_H_
#define TESSERA_TESTS_DOUBLES_SIMULATED_DEVICE_H_

#include <condition_variable>
#include <cstdint>
#include <mutex>

#include "core/device/device_module.h"

namespace tessera {

class SimulatedDevice {
 public:
  static SimulatedDevice& Get();
  static const tsr_device_functions* Functions();

  // Whether everything that was opened is closed and every byte given back; then all is as at the beginning.
  bool Reset();

  // The nth device call from now on (1: the next) fails; sticky: and with it every later one, for good. Calls
  // are allocations, uploads, waits, creations, steps handed over, and each step's computation. 0: none.
  void FailCall(int64_t nth, bool sticky = false);
  // The nth computation of a step from now on (1: the next) fails, when everything was handed over.
  void FailComputation(int64_t nth, bool sticky = false);
  // Open devices' memory, all together.
  void SetMemory(uint64_t bytes);
  // A machine of so many devices, of which device `unusable` is one that the module has no code for.
  void SetDevices(int32_t count, int32_t unusable = -1);
  // No driver: kUnsupported.
  void SetDriver(bool there);
  // While held, steps that were handed over wait.
  void HoldSteps(bool held);

  int64_t calls() const { return Read(calls_); }
  int64_t computations() const { return Read(computations_); }
  int64_t most_in_flight() const { return Read(most_in_flight_); }
  int64_t sampled_ahead() const { return Read(sampled_ahead_); }  // rows whose token an earlier step sampled
  uint64_t live_bytes() const { return Read(live_bytes_); }
  int64_t live_regions() const { return Read(live_regions_); }
  int64_t live_devices() const { return Read(live_devices_); }
  int64_t live_contexts() const { return Read(live_contexts_); }
  int64_t pieces_out() const { return Read(pieces_out_); }   // begun and not yet copied
  bool low_priority() const { return Read(low_priority_); }  // of the device that was opened last
  void* host_stream() const { return Read(host_stream_); }

 private:
  friend struct SimulatedTable;
  template <typename T>
  T Read(const T& value) const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return value;
  }

  mutable std::mutex mutex_;  // guards what follows, and every device and context
  std::condition_variable changed_;
  int64_t calls_ = 0, fail_call_ = 0;
  int64_t computations_ = 0, fail_computation_ = 0;
  bool sticky_ = false;
  bool lost_ = false;
  bool driver_ = true;
  bool held_ = false;
  int32_t devices_ = 1, unusable_ = -1;
  uint64_t memory_bytes_ = uint64_t{1} << 30;
  uint64_t live_bytes_ = 0;
  int64_t live_regions_ = 0, live_devices_ = 0, live_contexts_ = 0, pieces_out_ = 0;
  int64_t most_in_flight_ = 0, sampled_ahead_ = 0;
  bool low_priority_ = false;
  void* host_stream_ = nullptr;
};

}  // namespace tessera

#endif  // TESSERA_TESTS_DOUBLES_SIMULATED_DEVICE_H_
