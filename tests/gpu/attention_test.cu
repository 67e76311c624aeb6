#include <cstdint>
#include <string>
#include <vector>

#include "gpu/kernels/attention/attention.h"
#include "gpu/kernels/common/dependency.cuh"
#include "tests/gpu/attention_problem.h"
#include "tests/gpu/gpu_test.h"

namespace tessera::gpu {
namespace {

constexpr ElementType kBF16 = ElementType::kBF16;
constexpr ElementType kF16 = ElementType::kF16;
constexpr ElementType kInt8Rows = ElementType::kInt8Rows;

// Largest relative error of a head's context. Weights and results are rounded to the type of the products (8
// bits of BF16, 11 of F16), queries too where the types differ.
double Bound(ElementType type, ElementType cache_type) {
  if (type == kF16 && cache_type == kF16) return 0.0015;
  return type == cache_type ? 0.006 : 0.010;
}

using Sequences = std::vector<TestSequence>;

Sequences OneRowEach(const std::vector<int32_t>& tokens) {
  Sequences sequences;
  for (const int32_t count : tokens) sequences.push_back({count - 1, 1});
  return sequences;
}

class AttentionTest : public GpuTest {
 protected:
  LaunchContext Context(bool overlap = false) const {
    return {stream_, properties_.multiProcessorCount, overlap};
  }

  // Runs the case and compares everything.
  void Check(const AttentionCase& test, const std::string& name) {
    SCOPED_TRACE(name);
    AttentionProblem problem(test, properties_.multiProcessorCount);
    const std::vector<uint16_t> context = problem.Run(Context());
    const double bound = Bound(test.type, test.cache_type);
    EXPECT_LE(problem.WorstError(context, true), bound);
    EXPECT_LE(problem.WorstError(context, false), bound);
    EXPECT_TRUE(problem.IsUntouched(context, true, true));
  }
};

std::string Name(const AttentionCase& test) {
  return "head size " + std::to_string(test.head_size) + ", heads " + std::to_string(test.heads) + " / " +
         std::to_string(test.kv_heads) + ", type " + std::to_string(static_cast<int>(test.type)) +
         ", cache " + std::to_string(static_cast<int>(test.cache_type)) + ", blocks of " +
         std::to_string(test.block_tokens) + ", window " + std::to_string(test.window_tokens);
}

const std::vector<int32_t> kTokenCounts = {1, 2, 15, 16, 17, 255, 256, 257, 1023, 1024, 4097};

TEST_F(AttentionTest, DecodeOfEveryHeadSizeAndCacheTypeEqualsDoublePrecision) {
  for (const int32_t head_size : {64, 80, 96, 128, 256}) {
    for (const ElementType cache_type : {kBF16, kF16, kInt8Rows}) {
      for (const ElementType type : {kBF16, kF16}) {
        AttentionCase test;
        test.type = type;
        test.cache_type = cache_type;
        test.head_size = head_size;
        test.heads = 8;
        test.kv_heads = 2;
        test.sequences = OneRowEach(kTokenCounts);
        Check(test, Name(test));
      }
    }
  }
}

TEST_F(AttentionTest, DecodeOfEveryGroupEqualsDoublePrecision) {
  for (const int32_t group : {1, 2, 3, 4, 5, 7, 8, 9, 12, 16, 20, 33}) {
    for (const int32_t head_size : {64, 128, 256}) {
      for (const ElementType cache_type : {kBF16, kInt8Rows}) {
        AttentionCase test;
        test.cache_type = cache_type;
        test.head_size = head_size;
        test.heads = 2 * group;
        test.kv_heads = 2;
        test.sequences = OneRowEach({1, 17, 300, 1023});
        Check(test, Name(test));
      }
    }
  }
}

TEST_F(AttentionTest, DecodeOfEveryBlockSizeAndWindowEqualsDoublePrecision) {
  for (const int32_t block_tokens : {8, 16, 24, 32, 64, 256}) {
    for (const int32_t window : {0, 1, 5, 16, 100, 1000}) {
      AttentionCase test;
      test.block_tokens = block_tokens;
      test.window_tokens = window;
      test.sequences = OneRowEach(kTokenCounts);
      Check(test, Name(test));
    }
  }
}

TEST_F(AttentionTest, DecodeInClustersOfEverySizeEqualsDoublePrecision) {
  for (const int32_t cluster_blocks : {1, 2, 4, 8, 16}) {
    for (const bool batch_invariant : {false, true}) {
      for (const int32_t head_size : {64, 256}) {
        for (const ElementType cache_type : {kBF16, kInt8Rows}) {
          AttentionCase test;
          test.cluster_blocks = cluster_blocks;
          test.batch_invariant = batch_invariant;
          test.cache_type = cache_type;
          test.head_size = head_size;
          test.heads = 10;
          test.kv_heads = 2;
          test.sequences = OneRowEach(kTokenCounts);
          test.sequences.push_back({40, 3});
          Check(test, Name(test) + ", clusters of " + std::to_string(cluster_blocks) +
                          (batch_invariant ? ", invariant" : ""));
        }
      }
    }
  }
}

TEST_F(AttentionTest, DecodeOfSharpSoftmaxEqualsDoublePrecision) {
  AttentionCase test;
  test.type = kF16;
  test.cache_type = kF16;
  test.query_deviation = 20;
  test.sequences = OneRowEach(kTokenCounts);
  Check(test, Name(test));
}

TEST_F(AttentionTest, DecodeOfManySequencesOfUnlikeLengthsEqualsDoublePrecision) {
  for (const bool batch_invariant : {false, true}) {
    for (const int32_t count : {33, 64, 150}) {
      AttentionCase test;
      test.batch_invariant = batch_invariant;
      test.head_size = 64;
      test.kv_heads = 2;
      for (int32_t s = 0; s < count; ++s)
        test.sequences.push_back({(s * 131) % 997 + (s == 7 ? 9000 : 0), 1});
      Check(test, std::to_string(count) + " sequences");
    }
  }
}

TEST_F(AttentionTest, PromptsOfEveryHeadSizeAndCacheTypeEqualDoublePrecision) {
  for (const int32_t head_size : {64, 80, 96, 128, 256}) {
    for (const ElementType cache_type : {kBF16, kF16, kInt8Rows}) {
      for (const ElementType type : {kBF16, kF16}) {
        AttentionCase test;
        test.type = type;
        test.cache_type = cache_type;
        test.head_size = head_size;
        test.sequences = Sequences{{0, 2}, {0, 63}, {0, 64}, {0, 65}, {0, 129}, {1000, 70}, {37, 200}};
        Check(test, Name(test));
      }
    }
  }
}

TEST_F(AttentionTest, PromptsOfEveryBlockSizeAndWindowEqualDoublePrecision) {
  for (const int32_t block_tokens : {8, 16, 24, 32, 64, 256}) {
    for (const int32_t window : {0, 1, 5, 64, 100}) {
      AttentionCase test;
      test.block_tokens = block_tokens;
      test.window_tokens = window;
      test.sequences = Sequences{{0, 150}, {500, 70}, {63, 3}, {301, 130}};
      Check(test, Name(test));
    }
  }
}

TEST_F(AttentionTest, LongPromptsEqualDoublePrecision) {
  for (const int32_t head_size : {64, 128}) {
    for (const int32_t window : {0, 200}) {
      AttentionCase test;
      test.head_size = head_size;
      test.heads = 2;
      test.window_tokens = window;
      test.sequences = Sequences{{0, 700}, {1333, 300}};
      Check(test, Name(test));
    }
  }
}

TEST_F(AttentionTest, PromptsAndDecodingInOneStepEqualDoublePrecision) {
  for (const int32_t group : {1, 3, 8}) {
    AttentionCase test;
    test.heads = 2 * group;
    test.kv_heads = 2;
    test.head_size = 64;
    test.sequences = Sequences{{99, 1}, {0, 130}, {1023, 1}, {16, 1}, {256, 40}, {0, 1}, {15, 2}, {4096, 1}};
    Check(test, Name(test));
  }
}

TEST_F(AttentionTest, PromptsOfManySequencesEqualDoublePrecision) {
  AttentionCase test;
  test.heads = 2;
  test.head_size = 64;
  for (int32_t s = 0; s < 70; ++s) test.sequences.push_back({s * 3, s % 5 == 0 ? 1 : 1 + s * 7 % 140});
  Check(test, Name(test));
}

TEST_F(AttentionTest, HeadSizesWithoutAKernelOfTheirOwnEqualDoublePrecision) {
  for (const int32_t head_size : {2, 34, 40, 112, 160, 192, 254}) {
    for (const ElementType cache_type : {kBF16, kF16, kInt8Rows}) {
      AttentionCase test;
      test.type = cache_type == kF16 ? kF16 : kBF16;
      test.cache_type = cache_type;
      test.head_size = head_size;
      test.sequences = Sequences{{299, 1}, {0, 40}, {64, 1}, {100, 7}};
      Check(test, Name(test));
    }
  }
}

TEST_F(AttentionTest, EachLaunchLeavesTheOthersRowsAlone) {
  AttentionCase test;
  test.sequences = Sequences{{99, 1}, {0, 130}, {1023, 1}};
  AttentionProblem problem(test, properties_.multiProcessorCount);

  problem.PoisonContext();
  ASSERT_CUDA(LaunchAttentionDecode(Context(), problem.call()));
  EXPECT_TRUE(problem.IsUntouched(problem.ReadContext(), true, false));

  problem.PoisonContext();
  ASSERT_CUDA(LaunchAttentionPrefill(Context(), problem.call()));
  EXPECT_TRUE(problem.IsUntouched(problem.ReadContext(), false, true));
}

TEST_F(AttentionTest, BlocksPastTwoToThe32BytesAreFound) {
  AttentionCase test;
  test.kv_heads = 8;
  test.heads = 32;
  test.spare_bytes = (int64_t{9} << 30) / 2;
  test.sequences = Sequences{{700, 1}, {0, 100}};
  Check(test, Name(test));
}

TEST_F(AttentionTest, TheSameStepHasTheSameBits) {
  AttentionCase test;
  test.heads = 32;
  test.kv_heads = 8;
  test.sequences = Sequences{{5000, 1}, {0, 130}, {1023, 1}, {31, 1}};
  AttentionProblem problem(test, properties_.multiProcessorCount);
  const std::vector<uint16_t> first = problem.Run(Context());
  for (int i = 0; i < 20; ++i) ASSERT_EQ(problem.Run(Context()), first);
}

// A sequence's rows within a context: [first, last) of `rows`.
std::vector<uint16_t> RowsOf(const std::vector<uint16_t>& context, int32_t first, int32_t count,
                             int32_t width) {
  return {context.begin() + int64_t{first} * width, context.begin() + int64_t{first + count} * width};
}

// Keys and queries of a sequence are the same in both problems: they are made in the order of sequences.
TEST_F(AttentionTest, BatchInvariantRowsHaveTheSameBitsAloneAndAmong64) {
  for (const int32_t position : {0, 16, 255, 1023, 1500, 4096}) {
    AttentionCase alone;
    alone.heads = 8;
    alone.kv_heads = 2;
    alone.batch_invariant = true;
    alone.sequences = Sequences{{position, 1}};
    AttentionCase among = alone;
    for (int32_t s = 1; s < 64; ++s) among.sequences.push_back({s * 97 % 1200, 1});
    AttentionProblem small(alone, properties_.multiProcessorCount);
    AttentionProblem large(among, properties_.multiProcessorCount);
    EXPECT_EQ(RowsOf(small.Run(Context()), 0, 1, small.width()),
              RowsOf(large.Run(Context()), 0, 1, large.width()))
        << "position " << position;
  }
}

TEST_F(AttentionTest, BatchInvariantRowsHaveTheSameBitsWhereverTheirSplitsMeet) {
  AttentionCase test;
  test.heads = 8;
  test.kv_heads = 2;
  test.batch_invariant = true;
  test.cluster_blocks = 1;
  test.sequences = OneRowEach({1, 128, 129, 700, 1024, 2047, 9000});
  AttentionProblem problem(test, properties_.multiProcessorCount);
  const std::vector<uint16_t> expected = problem.Run(Context());
  for (const int32_t cluster_blocks : {2, 4, 8, 16}) {
    AttentionCall call = problem.call();
    call.cluster_blocks = cluster_blocks;
    problem.PoisonContext();
    ASSERT_CUDA(LaunchAttentionDecode(Context(), call));
    EXPECT_EQ(problem.ReadContext(), expected) << "clusters of " << cluster_blocks;
  }
  // One multiprocessor takes each row whole; many take a part each.
  AttentionCall call = problem.call();
  for (const int32_t blocks : {1, 7, 500}) {
    LaunchContext context = Context();
    context.sm_count = blocks;
    problem.PoisonContext();
    ASSERT_CUDA(LaunchAttentionDecode(context, call));
    EXPECT_EQ(problem.ReadContext(), expected) << blocks << " thread blocks";
  }
}

TEST_F(AttentionTest, APromptHasTheSameBitsWhereverItIsCut) {
  AttentionCase whole;
  whole.sequences = Sequences{{0, 300}};
  AttentionProblem all(whole, properties_.multiProcessorCount);
  const std::vector<uint16_t> expected = all.Run(Context());
  for (const int32_t cut : {2, 63, 64, 100, 255, 298}) {
    // The same keys and queries, of which the step computes rows from `cut` on.
    AttentionCase rest = whole;
    rest.sequences = Sequences{{cut, 300 - cut}};
    AttentionProblem part(rest, properties_.multiProcessorCount);
    AttentionCall call = part.call();
    call.query = static_cast<const uint16_t*>(all.call().query) + int64_t{cut} * all.width();
    part.PoisonContext();
    ASSERT_CUDA(LaunchAttentionPrefill(Context(), call));
    EXPECT_EQ(RowsOf(part.ReadContext(), 0, 300 - cut, all.width()),
              RowsOf(expected, cut, 300 - cut, all.width()))
        << "cut at " << cut;
  }
}

// Writes what a step's earlier nodes write, and takes its time: the queries and the newest keys and values.
struct LateWrites {
  uint16_t* query;
  const uint16_t* query_source;
  int64_t query_count;
  uint8_t* const* rows;       // [row_count]
  const uint8_t* row_source;  // [row_count][row_bytes]
  int32_t row_count;
  int32_t row_bytes;
  int64_t wait_cycles;
};

__global__ void WriteLate(LateWrites writes) {
  ReleaseSuccessor();
  AwaitPredecessor();
  const int64_t start = clock64();
  while (clock64() - start < writes.wait_cycles) {
  }
  for (int64_t i = threadIdx.x; i < writes.query_count; i += blockDim.x) {
    writes.query[i] = writes.query_source[i];
  }
  for (int32_t row = 0; row < writes.row_count; ++row) {
    for (int32_t i = threadIdx.x; i < writes.row_bytes; i += blockDim.x) {
      writes.rows[row][i] = writes.row_source[int64_t{row} * writes.row_bytes + i];
    }
  }
}

__global__ void PoisonLate(LateWrites writes) {
  ReleaseSuccessor();
  AwaitPredecessor();
  for (int64_t i = threadIdx.x; i < writes.query_count; i += blockDim.x) writes.query[i] = 0xFFFF;
  for (int32_t row = 0; row < writes.row_count; ++row) {
    for (int32_t i = threadIdx.x; i < writes.row_bytes; i += blockDim.x) writes.rows[row][i] = 0xFF;
  }
}

TEST_F(AttentionTest, ANodeThatBeginsEarlyWaitsForItsPredecessorsQueriesAndRows) {
  AttentionCase test;
  test.heads = 16;
  test.kv_heads = 4;
  test.sequences = Sequences{{4096, 1}, {0, 130}, {1023, 1}, {31, 1}, {32, 1}, {0, 1}};
  AttentionProblem problem(test, properties_.multiProcessorCount);

  // Given the newest rows of each decoding sequence, and all queries, in another place
  const CacheLayout& cache = problem.cache().layout();
  std::vector<uint8_t*> rows;
  for (int32_t s = 0; s < static_cast<int32_t>(test.sequences.size()); ++s) {
    if (test.sequences[static_cast<size_t>(s)].row_count != 1) continue;
    for (int32_t i = 0; i < 2 * test.kv_heads; ++i) {
      rows.push_back(problem.cache().device_row(i % 2 != 0, s, i / 2,
                                                test.sequences[static_cast<size_t>(s)].first_position));
    }
  }
  const DeviceBuffer<uint8_t*> device_rows(rows);
  const DeviceBuffer<uint8_t> source(rows.size() * static_cast<size_t>(cache.row_bytes));
  for (size_t i = 0; i < rows.size(); ++i) {
    ASSERT_CUDA(cudaMemcpy(source.get() + i * static_cast<size_t>(cache.row_bytes), rows[i],
                           static_cast<size_t>(cache.row_bytes), cudaMemcpyDeviceToDevice));
  }
  const DeviceBuffer<uint16_t> queries(problem.query());
  const LateWrites writes = {static_cast<uint16_t*>(const_cast<void*>(problem.call().query)),
                             queries.get(),
                             int64_t{problem.rows()} * problem.width(),
                             device_rows.get(),
                             source.get(),
                             static_cast<int32_t>(rows.size()),
                             cache.row_bytes,
                             100000};
  for (const int32_t cluster_blocks : {1, 4, 16}) {
    AttentionCall call = problem.call();
    call.cluster_blocks = cluster_blocks;
    problem.PoisonContext();
    ASSERT_CUDA(LaunchAttentionDecode(Context(), call));
    ASSERT_CUDA(LaunchAttentionPrefill(Context(), call));
    const std::vector<uint16_t> expected = problem.ReadContext();
    for (const bool prefetch : {false, true}) {
      call.prefetch_before_wait = prefetch;
      problem.PoisonContext();
      ASSERT_CUDA(cudaDeviceSynchronize());
      // When they are poisoned and written late, over and over, with attention close behind
      for (int i = 0; i < 5; ++i) {
        ASSERT_CUDA(Launch(Context(true), PoisonLate, dim3(1), dim3(256), 0, writes));
        ASSERT_CUDA(Launch(Context(true), WriteLate, dim3(1), dim3(256), 0, writes));
        ASSERT_CUDA(LaunchAttentionDecode(Context(true), call));
        ASSERT_CUDA(LaunchAttentionPrefill(Context(true), call));
      }
      // Then it has the bits of launches that do not overlap
      EXPECT_EQ(problem.ReadContext(), expected)
          << "clusters of " << cluster_blocks << ", prefetch " << prefetch;
    }
  }
}

TEST_F(AttentionTest, ACapturedLaunchFindsTheNewStepInTheOldPlace) {
  AttentionCase test;
  test.heads = 32;
  test.kv_heads = 8;
  test.sequences = Sequences{{3000, 1}, {31, 1}};
  AttentionProblem problem(test, properties_.multiProcessorCount);
  const std::vector<uint16_t> expected = problem.Run(Context());

  // Given a graph captured while the step's counts were those of an empty step
  const std::vector<int32_t> none(StepArrays::kCountsSize, 0);
  std::vector<int32_t> counts(StepArrays::kCountsSize);
  auto* const device_counts = const_cast<int32_t*>(problem.call().step.counts);
  ASSERT_CUDA(cudaMemcpy(counts.data(), device_counts, sizeof(int32_t) * counts.size(), cudaMemcpyDefault));
  ASSERT_CUDA(cudaMemcpy(device_counts, none.data(), sizeof(int32_t) * none.size(), cudaMemcpyDefault));
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t executable = nullptr;
  ASSERT_CUDA(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal));
  ASSERT_CUDA(LaunchAttentionDecode(Context(), problem.call()));
  ASSERT_CUDA(LaunchAttentionPrefill(Context(), problem.call()));
  ASSERT_CUDA(cudaStreamEndCapture(stream_, &graph));
  ASSERT_CUDA(cudaGraphInstantiate(&executable, graph, 0));

  // When it runs with none, then with all
  problem.PoisonContext();
  ASSERT_CUDA(cudaGraphLaunch(executable, stream_));
  EXPECT_TRUE(problem.IsUntouched(problem.ReadContext(), false, false));
  ASSERT_CUDA(cudaMemcpy(device_counts, counts.data(), sizeof(int32_t) * counts.size(), cudaMemcpyDefault));
  ASSERT_CUDA(cudaDeviceSynchronize());
  ASSERT_CUDA(cudaGraphLaunch(executable, stream_));

  EXPECT_EQ(problem.ReadContext(), expected);
  ASSERT_CUDA(cudaGraphExecDestroy(executable));
  ASSERT_CUDA(cudaGraphDestroy(graph));
}

TEST_F(AttentionTest, ARingOfAnySizeGivesTheSameBits) {
  for (const int32_t cluster_blocks : {1, 8}) {
    AttentionCase test;
    test.cluster_blocks = cluster_blocks;
    test.sequences = Sequences{{3000, 1}, {31, 1}, {700, 1}};
    AttentionProblem problem(test, properties_.multiProcessorCount);
    const std::vector<uint16_t> expected = problem.Run(Context());
    for (const int32_t ring_bytes : {1, 65536, 96 * 1024, 196 * 1024, 1 << 20}) {
      AttentionCall call = problem.call();
      call.ring_bytes = ring_bytes;
      problem.PoisonContext();
      ASSERT_CUDA(LaunchAttentionDecode(Context(), call));
      EXPECT_EQ(problem.ReadContext(), expected) << ring_bytes << ", clusters of " << cluster_blocks;
    }
  }
}

}  // namespace
}  // namespace tessera::gpu
