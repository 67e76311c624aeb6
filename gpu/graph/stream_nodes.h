// The products of a decode step as nodes for the kernels that fuse them with what stands between: what each
// reads, multiplies and writes, and the device memory in which they hand on to one another. Knows nothing of
// launches: a chain may become one kernel or one a node.
#ifndef TESSERA_GPU_GRAPH_STREAM_NODES_H_
#define TESSERA_GPU_GRAPH_STREAM_NODES_H_

#include <cstddef>
#include <cstdint>

#include "gpu/graph/regions.h"
#include "gpu/kernels/linear/linear.h"

namespace tessera::gpu {

// Device memory for what nodes hand on, in steps of up to `rows` rows.
size_t HandedOnBytes(const DeviceModel& model, int32_t rows);

inline const float* VectorOf(const tsr_device_weight& weight) {
  return static_cast<const float*>(weight.data);
}

class StreamNodes {
 public:
  // What embed hands on to the first node.
  struct First {
    void* x = nullptr;         // [rows, hidden] of T
    float* squares = nullptr;  // [rows, kMostStreamBlocks]
  };

  // `parts`: of the sums of squares that residual nodes write.
  StreamNodes(const RegionContext& context, int32_t rows, int parts);

  const First& first() const { return first_; }
  float* row_factors() const { return row_factors_; }  // see StreamChain
  // There are two sets of what is handed on: while nodes compute in one, a chain poisons the other for the
  // next one. The set that nodes are made for from now on:
  void ExchangeSets() { set_ ^= 1; }
  uint8_t* set_memory() const { return sets_ + set_ * set_bytes_; }
  size_t set_bytes() const { return set_bytes_; }

  // Each adds one node to the chain.
  void AddQkv(int layer, StreamChain* chain) const;
  void AddOutput(int layer, StreamChain* chain) const;
  void AddGateUp(int layer, StreamChain* chain) const;
  void AddDown(int layer, StreamChain* chain) const;
  void AddHead(StreamChain* chain) const;

 private:
  struct HandOn {
    void* after_output = nullptr;           // [rows, hidden] of T
    void* after_down = nullptr;             // [rows, hidden] of T
    void* active = nullptr;                 // [rows, feed forward] of T
    float* squares_after_output = nullptr;  // [rows, kMostStreamBlocks]
    float* squares_after_down = nullptr;
  };

  const tsr_device_layer& LayerAt(int layer) const { return model_.layers[static_cast<size_t>(layer)]; }
  HandOn set() const;
  StreamInput Plain(const void* x, int64_t columns) const;
  StreamInput Normed(const void* x, const float* squares, int parts) const;
  void AddResidual(const tsr_device_weight& weight, const tsr_device_weight& bias, const float* next_norm,
                   void* next_x, float* squares, StreamNode* node) const;

  const RegionContext& context_;
  const DeviceModel& model_;
  const int32_t rows_;
  const int parts_;
  const size_t set_bytes_;
  First first_;
  float* row_factors_ = nullptr;
  uint8_t* sets_ = nullptr;
  size_t set_ = 0;
};

}  // namespace tessera::gpu

#endif  // TESSERA_GPU_GRAPH_STREAM_NODES_H_
