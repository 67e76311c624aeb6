// A module's file for tests of the loader: a table that is right but for its build, which the build sets.
#include "core/base/build_id.h"
#include "core/device/device_module.h"

extern "C" __attribute__((visibility("default"))) const tsr_device_functions* tsr_device_module(void) {
  static tsr_device_functions functions = [] {
    tsr_device_functions table = {};
    table.struct_size = sizeof(table);
    table.version = TSR_DEVICE_TABLE_VERSION;
    table.build_id = TESSERA_STAND_IN_BUILD;
    table.kind = "cuda";
    table.architectures = "";
    return table;
  }();
  return &functions;
}
