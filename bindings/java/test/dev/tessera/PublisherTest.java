// The publisher keeps the rules of Flow: no more than requested, one signal at a time, exactly one end.
package dev.tessera;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.Flow;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;

final class PublisherTest extends Fixture {
  // Records what comes; requests only what it is told to.
  private static class Recorder implements Flow.Subscriber<Token> {
    final List<Token> tokens = new ArrayList<>();
    final CountDownLatch end = new CountDownLatch(1);
    volatile Flow.Subscription subscription;
    volatile Throwable error;
    volatile int ends;
    private volatile boolean inside;
    volatile boolean overlapped;

    @Override
    public void onSubscribe(Flow.Subscription begun) {
      subscription = begun;
    }

    @Override
    public void onNext(Token token) {
      overlapped |= inside;
      inside = true;
      synchronized (tokens) {
        tokens.add(token);
        tokens.notifyAll();
      }
      inside = false;
    }

    @Override
    public void onError(Throwable failure) {
      error = failure;
      ++ends;
      end.countDown();
    }

    @Override
    public void onComplete() {
      ++ends;
      end.countDown();
    }

    void waitForTokens(int count) throws InterruptedException {
      synchronized (tokens) {
        while (tokens.size() < count) {
          tokens.wait(10000);
        }
      }
    }

    void waitForEnd() throws InterruptedException {
      assertTrue(end.await(10, TimeUnit.SECONDS), "the subscriber is never told the end");
    }
  }

  @Test
  void aSubscriberGetsNoMoreThanItRequested() throws Exception {
    Request request = session(engine()).generate(tokens(20));
    Recorder recorder = new Recorder();
    request.publisher().subscribe(recorder);
    request.await();
    recorder.subscription.request(3);
    recorder.waitForTokens(3);
    Thread.sleep(20); // Anything that comes too much has time to come.
    assertEquals(3, recorder.tokens.size());
    assertEquals(0, recorder.ends);
    recorder.subscription.request(Long.MAX_VALUE);
    recorder.subscription.request(Long.MAX_VALUE);
    recorder.waitForEnd();
    assertEquals(request.await().tokens(), recorder.tokens);
    assertNull(recorder.error);
    assertEquals(1, recorder.ends);
    assertTrue(!recorder.overlapped);
  }

  @Test
  void everySubscriberGetsEverythingFromTheBeginning() throws Exception {
    Request request = session(engine()).generate(tokens(20));
    for (int i = 0; i < 3; ++i) {
      Recorder recorder = new Recorder();
      request.publisher().subscribe(recorder);
      recorder.subscription.request(1000);
      recorder.waitForEnd();
      assertEquals(request.await().tokens(), recorder.tokens);
    }
  }

  @Test
  void anEmptyAnswerCompletesWithoutDemand() throws Exception {
    Recorder recorder = new Recorder();
    session(engine()).generate(tokens(0)).publisher().subscribe(recorder);
    recorder.waitForEnd();
    assertNull(recorder.error);
  }

  @Test
  void aRequestThatIsNotPositiveIsAnError() throws Exception {
    Recorder recorder = new Recorder();
    Request request = session(steppedEngine()).generate(tokens(20));
    request.publisher().subscribe(recorder);
    recorder.subscription.request(0);
    recorder.waitForEnd();
    assertInstanceOf(IllegalArgumentException.class, recorder.error);
    assertEquals(Finish.CANCELLED, request.await().finish());
  }

  @Test
  void cancellingTheLastSubscriptionCancelsTheRequest() throws Exception {
    Request request = session(steppedEngine()).generate(tokens(20));
    Recorder one = new Recorder();
    Recorder two = new Recorder();
    request.publisher().subscribe(one);
    request.publisher().subscribe(two);
    one.subscription.cancel();
    assertTrue(!request.isDone());
    two.subscription.cancel();
    assertEquals(Finish.CANCELLED, request.await().finish());
    assertEquals(0, one.ends + two.ends);
  }

  @Test
  void aSubscriberThatThrowsIsToldSoAndEndsTheRequest() throws Exception {
    Engine engine = steppedEngine();
    Request request = session(engine).generate(tokens(20));
    IllegalStateException thrown = new IllegalStateException("from onNext");
    Recorder recorder =
        new Recorder() {
          @Override
          public void onNext(Token token) {
            throw thrown;
          }
        };
    request.publisher().subscribe(recorder);
    recorder.subscription.request(10);
    for (int i = 0; i < 5 && recorder.ends == 0; ++i) {
      engine.step(java.time.Duration.ofMillis(-1));
    }
    recorder.waitForEnd();
    assertEquals(thrown, recorder.error);
    assertEquals(Finish.CANCELLED, request.await().finish());
  }
}
