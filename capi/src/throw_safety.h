// Makes throwing safe on hosts' threads when there is no memory.
//
// A thread's first throw needs its exception globals, which libstdc++ keeps in thread-local storage. When
// libstdc++ came with a dlopen, the dynamic linker allocates a thread's copy of that storage at the first
// use, by malloc, and ends the process where that fails: a call that meets std::bad_alloc on a fresh thread
// would take its host down. Storage that has a place in the static area, which every thread has from its
// start, needs no allocation at any time.
//
// So the library carries a TLS-descriptor relocation against a thread-local symbol of libstdc++. While it
// resolves one, the dynamic linker gives the symbol's module such a place, for all threads that exist or
// will, from a reserve that it keeps for this (glibc's tunable optional_static_tls). Other than an
// initial-exec relocation, which asks for the same, it fails softly: where libstdc++ was in dynamic use
// before us, or the reserve is spent, the library loads all the same and ThrowingIsSafe is false. Calls then
// touch the globals when they begin, so that only a thread whose very first call meets a process without
// memory is still at risk.
#ifndef TESSERA_CAPI_SRC_THROW_SAFETY_H_
#define TESSERA_CAPI_SRC_THROW_SAFETY_H_

namespace tessera::capi {

// Whether a throw needs no memory for its thread's globals. Answered by a variable set when the library is
// loaded.
bool ThrowingIsSafe() noexcept;

// Has this thread's exception globals made, now.
void TouchExceptionGlobals() noexcept;

}  // namespace tessera::capi

#endif  // TESSERA_CAPI_SRC_THROW_SAFETY_H_
