// A model of any shape, made up on the spot: a reader that hands out a GGUF header and weights that are
// pseudo-random, the same in every run. No file is written. For benchmarks: it says nothing sensible.
#ifndef TESSERA_BENCH_SHAPED_MODEL_H_
#define TESSERA_BENCH_SHAPED_MODEL_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "tessera/tessera.h"

namespace tessera_bench {

// Of the Llama family, with a tied head. The defaults are Llama 3.2 1B's.
struct ModelShape {
  uint32_t layers = 16;
  uint32_t hidden = 2048;
  uint32_t feed_forward = 8192;
  uint32_t heads = 32;
  uint32_t kv_heads = 8;
  uint32_t head_size = 64;
  uint32_t vocabulary = 128256;
  uint32_t context_tokens = 16384;
  std::string type = "q4_0";  // of the matrices; or "q8_0"
};

class ShapedModel {
 public:
  explicit ShapedModel(const ModelShape& shape);
  ShapedModel(const ShapedModel&) = delete;
  ShapedModel& operator=(const ShapedModel&) = delete;

  // For tsr_model_load_reader and tsr_plan_reader; this outlives the call.
  tsr_reader Reader();
  uint64_t bytes_read() const { return bytes_read_; }

 private:
  struct Tensor {
    uint64_t begin = 0;  // in the file
    uint64_t end = 0;
    bool matrix = true;  // else a norm's weight: ones
  };
  void AddTensor(const std::string& name, uint64_t columns, uint64_t rows, bool matrix);
  void AddLayer(uint32_t layer, const ModelShape& shape);
  void WriteHeader(const ModelShape& shape);
  void Read(uint64_t offset, uint8_t* out, size_t size) const;

  uint32_t type_ = 0;         // GGUF's number
  uint64_t block_bytes_ = 0;  // of 32 weights
  std::vector<uint8_t> entries_;
  std::vector<Tensor> tensors_;  // in file order
  uint64_t data_bytes_ = 0;
  std::vector<uint8_t> header_;
  std::vector<uint8_t> blocks_;  // repeated over every matrix
  uint64_t bytes_read_ = 0;
};

}  // namespace tessera_bench

#endif  // TESSERA_BENCH_SHAPED_MODEL_H_
