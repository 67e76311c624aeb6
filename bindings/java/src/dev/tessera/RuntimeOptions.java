// Settings of a runtime.
package dev.tessera;

/** Settings of a {@link Runtime}. */
public final class RuntimeOptions extends Settings<RuntimeOptions> {
  /** Most threads that compute in one engine. 0: as many as the process may use. */
  public RuntimeOptions threads(int threads) {
    return set("runtime.threads", threads);
  }

  /** Where log lines of at least {@code level} go. The listener is held until the runtime is released. */
  public RuntimeOptions log(LogLevel level, LogListener listener) {
    set("runtime.log_level", level.name().toLowerCase(java.util.Locale.ROOT));
    return setLog("runtime.log", listener);
  }
}
