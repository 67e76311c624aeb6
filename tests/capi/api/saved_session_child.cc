// A process that goes on with a session that another one saved:
//   saved_session_child MODEL STATE THREADS BATCH_TOKENS CACHE_TYPE ACTIVATIONS NEW_TOKENS RESULT
// RESULT gets the number of new tokens, the tokens, and the last logits.
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>

#include "tests/capi/api/host.h"

namespace tessera::host {
namespace {

constexpr char kPlaceOfErrors[] = "saved_session_child";

int GoOn(char** argv) {
  const std::unique_ptr<Host> host = Host::FromFile(argv[1]);
  std::ifstream file(argv[2], std::ios::binary);
  const std::vector<char> state((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  const Handle<tsr_engine> engine = host->Engine(Options()
                                                     .Bool("engine.stepped", true)
                                                     .Int("engine.threads", std::atoi(argv[3]))
                                                     .Int("engine.batch_tokens", std::atoi(argv[4]))
                                                     .String("engine.cache_type", argv[5])
                                                     .String("engine.activations", argv[6]));
  const Options logits = Options().Bool("session.logits", true);
  tsr_session* restored = nullptr;
  tsr_error* error = nullptr;
  if (tsr_session_restore(engine.get(), state.data(), state.size(), logits.get(), &restored, &error)) {
    std::fprintf(stderr, "%s: %s\n", kPlaceOfErrors, tsr_error_message(error, nullptr));
    return 1;
  }
  const Handle<tsr_session> session(restored);
  const Handle<tsr_queue> queue = host->Queue();
  const Options asked =
      Options().Int("request.max_tokens", std::atoi(argv[7])).Bool("request.ignore_end", true);
  const Answer answer = Generate(session.get(), engine.get(), queue.get(), asked);
  const std::vector<float> last = Logits(session.get());
  std::ofstream out(argv[8], std::ios::binary);
  const uint64_t count = answer.tokens.size();
  out.write(reinterpret_cast<const char*>(&count), sizeof(count));
  out.write(reinterpret_cast<const char*>(answer.tokens.data()),
            static_cast<std::streamsize>(count * sizeof(int32_t)));
  out.write(reinterpret_cast<const char*>(last.data()),
            static_cast<std::streamsize>(last.size() * sizeof(float)));
  return out.good() ? 0 : 1;
}

}  // namespace
}  // namespace tessera::host

int main(int argc, char** argv) { return argc == 9 ? tessera::host::GoOn(argv) : 2; }
