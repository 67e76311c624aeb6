/* glibc lets a program replace malloc; its own stays reachable under __libc_ names. */
#define _GNU_SOURCE
#include "tests/fault/failing_allocator.h"

#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

extern void* __libc_malloc(size_t);
extern void* __libc_calloc(size_t, size_t);
extern void* __libc_realloc(void*, size_t);
extern void* __libc_memalign(size_t, size_t);
extern void __libc_free(void*);

/* The executable's thread-local storage is in the static area: its use allocates nothing. */
static __thread int exempt;

static atomic_int armed;
static atomic_int mode;
static atomic_int fired;
static _Atomic int64_t fail_at;
static _Atomic int64_t count;
static _Atomic int64_t live_mapped;

/* Live blocks: an open-addressed table. */
enum { kSlots = 1 << 18 };
struct Slot {
  void* data; /* NULL: free */
  size_t size;
  void* caller;
  uint32_t mark;
};
static struct Slot slots[kSlots];
static int64_t live_blocks;
static uint32_t mark;
static atomic_flag table_lock = ATOMIC_FLAG_INIT;

static uintptr_t linker_first, linker_end;

static int FindLinker(struct dl_phdr_info* info, size_t size, void* unused) {
  (void)size;
  (void)unused;
  if (info->dlpi_name == NULL || strstr(info->dlpi_name, "/ld-") == NULL) return 0;
  for (int i = 0; i < info->dlpi_phnum; ++i) {
    const ElfW(Phdr)* header = &info->dlpi_phdr[i];
    if (header->p_type != PT_LOAD) continue;
    const uintptr_t first = info->dlpi_addr + header->p_vaddr;
    if (linker_first == 0 || first < linker_first) linker_first = first;
    if (first + header->p_memsz > linker_end) linker_end = first + header->p_memsz;
  }
  return 1;
}

__attribute__((constructor)) static void Begin(void) { dl_iterate_phdr(FindLinker, NULL); }

static int IsLinker(void* caller) {
  return (uintptr_t)caller >= linker_first && (uintptr_t)caller < linker_end;
}

/* What the dynamic linker allocates while nothing is being loaded is a new thread's control block. */
static int KindOf(void* caller) { return IsLinker(caller) ? FAULT_THREAD : FAULT_MALLOC; }

static void Lock(void) {
  while (atomic_flag_test_and_set_explicit(&table_lock, memory_order_acquire)) {
  }
}
static void Unlock(void) { atomic_flag_clear_explicit(&table_lock, memory_order_release); }

static size_t Hash(const void* data) { return (size_t)(((uintptr_t)data >> 4) * 0x9e3779b97f4a7c15u >> 46); }

static void Track(void* data, size_t size, void* caller) {
  if (data == NULL || exempt > 0 || IsLinker(caller)) return;
  Lock();
  size_t at = Hash(data);
  while (slots[at].data != NULL) at = (at + 1) % kSlots;
  slots[at].data = data;
  slots[at].size = size;
  slots[at].caller = caller;
  slots[at].mark = mark;
  ++live_blocks;
  Unlock();
}

/* What follows in the run moves up, so that runs stay short over millions of blocks. */
static void Remove(size_t gap) {
  for (size_t at = (gap + 1) % kSlots; slots[at].data != NULL; at = (at + 1) % kSlots) {
    const size_t distance_home = (at - Hash(slots[at].data)) % kSlots, distance_gap = (at - gap) % kSlots;
    if (distance_home < distance_gap) continue;
    slots[gap] = slots[at];
    gap = at;
  }
  slots[gap].data = NULL;
}

static void Untrack(void* data) {
  if (data == NULL) return;
  Lock();
  for (size_t at = Hash(data); slots[at].data != NULL; at = (at + 1) % kSlots) {
    if (slots[at].data != data) continue;
    Remove(at);
    --live_blocks;
    break;
  }
  Unlock();
}

static int Refuses(int kind) {
  if (exempt > 0 || !atomic_load_explicit(&armed, memory_order_acquire)) return 0;
  const int64_t n = atomic_fetch_add(&count, 1) + 1;
  const int64_t at = atomic_load(&fail_at);
  if (at == 0 || n < at || (n > at && atomic_load(&mode) == FAULT_ONCE)) return 0;
  int none = FAULT_NONE;
  atomic_compare_exchange_strong(&fired, &none, kind);
  return 1;
}

void FaultArm(int64_t n, int how) {
  atomic_store(&armed, 0);
  atomic_store(&count, 0);
  atomic_store(&fired, FAULT_NONE);
  atomic_store(&mode, how);
  atomic_store(&fail_at, n);
  atomic_store(&armed, 1);
}
void FaultDisarm(void) { atomic_store(&armed, 0); }
void FaultHeal(void) { atomic_store(&fail_at, 0); }
int64_t FaultCount(void) { return atomic_load(&count); }
int FaultFired(void) { return atomic_load(&fired); }
void FaultExemptBegin(void) { ++exempt; }
void FaultExemptEnd(void) { --exempt; }

int64_t FaultLiveBlocks(void) {
  Lock();
  const int64_t blocks = live_blocks;
  Unlock();
  return blocks;
}
int64_t FaultLiveMappedBytes(void) { return atomic_load(&live_mapped); }

void FaultMark(void) {
  Lock();
  ++mark;
  Unlock();
}

void FaultPrintNew(void) {
  FaultExemptBegin();
  for (size_t at = 0, printed = 0; at < kSlots && printed < 20; ++at) {
    if (slots[at].data == NULL || slots[at].mark != mark) continue;
    Dl_info info;
    memset(&info, 0, sizeof info);
    dladdr(slots[at].caller, &info);
    fprintf(stderr, "  %zu bytes for %s+0x%zx (%s)\n", slots[at].size, info.dli_fname ? info.dli_fname : "?",
            (size_t)((char*)slots[at].caller - (char*)info.dli_fbase), info.dli_sname ? info.dli_sname : "?");
    ++printed;
  }
  FaultExemptEnd();
}

/* The functions that the process sees. */

static void* Refused(void) {
  errno = ENOMEM;
  return NULL;
}

void* malloc(size_t size) {
  if (Refuses(KindOf(__builtin_return_address(0)))) return Refused();
  void* const data = __libc_malloc(size);
  Track(data, size, __builtin_return_address(0));
  return data;
}

void* calloc(size_t n, size_t size) {
  if (Refuses(KindOf(__builtin_return_address(0)))) return Refused();
  void* const data = __libc_calloc(n, size);
  Track(data, n * size, __builtin_return_address(0));
  return data;
}

void* realloc(void* old, size_t size) {
  if (Refuses(KindOf(__builtin_return_address(0)))) return Refused();
  Untrack(old);
  void* const data = __libc_realloc(old, size);
  Track(data, size, __builtin_return_address(0));
  return data;
}

void* memalign(size_t alignment, size_t size) {
  if (Refuses(KindOf(__builtin_return_address(0)))) return Refused();
  void* const data = __libc_memalign(alignment, size);
  Track(data, size, __builtin_return_address(0));
  return data;
}

void* aligned_alloc(size_t alignment, size_t size) {
  if (Refuses(KindOf(__builtin_return_address(0)))) return Refused();
  void* const data = __libc_memalign(alignment, size);
  Track(data, size, __builtin_return_address(0));
  return data;
}

int posix_memalign(void** out, size_t alignment, size_t size) {
  if (Refuses(KindOf(__builtin_return_address(0)))) return ENOMEM;
  void* const data = __libc_memalign(alignment, size);
  if (data == NULL) return ENOMEM;
  Track(data, size, __builtin_return_address(0));
  *out = data;
  return 0;
}

void free(void* data) {
  Untrack(data);
  __libc_free(data);
}

void* mmap(void* at, size_t size, int protection, int flags, int descriptor, off_t offset) {
  const int counted = exempt == 0 && (flags & MAP_ANONYMOUS) != 0;
  if (counted && Refuses(FAULT_MMAP)) {
    errno = ENOMEM;
    return MAP_FAILED;
  }
  void* const data = (void*)syscall(SYS_mmap, at, size, protection, flags, descriptor, offset);
  if (counted && data != MAP_FAILED) atomic_fetch_add(&live_mapped, (int64_t)size);
  return data;
}

int munmap(void* data, size_t size) {
  const int result = (int)syscall(SYS_munmap, data, size);
  if (result == 0 && exempt == 0) atomic_fetch_sub(&live_mapped, (int64_t)size);
  return result;
}

int pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*body)(void*),
                   void* argument) {
  typedef int (*Create)(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*);
  static _Atomic(Create) real;
  Create create = atomic_load(&real);
  if (create == NULL) {
    FaultExemptBegin();
    void* const found = dlsym(RTLD_NEXT, "pthread_create");
    FaultExemptEnd();
    memcpy(&create, &found, sizeof create);
    atomic_store(&real, create);
  }
  if (Refuses(FAULT_THREAD)) return EAGAIN;
  return create(thread, attributes, body, argument);
}
