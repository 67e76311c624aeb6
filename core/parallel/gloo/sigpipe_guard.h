// Gloo writes to sockets without MSG_NOSIGNAL, on whichever thread calls it. Around such calls: SIGPIPE is
// blocked, and one that came meanwhile is taken away, so that the host never sees it.
#ifndef TESSERA_CORE_PARALLEL_GLOO_SIGPIPE_GUARD_H_
#define TESSERA_CORE_PARALLEL_GLOO_SIGPIPE_GUARD_H_

#include <pthread.h>
#include <signal.h>

#include <ctime>

namespace tessera::gloo_ranks {

class SigpipeGuard {
 public:
  SigpipeGuard() noexcept {
    sigset_t pipe;
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe, &before_);
    was_pending_ = Pending();
  }
  ~SigpipeGuard() {
    if (!was_pending_ && Pending()) {
      sigset_t pipe;
      sigemptyset(&pipe);
      sigaddset(&pipe, SIGPIPE);
      const timespec now = {0, 0};
      sigtimedwait(&pipe, nullptr, &now);
    }
    pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }
  SigpipeGuard(const SigpipeGuard&) = delete;
  SigpipeGuard& operator=(const SigpipeGuard&) = delete;

 private:
  static bool Pending() noexcept {
    sigset_t pending;
    sigpending(&pending);
    return sigismember(&pending, SIGPIPE) == 1;
  }
  sigset_t before_;
  bool was_pending_ = false;
};

}  // namespace tessera::gloo_ranks

#endif  // TESSERA_CORE_PARALLEL_GLOO_SIGPIPE_GUARD_H_
