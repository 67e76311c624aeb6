// Counts a program's allocations: for tests that nothing is allocated. Linking tessera_counted_allocations
// replaces operator new of the whole program, so such a test is a program of its own.
#pragma once

#include <cstdint>

namespace tessera {

// Calls of operator new that throw, by any thread, since the program began. Any thread.
int64_t CountedAllocations();

}  // namespace tessera
