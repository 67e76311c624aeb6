// What one rendering may use. Templates come with files, so they are not trusted to end.
#ifndef TESSERA_CORE_TEXT_JINJA_LIMITS_H_
#define TESSERA_CORE_TEXT_JINJA_LIMITS_H_

#include <cstddef>
#include <cstdint>

namespace tessera::jinja {

// A template and what its tree takes.
inline constexpr size_t kLargestTemplateBytes = 1 << 20;
inline constexpr size_t kLargestTreeBytes = 64 << 20;
// Of nodes being evaluated inside each other, macros' bodies included: about 250 bytes of stack each.
inline constexpr int kDeepestEvaluation = 400;
// Of values inside each other that are printed or compared.
inline constexpr int kDeepestValue = 100;
inline constexpr int64_t kLongestRange = 100000;  // as Jinja2's sandbox has it

struct Limits {
  int64_t max_steps = 10'000'000;  // nodes evaluated, and pieces of 64 bytes or 8 elements walked through
  size_t max_memory_bytes = size_t{256} << 20;
  size_t max_output_bytes = size_t{64} << 20;
};

}  // namespace tessera::jinja

#endif  // TESSERA_CORE_TEXT_JINJA_LIMITS_H_
