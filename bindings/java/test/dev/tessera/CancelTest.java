// Cancelling: by the request, its future, an interrupt; what it leaves, and what it does not touch.
package dev.tessera;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.concurrent.CancellationException;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;

final class CancelTest extends Fixture {
  @Test
  void cancellingTheFutureCancelsTheRequest() throws Exception {
    Request request = session(steppedEngine()).generate(tokens(50));
    CompletableFuture<Answer> future = request.answer();
    assertTrue(future.cancel(true));
    assertThrows(CancellationException.class, future::join);
    assertEquals(Finish.CANCELLED, request.await().finish());
  }

  @Test
  void anInterruptWhileIteratingCancelsTheRequestAndStaysSet() throws Exception {
    Request request = session(steppedEngine()).generate(tokens(50));
    boolean[] stillSet = new boolean[1];
    Throwable thrown =
        interruptedWhileWaiting(
            () -> {
              try {
                request.iterator().next();
              } finally {
                stillSet[0] = Thread.currentThread().isInterrupted();
              }
            });
    assertInstanceOf(CancellationException.class, thrown);
    assertTrue(stillSet[0]);
    assertEquals(Finish.CANCELLED, request.await().finish());
  }

  @Test
  void anInterruptWhileAwaitingCancelsTheRequest() throws Exception {
    Request request = session(steppedEngine()).generate(tokens(50));
    assertInstanceOf(InterruptedException.class, interruptedWhileWaiting(request::await));
    assertEquals(Finish.CANCELLED, request.await().finish());
  }

  @Test
  void anInterruptInTheFuturesGetCancelsTheRequest() throws Exception {
    Request request = session(steppedEngine()).generate(tokens(50));
    assertInstanceOf(InterruptedException.class, interruptedWhileWaiting(() -> request.answer().get()));
    assertEquals(Finish.CANCELLED, request.answer().get(10, TimeUnit.SECONDS).finish());
  }

  @Test
  void droppingLeavesTheSessionAsItWasAndKeepingLeavesItsTokens() throws Exception {
    Engine engine = steppedEngine();
    Session session = session(engine);
    long before = session.tokenCount();
    for (Cancel effect : Cancel.values()) {
      Request request = session.generate(tokens(50));
      for (int i = 0; i < 4; ++i) {
        engine.step(java.time.Duration.ofMillis(-1));
      }
      request.cancel(effect);
      assertEquals(Finish.CANCELLED, request.await().finish());
      if (effect == Cancel.DROP) {
        assertEquals(before, session.tokenCount());
      } else {
        assertTrue(session.tokenCount() > before);
        session.rewind(before);
      }
    }
  }

  @Test
  void cancellingARequestThatEndedLeavesTheNextOneAlone() throws Exception {
    Engine engine = steppedEngine();
    Session session = session(engine);
    Request first = session.generate(tokens(2));
    finish(engine, first);
    Request second = session.generate(tokens(3));
    first.cancel();
    first.close();
    finish(engine, second);
    assertEquals(Finish.LENGTH, second.await().finish());
  }

  @Test
  void closingTheSessionOrTheRequestCancels() throws Exception {
    Engine engine = steppedEngine();
    Session one = session(engine);
    Request first = one.generate(tokens(50));
    one.close();
    assertEquals(Finish.CANCELLED, first.await().finish());
    Request second = session(engine).generate(tokens(50));
    second.close();
    assertEquals(Finish.CANCELLED, second.await().finish());
  }
}
