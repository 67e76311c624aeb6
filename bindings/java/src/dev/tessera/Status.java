// What went wrong, as the C interface numbers it.
package dev.tessera;

/** What became of a call: the library's status codes. */
public enum Status {
  /** Done. */
  OK(0),
  /** The program asked to stop. */
  CANCELLED(1),
  /** A size, key or value that cannot be meant. */
  INVALID_ARGUMENT(3),
  /** The time given has passed. */
  DEADLINE_EXCEEDED(4),
  /** No such file, key or tensor. */
  NOT_FOUND(5),
  /** A limit that the program set or the system imposes is reached. */
  LIMIT_EXCEEDED(8),
  /** The call is right, but not now: the message says what must come first. */
  WRONG_STATE(9),
  /** Valid, but this build cannot do it. */
  UNSUPPORTED(12),
  /** A defect of the library. */
  INTERNAL(13),
  /** Another caller is inside, or a request is running. */
  BUSY(14),
  /** A file or saved state that breaks its own format. */
  CORRUPT(15),
  /** Memory could not be had; nothing was changed. */
  OUT_OF_MEMORY(32),
  /** The caller's buffer is too small. */
  BUFFER_TOO_SMALL(33),
  /** Reading failed or fell short. */
  IO_ERROR(34),
  /** Text that is not UTF-8. */
  INVALID_UTF8(35),
  /** The engine, queue or runtime was closed. */
  CLOSED(36),
  /** The model produced NaN or infinity. */
  NUMERIC_FAULT(37),
  /** The device or a rank is gone. */
  LOST(38),
  /** This process is a child of fork; the library works in its parent only. */
  FORKED(39),
  /** A saved state of another model, tokenizer or cache. */
  MISMATCH(40),
  /** A code that this version of the binding does not know: {@link TesseraException#code} has it. */
  UNKNOWN(-1);

  private final int code;

  Status(int code) {
    this.code = code;
  }

  /** The number of the C interface. */
  public int code() {
    return code;
  }

  /** The status of that number, or {@link #UNKNOWN}. */
  public static Status of(int code) {
    for (Status status : values()) {
      if (status.code == code) {
        return status;
      }
    }
    return UNKNOWN;
  }
}
