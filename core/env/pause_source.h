// Says when long work should be left, to whoever does it.
#ifndef TESSERA_CORE_ENV_PAUSE_SOURCE_H_
#define TESSERA_CORE_ENV_PAUSE_SOURCE_H_

namespace tessera {

class PauseSource {
 public:
  virtual ~PauseSource() = default;
  // Asked between tasks, by any thread, several at once: cheap, and never waits.
  virtual bool ShouldPause() noexcept = 0;
};

}  // namespace tessera

#endif  // TESSERA_CORE_ENV_PAUSE_SOURCE_H_
