/* The process's own allocator, able to fail: malloc and its kin, anonymous mmap and pthread_create of the
 * whole process (the library, libstdc++ and the dynamic linker included) come here, because the program that
 * links this file exports them. Counts what is live, so that a leak of one byte shows. Knows nothing of
 * Tessera. */
#ifndef TESSERA_TESTS_FAULT_FAILING_ALLOCATOR_H_
#define TESSERA_TESTS_FAULT_FAILING_ALLOCATOR_H_

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { FAULT_ONCE = 0, FAULT_FOR_GOOD = 1 };

/* What was refused first since FaultArm. */
enum { FAULT_NONE = 0, FAULT_MALLOC = 1, FAULT_MMAP = 2, FAULT_THREAD = 3 };

/* From now on requests are counted; the n-th (1: the next) fails, alone or with all that follow. 0: none
 * fails. */
void FaultArm(int64_t n, int mode);
void FaultDisarm(void);
/* Ends an outage: nothing more fails, the count goes on. */
void FaultHeal(void);
int64_t FaultCount(void); /* requests since FaultArm */
int FaultFired(void);     /* a FAULT_ constant */

/* What this thread asks for is neither counted nor failed nor tracked between these two: the test's own
 * needs. */
void FaultExemptBegin(void);
void FaultExemptEnd(void);

/* Live allocations and mapped bytes, those of exempt threads and of the dynamic linker left out: it keeps
 * threads' control blocks for the next thread. */
int64_t FaultLiveBlocks(void);
int64_t FaultLiveMappedBytes(void);
/* Marks what is live now; FaultPrintNew lists what has come since and is still there, with its caller. */
void FaultMark(void);
void FaultPrintNew(void);

#ifdef __cplusplus
}
#endif

#endif /* TESSERA_TESTS_FAULT_FAILING_ALLOCATOR_H_ */
