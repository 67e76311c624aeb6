// Writes the tests' tiny model to the path given.
#include <cstdio>
#include <vector>

#include "tests/doubles/tiny_model.h"

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  const std::vector<uint8_t> bytes = tessera::MakeTinyModel(tessera::TinyModelOptions());
  FILE* file = std::fopen(argv[1], "wb");
  if (file == nullptr) return 1;
  const bool written = std::fwrite(bytes.data(), 1, bytes.size(), file) == bytes.size();
  return std::fclose(file) == 0 && written ? 0 : 1;
}
