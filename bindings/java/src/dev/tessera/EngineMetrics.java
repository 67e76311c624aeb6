// An engine's counters.
package dev.tessera;

import java.util.List;

/**
 * An engine's counters since it was created, and what it holds now.
 *
 * @param batches batches committed
 * @param promptTokens prompt tokens computed
 * @param generatedTokens tokens generated
 * @param requestsAccepted requests submitted
 * @param requestsFinished requests that have ended
 * @param batchesFailed rolled back
 * @param evictions idle sessions whose cache was taken
 * @param computeNs time in regions
 * @param cacheBytes memory of the cache
 * @param scratchBytes working memory
 * @param sessions open now
 * @param requestsRunning being computed
 * @param requestsQueued waiting to begin
 * @param threads that compute
 * @param blocksTotal cache blocks
 * @param blocksFree of these, not held by any session
 * @param blockTokens tokens in a block
 * @param preemptions requests that lost their cache and computed it again
 * @param sharedTokens tokens that were not computed because another session had
 * @param copiedBlocks shared blocks that were copied before they were written
 * @param deviceSteps steps that a GPU finished; 0 on a CPU, likewise below
 * @param deviceNs its time in them
 * @param deviceIdleNs its time between steps of which the next was already there
 * @param regionNs its time by region
 */
public record EngineMetrics(
    long batches,
    long promptTokens,
    long generatedTokens,
    long requestsAccepted,
    long requestsFinished,
    long batchesFailed,
    long evictions,
    long computeNs,
    long cacheBytes,
    long scratchBytes,
    int sessions,
    int requestsRunning,
    int requestsQueued,
    int threads,
    long blocksTotal,
    long blocksFree,
    int blockTokens,
    long preemptions,
    long sharedTokens,
    long copiedBlocks,
    long deviceSteps,
    long deviceNs,
    long deviceIdleNs,
    List<Long> regionNs) {
  static EngineMetrics of(long[] n, long[] regions) {
    return new EngineMetrics(
        n[0], n[1], n[2], n[3], n[4], n[5], n[6], n[7], n[8], n[9], (int) n[10], (int) n[11], (int) n[12],
        (int) n[13], n[14], n[15], (int) n[16], n[17], n[18], n[19], n[20], n[21], n[22],
        java.util.Arrays.stream(regions).boxed().toList());
  }
}
