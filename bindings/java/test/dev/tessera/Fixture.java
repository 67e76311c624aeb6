// What the tests share: the tiny model that the test run wrote, open for each test, and small helpers.
package dev.tessera;

import java.nio.file.Path;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.concurrent.atomic.AtomicReference;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;

abstract class Fixture {
  static final Path MODEL = Path.of(System.getProperty("dev.tessera.test.model"));
  static final String PROMPT = "hello, the world of";

  Runtime runtime;
  Model model;
  private final Deque<AutoCloseable> opened = new ArrayDeque<>();

  @BeforeEach
  void openModel() {
    runtime = Runtime.create(new RuntimeOptions().threads(1));
    model = Model.load(runtime, MODEL);
  }

  @AfterEach
  void closeAll() throws Exception {
    while (!opened.isEmpty()) {
      opened.pop().close();
    }
    model.close();
    runtime.close();
  }

  // Closes it after the test.
  <T extends AutoCloseable> T keep(T handle) {
    opened.push(handle);
    return handle;
  }

  Engine engine() {
    return keep(Engine.create(model, new EngineOptions().cacheTokens(2048)));
  }

  // An engine that does nothing until it is stepped: what waits for it waits as long as the test wants.
  Engine steppedEngine() {
    return keep(Engine.create(model, new EngineOptions().stepped(true)));
  }

  Session session(Engine engine) {
    Session session = keep(engine.newSession());
    session.appendText(PROMPT);
    return session;
  }

  static GenerateOptions tokens(int count) {
    return new GenerateOptions().maxTokens(count).ignoreEnd(true);
  }

  static void finish(Engine engine, Request request) throws InterruptedException {
    for (int i = 0; i < 10000 && !request.isDone(); ++i) {
      if (!engine.step(java.time.Duration.ofMillis(-1)).workLeft()) {
        Thread.sleep(1);
      }
    }
  }

  interface Body {
    void run() throws Exception;
  }

  // Runs `body` on a thread, interrupts it once it waits, and gives what it threw.
  static Throwable interruptedWhileWaiting(Body body) throws InterruptedException {
    AtomicReference<Throwable> thrown = new AtomicReference<>();
    Thread thread =
        new Thread(
            () -> {
              try {
                body.run();
              } catch (Throwable error) {
                thrown.set(error);
              }
            });
    thread.start();
    while (thread.isAlive()
        && thread.getState() != Thread.State.WAITING
        && thread.getState() != Thread.State.TIMED_WAITING) {
      Thread.sleep(1);
    }
    thread.interrupt();
    thread.join();
    return thrown.get();
  }
}
