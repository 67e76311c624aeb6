// Typed settings, by key: what all option classes share.
package dev.tessera;

import java.util.ArrayList;
import java.util.List;
import java.util.Objects;

/**
 * Settings for a call that creates something. Subclasses name the common ones; {@code set} takes every key of the
 * library's list (docs/settings.md). Keys, types and ranges are checked by the library when the settings are used:
 * an unknown key or a value out of range fails with {@link Status#INVALID_ARGUMENT} and the key as its place. Not for
 * several threads at once while it is filled; may be used by any number of calls afterwards.
 *
 * @param <S> the subclass
 */
public abstract class Settings<S extends Settings<S>> {
  private interface Setter {
    void set(long options, byte[] key);
  }

  private record Entry(byte[] key, Setter setter) {}

  private final List<Entry> entries = new ArrayList<>();
  private final List<Callbacks.Failure> failures = new ArrayList<>();

  Settings() {}

  @SuppressWarnings("unchecked")
  private S put(String key, Setter setter) {
    entries.add(new Entry(Utf8.encode(key), setter));
    return (S) this;
  }

  /** Sets an integer. */
  public S set(String key, long value) {
    return put(key, (options, name) -> Native.optionsSetInt(options, name, value));
  }

  /** Sets an integer. */
  public S set(String key, int value) {
    return set(key, (long) value);
  }

  /** Sets a floating-point number. */
  public S set(String key, double value) {
    return put(key, (options, name) -> Native.optionsSetFloat(options, name, value));
  }

  /** Sets a boolean. */
  public S set(String key, boolean value) {
    return put(key, (options, name) -> Native.optionsSetBool(options, name, value));
  }

  /** Sets a string. */
  public S set(String key, String value) {
    byte[] bytes = Utf8.encode(value);
    return put(key, (options, name) -> Native.optionsSetString(options, name, bytes));
  }

  /** Sets a list of integers. */
  public S set(String key, long[] values) {
    long[] copy = values.clone();
    return put(key, (options, name) -> Native.optionsSetInts(options, name, copy));
  }

  /** Sets a list of floating-point numbers. */
  public S set(String key, double[] values) {
    double[] copy = values.clone();
    return put(key, (options, name) -> Native.optionsSetFloats(options, name, copy));
  }

  /** Sets a list of strings. */
  public S set(String key, List<String> values) {
    byte[][] bytes = values.stream().map(Utf8::encode).toArray(byte[][]::new);
    return put(key, (options, name) -> Native.optionsSetStrings(options, name, bytes));
  }

  /** Sets the address of something native, such as a CUcontext, which outlives what is created with it. */
  public S setPointer(String key, long address) {
    return put(key, (options, name) -> Native.optionsSetPointer(options, name, address));
  }

  S setLog(String key, LogListener listener) {
    Callbacks.Log log = new Callbacks.Log(Objects.requireNonNull(listener));
    return put(key, (options, name) -> Native.optionsSetLog(options, name, log));
  }

  S setProgress(String key, ProgressListener listener) {
    Callbacks.Progress progress = new Callbacks.Progress(Objects.requireNonNull(listener));
    failures.add(progress);
    return put(key, (options, name) -> Native.optionsSetProgress(options, name, progress));
  }

  // The exception that a callback of these settings threw, once.
  Throwable takeThrown() {
    Throwable first = null;
    for (Callbacks.Failure failure : failures) {
      Throwable thrown = failure.thrown;
      failure.thrown = null;
      first = first == null ? thrown : first;
    }
    return first;
  }

  // Makes a native set for one call; 0, which is no set, where there is nothing to set.
  <T> T use(NativeHandle.Call<T> call) {
    if (entries.isEmpty()) {
      return call.on(0);
    }
    long options = Native.optionsCreate();
    try {
      for (Entry entry : entries) {
        entry.setter.set(options, entry.key);
      }
      return Callbacks.withCause(this, null, () -> call.on(options));
    } finally {
      Native.optionsRelease(options);
    }
  }
}
