// Writes the tiny model to a file, for programs in C. Usage: tessera_make_tiny_model FILE
#include <cstdio>

#include "tests/doubles/tiny_model.h"

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  tessera::TinyModelOptions options;
  options.layers = 2;  // as many as there are stages
  options.embedding_type = tessera::TensorType::kQ8_0;
  options.attention_type = tessera::TensorType::kQ8_0;
  const std::vector<uint8_t> bytes = tessera::MakeTinyModel(options);
  std::FILE* const file = std::fopen(argv[1], "wb");
  if (file == nullptr || std::fwrite(bytes.data(), 1, bytes.size(), file) != bytes.size()) return 1;
  return std::fclose(file) == 0 ? 0 : 1;
}
