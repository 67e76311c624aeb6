// Memory that is taken piece by piece and given back all at once, with a limit on the whole. What a
// template's tree and a rendering's values live in: nothing in it has a destructor.
#ifndef TESSERA_CORE_TEXT_JINJA_ARENA_H_
#define TESSERA_CORE_TEXT_JINJA_ARENA_H_

#include <cstddef>
#include <new>
#include <type_traits>

namespace tessera::jinja {

class Arena {
 public:
  explicit Arena(size_t most_bytes) : most_bytes_(most_bytes) {}
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  // Null when the limit would be passed; std::bad_alloc when the system has no more. Aligned to 8 bytes.
  void* Allocate(size_t bytes);
  // Lengthens the piece that was taken last without moving it; false where that cannot be done.
  bool Extend(const void* piece, size_t old_bytes, size_t new_bytes);

  // `count` values as their default makes them; null as above.
  template <typename T>
  T* Make(size_t count = 1) {
    static_assert(std::is_trivially_destructible_v<T> && alignof(T) <= 8);
    if (count > most_bytes_ / sizeof(T)) return nullptr;
    void* memory = Allocate(count * sizeof(T));
    if (memory == nullptr) return nullptr;
    T* first = static_cast<T*>(memory);
    for (size_t i = 0; i < count; ++i) new (first + i) T();
    return first;
  }

  size_t taken_bytes() const { return taken_bytes_; }  // from the system, never above most_bytes
  size_t most_bytes() const { return most_bytes_; }

 private:
  struct Block {
    Block* next;
    size_t bytes;  // of the whole block
  };

  bool AddBlock(size_t least_bytes);

  size_t most_bytes_;
  size_t taken_bytes_ = 0;
  Block* blocks_ = nullptr;
  char* next_ = nullptr;  // the free part of the newest block: [next_, end_)
  char* end_ = nullptr;
};

}  // namespace tessera::jinja

#endif  // TESSERA_CORE_TEXT_JINJA_ARENA_H_
