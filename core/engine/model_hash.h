// What a saved session must find again to go on as it would have: the model's hash over its shape, its
// tensors and all their bytes; the tokenizer's over its tables. Names, authors and chat templates play no
// part.
#ifndef TESSERA_CORE_ENGINE_MODEL_HASH_H_
#define TESSERA_CORE_ENGINE_MODEL_HASH_H_

#include "core/base/content_hash.h"
#include "core/model/gguf.h"
#include "core/model/model_spec.h"

namespace tessera {

// The keys "general.architecture" and "<architecture>.".
void AddShape(const GgufFile& file, const ModelSpec& spec, ContentHasher* hasher);
// Before the tensor's bytes, in the order of the file.
void AddTensor(const TensorSpec& tensor, ContentHasher* hasher);

// The keys "tokenizer." without the chat templates.
ContentHash HashTokenizer(const GgufFile& file);

}  // namespace tessera

#endif  // TESSERA_CORE_ENGINE_MODEL_HASH_H_
