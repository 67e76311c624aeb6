// Parts of the library that are files of their own, since they need what not every machine has: loaded when
// they are asked for, from the folder "tessera" beside the file that this code is in.
#ifndef TESSERA_CORE_ENV_MODULE_H_
#define TESSERA_CORE_ENV_MODULE_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace tessera {

// The folder where this build's modules lie when it is installed, and in the build folder. "" where the
// system does not say.
std::string ModuleFolder();

// The address of `function` in libtessera_NAME.so of `folder`; the module stays loaded for good. kUnsupported
// when there is no such file, or it cannot be loaded: the message says why, and names the file.
absl::StatusOr<void*> LoadModuleFunction(absl::string_view folder, absl::string_view name,
                                         const char* function);

}  // namespace tessera

#endif  // TESSERA_CORE_ENV_MODULE_H_
