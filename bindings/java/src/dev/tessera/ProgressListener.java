// Watches a load.
package dev.tessera;

/** Watches a model's load and may end it. */
@FunctionalInterface
public interface ProgressListener {
  /**
   * Called about every 64 MiB and once at the end.
   *
   * @return false ends the load, which then fails with {@link Status#CANCELLED}; an exception does so too and becomes
   *     its cause
   */
  boolean onProgress(long doneBytes, long totalBytes);
}
