#include "capi/src/throw_safety.h"

#include <cxxabi.h>

#include <cstdint>

namespace tessera::capi {
namespace {

bool safe = false;  // written when the library is loaded, before any other of its functions can run

#if defined(__x86_64__) && defined(__GLIBCXX__)

// Resolved descriptors are two words: a function, and what it is given. For storage in the static area that
// is its distance from the thread pointer; otherwise it is an address. Distances are below a few MiB,
// addresses are not.
constexpr intptr_t kFarthestBytes = intptr_t{1} << 24;
bool IsDistance(intptr_t word) { return word > -kFarthestBytes && word < kFarthestBytes; }

// In assembly, since the compilers we support do not all make descriptors on x86-64. The symbol is
// std::__once_callable: any would do, and this one libstdc++ has exported since GCC 4.4.
__attribute__((constructor)) void ReserveExceptionGlobals() {
  intptr_t descriptor;
  asm("leaq _ZSt15__once_callable@tlsdesc(%%rip), %0" : "=a"(descriptor));
  // A linker that makes an executable of this file puts the distance itself here.
  const auto* const words =
      reinterpret_cast<const intptr_t*>(descriptor);  // NOLINT(performance-no-int-to-ptr)
  safe = IsDistance(descriptor) || IsDistance(words[1]);
}

#endif

}  // namespace

bool ThrowingIsSafe() noexcept { return safe; }

void TouchExceptionGlobals() noexcept {
  // The call is declared free of effects, so it stays only because its result seems to be used.
  asm volatile("" : : "r"(abi::__cxa_get_globals()));
}

}  // namespace tessera::capi
