// The character classes at the places where tables of Unicode are known to differ.
#include "core/text/unicode_class.h"

#include <gtest/gtest.h>

namespace tessera {
namespace {

TEST(UnicodeClass, CharactersHaveTheirClasses) {
  EXPECT_EQ(ClassOf('a'), CharClass::kLetter);
  EXPECT_EQ(ClassOf('0'), CharClass::kNumber);
  EXPECT_EQ(ClassOf('\v'), CharClass::kSpace);
  EXPECT_EQ(ClassOf(0x1C), CharClass::kOther);  // a separator to some libraries, no white space to Unicode
  EXPECT_EQ(ClassOf(0x7F), CharClass::kOther);
  EXPECT_EQ(ClassOf(0x85), CharClass::kSpace);
  EXPECT_EQ(ClassOf(0xA0), CharClass::kSpace);
  EXPECT_EQ(ClassOf(0xBD), CharClass::kNumber);    // one half
  EXPECT_EQ(ClassOf(0x301), CharClass::kOther);    // a combining accent is no letter
  EXPECT_EQ(ClassOf(0x180E), CharClass::kOther);   // was white space before Unicode 6.3
  EXPECT_EQ(ClassOf(0x200B), CharClass::kOther);   // zero width space is none
  EXPECT_EQ(ClassOf(0x2167), CharClass::kNumber);  // Roman numeral eight
  EXPECT_EQ(ClassOf(0x3000), CharClass::kSpace);
  EXPECT_EQ(ClassOf(0x4E00), CharClass::kLetter);
  EXPECT_EQ(ClassOf(0x1F600), CharClass::kOther);
  EXPECT_EQ(ClassOf(0x31350), CharClass::kLetter);  // since Unicode 15
  EXPECT_EQ(ClassOf(0x10D4A), CharClass::kLetter);  // since Unicode 16
  EXPECT_EQ(ClassOf(0x11DE0), CharClass::kNewNumber);
  EXPECT_EQ(ClassOf(0x10FFFF), CharClass::kOther);
}

TEST(UnicodeClass, EachClassHasAsManyMembersAsInTheReference) {
  size_t counts[5] = {};
  for (uint32_t c = 0; c < 0x110000; ++c) ++counts[static_cast<size_t>(ClassOf(c))];
  EXPECT_EQ(counts[static_cast<size_t>(CharClass::kLetter)], 141028u);
  EXPECT_EQ(counts[static_cast<size_t>(CharClass::kNumber)], 1911u);
  EXPECT_EQ(counts[static_cast<size_t>(CharClass::kSpace)], 25u);
  EXPECT_EQ(counts[static_cast<size_t>(CharClass::kNewNumber)], 13u);
}

}  // namespace
}  // namespace tessera
