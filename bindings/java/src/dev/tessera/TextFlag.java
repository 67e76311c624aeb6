// How text becomes tokens and back.
package dev.tessera;

/** How text becomes tokens. Without flags text is text. */
public enum TextFlag {
  /** Special tokens written in the text become those tokens; rendered, they show. */
  PARSE_SPECIAL(1),
  /** Begin- and end-of-text tokens are added where the file asks for them. */
  ADD_SPECIAL(2);

  private final int bit;

  TextFlag(int bit) {
    this.bit = bit;
  }

  static int bits(TextFlag... flags) {
    int bits = 0;
    for (TextFlag flag : flags) {
      bits |= flag.bit;
    }
    return bits;
  }
}
