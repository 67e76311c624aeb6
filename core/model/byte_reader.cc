// The buffer behind ByteReader.
#include "core/model/byte_reader.h"

#include <algorithm>

#include "core/base/status.h"

namespace tessera {
namespace {

constexpr uint64_t kBufferBytes = 256 << 10;

}  // namespace

absl::Status ByteReader::CheckLeft(absl::string_view what, uint64_t size_bytes) const {
  if (size_bytes <= remaining()) return absl::OkStatus();
  return Corrupt(file_.name(),
                 absl::StrCat("the file ends inside ", what, ": ", size_bytes, " bytes from byte ", position_,
                              " on are needed, ", remaining(), " are left"));
}

absl::Status ByteReader::Bytes(absl::string_view what, void* data, uint64_t size_bytes) {
  TSR_RETURN_IF_ERROR(CheckLeft(what, size_bytes));
  if (size_bytes == 0) return absl::OkStatus();  // `data` may be null
  auto* out = static_cast<uint8_t*>(data);
  const bool inside = position_ >= buffer_start_ && position_ - buffer_start_ < buffer_.size();
  if (inside) {
    const uint64_t at = position_ - buffer_start_;
    const uint64_t count = std::min<uint64_t>(size_bytes, buffer_.size() - at);
    memcpy(out, buffer_.data() + at, count);
    position_ += count;
    out += count;
    size_bytes -= count;
  }
  if (size_bytes == 0) return absl::OkStatus();
  if (size_bytes >= kBufferBytes) {
    TSR_RETURN_IF_ERROR(file_.ReadAt(position_, out, size_bytes));
    position_ += size_bytes;
    return absl::OkStatus();
  }
  buffer_.resize(std::min(remaining(), kBufferBytes));
  buffer_start_ = position_;
  absl::Status read = file_.ReadAt(position_, buffer_.data(), buffer_.size());
  if (!read.ok()) {
    buffer_.clear();
    return read;
  }
  memcpy(out, buffer_.data(), size_bytes);
  position_ += size_bytes;
  return absl::OkStatus();
}

absl::Status ByteReader::Skip(absl::string_view what, uint64_t size_bytes) {
  TSR_RETURN_IF_ERROR(CheckLeft(what, size_bytes));
  position_ += size_bytes;
  return absl::OkStatus();
}

}  // namespace tessera
