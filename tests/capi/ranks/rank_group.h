// Processes that are the ranks of one engine, each a rank_process in a common folder, which is gone with the
// group as are the processes that did not end.
#ifndef TESSERA_TESTS_CAPI_RANKS_RANK_GROUP_H_
#define TESSERA_TESTS_CAPI_RANKS_RANK_GROUP_H_

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "tests/doubles/tiny_model.h"

namespace tessera {

int64_t MonotonicNs();

class RankGroup {
 public:
  static constexpr int kNever = -1;   // an exit code: it did not end
  static constexpr int kSignal = -2;  // a signal ended it

  RankGroup(int tensor_parallel, int stages, const std::vector<uint8_t>& model);
  ~RankGroup();
  RankGroup(const RankGroup&) = delete;
  RankGroup& operator=(const RankGroup&) = delete;

  int size() const { return tensor_parallel_ * stages_; }
  // The settings of rank_process, beside those that say which rank it is.
  void Start(int rank, std::vector<std::string> settings);
  void Signal(int rank, int signal);
  // The exit code, or one of the above after a patience that no rank should need.
  int Await(int rank);

  std::string File(const std::string& name) const { return folder_ + "/" + name; }
  // False when it does not come.
  bool AwaitFile(const std::string& name) const;
  void Leave(const std::string& name) const;
  // Empty where there is none.
  std::string Read(const std::string& name) const;

 private:
  const int tensor_parallel_, stages_;
  std::string folder_;
  std::vector<pid_t> processes_;  // [size]; 0: not running
};

}  // namespace tessera

#endif  // TESSERA_TESTS_CAPI_RANKS_RANK_GROUP_H_
