// What a module must have been built from to fit: the version, the compiler, its flags and all sources of the
// library and its modules, as one string. Made anew by every build (cmake/build_id.cmake).
#ifndef TESSERA_CORE_BASE_BUILD_ID_H_
#define TESSERA_CORE_BASE_BUILD_ID_H_

namespace tessera {

const char* BuildId();  // such as "0.1.0-5f3a09c2b1d47e68": static

}  // namespace tessera

#endif  // TESSERA_CORE_BASE_BUILD_ID_H_
