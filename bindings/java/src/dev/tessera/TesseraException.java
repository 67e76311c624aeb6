// A failure that the library reports.
package dev.tessera;

import java.nio.charset.StandardCharsets;

/** A call failed: a status, a message for people, and the place it speaks of. */
public final class TesseraException extends RuntimeException {
  private static final long serialVersionUID = 1;

  private final int code;
  private final String place;

  TesseraException(int code, String message, String place) {
    super(message);
    this.code = code;
    this.place = place;
  }

  // Called by the native side.
  TesseraException(int code, byte[] message, byte[] place) {
    this(code, new String(message, StandardCharsets.UTF_8), new String(place, StandardCharsets.UTF_8));
  }

  /** What kind of failure. */
  public Status status() {
    return Status.of(code);
  }

  /** The status as the C interface numbers it. */
  public int code() {
    return code;
  }

  /** The file, tensor, key, setting or argument that the message speaks of, or "". */
  public String place() {
    return place;
  }
}
