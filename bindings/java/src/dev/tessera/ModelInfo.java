// What a model is.
package dev.tessera;

import java.util.HexFormat;

/**
 * What a model is.
 *
 * @param parameters weights, a shared table counted once
 * @param weightBytes memory that its weights take
 * @param bytesPerToken stored weight bytes that one decoded token must read
 * @param vocabularySize token ids are 0 to vocabularySize - 1
 * @param contextTokens the context it was trained for
 * @param layers decoder layers
 * @param hiddenSize width of the residual stream
 * @param bosToken begin-of-text, -1: none
 * @param endToken the token that ends a turn, -1: none
 * @param hash of its shape and all its weights, in hexadecimal
 * @param tokenizerHash of its tokenizer, in hexadecimal
 * @param device where it lies: "cpu", "reference" or a GPU's name
 * @param deviceUuid the GPU's, "" for others
 * @param deviceMemoryBytes all memory of that GPU; 0 for others
 */
public record ModelInfo(
    long parameters,
    long weightBytes,
    long bytesPerToken,
    int vocabularySize,
    int contextTokens,
    int layers,
    int hiddenSize,
    int bosToken,
    int endToken,
    String hash,
    String tokenizerHash,
    String device,
    String deviceUuid,
    long deviceMemoryBytes) {
  static ModelInfo of(long[] n, byte[][] rest) {
    HexFormat hex = HexFormat.of();
    return new ModelInfo(
        n[0], n[1], n[2], (int) n[3], (int) n[4], (int) n[5], (int) n[6], (int) n[7], (int) n[8],
        hex.formatHex(rest[0]), hex.formatHex(rest[1]), Utf8.decode(rest[2]), Utf8.decode(rest[3]), n[9]);
  }
}
