/* Loads the library by name at run time, as a plug-in host does. Its threads and handlers must outlive
 * dlclose, so it asks the loader never to unmap it. */
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

int main(int argc, char** argv) {
  const char* (*version)(void) = NULL;
  void* library;
  void* symbol;
  if (argc != 2) return 2;
  library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
  if (library == NULL) {
    fprintf(stderr, "%s\n", dlerror());
    return 1;
  }
  symbol = dlsym(library, "tsr_version_string");
  if (symbol == NULL) return 1;
  memcpy(&version, &symbol, sizeof version);
  printf("%s\n", version());
  dlclose(library);
  if (dlopen(argv[1], RTLD_NOW | RTLD_NOLOAD) == NULL) {
    fprintf(stderr, "the library went away with dlclose\n");
    return 1;
  }
  return 0;
}
