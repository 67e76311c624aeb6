// The threads granted, read from made-up file trees of both control-group versions and from this machine.
#include <gtest/gtest.h>
#include <sched.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>

#include "core/env/threads.h"

namespace tessera {
namespace {

// A tree below a folder of its own that is removed at the end.
class CpuGrant : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (std::filesystem::temp_directory_path() / "tessera_grant_XXXXXX").string();
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    root_ = pattern;
  }
  void TearDown() override { std::filesystem::remove_all(root_); }

  void Write(const std::string& path, const std::string& text) {
    const std::filesystem::path full = root_ + path;
    std::filesystem::create_directories(full.parent_path());
    std::ofstream(full) << text;
  }

  // Version 2 mounted whole, the process in /service/job.
  void WriteV2Tree() {
    Write("/proc/self/cgroup", "0::/service/job\n");
    Write("/proc/self/mountinfo",
          "22 1 0:20 / /proc rw,nosuid - proc proc rw\n"
          "30 22 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n");
  }

  void WriteV1Tree() {
    Write("/proc/self/cgroup", "5:memory:/jobs/a\n4:cpu,cpuacct:/jobs/a\n1:name=systemd:/x\n");
    Write("/proc/self/mountinfo",
          "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n"
          "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
          "33 31 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n");
  }

  void WriteV1Quota(const std::string& folder, const std::string& quota_us, const std::string& period_us) {
    Write(folder + "/cpu.cfs_quota_us", quota_us + "\n");
    Write(folder + "/cpu.cfs_period_us", period_us + "\n");
  }

  std::string root_;
};

constexpr int kNoLimit = 1024;

TEST_F(CpuGrant, AnEmptyTreeSetsNoLimit) { EXPECT_EQ(GrantedThreads(root_), kNoLimit); }

TEST_F(CpuGrant, Version2QuotaCountsInWholePeriods) {
  WriteV2Tree();
  Write("/sys/fs/cgroup/service/job/cpu.max", "400000 100000\n");
  EXPECT_EQ(GrantedThreads(root_), 4);
  EXPECT_EQ(GrantedThreads(root_ + "/"), 4);
}

TEST_F(CpuGrant, PartsOfAProcessorAreRoundedUp) {
  WriteV2Tree();
  Write("/sys/fs/cgroup/service/job/cpu.max", "250000 100000\n");
  EXPECT_EQ(GrantedThreads(root_), 3);
  Write("/sys/fs/cgroup/service/job/cpu.max", "1000 100000\n");
  EXPECT_EQ(GrantedThreads(root_), 1);
}

TEST_F(CpuGrant, Version2MaxMeansNoLimit) {
  WriteV2Tree();
  Write("/sys/fs/cgroup/service/job/cpu.max", "max 100000\n");
  EXPECT_EQ(GrantedThreads(root_), kNoLimit);
}

TEST_F(CpuGrant, TheLeastLimitOfAllGroupsAboveHolds) {
  WriteV2Tree();
  Write("/sys/fs/cgroup/service/job/cpu.max", "800000 100000\n");
  Write("/sys/fs/cgroup/service/cpu.max", "300000 100000\n");
  EXPECT_EQ(GrantedThreads(root_), 3);
  Write("/sys/fs/cgroup/cpu.max", "200000 100000\n");
  EXPECT_EQ(GrantedThreads(root_), 2);
}

TEST_F(CpuGrant, Version1QuotaIsFoundByItsControllerAmongOthers) {
  WriteV1Tree();
  WriteV1Quota("/sys/fs/cgroup/cpu,cpuacct/jobs/a", "150000", "50000");
  WriteV1Quota("/sys/fs/cgroup/memory/jobs/a", "50000", "50000");  // not the controller that counts
  EXPECT_EQ(GrantedThreads(root_), 3);
}

TEST_F(CpuGrant, Version1MinusOneMeansNoLimitAndParentsStillCount) {
  WriteV1Tree();
  WriteV1Quota("/sys/fs/cgroup/cpu,cpuacct/jobs/a", "-1", "100000");
  EXPECT_EQ(GrantedThreads(root_), kNoLimit);
  WriteV1Quota("/sys/fs/cgroup/cpu,cpuacct/jobs", "500000", "100000");
  EXPECT_EQ(GrantedThreads(root_), 5);
}

TEST_F(CpuGrant, AContainersMountShowsItsOwnGroupAsTheTop) {
  Write("/proc/self/cgroup", "4:cpu:/docker/0123/inner\n");
  Write("/proc/self/mountinfo", "32 31 0:29 /docker/0123 /sys/fs/cgroup/cpu ro - cgroup cgroup rw,cpu\n");
  WriteV1Quota("/sys/fs/cgroup/cpu", "600000", "100000");
  EXPECT_EQ(GrantedThreads(root_), 6);
  WriteV1Quota("/sys/fs/cgroup/cpu/inner", "200000", "100000");
  EXPECT_EQ(GrantedThreads(root_), 2);
}

TEST_F(CpuGrant, AGroupOutsideTheMountIsTakenAsItsTop) {
  Write("/proc/self/cgroup", "0::/../elsewhere\n");
  Write("/proc/self/mountinfo", "30 22 0:26 /pod /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
  Write("/sys/fs/cgroup/cpu.max", "700000 100000\n");
  EXPECT_EQ(GrantedThreads(root_), 7);
}

TEST_F(CpuGrant, AMountPointWithASpaceIsUnescaped) {
  Write("/proc/self/cgroup", "0::/\n");
  Write("/proc/self/mountinfo", "30 22 0:26 / /my\\040groups rw - cgroup2 cgroup2 rw\n");
  Write("/my groups/cpu.max", "500000 100000\n");
  EXPECT_EQ(GrantedThreads(root_), 5);
}

TEST_F(CpuGrant, WithoutMountinfoTheUsualPlacesAreTried) {
  Write("/proc/self/cgroup", "3:cpu,cpuacct:/a\n0::/b\n");
  WriteV1Quota("/sys/fs/cgroup/cpu/a", "900000", "100000");
  EXPECT_EQ(GrantedThreads(root_), 9);
  Write("/sys/fs/cgroup/b/cpu.max", "800000 100000\n");
  EXPECT_EQ(GrantedThreads(root_), 8);
}

TEST_F(CpuGrant, FilesThatMakeNoSenseSetNoLimit) {
  WriteV2Tree();
  for (const char* text : {"", "\n", "abc def\n", "100000\n", "100000 0\n", "-5 100000\n", "0 100000\n",
                           "99999999999999999999 100000\n"}) {
    Write("/sys/fs/cgroup/service/job/cpu.max", text);
    EXPECT_EQ(GrantedThreads(root_), kNoLimit) << text;
  }
  Write("/proc/self/cgroup", "::::\nnonsense\n\n0\n0:\n");
  EXPECT_EQ(GrantedThreads(root_), kNoLimit);
}

TEST_F(CpuGrant, AHugeQuotaIsCutToThePoolsLargest) {
  WriteV2Tree();
  Write("/sys/fs/cgroup/service/job/cpu.max", "9000000000000000000 1000\n");
  EXPECT_EQ(GrantedThreads(root_), kNoLimit);
}

TEST(CpuGrantHere, FollowsTheAffinityMaskOfTheCaller) {
  cpu_set_t before;
  ASSERT_EQ(sched_getaffinity(0, sizeof(before), &before), 0);
  const int granted = GrantedThreads();
  EXPECT_GE(granted, 1);
  EXPECT_LE(granted, CPU_COUNT(&before));

  int first = 0;
  while (!CPU_ISSET(first, &before)) ++first;
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(first, &one);
  ASSERT_EQ(sched_setaffinity(0, sizeof(one), &one), 0);
  EXPECT_EQ(GrantedThreads(), 1);
  ASSERT_EQ(sched_setaffinity(0, sizeof(before), &before), 0);
}

}  // namespace
}  // namespace tessera
