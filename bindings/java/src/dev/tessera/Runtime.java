// The runtime: what all models and engines share.
package dev.tessera;

import java.lang.ref.Cleaner;
import java.nio.file.Path;

/**
 * Threads, memory and the log, shared by what is made from it. There is no global state; several may coexist. Safe
 * for use by several threads.
 *
 * <p>All handles of this package are closed by {@link AutoCloseable#close}: any order, any thread, any number of times.
 * A child keeps its parents' native part alive. Calls on what is closed throw {@link IllegalStateException}. What is
 * never closed is released some time after nothing reaches it any more.
 */
public final class Runtime implements AutoCloseable {
  final NativeHandle handle;
  private final Cleaner.Cleanable net;

  private Runtime(long pointer) {
    handle = new NativeHandle("runtime", pointer, Native::runtimeRelease, null);
    net = handle.closeWith(this);
  }

  /** A runtime with every setting at its default. */
  public static Runtime create() {
    return create(new RuntimeOptions());
  }

  /** A runtime. */
  public static Runtime create(RuntimeOptions options) {
    return new Runtime(options.use(Native::runtimeCreate));
  }

  /** The version of the native library, such as "0.1.0". */
  public static String libraryVersion() {
    return Utf8.decode(Native.version());
  }

  /** What an engine over a model file would take and how fast it should run; reads the file's header alone. */
  public Plan plan(Path file, PlanOptions options) {
    long[] integers = new long[13];
    double[] rates = new double[5];
    handle.run(
        runtime ->
            options.use(
                settings -> {
                  Native.planFile(runtime, Utf8.encode(file.toString()), settings, integers, rates);
                  return null;
                }));
    return Plan.of(integers, rates);
  }

  /**
   * Closes every engine made from it, whose requests end with {@link Finish#CLOSED}. Models stay usable. Inside a
   * callback of the library engines are not closed, but the reference is dropped.
   */
  @Override
  public void close() {
    Engine.closeFirst(handle, Native::runtimeClose);
    net.clean();
  }

  /** Gives this handle up without ending anything: models and engines made from it go on. */
  public void release() {
    net.clean();
  }
}
