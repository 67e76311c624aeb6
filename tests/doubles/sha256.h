// SHA-256 (FIPS 180-4), for goldens that are kept as hashes.
#ifndef TESSERA_TESTS_DOUBLES_SHA256_H_
#define TESSERA_TESTS_DOUBLES_SHA256_H_

#include <string>

namespace tessera {

std::string Sha256Hex(const std::string& data);

}  // namespace tessera

#endif  // TESSERA_TESTS_DOUBLES_SHA256_H_
