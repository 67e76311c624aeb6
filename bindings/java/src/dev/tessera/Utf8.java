// Strings to UTF-8 and back. Unpaired surrogates are refused rather than replaced.
package dev.tessera;

import java.nio.ByteBuffer;
import java.nio.CharBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;

final class Utf8 {
  private Utf8() {}

  static byte[] encode(String text) {
    CharBuffer from = CharBuffer.wrap(text);
    try {
      ByteBuffer bytes = StandardCharsets.UTF_8.newEncoder().encode(from);
      byte[] result = new byte[bytes.remaining()];
      bytes.get(result);
      return result;
    } catch (CharacterCodingException error) {
      throw new TesseraException(
          Status.INVALID_UTF8.code(),
          "the string has an unpaired surrogate at index " + from.position(),
          "index " + from.position());
    }
  }

  static String decode(byte[] bytes) {
    return new String(bytes, StandardCharsets.UTF_8);
  }
}
