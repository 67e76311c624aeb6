// What the native side calls: adapters around the program's callbacks which let no exception out, and keep it for the
// call that then fails.
package dev.tessera;

import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.function.Supplier;

final class Callbacks {
  private Callbacks() {}

  // Runs `call`, and attaches what a callback threw meanwhile to the error that it fails with.
  static <T> T withCause(Settings<?> settings, Failure other, Supplier<T> call) {
    try {
      return call.get();
    } catch (TesseraException error) {
      Throwable thrown = other != null && other.thrown != null ? other.thrown : settings.takeThrown();
      if (thrown != null && error.getCause() == null) {
        error.initCause(thrown);
      }
      throw error;
    }
  }

  // Remembers the first exception of a callback.
  static class Failure {
    volatile Throwable thrown;

    void failed(Throwable error) {
      if (thrown == null) {
        thrown = error;
      }
    }
  }

  static final class Log {
    private final LogListener listener;

    Log(LogListener listener) {
      this.listener = listener;
    }

    // A log line has no call that could fail: what a listener throws goes where uncaught exceptions go.
    void write(int level, byte[] message) {
      try {
        listener.log(LogLevel.of(level), new String(message, StandardCharsets.UTF_8));
      } catch (Throwable error) {
        Thread thread = Thread.currentThread();
        thread.getUncaughtExceptionHandler().uncaughtException(thread, error);
      }
    }
  }

  static final class Progress extends Failure {
    private final ProgressListener listener;

    Progress(ProgressListener listener) {
      this.listener = listener;
    }

    boolean goOn(long done, long total) {
      try {
        return listener.onProgress(done, total);
      } catch (Throwable error) {
        failed(error);
        return false;
      }
    }
  }

  static final class Read extends Failure {
    private static final int CHUNK_BYTES = 1 << 20;

    private final ModelReader reader;
    private final ConcurrentLinkedQueue<ByteBuffer> buffers = new ConcurrentLinkedQueue<>();

    Read(ModelReader reader) {
      this.reader = reader;
    }

    // Fills [to, to + size) by way of buffers of Java's own: a reader that keeps its buffer does no harm.
    long readAt(long offset, long to, long size) {
      ByteBuffer buffer = buffers.poll();
      if (buffer == null) {
        buffer = ByteBuffer.allocateDirect(CHUNK_BYTES);
      }
      long done = 0;
      try {
        while (done < size) {
          int step = (int) Math.min(size - done, CHUNK_BYTES);
          buffer.clear().limit(step);
          reader.read(offset + done, buffer);
          if (buffer.position() < step) {
            break;
          }
          Native.copy(buffer, step, to + done);
          done += step;
        }
      } catch (Throwable error) {
        failed(error);
        return -1;
      }
      buffers.add(buffer);
      return done;
    }
  }
}
