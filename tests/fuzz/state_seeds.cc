// Writes the seeds of state_fuzz into a folder: sound states, and edits that change nothing but the length.
//   state_seeds tests/fuzz/seeds/state
#include <cstdio>
#include <fstream>
#include <string>

#include "tests/fuzz/state_engine.h"

namespace {

bool Write(const std::string& path, std::vector<uint8_t> bytes, uint8_t mode) {
  bytes.insert(bytes.begin(), mode);
  std::ofstream out(path, std::ios::binary);
  out.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  return out.good();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: state_seeds FOLDER\n");
    return 2;
  }
  const std::string folder = argv[1];
  const std::shared_ptr<tessera::Engine> engine = tessera::MakeStateEngine();
  if (Write(folder + "/cache", tessera::MakeState(*engine, true), 1) &&
      Write(folder + "/tokens", tessera::MakeState(*engine, false), 0) &&
      Write(folder + "/longer", {0, 0, 130, 3}, 3) && Write(folder + "/row", {200, 0, 1, 1}, 3)) {
    return 0;
  }
  std::fprintf(stderr, "state_seeds: could not write into %s\n", argv[1]);
  return 1;
}
