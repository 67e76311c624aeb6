// How much a log line matters.
package dev.tessera;

/** How much a log line matters. */
public enum LogLevel {
  /** For those who build the library. */
  DEBUG,
  /** What was done. */
  INFO,
  /** Something to look at. */
  WARNING,
  /** Something failed that no call could report. */
  ERROR;

  static LogLevel of(int level) {
    return values()[Math.max(0, Math.min(level, values().length - 1))];
  }
}
