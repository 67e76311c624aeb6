// What a cancelled request leaves behind.
package dev.tessera;

/** What a cancelled request leaves in its session. */
public enum Cancel {
  /** The tokens generated so far. */
  KEEP,
  /** Nothing: the session is as it was before {@link Session#generate}. */
  DROP
}
