// One conversation.
package dev.tessera;

import java.lang.ref.Cleaner;
import java.util.List;

/**
 * One conversation: a sequence of tokens whose keys and values the engine keeps. One caller at a time, on any thread: a
 * second one gets {@link Status#BUSY}, and so does a call that a running request forbids.
 */
public final class Session implements AutoCloseable {
  private final Engine engine;
  private final NativeHandle handle;
  private final Cleaner.Cleanable net;

  // Held while a request is submitted or cancelled, so that a cancel never meets a later request than its own.
  private final Object submission = new Object();
  private Request current;

  Session(Engine engine, long pointer) {
    this.engine = engine;
    handle = new NativeHandle("session", pointer, Native::sessionRelease, engine.handle.kept());
    net = handle.closeWith(this);
  }

  /** Appends text; nothing is computed yet. All of it or, with an exception, none. */
  public void appendText(String text, TextFlag... flags) {
    byte[] bytes = Utf8.encode(text);
    handle.run(session -> Native.sessionAppendText(session, bytes, TextFlag.bits(flags)));
  }

  /** Appends tokens; nothing is computed yet. */
  public void appendTokens(int... tokens) {
    handle.run(session -> Native.sessionAppendTokens(session, tokens));
  }

  /** Appends a whole conversation through the model's chat template, ready to generate the answer. */
  public void appendChat(List<Message> messages) {
    appendChat(messages, new ChatOptions());
  }

  /** Appends a whole conversation through the model's chat template. */
  public void appendChat(List<Message> messages, ChatOptions options) {
    appendChat(Message.toJson(messages), options);
  }

  /** The same for messages with further fields: a JSON array of objects. */
  public void appendChat(String json, ChatOptions options) {
    byte[] bytes = Utf8.encode(json);
    handle.run(
        session ->
            options.use(
                settings -> {
                  Native.sessionAppendChat(session, bytes, settings);
                  return null;
                }));
  }

  /** Asks the engine to compute what was appended and to generate. Returns at once. */
  public Request generate() {
    return generate(new GenerateOptions());
  }

  /** Asks the engine to compute what was appended and to generate. Returns at once. */
  public Request generate(GenerateOptions options) {
    Request request = new Request(this);
    synchronized (submission) {
      handle.run(session -> options.use(settings -> submit(request, session, settings)));
      current = request;
    }
    return request;
  }

  private Void submit(Request request, long session, long settings) {
    long tag = engine.poller.register(request);
    boolean submitted = false;
    try {
      long queue = engine.poller.pointer();
      try {
        Native.sessionGenerate(session, settings, queue, tag);
        submitted = true;
      } finally {
        engine.poller.leave();
      }
    } finally {
      if (!submitted) {
        engine.poller.forget(tag);
      }
    }
    return null;
  }

  // Cancels that request, unless it has ended and another has begun.
  void cancel(Request request, Cancel effect) {
    synchronized (submission) {
      if (current != request) {
        return;
      }
      try {
        handle.run(session -> Native.sessionCancel(session, effect.ordinal()));
      } catch (IllegalStateException closed) {
        // Closing the session has cancelled it.
      }
    }
  }

  /** A new session with the same tokens, which shares the cache as far as it is computed. Any thread. */
  public Session fork() {
    return fork(new SessionOptions());
  }

  /** A new session with the same tokens, which shares the cache as far as it is computed. Any thread. */
  public Session fork(SessionOptions options) {
    return new Session(
        engine, handle.call(session -> options.use(settings -> Native.sessionFork(session, settings))));
  }

  /** Cuts the session to its first {@code tokens} tokens. */
  public void rewind(long tokens) {
    handle.run(session -> Native.sessionRewind(session, tokens));
  }

  /** How many tokens the session holds. Any thread. */
  public long tokenCount() {
    return handle.call(Native::sessionTokenCount);
  }

  /** All tokens of the session. */
  public int[] tokens() {
    return tokens(0);
  }

  /** The tokens from {@code first} on. */
  public int[] tokens(long first) {
    return handle.call(session -> Native.sessionTokens(session, first));
  }

  /** The logits of the last token: see {@link SessionOptions#logits}. */
  public float[] logits() {
    return handle.call(Native::sessionLogits);
  }

  /** Gives the session's cache back to the others; its tokens stay. */
  public void park() {
    handle.run(Native::sessionPark);
  }

  /** The session as bytes, for {@link Engine#restore}. */
  public byte[] save() {
    return save(new StateOptions());
  }

  /** The session as bytes. */
  public byte[] save(StateOptions options) {
    return handle.call(session -> options.use(settings -> Native.sessionSave(session, settings)));
  }

  /** Cancels what runs and gives the session up. */
  @Override
  public void close() {
    net.clean();
  }
}
