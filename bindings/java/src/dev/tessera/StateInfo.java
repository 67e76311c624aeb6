// What a saved session says of itself.
package dev.tessera;

import java.util.HexFormat;

/**
 * What a saved session says of itself.
 *
 * @param sizeBytes of the whole state
 * @param tokenCount tokens of the session
 * @param cachedTokens of these, tokens whose keys and values are there
 * @param version of the format
 * @param cacheType "f32", "f16", "bf16", "int8" or "none"
 * @param complete the whole state was given, and every byte of it is sound
 * @param modelHash of the model that it belongs to, in hexadecimal
 * @param tokenizerHash of the tokenizer, in hexadecimal
 */
public record StateInfo(
    long sizeBytes,
    long tokenCount,
    long cachedTokens,
    int version,
    String cacheType,
    boolean complete,
    String modelHash,
    String tokenizerHash) {
  /** How many first bytes of a state {@link #probe} needs at the least. */
  public static final int HEADER_BYTES = 128;

  /** Looks at a saved state, or its first {@link #HEADER_BYTES} or more, without a model. */
  public static StateInfo probe(byte[] state) {
    long[] n = new long[6];
    byte[][] hashes = Native.stateProbe(state, n);
    String[] types = {"none", "f32", "f16", "bf16", "int8"};
    int type = (int) n[4] + 1;
    HexFormat hex = HexFormat.of();
    return new StateInfo(
        n[0], n[1], n[2], (int) n[3], type >= 0 && type < types.length ? types[type] : "unknown", n[5] != 0,
        hex.formatHex(hashes[0]), hex.formatHex(hashes[1]));
  }
}
