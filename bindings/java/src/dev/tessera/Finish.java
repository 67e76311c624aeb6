// Why a request ended.
package dev.tessera;

/** Why a request ended. */
public enum Finish {
  /** The model ended its turn. */
  END,
  /** A stop string or stop token; the text ends before it. */
  STOP,
  /** As many tokens as asked for. */
  LENGTH,
  /** The context is full. */
  CONTEXT,
  /** Cancelled, or the session was closed. */
  CANCELLED,
  /** The deadline has passed. */
  DEADLINE,
  /** Something failed: waiting for the answer throws it. */
  ERROR,
  /** The engine was closed. */
  CLOSED;

  // Reasons are numbered from 1; one that a later library adds is an error here.
  static Finish of(int reason) {
    return reason >= 1 && reason <= values().length ? values()[reason - 1] : ERROR;
  }
}
