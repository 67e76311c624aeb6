// Hashes of content: the published function, however the bytes come.
#include "core/base/content_hash.h"

#include <gtest/gtest.h>

#include <numeric>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"

namespace tessera {
namespace {

std::string Hex(const ContentHash& hash) {
  return absl::BytesToHexString(
      absl::string_view(reinterpret_cast<const char*>(hash.bytes.data()), hash.bytes.size()));
}

TEST(ContentHash, IsXxh3Of128BitsInItsCanonicalOrder) {
  EXPECT_EQ(Hex(HashOf("", 0)), "99aa06d3014798d86001c324468d497f");
  EXPECT_EQ(Hex(HashOf("abc", 3)), "06b05ab6733a618578af5f94892f3950");
}

TEST(ContentHash, DoesNotDependOnHowTheBytesWereCut) {
  std::vector<uint8_t> bytes(5000);
  std::iota(bytes.begin(), bytes.end(), uint8_t{3});
  const ContentHash whole = HashOf(bytes.data(), bytes.size());
  for (const size_t piece : {size_t{1}, size_t{7}, size_t{64}, size_t{1023}, size_t{4999}}) {
    ContentHasher hasher;
    for (size_t at = 0; at < bytes.size(); at += piece) {
      hasher.Add(bytes.data() + at, std::min(piece, bytes.size() - at));
    }
    EXPECT_EQ(Hex(hasher.Finish()), Hex(whole)) << piece;
  }
  bytes[4321] ^= 1;
  EXPECT_NE(HashOf(bytes.data(), bytes.size()), whole);
}

TEST(ContentHash, TextsDoNotRunIntoOneAnother) {
  ContentHasher one, other;
  one.AddText("ab");
  one.AddText("c");
  other.AddText("a");
  other.AddText("bc");
  EXPECT_NE(one.Finish(), other.Finish());
}

}  // namespace
}  // namespace tessera
