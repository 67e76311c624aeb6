// Every function of the public header as a call that any thread may make at any moment, on handles that all
// threads share: a table by name. A function that is added to the header gets a line in every_call.cc.
#ifndef TESSERA_TESTS_CAPI_STRESS_EVERY_CALL_H_
#define TESSERA_TESTS_CAPI_STRESS_EVERY_CALL_H_

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "tests/capi/api/host.h"
#include "tests/capi/stress/random_source.h"

namespace tessera::host {

// Handles that several threads use at once. Who takes one keeps it alive; the last one releases it.
template <typename T, size_t kCount>
class Shared {
 public:
  std::shared_ptr<T> Any(RandomSource& random) { return At(static_cast<size_t>(random.Below(kCount))); }
  std::shared_ptr<T> At(size_t slot) {
    const std::lock_guard<std::mutex> lock(mutex_);
    return slots_[slot];
  }
  // What was there is let go of without the lock. `handle` may be null.
  void Put(size_t slot, T* handle) {
    std::shared_ptr<T> fresh(handle, Release());
    const std::lock_guard<std::mutex> lock(mutex_);
    slots_[slot].swap(fresh);
  }
  void Put(RandomSource& random, T* handle) { Put(static_cast<size_t>(random.Below(kCount)), handle); }

 private:
  std::mutex mutex_;
  std::array<std::shared_ptr<T>, kCount> slots_;
};

// What all threads share. Runtime 0, and with it model 0, lives to the end; the others come and go.
struct World {
  explicit World(const std::vector<uint8_t>& model);
  ~World();

  const std::vector<uint8_t> model_bytes;
  std::string model_path;
  Shared<tsr_runtime, 2> runtimes;
  Shared<tsr_model, 3> models;
  Shared<tsr_engine, 4> engines;
  Shared<tsr_queue, 4> queues;
  Shared<tsr_session, 8> sessions;
  Shared<tsr_options, 2> options;  // filled: any number of calls may read them
  Shared<tsr_error, 4> errors;
};

// How often a call answered what.
struct Counts {
  std::atomic<int64_t> calls{0}, done{0}, busy{0}, wrong{0};
  std::atomic<int32_t> wrong_status{0};
};

// One thread's way of calling.
class Caller {
 public:
  Caller(World* world, uint64_t seed) : world(*world), random(seed) {}

  // The call that is made now answered this. The error is looked at by all threads, or released.
  void Note(tsr_status status);
  void Done() { Note(TSR_STATUS_OK); }
  tsr_error** Error() { return random.OneIn(4) ? nullptr : &error_; }

  World& world;
  RandomSource random;
  Counts* counts = nullptr;  // of the call that is made now

 private:
  tsr_error* error_ = nullptr;
};

struct EveryCall {
  const char* name;
  int weight;  // how often it is chosen, relative to others
  void (*call)(Caller&);
};
const std::vector<EveryCall>& EveryCalls();

}  // namespace tessera::host

#endif  // TESSERA_TESTS_CAPI_STRESS_EVERY_CALL_H_
