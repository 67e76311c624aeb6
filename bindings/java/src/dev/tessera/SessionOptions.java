// Settings of a session.
package dev.tessera;

/** Settings of a {@link Session}. */
public final class SessionOptions extends Settings<SessionOptions> {
  /** Keep the last logits for {@link Session#logits}; costs 4 bytes for each token of the vocabulary. */
  public SessionOptions logits(boolean keep) {
    return set("session.logits", keep);
  }

  /** For {@link Engine#restore}: take keys and values too, not the tokens alone. */
  public SessionOptions restoreCache(boolean restore) {
    return set("state.cache", restore);
  }
}
