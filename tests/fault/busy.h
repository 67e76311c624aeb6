// A host in the middle of its work, for tests of what then happens to its process.
#ifndef TESSERA_TESTS_FAULT_BUSY_H_
#define TESSERA_TESTS_FAULT_BUSY_H_

#include <gtest/gtest.h>

#include "tests/capi/api/host.h"
#include "tests/doubles/tiny_model.h"

namespace tessera::host {

inline Options EngineOptions(bool stepped) {
  return Options().Bool("engine.stepped", stepped).Int("engine.threads", 2).Int("engine.cache_tokens", 2048);
}

// Everything a host holds, with a request running. `on_ready` may be null.
struct Busy {
  explicit Busy(bool stepped, void (*on_ready)(void*) = nullptr)
      : host(MakeTinyModel()),
        engine(host.Engine(EngineOptions(stepped))),
        queue(NewQueue(on_ready)),
        session(NewSession(engine.get())) {
    Append(session.get(), "the other hello");
    const Options endless = Options().Int("request.max_tokens", -1).Bool("request.ignore_end", true);
    EXPECT_EQ(tsr_session_generate(session.get(), endless.get(), queue.get(), 1, nullptr, nullptr),
              TSR_STATUS_OK);
  }
  Handle<tsr_queue> NewQueue(void (*on_ready)(void*)) const {
    if (on_ready == nullptr) return host.Queue();
    const Options options;
    tsr_ready_callbacks table = {};
    table.struct_size = sizeof(table);
    table.on_ready = on_ready;
    auto* const mutable_options = const_cast<tsr_options*>(options.get());
    EXPECT_EQ(tsr_options_set_callbacks(mutable_options, "queue.on_ready", 14, &table, nullptr),
              TSR_STATUS_OK);
    tsr_queue* made = nullptr;
    EXPECT_EQ(tsr_queue_create(host.runtime(), options.get(), &made, nullptr), TSR_STATUS_OK);
    return Handle<tsr_queue>(made);
  }
  tsr_options* settings() const { return const_cast<tsr_options*>(some_options.get()); }

  Options some_options;
  Host host;
  Handle<tsr_engine> engine;
  Handle<tsr_queue> queue;
  Handle<tsr_session> session;
};

}  // namespace tessera::host

#endif  // TESSERA_TESTS_FAULT_BUSY_H_
