// One native handle, counted: who uses it enters and leaves, and what was closed meanwhile is released by the last to
// leave. This is also what the Cleaner runs, so it must not know the object that it belongs to.
package dev.tessera;

import java.lang.ref.Cleaner;
import java.util.function.LongConsumer;

final class NativeHandle implements Runnable, AutoCloseable {
  private static final Cleaner CLEANER = Cleaner.create();

  private final String what;
  private final LongConsumer release;
  private final Object kept;
  private final long pointer;
  private int users;
  private boolean closed;

  // `kept` stays reachable until the pointer is released; may be null.
  NativeHandle(String what, long pointer, LongConsumer release, Object kept) {
    this.what = what;
    this.pointer = pointer;
    this.release = release;
    this.kept = kept;
  }

  // Closes the handle when nothing reaches `owner` any more: a net for those who forgot.
  Cleaner.Cleanable closeWith(Object owner) {
    return whenUnreachable(owner, this);
  }

  // Runs `action` once: when it is asked to, or when nothing reaches `owner` any more.
  static Cleaner.Cleanable whenUnreachable(Object owner, Runnable action) {
    return CLEANER.register(owner, action);
  }

  Object kept() {
    return kept;
  }

  // The pointer, live until leave(). Throws IllegalStateException after close.
  synchronized long enter() {
    if (closed) {
      throw new IllegalStateException("the " + what + " is closed");
    }
    ++users;
    return pointer;
  }

  void leave() {
    boolean last;
    synchronized (this) {
      last = --users == 0 && closed;
    }
    if (last) {
      release.accept(pointer);
    }
  }

  synchronized boolean isClosed() {
    return closed;
  }

  @Override
  public void close() {
    boolean last;
    synchronized (this) {
      if (closed) {
        return;
      }
      closed = true;
      last = users == 0;
    }
    if (last) {
      release.accept(pointer);
    }
  }

  @Override
  public void run() {
    close();
  }

  // A call on the handle that gives something back.
  interface Call<T> {
    T on(long pointer);
  }

  // A call on the handle that gives nothing back.
  interface Action {
    void on(long pointer);
  }

  <T> T call(Call<T> call) {
    long live = enter();
    try {
      return call.on(live);
    } finally {
      leave();
    }
  }

  void run(Action action) {
    long live = enter();
    try {
      action.on(live);
    } finally {
      leave();
    }
  }
}
