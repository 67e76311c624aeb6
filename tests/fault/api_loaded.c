#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include "tests/fault/api.h"

int GetApi(struct Api* api, const char* library) {
  void* const handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);
  if (handle == NULL) {
    fprintf(stderr, "%s\n", dlerror());
    return 0;
  }
#define FAULT_FIND(name)                      \
  do {                                        \
    void* const found = dlsym(handle, #name); \
    if (found == NULL) return 0;              \
    memcpy(&api->name, &found, sizeof found); \
  } while (0);
  FAULT_FUNCTIONS(FAULT_FIND)
#undef FAULT_FIND
  return 1;
}
