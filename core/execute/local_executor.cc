#include "core/execute/local_executor.h"

#include <new>
#include <utility>

#include "core/base/status.h"

namespace tessera {

LocalExecutor::LocalExecutor(const ModelSpec* spec, const Residency* weights,
                             std::unique_ptr<BackendContext> context)
    : context_(std::move(context)), loop_(spec, weights, context_.get()) {
  steps_.reserve(static_cast<size_t>(context_->depth()));
}

absl::Status LocalExecutor::Begin(const StepView* step) noexcept {
  steps_.push_back({step, absl::OkStatus()});
  return absl::OkStatus();
}

absl::StatusOr<bool> LocalExecutor::Run(StopCondition& condition) noexcept {
  if (!Execute(condition)) return false;
  absl::StatusOr<bool> finished = true;
  if (steps_.front().status.ok()) {
    finished = context_->FinishStep(condition);
    if (finished.ok() && !*finished) return false;
  } else {
    finished = std::move(steps_.front().status);
  }
  steps_.erase(steps_.begin());
  --executed_;
  return finished;
}

bool LocalExecutor::Execute(StopCondition& condition) noexcept {
  while (executed_ < steps_.size()) {
    Step& step = steps_[executed_];
    awake_ = true;
    context_->BeginStep(*step.view);
    if (!std::exchange(looping_, true)) loop_.Begin(step.view);
    try {
      absl::StatusOr<bool> done = loop_.Run(condition);
      if (done.ok() && !*done) return false;
      step.status = std::move(done).status();
    } catch (const std::bad_alloc&) {  // of weights or of an error's text; without a message none is needed
      step.status = BareError(ErrorCode::kOutOfMemory);
    }
    looping_ = false;
    ++executed_;
  }
  return true;
}

void LocalExecutor::Drop() noexcept {
  context_->AbandonSteps();
  steps_.clear();
  executed_ = 0;
  looping_ = false;
}

void LocalExecutor::Rest() noexcept {
  if (std::exchange(awake_, false)) context_->EndStep();
}

}  // namespace tessera
