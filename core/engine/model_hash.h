// What a saved session must find again to go on as it would have: the model's hash over its shape, its
// tensors and all their bytes; the tokenizer's over its tables. Names, authors and chat templates play no
// part.
#ifndef TESSERA_CORE_ENGINE_MODEL_HASH_H_
#define TESSERA_CORE_ENGINE_MODEL_HASH_H_

#include "core/base/content_hash.h"
#include "core/model/gguf.h"
#include "core/model/model_spec.h"

namespace tessera {

// Changes with what the hash is made of: states saved under another are no states of this model.
inline constexpr uint64_t kModelHashVersion = 2;

// That version, and the keys "general.architecture" and "<architecture>.".
void AddShape(const GgufFile& file, const ModelSpec& spec, ContentHasher* hasher);
// Before the tensor's bytes, in the order of the spec. The bytes themselves are hashed in runs of HashedRows
// rows, each by itself so that several threads may, and the runs' hashes are added in order.
void AddTensor(const TensorSpec& tensor, ContentHasher* hasher);
// A multiple of kPackRunRows (core/execute/backend.h), of about 4 MiB: part of what the hash means.
int64_t HashedRows(uint64_t row_bytes);

// The keys "tokenizer." without the chat templates.
ContentHash HashTokenizer(const GgufFile& file);

}  // namespace tessera

#endif  // TESSERA_CORE_ENGINE_MODEL_HASH_H_
