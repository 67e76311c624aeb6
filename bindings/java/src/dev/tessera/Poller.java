// The one thread that polls an engine's queue and hands events to their requests: a call into the library for a poll,
// however many events it brings. It knows requests that run and neither the engine nor idle sessions, so that these can
// be collected. No code of the program runs on it.
package dev.tessera;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ConcurrentHashMap;

final class Poller implements Runnable {
  private static final int FIRST_CAPACITY = 64 << 10;
  private static final int EVENT_TOKENS = 1;
  private static final int EVENT_FINISHED = 2;

  private final NativeHandle queue;
  private final ConcurrentHashMap<Long, Request> requests = new ConcurrentHashMap<>();
  private ByteBuffer buffer;

  // Guarded by this.
  private long nextTag = 1;
  private Thread thread;
  private boolean stopping;

  Poller(long pointer) {
    queue = new NativeHandle("engine", pointer, Native::queueRelease, null);
  }

  // Takes the events of a request that is about to be submitted; the answer is its tag.
  synchronized long register(Request request) {
    if (stopping) {
      throw new IllegalStateException("the engine is closed");
    }
    if (thread == null) {
      thread = new Thread(this, "tessera-poller");
      thread.setDaemon(true);
      thread.start();
    }
    long tag = nextTag++;
    requests.put(tag, request);
    return tag;
  }

  long pointer() {
    return queue.enter();
  }

  void leave() {
    queue.leave();
  }

  // A request that was not submitted after all.
  void forget(long tag) {
    requests.remove(tag);
    wake();
  }

  // Ends the thread when the last request has ended.
  void stop() {
    boolean started;
    synchronized (this) {
      stopping = true;
      started = thread != null;
    }
    if (started) {
      wake();
    } else {
      queue.close();
    }
  }

  // Waits for the thread's end, unless interrupted.
  void join() {
    Thread waited;
    synchronized (this) {
      waited = thread;
    }
    if (waited == null || waited == Thread.currentThread()) {
      return;
    }
    try {
      waited.join();
    } catch (InterruptedException interrupted) {
      Thread.currentThread().interrupt();
    }
  }

  private void wake() {
    try {
      queue.run(Native::queueWake);
    } catch (IllegalStateException closed) {
      // The thread has ended already.
    }
  }

  private synchronized boolean done() {
    return stopping && requests.isEmpty();
  }

  @Override
  public void run() {
    try {
      buffer = allocate(FIRST_CAPACITY);
      while (!done()) {
        int used = queue.call(live -> Native.queuePoll(live, -1, buffer));
        if (used < 0) {
          buffer = allocate(-used);
        } else {
          deliver(used);
        }
      }
    } catch (Throwable error) {
      // Closed with the runtime, or out of memory: nothing will come any more.
      synchronized (this) {
        stopping = true;
      }
      requests.values().forEach(request -> request.failed(error));
      requests.clear();
    } finally {
      queue.close();
    }
  }

  private static ByteBuffer allocate(int bytes) {
    return ByteBuffer.allocateDirect(bytes).order(ByteOrder.nativeOrder());
  }

  private void deliver(int used) {
    for (int at = 0; at < used; at += buffer.getInt(at)) {
      int kind = buffer.getInt(at + 4);
      long tag = buffer.getLong(at + 8);
      Request request = requests.get(tag);
      if (request == null) {
        continue;
      }
      if (kind == EVENT_TOKENS) {
        request.arrived(tokens(at));
      } else if (kind == EVENT_FINISHED) {
        requests.remove(tag);
        finished(request, at);
      }
    }
  }

  // Offsets are those of tsr_event_tokens.
  private List<Token> tokens(int at) {
    int count = buffer.getInt(at + 24);
    int ids = at + buffer.getInt(at + 28);
    int logprobs = buffer.getInt(at + 40);
    int topCount = buffer.getInt(at + 44);
    int top = buffer.getInt(at + 48);
    String text = text(at + buffer.getInt(at + 36), buffer.getInt(at + 32));
    if (count == 0) {
      return List.of(new Token(Token.NONE, text, Float.NaN, List.of()));
    }
    List<Token> tokens = new ArrayList<>(count);
    for (int i = 0; i < count; ++i) {
      List<Token.Alternative> alternatives = List.of();
      if (top != 0 && topCount > 0) {
        alternatives = new ArrayList<>(topCount);
        for (int j = 0; j < topCount; ++j) {
          int entry = at + top + (i * topCount + j) * 8;
          alternatives.add(new Token.Alternative(buffer.getInt(entry), buffer.getFloat(entry + 4)));
        }
        alternatives = List.copyOf(alternatives);
      }
      float logprob = logprobs == 0 ? Float.NaN : buffer.getFloat(at + logprobs + 4 * i);
      tokens.add(new Token(buffer.getInt(ids + 4 * i), i == count - 1 ? text : "", logprob, alternatives));
    }
    return tokens;
  }

  private String text(int at, int size) {
    if (size == 0) {
      return "";
    }
    byte[] bytes = new byte[size];
    buffer.get(at, bytes);
    return Utf8.decode(bytes);
  }

  // Offsets are those of tsr_event_finished.
  private void finished(Request request, int at) {
    Finish finish = Finish.of(buffer.getInt(at + 24));
    int message = buffer.getInt(at + 48);
    request.ended(
        finish,
        buffer.getInt(at + 28),
        message == 0 ? "the request failed" : text(at + message, buffer.getInt(at + 44)),
        tokens ->
            new Answer(
                tokens,
                finish,
                buffer.getInt(at + 32),
                buffer.getInt(at + 36),
                buffer.getInt(at + 40),
                Duration.ofNanos(buffer.getLong(at + 56)),
                Duration.ofNanos(buffer.getLong(at + 64)),
                Duration.ofNanos(buffer.getLong(at + 72))));
  }
}
