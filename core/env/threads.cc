// How a thread of the library starts: its signals, its floating-point modes, its exception globals.
#include "core/env/threads.h"

#include <cxxabi.h>

#include <cfenv>
#include <csignal>
#include <cstring>
#include <new>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/status.h"

namespace tessera {
namespace {

// The signals that the processor or abort() raises in the thread itself stay open: blocked, they would kill
// the process without the host's crash handler.
sigset_t LibrarySignalMask() {
  sigset_t mask;
  sigfillset(&mask);
  for (const int signal : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGABRT})
    sigdelset(&mask, signal);
  return mask;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Thread>> Thread::Start(absl::string_view name, std::function<void()> body) {
  try {
    std::unique_ptr<Thread> thread(new Thread);
    thread->body_ = std::move(body);
    name.copy(thread->name_, sizeof(thread->name_) - 1);

    // The mask is set around the creation and inherited, so that no signal finds the new thread open for a
    // moment.
    const sigset_t ours = LibrarySignalMask();
    sigset_t callers;
    pthread_sigmask(SIG_SETMASK, &ours, &callers);
    const int error = pthread_create(&thread->handle_, nullptr, &Thread::Main, thread.get());
    pthread_sigmask(SIG_SETMASK, &callers, nullptr);
    if (error != 0) {
      return LimitExceeded(absl::StrCat("thread '", name, "'"),
                           absl::StrCat("the system refused to start it (error ", error,
                                        "); lower the number of threads or raise the process limit"));
    }
    thread->started_ = true;
    return thread;
  } catch (const std::bad_alloc&) {
    return BareError(ErrorCode::kOutOfMemory);
  }
}

Thread::~Thread() {
  if (!started_) return;
  if (pthread_equal(handle_, pthread_self()) != 0) {
    pthread_detach(handle_);  // the body dropped its own thread's last owner
  } else {
    pthread_join(handle_, nullptr);
  }
}

void* Thread::Main(void* self) {
  Thread* const thread = static_cast<Thread*>(self);
  // The runtime makes these at a thread's first throw, and aborts where there is no memory for them then.
  // The call is declared free of effects, so it stays only because its result seems to be used.
  asm volatile("" : : "r"(abi::__cxa_get_globals()));
  // A new thread inherits its creator's modes; a host that flushes denormals or rounds up must not change our
  // bits.
  std::fesetenv(FE_DFL_ENV);
  pthread_setname_np(pthread_self(), thread->name_);
  // What the body owns goes before the thread ends, and the body itself may destroy `thread`.
  {
    const std::function<void()> body = std::move(thread->body_);
    body();
  }
  return nullptr;
}

}  // namespace tessera
