// One subscriber of a request's tokens: as many as it asked for, one signal at a time, on its executor.
package dev.tessera;

import java.util.Objects;
import java.util.concurrent.Executor;
import java.util.concurrent.Flow;

final class TokenSubscription implements Flow.Subscription, Runnable {
  private final Request request;
  private final Flow.Subscriber<? super Token> subscriber;
  private final Executor executor;

  // Guarded by this.
  private long demand;
  private int next;
  private boolean running = true; // Until onSubscribe has returned, and while run() does its work.
  private boolean done;
  private Throwable misuse;

  TokenSubscription(Request request, Flow.Subscriber<? super Token> subscriber, Executor executor) {
    this.request = request;
    this.subscriber = Objects.requireNonNull(subscriber);
    this.executor = executor;
  }

  void begin() {
    Throwable thrown = null;
    try {
      subscriber.onSubscribe(this);
    } catch (Throwable error) {
      thrown = error;
    }
    synchronized (this) {
      running = false;
      misuse = thrown != null ? thrown : misuse;
    }
    wake();
  }

  // Has run() called if there is something to signal.
  void wake() {
    synchronized (this) {
      if (running || done || !somethingToSignal()) {
        return;
      }
      running = true;
    }
    try {
      executor.execute(this);
    } catch (RuntimeException refused) {
      synchronized (this) {
        running = false;
        done = true;
      }
      request.unsubscribed(this, true);
      subscriber.onError(refused);
    }
  }

  private boolean somethingToSignal() {
    return misuse != null || (demand > 0 && request.peek(next) != null) || request.endsAt(next);
  }

  @Override
  public void run() {
    while (true) {
      Token token = null;
      Throwable error;
      synchronized (this) {
        if (done || !somethingToSignal()) {
          running = false;
          return;
        }
        error = misuse;
        if (error == null && demand > 0) {
          token = request.peek(next);
        }
        if (token != null) {
          ++next;
          --demand;
        } else {
          done = true;
        }
      }
      if (token != null) {
        signal(token);
      } else {
        end(error);
      }
    }
  }

  private void signal(Token token) {
    try {
      subscriber.onNext(token);
    } catch (Throwable error) {
      synchronized (this) {
        misuse = error;
      }
    }
  }

  private void end(Throwable error) {
    request.unsubscribed(this, error != null);
    Throwable reason = error != null ? error : request.failure();
    if (reason != null) {
      subscriber.onError(reason);
    } else {
      subscriber.onComplete();
    }
  }

  @Override
  public void request(long count) {
    synchronized (this) {
      if (count <= 0) {
        misuse = new IllegalArgumentException("a subscriber requested " + count + " tokens, which must be positive");
      } else {
        demand = demand + count < 0 ? Long.MAX_VALUE : demand + count;
      }
    }
    wake();
  }

  @Override
  public void cancel() {
    synchronized (this) {
      if (done) {
        return;
      }
      done = true;
    }
    request.unsubscribed(this, true);
  }
}
