// Takes GGUF bytes apart as far as they go, so that a mutator can change one field and put the rest back
// together.
#ifndef TESSERA_TESTS_FUZZ_GGUF_MUTATOR_H_
#define TESSERA_TESTS_FUZZ_GGUF_MUTATOR_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "tests/doubles/gguf_writer.h"

namespace tessera {

// Nothing where the bytes are not even roughly GGUF. Written without the engine's reader, which is under
// test.
std::optional<GgufWriter> TakeApart(const uint8_t* data, size_t size);

// Changes one thing, by chance: a count, a length, a type, an offset, a name, an entry, a value.
void MutateGguf(GgufWriter* file, uint32_t seed);

}  // namespace tessera

#endif  // TESSERA_TESTS_FUZZ_GGUF_MUTATOR_H_
