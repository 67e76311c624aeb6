#include "tests/fault/api.h"

int GetApi(struct Api* api, const char* library) {
  (void)library;
#define FAULT_TAKE(name) api->name = &name;
  FAULT_FUNCTIONS(FAULT_TAKE)
#undef FAULT_TAKE
  return 1;
}
