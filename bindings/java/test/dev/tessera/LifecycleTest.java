// Closing: twice, in any order, while used, by nobody; and what is left then.
package dev.tessera;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.lang.ref.WeakReference;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.atomic.AtomicReference;
import org.junit.jupiter.api.Test;

final class LifecycleTest extends Fixture {
  private static long threads() throws java.io.IOException {
    try (var tasks = Files.list(Path.of("/proc/self/task"))) {
      return tasks.count();
    }
  }

  private static long residentKilobytes() throws java.io.IOException {
    for (String line : Files.readAllLines(Path.of("/proc/self/status"))) {
      if (line.startsWith("VmRSS:")) {
        return Long.parseLong(line.replaceAll("[^0-9]", ""));
      }
    }
    throw new AssertionError("no VmRSS");
  }

  private static boolean pollerRuns() {
    return Thread.getAllStackTraces().keySet().stream().anyMatch(t -> t.getName().equals("tessera-poller"));
  }

  @Test
  void closingTwiceIsOnceAndUseAfterCloseThrows() {
    Engine engine = engine();
    Session session = session(engine);
    session.close();
    session.close();
    assertThrows(IllegalStateException.class, session::tokenCount);
    assertThrows(IllegalStateException.class, () -> session.appendText("x"));
    assertThrows(IllegalStateException.class, session::generate);
    engine.close();
    engine.close();
    assertThrows(IllegalStateException.class, engine::newSession);
    assertThrows(IllegalStateException.class, engine::metrics);
    model.close();
    model.close();
    assertThrows(IllegalStateException.class, model::info);
    assertThrows(IllegalStateException.class, () -> Engine.create(model));
    runtime.close();
    runtime.close();
    assertThrows(IllegalStateException.class, () -> Model.load(runtime, MODEL));
  }

  @Test
  void childrenWorkAfterTheirParentsWereReleased() throws Exception {
    Engine engine = engine();
    Session session = session(engine);
    runtime.release();
    model.close();
    engine.release();
    assertThrows(IllegalStateException.class, engine::newSession);
    Session fork = keep(session.fork());
    assertEquals(Finish.LENGTH, session.generate(tokens(4)).await().finish());
    session.close();
    assertEquals(Finish.LENGTH, fork.generate(tokens(4)).await().finish());
  }

  @Test
  void closingTheEngineOrTheRuntimeEndsWhatRuns() throws Exception {
    Engine one = steppedEngine();
    Request first = session(one).generate(tokens(50));
    one.close();
    assertEquals(Finish.CLOSED, first.await().finish());
    assertFalse(pollerRuns());
    Engine two = steppedEngine();
    Session session = session(two);
    Request second = session.generate(tokens(50));
    runtime.close();
    assertEquals(Finish.CLOSED, second.await().finish());
    TesseraException closed = assertThrows(TesseraException.class, () -> session.appendText("x"));
    assertEquals(Status.CLOSED, closed.status());
  }

  @Test
  void closingWhileOtherThreadsCallNeverCrashes() throws Exception {
    Engine engine = engine();
    for (int round = 0; round < 50; ++round) {
      Session session = session(engine);
      AtomicReference<Throwable> wrong = new AtomicReference<>();
      List<Thread> threads = new ArrayList<>();
      for (int i = 0; i < 3; ++i) {
        Thread thread =
            new Thread(
                () -> {
                  try {
                    while (true) {
                      session.tokenCount();
                      session.generate(tokens(2)).await();
                    }
                  } catch (IllegalStateException closed) {
                    return;
                  } catch (TesseraException error) {
                    if (error.status() != Status.BUSY && error.status() != Status.LIMIT_EXCEEDED) {
                      wrong.set(error);
                    }
                  } catch (Throwable error) {
                    wrong.set(error);
                  }
                });
        threads.add(thread);
        thread.start();
      }
      Thread.sleep(1);
      session.close();
      for (Thread thread : threads) {
        thread.join();
      }
      assertNull(wrong.get());
    }
  }

  // In a method of its own, so that no local variable keeps anything.
  private WeakReference<Engine> forget() throws InterruptedException {
    Engine engine = Engine.create(model);
    Session session = engine.newSession();
    session.appendText(PROMPT);
    session.generate(tokens(2)).await();
    return new WeakReference<>(engine);
  }

  @Test
  void whatIsNeverClosedIsReleasedWhenNothingReachesIt() throws Exception {
    Engine watched = engine();
    WeakReference<Engine> forgotten = forget();
    assertTrue(pollerRuns());
    for (int i = 0; i < 500 && (forgotten.get() != null || pollerRuns()); ++i) {
      System.gc();
      Thread.sleep(10);
    }
    assertNull(forgotten.get());
    assertFalse(pollerRuns());
    assertEquals(0, watched.metrics().sessions());
  }

  @Test
  void aRunningRequestIsNotCollected() throws Exception {
    Engine engine = steppedEngine();
    Request request = startWithoutKeeping(engine);
    for (int i = 0; i < 5; ++i) {
      System.gc();
      Thread.sleep(5);
    }
    finish(engine, request);
    assertEquals(Finish.LENGTH, request.await().finish());
  }

  private Request startWithoutKeeping(Engine engine) {
    Session session = engine.newSession();
    session.appendText(PROMPT);
    return session.generate(tokens(3));
  }

  @Test
  void aThousandCyclesLeaveNeitherMemoryNorThreads() throws Exception {
    long threadsBefore = 0;
    long memoryBefore = 0;
    for (int i = 0; i < 1300; ++i) {
      if (i == 300) { // Compilers, pools and the allocator have what they need by now.
        System.gc();
        threadsBefore = threads();
        memoryBefore = residentKilobytes();
      }
      try (Runtime own = Runtime.create(new RuntimeOptions().threads(1).log(LogLevel.DEBUG, (level, line) -> {}));
          Model loaded = Model.load(own, MODEL);
          Engine engine = Engine.create(loaded);
          Session session = engine.newSession()) {
        session.appendText(PROMPT);
        assertEquals(Finish.LENGTH, session.generate(tokens(4)).await().finish());
      }
    }
    System.gc();
    long threadsAfter = threads();
    for (int i = 0; i < 200 && threadsAfter > threadsBefore; ++i) { // Joined threads leave /proc a moment later.
      Thread.sleep(10);
      threadsAfter = threads();
    }
    long grown = residentKilobytes() - memoryBefore;
    System.out.println("1000 cycles: threads " + threadsBefore + " -> " + threadsAfter + ", memory +" + grown + " KiB");
    assertTrue(threadsAfter <= threadsBefore, threadsAfter + " threads, before " + threadsBefore);
    assertTrue(grown < 16 << 10, "memory grew by " + grown + " KiB in 1000 cycles");
    assertEquals(0, Native.globalReferences());
    assertEquals(0, Native.attachedThreads());
  }
}
