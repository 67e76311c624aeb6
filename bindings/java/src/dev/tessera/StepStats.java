// What a step did.
package dev.tessera;

import java.time.Duration;

/**
 * What a step of an engine did.
 *
 * @param elapsed time spent in the call
 * @param promptTokens prompt tokens committed
 * @param generatedTokens tokens generated
 * @param workLeft another step would compute
 */
public record StepStats(Duration elapsed, long promptTokens, long generatedTokens, boolean workLeft) {}
