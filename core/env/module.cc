#include "core/env/module.h"

#include <dlfcn.h>

#include "absl/strings/str_cat.h"
#include "core/base/status.h"

namespace tessera {

std::string ModuleFolder() {
  Dl_info info;
  if (dladdr(reinterpret_cast<const void*>(&ModuleFolder), &info) == 0 || info.dli_fname == nullptr)
    return "";
  const absl::string_view file = info.dli_fname;
  const size_t slash = file.rfind('/');
  return absl::StrCat(slash == absl::string_view::npos ? "." : file.substr(0, slash), "/tessera");
}

absl::StatusOr<void*> LoadModuleFunction(absl::string_view folder, absl::string_view name,
                                         const char* function) {
  const std::string path = absl::StrCat(folder, "/libtessera_", name, ".so");
  // Its symbols, and those of the libraries that it needs, stay its own.
  void* const module = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  const char* const problem = module == nullptr ? dlerror() : nullptr;
  if (module == nullptr) return Unsupported(path, problem == nullptr ? "cannot be loaded" : problem);
  void* const address = dlsym(module, function);
  if (address == nullptr)
    return Unsupported(path, absl::StrCat("is no module of Tessera: it has no ", function));
  return address;
}

}  // namespace tessera
