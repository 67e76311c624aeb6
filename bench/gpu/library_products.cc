#include "bench/gpu/library_products.h"

#include <cstdio>
#include <cstdlib>
#include <string>

#include "gpu/blas/matmul.h"

namespace tessera::gpu {
namespace {

void Check(const absl::Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "%s\n", std::string(status.message()).c_str());
  std::exit(1);
}

}  // namespace

struct LibraryProducts::State {
  DeviceApi api{"cuda device 0"};
  void* workspace = nullptr;
  std::unique_ptr<Matmul> matmul;
};

LibraryProducts::LibraryProducts() : state_(new State) {
  Check(state_->api.Allocate(&state_->workspace, Matmul::kWorkspaceBytes));
  auto made = Matmul::Create(&state_->api, {}, state_->workspace);
  Check(made.status());
  state_->matmul = std::move(*made);
}

LibraryProducts::~LibraryProducts() {
  state_->matmul.reset();
  state_->api.Free(state_->workspace);
}

bool LibraryProducts::is_library() const { return state_->matmul->uses_library(); }

int LibraryProducts::Prepare(const LaunchContext& context, int rows, int outputs, int columns, bool f32,
                             bool accumulates, const void* x, const void* weight, void* out) {
  MatmulShape shape;
  shape.out_type = f32 ? ElementType::kF32 : ElementType::kBF16;
  shape.outputs = outputs;
  shape.columns = columns;
  shape.out_stride = outputs;
  shape.weight_align = AlignmentOf(weight);
  shape.out_align = AlignmentOf(out);
  shape.accumulate = accumulates;
  shape.max_rows = rows;
  const auto product = state_->matmul->Prepare(shape, context, x, weight, out);
  Check(product.status());
  return *product;
}

void LibraryProducts::Run(int product, const LaunchContext& context, const void* x, const void* weight,
                          int rows, void* out) {
  Check(state_->matmul->Run(product, context, x, weight, rows, out));
}

}  // namespace tessera::gpu
