// Where a model's bytes come from, as the C API names them: a path, a descriptor, memory, the host's reader.
#ifndef TESSERA_CAPI_SRC_SOURCES_H_
#define TESSERA_CAPI_SRC_SOURCES_H_

#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "core/env/file.h"
#include "tessera/tessera.h"

namespace tessera::capi {

using ModelSource = std::shared_ptr<const RandomAccessFile>;

absl::StatusOr<ModelSource> OpenPathSource(const char* path, size_t path_size);
absl::StatusOr<ModelSource> OpenDescriptorSource(int descriptor, uint64_t offset, uint64_t size_bytes);
absl::StatusOr<ModelSource> OpenMemorySource(const void* data, size_t size_bytes, int32_t mode);
// Its `drop` is called once on every way out. most_calls: of read_at at once.
absl::StatusOr<ModelSource> OpenReaderSource(const tsr_reader* reader, int64_t most_calls = 1);

}  // namespace tessera::capi

#endif  // TESSERA_CAPI_SRC_SOURCES_H_
