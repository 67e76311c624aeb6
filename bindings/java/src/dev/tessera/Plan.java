// What an engine over a model would take, and how fast it should run.
package dev.tessera;

/**
 * What an engine over a model would take, and how fast it should run. Sizes are bytes, rates a second; rates are 0
 * where neither bandwidth nor probe was asked for.
 *
 * @param hostBytes host memory, the sum of the next four
 * @param hostWeightBytes weights
 * @param hostCacheBytes keys and values
 * @param hostScratchBytes working memory
 * @param hostObjectBytes tokenizer, metadata and the like, about
 * @param deviceBytes of the GPU
 * @param nvmeBytes on disk
 * @param cacheTokens tokens that the cache holds
 * @param fittingCacheTokens the largest cache that stays within the budgets
 * @param contextTokens the longest session
 * @param fits within the budgets
 * @param weightBytesPerToken stored weight bytes that decoding one token reads
 * @param cacheBytesPerToken cache bytes for each token of a session
 * @param decodeTokensPerSecond expected for one session with an empty context
 * @param decodeTokensPerSecondFull with a full context
 * @param promptTokensPerSecond of a long prompt
 * @param readBandwidth bytes a second that this reckons with
 * @param productsPerSecond multiply-adds a second that this reckons with
 */
public record Plan(
    long hostBytes,
    long hostWeightBytes,
    long hostCacheBytes,
    long hostScratchBytes,
    long hostObjectBytes,
    long deviceBytes,
    long nvmeBytes,
    long cacheTokens,
    long fittingCacheTokens,
    int contextTokens,
    boolean fits,
    long weightBytesPerToken,
    long cacheBytesPerToken,
    double decodeTokensPerSecond,
    double decodeTokensPerSecondFull,
    double promptTokensPerSecond,
    double readBandwidth,
    double productsPerSecond) {
  static Plan of(long[] n, double[] r) {
    return new Plan(
        n[0], n[1], n[2], n[3], n[4], n[5], n[6], n[7], n[8], (int) n[9], n[10] != 0, n[11], n[12], r[0], r[1], r[2],
        r[3], r[4]);
  }
}
