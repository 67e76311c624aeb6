// An engine: runs the requests of many sessions together.
package dev.tessera;

import java.lang.ref.Cleaner;
import java.time.Duration;

/** Runs the requests of many sessions together, in batches, over one model. Safe for use by several threads. */
public final class Engine implements AutoCloseable {
  final NativeHandle handle;
  final Poller poller;
  private final Cleaner.Cleanable net;

  private Engine(Model model, EngineOptions options) {
    long pointer = model.handle.call(parent -> options.use(settings -> Native.engineCreate(parent, settings)));
    Poller events;
    try {
      events = new Poller(model.runtime.call(Native::queueCreate));
    } catch (RuntimeException error) {
      Native.engineRelease(pointer);
      throw error;
    }
    poller = events;
    handle = new NativeHandle("engine", pointer, Native::engineRelease, model.handle.kept());
    NativeHandle ended = handle;
    net =
        NativeHandle.whenUnreachable(
            this,
            () -> {
              events.stop();
              ended.close();
            });
  }

  /** An engine with every setting at its default. */
  public static Engine create(Model model) {
    return create(model, new EngineOptions());
  }

  /** An engine over a model. */
  public static Engine create(Model model, EngineOptions options) {
    return new Engine(model, options);
  }

  /** An empty session. */
  public Session newSession() {
    return newSession(new SessionOptions());
  }

  /** An empty session. */
  public Session newSession(SessionOptions options) {
    return new Session(
        this, handle.call(engine -> options.use(settings -> Native.sessionCreate(engine, settings))));
  }

  /** A new session from what {@link Session#save} gave, in this process or another, in whatever language. */
  public Session restore(byte[] state) {
    return restore(state, new SessionOptions());
  }

  /** A new session from a saved state. */
  public Session restore(byte[] state, SessionOptions options) {
    return new Session(
        this, handle.call(engine -> options.use(settings -> Native.sessionRestore(engine, state, settings))));
  }

  /**
   * Computes for about so long on the calling thread; for engines made with {@link EngineOptions#stepped}. Zero: the
   * least that can be done; negative: one batch. One caller at a time.
   */
  public StepStats step(Duration budget) {
    long[] n = new long[4];
    handle.run(engine -> Native.engineStep(engine, budget.toNanos(), n));
    return new StepStats(Duration.ofNanos(n[0]), n[1], n[2], n[3] != 0);
  }

  /** The work of a rank other than 0, until rank 0 closes its engine. One caller at a time. */
  public void serve() {
    handle.run(Native::engineServe);
  }

  /** Counters since the engine was created, and what it holds now. */
  public EngineMetrics metrics() {
    long[] counters = new long[23];
    long[] regions = new long[16];
    handle.run(engine -> Native.engineMetrics(engine, counters, regions));
    return EngineMetrics.of(counters, regions);
  }

  /**
   * Ends every request with {@link Finish#CLOSED}, joins the engine's threads and frees its cache. Inside a callback
   * of the library only the reference is dropped.
   */
  @Override
  public void close() {
    boolean ended = closeFirst(handle, Native::engineClose);
    poller.stop();
    net.clean();
    if (ended) {
      poller.join();
    }
  }

  /**
   * Gives this handle up without ending anything: sessions go on, and the engine closes with the last of them. Calls on
   * this object throw afterwards.
   */
  public void release() {
    handle.close();
  }

  // Runs a close that waits for threads, unless the handle is closed or this is a callback, where it may not wait.
  static boolean closeFirst(NativeHandle handle, NativeHandle.Action close) {
    try {
      handle.run(close);
      return true;
    } catch (IllegalStateException closed) {
      return false;
    } catch (TesseraException error) {
      if (error.status() == Status.WRONG_STATE) {
        return false;
      }
      throw error;
    }
  }
}
