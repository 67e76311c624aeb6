// Writes the models of the conformance scenarios, and files that must be refused, to a folder: the same bytes
// on every machine. Usage: tessera_conformance_models FOLDER
#include <cstdio>
#include <string>
#include <vector>

#include "tests/doubles/tiny_model.h"

namespace {

bool Write(const std::string& path, const std::vector<uint8_t>& bytes) {
  std::FILE* const file = std::fopen(path.c_str(), "wb");
  if (file == nullptr) return false;
  const bool written = std::fwrite(bytes.data(), 1, bytes.size(), file) == bytes.size();
  return std::fclose(file) == 0 && written;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  const std::string folder = std::string(argv[1]) + "/";
  tessera::TinyModelOptions other = tessera::TinyQwen2Options();
  other.seed = 7;
  other.marks_beginning = true;
  const std::vector<uint8_t> tiny = tessera::MakeTinyModel();
  std::vector<uint8_t> truncated(tiny.begin(), tiny.begin() + static_cast<std::ptrdiff_t>(tiny.size() / 2));
  std::vector<uint8_t> wrong_magic = tiny;
  wrong_magic[0] = 'X';
  std::vector<uint8_t> wrong_version = tiny;
  wrong_version[4] = 99;
  const bool written =
      Write(folder + "tiny.gguf", tiny) && Write(folder + "other.gguf", tessera::MakeTinyModel(other)) &&
      Write(folder + "truncated.gguf", truncated) && Write(folder + "wrong_magic.gguf", wrong_magic) &&
      Write(folder + "wrong_version.gguf", wrong_version);
  if (!written) std::fprintf(stderr, "cannot write to %s\n", argv[1]);
  return written ? 0 : 1;
}
