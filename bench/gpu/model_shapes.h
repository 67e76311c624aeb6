// The shapes at which kernels are measured: Llama 3.2 1B and Llama 3.1 8B.
#ifndef TESSERA_BENCH_GPU_MODEL_SHAPES_H_
#define TESSERA_BENCH_GPU_MODEL_SHAPES_H_

#include <string>

namespace tessera_bench {

struct ModelShape {
  const char* name;
  int hidden, layers, heads, kv_heads, head_size, ffn, vocabulary;
  int query_columns() const { return heads * head_size; }
  int key_columns() const { return kv_heads * head_size; }
  int qkv_columns() const { return query_columns() + 2 * key_columns(); }
};

inline constexpr ModelShape kModelShapes[] = {{"1b", 2048, 16, 32, 8, 64, 8192, 128256},
                                              {"8b", 4096, 32, 32, 8, 128, 14336, 128256}};

// Null: there is none of that name.
inline const ModelShape* FindModelShape(const std::string& name) {
  for (const ModelShape& shape : kModelShapes) {
    if (name == shape.name) return &shape;
  }
  return nullptr;
}

}  // namespace tessera_bench

#endif  // TESSERA_BENCH_GPU_MODEL_SHAPES_H_
