// What a model is, as data: read from the file's own metadata and tensor names, checked for consistency.
// No family gets a loop of its own; the region list is derived from this.
#ifndef TESSERA_CORE_MODEL_MODEL_SPEC_H_
#define TESSERA_CORE_MODEL_MODEL_SPEC_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/model/fold.h"
#include "core/model/gguf.h"

namespace tessera {

enum class NormKind : int32_t { kRms };
enum class ActivationKind : int32_t { kSilu };

// Which elements of a head rotate together: (2i, 2i+1), as GGUF stores the Llama family, or (i, i + n/2), as
// Qwen2.
enum class RotaryPairing : int32_t { kInterleaved, kHalves };

// Inverse frequencies already hold every scaling variant (linear, NTK, YaRN, Llama 3's factors tensor).
struct RotarySpec {
  RotaryPairing pairing = RotaryPairing::kInterleaved;
  int32_t dimensions = 0;                  // leading elements of a head that rotate; even
  std::vector<float> inverse_frequencies;  // [dimensions / 2]
  float magnitude = 1.0f;                  // YaRN's factor on cos and sin
};

struct AttentionSpec {
  int32_t heads = 0;
  int32_t kv_heads = 0;       // divides heads; both are 0 on a rank that has none of the layer's heads
  int32_t head_size = 0;      // of queries and keys and values
  int32_t window_tokens = 0;  // 0: the whole context
  float scale = 0;            // on the scores
};

// Index of a tensor in ModelSpec::tensors; kNoTensor where the model has none.
using TensorId = int32_t;
inline constexpr TensorId kNoTensor = -1;

struct LayerSpec {
  AttentionSpec attention;
  int32_t cache_group = 0;
  TensorId attention_norm = kNoTensor;                   // [hidden]
  TensorId query = kNoTensor, query_bias = kNoTensor;    // [heads * head_size, hidden], [heads * head_size]
  TensorId key = kNoTensor, key_bias = kNoTensor;        // [kv_heads * head_size, hidden]
  TensorId value = kNoTensor, value_bias = kNoTensor;    // [kv_heads * head_size, hidden]
  TensorId output = kNoTensor, output_bias = kNoTensor;  // [hidden, heads * head_size]
  TensorId feed_forward_norm = kNoTensor;                // [hidden]
  TensorId gate = kNoTensor, up = kNoTensor;             // [ffn, hidden]
  TensorId down = kNoTensor;                             // [hidden, ffn]
  FoldSpec output_fold, down_fold;                       // of the sums behind output and down
};

// Layers whose keys and values have one layout and one window share blocks through one table.
struct CacheGroupSpec {
  int32_t kv_heads = 0;
  int32_t head_size = 0;
  int32_t window_tokens = 0;
  std::vector<int32_t> layers;
};

// Norm weights and biases are F32, as every converter writes them (another type is refused); matrices may
// have any TensorType.
struct TensorSpec {
  std::string name;
  TensorType type = TensorType::kF32;
  int64_t rows = 0;          // outputs
  int64_t columns = 0;       // inputs; contiguous in the file
  uint64_t file_offset = 0;  // of the whole tensor
  uint64_t size_bytes = 0;   // stored, of these rows and columns
};

// What of a model a spec describes: all of it, or one rank's part (core/parallel/partition.h), whose heads,
// columns and tensors are then the rank's own. hidden_size, vocabulary_size and context_tokens are the whole
// model's always.
struct ModelPart {
  int32_t rank = 0;  // among those that share the layers
  int32_t ranks = 1;
  int32_t first_layer = 0;  // of the whole model's
  bool has_embedding = true;
  bool has_head = true;
  std::vector<int32_t> vocabulary_cuts;  // [ranks + 1]: rank r has rows [cuts[r], cuts[r + 1]) of both
};

struct ModelSpec {
  std::string architecture;  // as the file says: "llama", "qwen2"
  std::string name;
  int32_t hidden_size = 0;
  int32_t feed_forward_size = 0;
  int32_t vocabulary_size = 0;
  int32_t context_tokens = 0;  // what it was trained for
  float norm_epsilon = 0;
  NormKind norm = NormKind::kRms;
  ActivationKind activation = ActivationKind::kSilu;
  RotarySpec rotary;
  TensorId embedding = kNoTensor;    // [vocabulary, hidden]
  TensorId output_norm = kNoTensor;  // [hidden]
  TensorId head = kNoTensor;         // [vocabulary, hidden]; equals `embedding` when tied
  std::vector<LayerSpec> layers;
  std::vector<CacheGroupSpec> cache_groups;
  std::vector<TensorSpec> tensors;
  ModelPart part;

  int64_t parameters() const;
  // Stored bytes of the tensors that one decoded token uses (all but unused embedding rows).
  uint64_t bytes_per_token() const;
};

// Every key below "<architecture>." and every tensor of the file must be one that this build knows: what is
// not known may change the results, so it is refused by name rather than left out. All sizes are bounded
// (layers by 4096, widths by 2^24), so that a product of two fits 64 bits with room to spare. kUnsupported
// names the architecture, tensor or key that this build cannot run; kCorrupt what contradicts itself.
absl::StatusOr<ModelSpec> ReadModelSpec(const GgufFile& file);

}  // namespace tessera

#endif  // TESSERA_CORE_MODEL_MODEL_SPEC_H_
