// In the relocatable build: nothing inside is destroyed when the process exits, for hosts' threads may still
// be inside then. Our own objects have no such destructors; those of the libraries that are built in, and of
// the C++ runtime, register theirs here instead of with libc. Nothing is lost: the library is never unloaded,
// and writes no streams.
extern "C" __attribute__((visibility("hidden"))) int __cxa_atexit(  // NOLINT(bugprone-reserved-identifier)
    void (*)(void*), void*, void*) noexcept {
  return 0;
}
