// Checking and cutting UTF-8, against Python's decoder on broken bytes.
#include "core/text/utf8.h"

#include <gtest/gtest.h>
#include <simdjson.h>

#include <random>
#include <string>
#include <vector>

namespace tessera {
namespace {

struct Case {
  std::string bytes;
  std::string replaced;
  size_t first_invalid;
};

std::string FromHexadecimal(std::string_view text) {
  std::string bytes;
  for (size_t i = 0; i < text.size(); i += 2) {
    bytes.push_back(static_cast<char>(std::stoi(std::string(text.substr(i, 2)), nullptr, 16)));
  }
  return bytes;
}

std::vector<Case> PythonsCases() {
  std::vector<Case> cases;
  simdjson::dom::parser parser;
  for (const simdjson::dom::element row : parser.load(TESSERA_GOLDENS "tokenizer/utf8.json").get_array()) {
    cases.push_back({FromHexadecimal(row.at(0).get_string().value()),
                     FromHexadecimal(row.at(1).get_string().value()), row.at(2).get_uint64().value()});
  }
  return cases;
}

// Feeds `pieces` into poisoned buffers of exactly the promised size, and checks the promise.
std::string Stream(const std::vector<absl::string_view>& pieces) {
  Utf8Stream stream;
  std::string text;
  const auto take = [&](size_t size, auto&& write) {
    std::vector<char> out(Utf8Stream::MostBytes(size), '\x5A');
    const size_t written = write(out.data());
    EXPECT_LE(written, out.size());
    EXPECT_EQ(FirstInvalidUtf8(absl::string_view(out.data(), written)), written);
    text.append(out.data(), written);
  };
  for (const absl::string_view piece : pieces) {
    take(piece.size(), [&](char* out) { return stream.Push(piece, out); });
    EXPECT_LE(stream.waiting_bytes(), 3u);
  }
  take(0, [&](char* out) { return stream.Finish(out); });
  EXPECT_EQ(stream.waiting_bytes(), 0u);
  return text;
}

std::string RandomValidText(size_t code_points, uint32_t seed) {
  std::mt19937 random(seed);
  constexpr const char* kPieces[] = {
      "a", "Z", " ", "é", "߿", "ࠀ", "€", "\xED\x9F\xBF", "\xEE\x80\x80", "😀", "\xF4\x8F\xBF\xBF"};
  std::string text;
  for (size_t i = 0; i < code_points; ++i) text += kPieces[random() % std::size(kPieces)];
  return text;
}

TEST(Utf8, TheFirstInvalidByteIsWherePythonSaysItIs) {
  const std::vector<Case> cases = PythonsCases();
  ASSERT_GT(cases.size(), 1000u);
  for (const Case& c : cases) {
    EXPECT_EQ(FirstInvalidUtf8(c.bytes), c.first_invalid) << ::testing::PrintToString(c.bytes);
  }
}

TEST(Utf8, EveryFormOfInvalidSequenceIsFoundBehindAnyAmountOfAscii) {
  const std::vector<std::string> bad = {"\x80",
                                        "\xBF",
                                        "\xC0\x80",
                                        "\xC1\xBF",
                                        "\xC3",
                                        "\xC3(",
                                        "\xE0\x80\x80",
                                        "\xE0\x9F\xBF",
                                        "\xED\xA0\x80",
                                        "\xED\xBF\xBF",
                                        "\xE2\x82",
                                        "\xE2(\xA1",
                                        "\xE2\x82(",
                                        "\xF0\x80\x80\x80",
                                        "\xF0\x8F\xBF\xBF",
                                        "\xF4\x90\x80\x80",
                                        "\xF5\x80\x80\x80",
                                        "\xF0\x9F\x98",
                                        "\xF0\x9F(\x80",
                                        "\xF0\x9F\x98(",
                                        "\xFE",
                                        "\xFF"};
  for (const std::string& sequence : bad) {
    for (size_t before = 0; before < 20; ++before) {
      const std::string text = std::string(before, 'x') + sequence + "tail";
      EXPECT_EQ(FirstInvalidUtf8(text), before) << ::testing::PrintToString(sequence);
      EXPECT_EQ(FirstInvalidUtf8(std::string(before, 'x') + sequence), before);
    }
  }
}

TEST(Utf8, EveryCodePointIsValidAndEverySurrogateIsNot) {
  for (uint32_t c = 0x800; c < 0x110000; ++c) {
    std::string text;
    if (c >= 0x10000) {
      text = {static_cast<char>(0xF0 | c >> 18), static_cast<char>(0x80 | (c >> 12 & 0x3F))};
    } else {
      text = {static_cast<char>(0xE0 | c >> 12)};
    }
    text += {static_cast<char>(0x80 | (c >> 6 & 0x3F)), static_cast<char>(0x80 | (c & 0x3F))};
    const bool surrogate = c >= 0xD800 && c < 0xE000;
    ASSERT_EQ(FirstInvalidUtf8(text), surrogate ? 0 : text.size()) << c;
  }
}

TEST(Utf8, EmptyTextIsValid) { EXPECT_EQ(FirstInvalidUtf8(""), 0u); }

TEST(Utf8Stream, ReplacesAsPythonDoesHoweverTheBytesAreCut) {
  for (const Case& c : PythonsCases()) {
    const absl::string_view bytes = c.bytes;
    EXPECT_EQ(Stream({bytes}), c.replaced) << ::testing::PrintToString(c.bytes);
    std::vector<absl::string_view> singles;
    for (size_t i = 0; i < bytes.size(); ++i) singles.push_back(bytes.substr(i, 1));
    EXPECT_EQ(Stream(singles), c.replaced) << ::testing::PrintToString(c.bytes);
    for (size_t cut = 1; cut < bytes.size(); ++cut) {
      EXPECT_EQ(Stream({bytes.substr(0, cut), bytes.substr(cut)}), c.replaced)
          << ::testing::PrintToString(c.bytes) << " cut at " << cut;
    }
  }
}

TEST(Utf8Stream, AValidTextComesOutTheSameAtEveryCut) {
  const std::string text = RandomValidText(3000, 7);
  for (size_t cut = 0; cut <= text.size(); ++cut) {
    const absl::string_view bytes = text;
    ASSERT_EQ(Stream({bytes.substr(0, cut), bytes.substr(cut)}), text) << "cut at " << cut;
  }
}

TEST(Utf8Stream, AValidTextComesOutTheSameInPiecesOfAnySize) {
  std::mt19937 random(11);
  for (uint32_t round = 0; round < 200; ++round) {
    const std::string text = RandomValidText(200, round);
    std::vector<absl::string_view> pieces;
    for (size_t at = 0; at < text.size();) {
      const size_t size = random() % 7;
      pieces.push_back(absl::string_view(text).substr(at, size));
      at += pieces.back().size();
    }
    ASSERT_EQ(Stream(pieces), text);
  }
}

TEST(Utf8Stream, AnUnfinishedCodePointWaits) {
  Utf8Stream stream;
  char out[Utf8Stream::MostBytes(4)];
  EXPECT_EQ(stream.Push("\xF0\x9F\x98", out), 0u);
  EXPECT_EQ(stream.waiting_bytes(), 3u);
  ASSERT_EQ(stream.Push("\x80", out), 4u);
  EXPECT_EQ(absl::string_view(out, 4), "😀");
  EXPECT_EQ(stream.waiting_bytes(), 0u);
}

}  // namespace
}  // namespace tessera
