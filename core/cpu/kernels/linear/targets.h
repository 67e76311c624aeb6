// The vector sets that the matrix kernels are compiled for: AVX-512, AVX2, SSE4 and the plain baseline on
// x86-64, NEON on Arm. The others would cost compile time and gain nothing here. Include before any header of
// Highway.
#ifndef TESSERA_CORE_CPU_KERNELS_LINEAR_TARGETS_H_
#define TESSERA_CORE_CPU_KERNELS_LINEAR_TARGETS_H_

// Sanitizers take minutes for each set: under them the build names its own.
#ifndef HWY_DISABLED_TARGETS
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_AVX3_DL | HWY_SVE | HWY_SVE_256 | HWY_SVE2 | HWY_SVE2_128)
#endif

#endif  // TESSERA_CORE_CPU_KERNELS_LINEAR_TARGETS_H_
