// Where log lines go.
package dev.tessera;

/** Takes the library's log lines; several threads at once. What it throws goes to the uncaught exception handler. */
@FunctionalInterface
public interface LogListener {
  /** One line without its end. */
  void log(LogLevel level, String message);
}
