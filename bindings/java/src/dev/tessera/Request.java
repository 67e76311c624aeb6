// A running request: its tokens as they arrive, and its answer.
package dev.tessera;

import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.Iterator;
import java.util.List;
import java.util.NoSuchElementException;
import java.util.concurrent.CancellationException;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Executor;
import java.util.concurrent.Flow;
import java.util.concurrent.TimeoutException;
import java.util.concurrent.locks.Condition;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.Function;
import java.util.stream.Stream;
import java.util.stream.StreamSupport;

/**
 * A running request. It can be read in several ways, and by several readers, each of whom gets everything from the
 * beginning: as an {@link Iterable}, as a {@link Flow.Publisher}, or as a whole. What was generated and not read yet
 * waits here, no more than the answer's length. Safe for use by several threads.
 *
 * <p>A request keeps its session and engine from being collected until it has ended.
 */
public final class Request implements AutoCloseable, Iterable<Token> {
  private final Session session;
  private final ReentrantLock lock = new ReentrantLock();
  private final Condition changed = lock.newCondition();

  // Guarded by lock.
  private final List<Token> tokens = new ArrayList<>();
  private final List<TokenSubscription> subscriptions = new ArrayList<>();
  private final List<AnswerFuture> futures = new ArrayList<>();
  private Answer answer;
  private Throwable failure;

  Request(Session session) {
    this.session = session;
  }

  // The poller's side.

  void arrived(List<Token> more) {
    List<TokenSubscription> readers;
    lock.lock();
    try {
      tokens.addAll(more);
      changed.signalAll();
      readers = subscriptions.isEmpty() ? List.of() : List.copyOf(subscriptions);
    } finally {
      lock.unlock();
    }
    readers.forEach(TokenSubscription::wake);
  }

  void ended(Finish finish, int status, String message, Function<List<Token>, Answer> make) {
    if (finish == Finish.ERROR) {
      failed(new TesseraException(status, message, ""));
    } else {
      end(make, null);
    }
  }

  void failed(Throwable error) {
    end(null, error);
  }

  private void end(Function<List<Token>, Answer> make, Throwable error) {
    List<TokenSubscription> readers;
    List<AnswerFuture> waiting;
    lock.lock();
    try {
      if (ended()) {
        return;
      }
      if (error == null) {
        answer = make.apply(Collections.unmodifiableList(tokens));
      } else {
        failure = error;
      }
      changed.signalAll();
      readers = List.copyOf(subscriptions);
      waiting = List.copyOf(futures);
      futures.clear();
    } finally {
      lock.unlock();
    }
    readers.forEach(TokenSubscription::wake);
    waiting.forEach(this::complete);
  }

  private boolean ended() {
    return answer != null || failure != null;
  }

  private void complete(AnswerFuture future) {
    Answer whole = answer;
    Throwable error = failure;
    future.executor.execute(
        () -> {
          if (error == null) {
            future.complete(whole);
          } else {
            future.completeExceptionally(error);
          }
        });
  }

  // The program's side.

  /** Whether the request has ended. */
  public boolean isDone() {
    lock.lock();
    try {
      return ended();
    } finally {
      lock.unlock();
    }
  }

  /** Ends the request, whatever it is doing; tokens so far stay in the session. Does nothing when it has ended. */
  public void cancel() {
    cancel(Cancel.KEEP);
  }

  /** Ends the request, whatever it is doing. Does nothing when it has ended. Returns at once. */
  public void cancel(Cancel effect) {
    if (!isDone()) {
      session.cancel(this, effect);
    }
  }

  /** Cancels the request if it still runs. What arrived can still be read. */
  @Override
  public void close() {
    cancel();
  }

  /**
   * Waits for the answer. A request that was cancelled or ran out of time has one too: {@link Answer#finish} says so.
   *
   * @throws TesseraException when the request failed
   * @throws InterruptedException when the thread is interrupted, which cancels the request
   */
  public Answer await() throws InterruptedException {
    lock.lock();
    try {
      while (!ended()) {
        changed.await();
      }
      return result();
    } catch (InterruptedException interrupted) {
      cancel();
      throw interrupted;
    } finally {
      lock.unlock();
    }
  }

  /** As {@link #await()}, for so long; the request goes on after a timeout. */
  public Answer await(Duration timeout) throws InterruptedException, TimeoutException {
    long left = timeout.toNanos();
    lock.lock();
    try {
      while (!ended()) {
        if (left <= 0) {
          throw new TimeoutException("no answer within " + timeout);
        }
        left = changed.awaitNanos(left);
      }
      return result();
    } catch (InterruptedException interrupted) {
      cancel();
      throw interrupted;
    } finally {
      lock.unlock();
    }
  }

  private Answer result() {
    rethrow();
    return answer;
  }

  // A failure happened on another thread; the exception thrown here shows this one's stack too.
  private void rethrow() {
    if (failure instanceof TesseraException error) {
      TesseraException here = new TesseraException(error.code(), error.getMessage(), error.place());
      here.initCause(error);
      throw here;
    }
    if (failure != null) {
      throw new IllegalStateException("the request's events could not be read", failure);
    }
  }

  /** The answer to come, completed on the default executor of {@link CompletableFuture}. */
  public CompletableFuture<Answer> answer() {
    return answer(new CompletableFuture<>().defaultExecutor());
  }

  /** The answer to come, completed on {@code executor}. Cancelling it, or an interrupt in get, cancels the request. */
  public CompletableFuture<Answer> answer(Executor executor) {
    AnswerFuture future = new AnswerFuture(this, executor);
    boolean now;
    lock.lock();
    try {
      now = ended();
      if (!now) {
        futures.add(future);
      }
    } finally {
      lock.unlock();
    }
    if (now) {
      complete(future);
    }
    return future;
  }

  /**
   * The tokens as they arrive. hasNext waits; it throws {@link TesseraException} when the request fails, and
   * {@link CancellationException}, with the thread's interrupt status set, when the thread is interrupted, which cancels
   * the request.
   */
  @Override
  public Iterator<Token> iterator() {
    return new Iterator<>() {
      private int next;

      @Override
      public boolean hasNext() {
        return waitFor(next);
      }

      @Override
      public Token next() {
        if (!hasNext()) {
          throw new NoSuchElementException();
        }
        return tokenAt(next++);
      }
    };
  }

  /** The tokens as they arrive, as a sequential stream. */
  public Stream<Token> stream() {
    return StreamSupport.stream(spliterator(), false);
  }

  private boolean waitFor(int index) {
    lock.lock();
    try {
      while (index >= tokens.size() && !ended()) {
        changed.await();
      }
      if (index < tokens.size()) {
        return true;
      }
      rethrow();
      return false;
    } catch (InterruptedException interrupted) {
      cancel();
      Thread.currentThread().interrupt();
      throw new CancellationException("interrupted while waiting for a token");
    } finally {
      lock.unlock();
    }
  }

  private Token tokenAt(int index) {
    lock.lock();
    try {
      return tokens.get(index);
    } finally {
      lock.unlock();
    }
  }

  /** The tokens as a publisher, whose subscribers are called on the default executor. */
  public Flow.Publisher<Token> publisher() {
    return publisher(new CompletableFuture<>().defaultExecutor());
  }

  /**
   * The tokens as a publisher, whose subscribers are called on {@code executor}, with no more tokens than they
   * requested. When the last subscriber cancels its subscription, the request is cancelled.
   */
  public Flow.Publisher<Token> publisher(Executor executor) {
    return subscriber -> {
      TokenSubscription subscription = new TokenSubscription(this, subscriber, executor);
      lock.lock();
      try {
        subscriptions.add(subscription);
      } finally {
        lock.unlock();
      }
      subscription.begin();
    };
  }

  // The subscriptions' side.

  // The token at `index` if it is there.
  Token peek(int index) {
    lock.lock();
    try {
      return index < tokens.size() ? tokens.get(index) : null;
    } finally {
      lock.unlock();
    }
  }

  // Whether nothing comes at `index` or later.
  boolean endsAt(int index) {
    lock.lock();
    try {
      return ended() && index >= tokens.size();
    } finally {
      lock.unlock();
    }
  }

  Throwable failure() {
    lock.lock();
    try {
      return failure;
    } finally {
      lock.unlock();
    }
  }

  void unsubscribed(TokenSubscription subscription, boolean cancelled) {
    boolean last;
    lock.lock();
    try {
      last = subscriptions.remove(subscription) && subscriptions.isEmpty() && cancelled;
    } finally {
      lock.unlock();
    }
    if (last) {
      cancel();
    }
  }
}
