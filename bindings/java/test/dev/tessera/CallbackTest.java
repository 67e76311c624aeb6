// Callbacks from the library's threads: exceptions become errors, threads detach, references go.
package dev.tessera;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.locks.LockSupport;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

final class CallbackTest extends Fixture {
  private static ModelReader reader(byte[] bytes, Runnable before) {
    return new ModelReader() {
      @Override
      public long size() {
        return bytes.length;
      }

      @Override
      public void read(long offset, ByteBuffer buffer) {
        before.run();
        buffer.put(bytes, (int) offset, buffer.remaining());
      }
    };
  }

  @AfterEach
  void nothingIsLeft() throws Exception {
    closeAll();
    assertEquals(0, Native.globalReferences());
    for (int i = 0; i < 500 && Native.attachedThreads() > 0; ++i) {
      Thread.sleep(1);
    }
    assertEquals(0, Native.attachedThreads());
  }

  @Test
  void theLibrarysThreadsReadThroughAProgramsReaderAndDetachWhenTheyEnd() throws Exception {
    byte[] bytes = Files.readAllBytes(MODEL);
    Set<Thread> threads = ConcurrentHashMap.newKeySet();
    Thread caller = Thread.currentThread();
    ModelReader reader =
        reader(
            bytes,
            () -> {
              threads.add(Thread.currentThread());
              if (Thread.currentThread() == caller) {
                LockSupport.parkNanos(2_000_000); // Leaves work to the others, however little there is.
              }
            });
    ModelOptions options = new ModelOptions().readThreads(4).loadThreads(4);
    Model read = keep(Model.load(runtime, reader, options));
    assertEquals(model.info().hash(), read.info().hash());
    boolean foreign = threads.stream().anyMatch(thread -> thread.getName().equals("tessera") && thread.isDaemon());
    assertTrue(foreign, "no thread of the library's own called: " + threads);
  }

  @Test
  void anExceptionOfAReaderIsTheCauseOfTheError() throws Exception {
    IOException thrown = new IOException("the disk is gone");
    ModelReader reader =
        new ModelReader() {
          @Override
          public long size() {
            return 100000;
          }

          @Override
          public void read(long offset, ByteBuffer buffer) throws IOException {
            throw thrown;
          }
        };
    TesseraException error =
        assertThrows(TesseraException.class, () -> Model.load(runtime, reader, new ModelOptions()));
    assertEquals(Status.IO_ERROR, error.status());
    assertSame(thrown, error.getCause());
  }

  @Test
  void aReaderThatFallsShortIsAnError() throws Exception {
    byte[] bytes = Files.readAllBytes(MODEL);
    ModelReader reader =
        new ModelReader() {
          @Override
          public long size() {
            return bytes.length;
          }

          @Override
          public void read(long offset, ByteBuffer buffer) {
            buffer.put(bytes, (int) offset, buffer.remaining() / 2);
          }
        };
    TesseraException error =
        assertThrows(TesseraException.class, () -> Model.load(runtime, reader, new ModelOptions()));
    assertEquals(Status.IO_ERROR, error.status());
  }

  @Test
  void aBufferThatAReaderKeepsDoesNoHarm() throws Exception {
    byte[] bytes = Files.readAllBytes(MODEL);
    List<ByteBuffer> kept = Collections.synchronizedList(new ArrayList<>());
    ModelReader plain = reader(bytes, () -> {});
    ModelReader keeping =
        new ModelReader() {
          @Override
          public long size() throws IOException {
            return plain.size();
          }

          @Override
          public void read(long offset, ByteBuffer buffer) throws IOException {
            plain.read(offset, buffer);
            kept.add(buffer);
          }
        };
    Model read = Model.load(runtime, keeping, new ModelOptions());
    String hash = read.info().hash();
    for (ByteBuffer buffer : kept) {
      buffer.clear();
      while (buffer.hasRemaining()) {
        buffer.put((byte) 0x55);
      }
    }
    assertEquals(model.info().hash(), hash);
    read.close();
  }

  @Test
  void progressIsShownCanStopALoadAndItsExceptionIsTheCause() {
    List<Long> done = new ArrayList<>();
    ModelOptions watching =
        new ModelOptions()
            .progress(
                (bytes, total) -> {
                  done.add(bytes);
                  return true;
                });
    keep(Model.load(runtime, MODEL, watching));
    assertFalse(done.isEmpty());
    ModelOptions stopping = new ModelOptions().progress((bytes, total) -> false);
    TesseraException stopped =
        assertThrows(TesseraException.class, () -> Model.load(runtime, MODEL, stopping));
    assertEquals(Status.CANCELLED, stopped.status());
    assertEquals(null, stopped.getCause());
    Error thrown = new Error("from progress");
    ModelOptions throwing =
        new ModelOptions()
            .progress(
                (bytes, total) -> {
                  throw thrown;
                });
    for (int i = 0; i < 2; ++i) { // Settings may be used again.
      TesseraException failed =
          assertThrows(TesseraException.class, () -> Model.load(runtime, MODEL, throwing));
      assertEquals(Status.CANCELLED, failed.status());
      assertSame(thrown, failed.getCause());
    }
  }

  @Test
  void logLinesArriveAndAListenerThatThrowsHarmsNothing() {
    List<String> lines = Collections.synchronizedList(new ArrayList<>());
    List<Throwable> uncaught = Collections.synchronizedList(new ArrayList<>());
    Thread.UncaughtExceptionHandler before = Thread.getDefaultUncaughtExceptionHandler();
    Thread.setDefaultUncaughtExceptionHandler((thread, error) -> uncaught.add(error));
    try {
      RuntimeOptions options =
          new RuntimeOptions()
              .log(
                  LogLevel.DEBUG,
                  (level, line) -> {
                    lines.add(level + " " + line);
                    throw new IllegalStateException("from the log");
                  });
      Runtime logged = keep(Runtime.create(options));
      keep(Engine.create(keep(Model.load(logged, MODEL, new ModelOptions().device("auto")))));
    } finally {
      Thread.setDefaultUncaughtExceptionHandler(before);
    }
    assertFalse(lines.isEmpty());
    assertEquals(lines.size(), uncaught.size());
  }

  @Test
  void closingHandlesInsideACallbackIsSafe() {
    Engine engine = engine();
    Session session = session(engine);
    ModelOptions options =
        new ModelOptions()
            .progress(
                (bytes, total) -> {
                  session.close();
                  engine.release();
                  return true;
                });
    keep(Model.load(runtime, MODEL, options));
    assertThrows(IllegalStateException.class, session::tokenCount);
  }
}
