// An answer to come whose cancel reaches the request.
package dev.tessera;

import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Executor;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;

final class AnswerFuture extends CompletableFuture<Answer> {
  final Executor executor;
  private final Request request;

  AnswerFuture(Request request, Executor executor) {
    this.request = request;
    this.executor = executor;
  }

  @Override
  public boolean cancel(boolean mayInterruptIfRunning) {
    boolean cancelled = super.cancel(mayInterruptIfRunning);
    if (cancelled) {
      request.cancel();
    }
    return cancelled;
  }

  @Override
  public Answer get() throws InterruptedException, ExecutionException {
    try {
      return super.get();
    } catch (InterruptedException interrupted) {
      request.cancel();
      throw interrupted;
    }
  }

  @Override
  public Answer get(long timeout, TimeUnit unit) throws InterruptedException, ExecutionException, TimeoutException {
    try {
      return super.get(timeout, unit);
    } catch (InterruptedException interrupted) {
      request.cancel();
      throw interrupted;
    }
  }

  @Override
  public Executor defaultExecutor() {
    return executor;
  }
}
