#include "gpu/device/upload_ring.h"

#include <algorithm>
#include <new>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/status.h"
#include "gpu/device/device.h"

namespace tessera::gpu {

UploadShape::UploadShape(uint64_t staging_bytes) {
  if (staging_bytes == 0) return;
  constexpr uint64_t kLeastPiece = 4096;
  const uint64_t half = std::max(staging_bytes / 2 / kLeastPiece * kLeastPiece, kLeastPiece);
  piece_bytes = static_cast<size_t>(std::min<uint64_t>(piece_bytes, half));
  pieces = static_cast<size_t>(std::clamp<uint64_t>(staging_bytes / piece_bytes, 2, 1024));
}

UploadRing::UploadRing(Device* device, UploadShape shape, cudaStream_t stream)
    : device_(device), shape_(shape), stream_(stream) {}

UploadRing::~UploadRing() {
  if (pieces_.empty()) return;
  device_->api().Drain(stream_);
  for (const Piece& piece : pieces_) device_->api().DestroyEvent(piece.sent);
  device_->ReleasePinned(pieces_[0].data, shape_.pieces * shape_.piece_bytes);
}

absl::StatusOr<std::vector<UploadRing::Piece>> UploadRing::MakePieces() {
  std::vector<Piece> pieces(shape_.pieces);
  TSR_ASSIGN_OR_RETURN(void* const memory, device_->AllocatePinned(shape_.pieces * shape_.piece_bytes));
  for (size_t i = 0; i < pieces.size(); ++i) {
    pieces[i].data = static_cast<uint8_t*>(memory) + i * shape_.piece_bytes;
    const absl::Status status = device_->api().CreateEvent(false, &pieces[i].sent);
    if (status.ok()) continue;
    for (size_t made = 0; made < i; ++made) device_->api().DestroyEvent(pieces[made].sent);
    device_->ReleasePinned(memory, shape_.pieces * shape_.piece_bytes);
    return status;
  }
  return pieces;
}

// Without the lock: the host's allocator may be what gives the memory.
absl::Status UploadRing::TakeMemory(std::unique_lock<std::mutex>* lock) {
  while (taking_memory_) changed_.wait(*lock);
  if (!pieces_.empty()) return absl::OkStatus();
  taking_memory_ = true;
  lock->unlock();
  absl::StatusOr<std::vector<Piece>> pieces = BareError(ErrorCode::kOutOfMemory);
  try {
    pieces = MakePieces();
  } catch (const std::bad_alloc&) {
  }
  lock->lock();
  taking_memory_ = false;
  changed_.notify_all();
  if (!pieces.ok()) return pieces.status();
  pieces_ = *std::move(pieces);
  return absl::OkStatus();
}

// The one that has been in that state longest.
UploadRing::Piece* UploadRing::Find(State state) {
  Piece* found = nullptr;
  for (Piece& piece : pieces_) {
    if (piece.state == state && (found == nullptr || piece.turn < found->turn)) found = &piece;
  }
  return found;
}

void UploadRing::Note(const absl::Status& status) {
  if (failure_.ok()) failure_ = status;
}

absl::StatusOr<void*> UploadRing::Begin() {
  std::unique_lock<std::mutex> lock(mutex_);
  TSR_RETURN_IF_ERROR(TakeMemory(&lock));
  for (;;) {
    if (Piece* const piece = Find(State::kFree)) {
      piece->state = State::kHeld;
      return static_cast<void*>(piece->data);
    }
    Piece* const piece = Find(State::kOnItsWay);
    if (piece == nullptr) {
      changed_.wait(lock);
      continue;
    }
    piece->state = State::kAwaited;
    lock.unlock();
    const absl::Status arrived = device_->api().WaitFor(piece->sent);
    if (!arrived.ok()) device_->api().Drain(stream_);  // the device may be reading it still
    lock.lock();
    if (arrived.ok()) {
      piece->state = State::kHeld;
      return static_cast<void*>(piece->data);
    }
    piece->state = State::kFree;
    changed_.notify_one();
    Note(arrived);
    return arrived;
  }
}

absl::Status UploadRing::Send(Piece& piece, void* target, size_t size_bytes) {
  DeviceApi& api = device_->api();
  TSR_RETURN_IF_ERROR(api.Copy(target, piece.data, size_bytes, CopyKind::kToDevice, stream_));
  absl::Status recorded = api.Record(piece.sent, stream_);
  if (!recorded.ok()) api.Drain(stream_);  // nothing else says when the piece is free
  return recorded;
}

absl::Status UploadRing::End(void* data, void* target, size_t size_bytes) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto found = std::find_if(pieces_.begin(), pieces_.end(), [data](const Piece& piece) {
    return piece.data == data && piece.state == State::kHeld;
  });
  if (found == pieces_.end()) return Internal("upload", "the piece was not begun");
  absl::Status sent;
  if (size_bytes > shape_.piece_bytes) {
    sent = Internal("upload", absl::StrCat("a piece holds ", shape_.piece_bytes, " bytes, not ", size_bytes));
  } else if (size_bytes > 0) {
    sent = Send(*found, target, size_bytes);
  }
  found->state = sent.ok() && size_bytes > 0 ? State::kOnItsWay : State::kFree;
  found->turn = ++turns_;
  if (!sent.ok()) Note(sent);
  changed_.notify_one();
  return sent;
}

absl::Status UploadRing::Wait() {
  const absl::Status arrived = device_->api().Synchronize(stream_);
  const std::lock_guard<std::mutex> lock(mutex_);
  if (!arrived.ok()) Note(arrived);
  absl::Status first;
  std::swap(first, failure_);
  return first;
}

}  // namespace tessera::gpu
