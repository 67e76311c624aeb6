// Settings of an engine.
package dev.tessera;

/** Settings of an {@link Engine}. */
public final class EngineOptions extends Settings<EngineOptions> {
  /** Threads that compute. 0: as many as the runtime allows. */
  public EngineOptions threads(int threads) {
    return set("engine.threads", threads);
  }

  /** The longest session. 0: the context that the model was trained for. */
  public EngineOptions contextTokens(int tokens) {
    return set("engine.context_tokens", tokens);
  }

  /** Tokens that the cache holds for all sessions together. 0: one session's context. */
  public EngineOptions cacheTokens(long tokens) {
    return set("engine.cache_tokens", tokens);
  }

  /** The type of keys and values: "f32", "f16", "bf16" or "int8". */
  public EngineOptions cacheType(String type) {
    return set("engine.cache_type", type);
  }

  /** Most open sessions. */
  public EngineOptions maxSessions(int sessions) {
    return set("engine.max_sessions", sessions);
  }

  /** Most requests that wait or run; another is refused. */
  public EngineOptions maxRequests(int requests) {
    return set("engine.max_requests", requests);
  }

  /** Most tokens in one batch; working memory grows with it. */
  public EngineOptions batchTokens(int tokens) {
    return set("engine.batch_tokens", tokens);
  }

  /** The engine has no thread of its own and computes in {@link Engine#step} only: for frame loops. */
  public EngineOptions stepped(boolean stepped) {
    return set("engine.stepped", stepped);
  }
}
