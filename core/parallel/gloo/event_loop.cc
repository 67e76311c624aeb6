// Gloo's event loop, in our own words, under Gloo's name. Its thread calls handlers that throw: where a peer
// died between its connect and our accept, where memory is out, where a frame makes no sense. From Gloo's own
// loop such an exception ends the process, and the process is the host's. The module exports these functions,
// and since it stands before libgloo.so in the order in which libgloo.so's references are resolved, they are
// the ones that Gloo calls. Where the host has loaded a libgloo.so of its own before, or where the system's
// was linked to its own functions for good, Gloo's loop stays in place, and with it that hazard.
#include <cxxabi.h>
#include <gloo/transport/tcp/loop.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <ctime>
#include <stdexcept>
#include <string>

namespace gloo::transport::tcp {
namespace {

constexpr int kMostEvents = 64;
// Who takes a descriptor out waits for a turn of the loop; while nothing happens that is how often it turns.
constexpr int kTurnMs = 10;
// After a handler that threw: its descriptor is still ready, and would keep the loop at full speed.
constexpr timespec kRest = {0, 1'000'000};

}  // namespace

Loop::Loop() : fd_(epoll_create1(EPOLL_CLOEXEC)) {
  if (fd_ < 0) throw std::runtime_error(std::string("epoll_create1: ") + std::strerror(errno));
  try {
    loop_ = std::make_unique<std::thread>(&Loop::run, this);
  } catch (...) {
    ::close(fd_);
    throw;
  }
}

Loop::~Loop() {
  done_ = true;
  if (loop_ != nullptr) loop_->join();
  ::close(fd_);
}

void Loop::registerDescriptor(int fd, int events, Handler* h) {
  epoll_event event = {};
  event.events = static_cast<uint32_t>(events);
  event.data.ptr = h;
  if (epoll_ctl(fd_, EPOLL_CTL_ADD, fd, &event) == 0) return;
  if (errno == EEXIST && epoll_ctl(fd_, EPOLL_CTL_MOD, fd, &event) == 0) return;
  throw std::runtime_error(std::string("epoll_ctl: ") + std::strerror(errno));
}

// Called where nothing may be thrown. A descriptor that is not, or no longer, registered is as good as
// removed.
void Loop::unregisterDescriptor(int fd, Handler*) {
  epoll_ctl(fd_, EPOLL_CTL_DEL, fd, nullptr);
  if (std::this_thread::get_id() == loop_->get_id()) return;
  // The loop may be about to call the handler for what it saw before; at its next turn that is over.
  std::unique_lock<std::mutex> lock(m_);
  cv_.wait(lock);
}

void Loop::run() {
  asm volatile("" : : "r"(abi::__cxa_get_globals()));  // see core/env/threads.cc
  pthread_setname_np(pthread_self(), "tsr-gloo");
  epoll_event events[kMostEvents];
  while (!done_) {
    cv_.notify_all();
    const int count = epoll_wait(fd_, events, kMostEvents, kTurnMs);
    for (int i = 0; i < count; ++i) {
      try {
        static_cast<Handler*>(events[i].data.ptr)->handleEvents(static_cast<int>(events[i].events));
      } catch (...) {
        // The connection is of no more use; its silence tells the group so.
        nanosleep(&kRest, nullptr);
      }
    }
  }
}

}  // namespace gloo::transport::tcp
