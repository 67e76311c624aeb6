// A model of any shape, made up on the spot: a reader that hands out a GGUF header and weights that are
// pseudo-random, the same in every run. No file is written. For benchmarks: it says nothing sensible.
#ifndef TESSERA_BENCH_SHAPED_MODEL_H_
#define TESSERA_BENCH_SHAPED_MODEL_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "tessera/tessera.h"

namespace tessera_bench {

// Of the Llama family. The defaults are Llama 3.2 1B's.
struct ModelShape {
  uint32_t layers = 16;
  uint32_t hidden = 2048;
  uint32_t feed_forward = 8192;
  uint32_t heads = 32;
  uint32_t kv_heads = 8;
  uint32_t head_size = 64;
  uint32_t vocabulary = 128256;
  uint32_t context_tokens = 16384;
  bool tied = true;           // the head is the embedding table
  std::string type = "q4_0";  // of the matrices; or "q8_0", "bf16", "f16"
};

// "1b" (tied), "8b" (Llama 3.1 8B's, with a head of its own) or "tiny" (which anything computes in no time).
// False: another name.
bool FindShape(const std::string& name, ModelShape* shape);

class ShapedModel {
 public:
  // `pool_bytes`: at least so much memory is read before the same bytes are read again, so that a reader can
  // be kept out of the processor's caches. 0: the least.
  explicit ShapedModel(const ModelShape& shape, uint64_t pool_bytes = 0);
  ShapedModel(const ShapedModel&) = delete;
  ShapedModel& operator=(const ShapedModel&) = delete;

  // For tsr_model_load_reader and tsr_plan_reader; this outlives the call. Any number of calls at once.
  tsr_reader Reader();
  uint64_t file_bytes() const { return header_.size() + data_bytes_; }
  uint64_t bytes_read() const { return bytes_read_; }
  // Of the matrices that a step reads: all but the embedding table, unless that is the head too.
  uint64_t step_bytes() const { return step_bytes_; }
  // Multiply-adds that one token takes in those, without the head.
  uint64_t token_products() const { return token_products_; }

 private:
  struct Tensor {
    uint64_t begin = 0;  // in the file
    uint64_t end = 0;
    bool matrix = true;  // else a norm's weight: ones
    uint64_t phase = 0;  // in blocks_, of its first byte: no two matrices begin alike
  };
  void AddTensor(const std::string& name, uint64_t columns, uint64_t rows, bool matrix);
  void AddLayer(uint32_t layer, const ModelShape& shape);
  void WriteHeader(const ModelShape& shape);
  void Read(uint64_t offset, uint8_t* out, size_t size) const;
  void ReadTensor(const Tensor& tensor, uint64_t from, uint64_t to, uint8_t* out) const;

  uint32_t type_ = 0;         // GGUF's number
  uint64_t block_bytes_ = 0;  // of 32 weights
  std::vector<uint8_t> entries_;
  std::vector<Tensor> tensors_;  // in file order
  uint64_t data_bytes_ = 0;
  std::vector<uint8_t> header_;
  std::vector<uint8_t> blocks_;  // repeated over every matrix
  uint64_t step_bytes_ = 0;
  uint64_t token_products_ = 0;
  std::atomic<uint64_t> bytes_read_{0};
};

}  // namespace tessera_bench

#endif  // TESSERA_BENCH_SHAPED_MODEL_H_
